//! Values that are one of a few words.

/// Makes an enum whose variants are words of the configuration. `also` gives a word a second
/// spelling; `later` names words that the contract has and this version does not.
macro_rules! choice {
    (
        $(#[$meta:meta])*
        pub enum $name:ident {
            $($(#[$variant_meta:meta])* $variant:ident = $word:literal,)+
        }
        $(also { $($other:literal => $same:ident,)+ })?
        $(later { $($absent:literal => $why:literal,)+ })?
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $($(#[$variant_meta])* $variant,)+
        }

        impl $name {
            /// The words that this version accepts.
            pub const CHOICES: &'static [&'static str] = &[$($word,)+ $($($other,)+)?];

            /// The word of this value.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl $crate::config::value::Value for $name {
            fn parse(
                raw: &$crate::config::value::Raw,
                _: &$crate::config::key::Key,
            ) -> Result<Self, String> {
                match raw.shown().trim().to_ascii_lowercase().as_str() {
                    $($word => Ok(Self::$variant),)+
                    $($($other => Ok(Self::$same),)+)?
                    $($($absent => Err(String::from(concat!("is not available in this version: ", $why))),)+)?
                    _ => Err(String::new()),
                }
            }

            fn json(&self, _: &$crate::config::key::Key) -> serde_json::Value {
                serde_json::Value::from(self.as_str())
            }
        }
    };
}

pub(crate) use choice;
