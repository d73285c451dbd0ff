//! The macro that makes a typed section and its rows of the table from one declaration.

/// Declares a section: a struct with one field per key. The doc comment of a field is the key's
/// documentation everywhere.
macro_rules! section {
    (
        $(#[doc = $struct_doc:literal])+
        pub struct $name:ident for $services:ident {
            $(
                $(#[doc = $doc:literal])+
                pub $field:ident: $type:ty = $key:expr;
            )+
        }
    ) => {
        $(#[doc = $struct_doc])+
        #[derive(Debug, Clone)]
        pub struct $name {
            $($(#[doc = $doc])+ pub $field: $type,)+
        }

        impl $name {
            /// The keys of this section, in the order of its fields.
            pub const KEYS: &'static [$crate::config::Key] = &[
                $($key.documented(
                    $crate::config::Services::$services,
                    concat!($($doc),+).trim_ascii_start(),
                ),)+
            ];

            /// Reads the section. `None` when a key has a problem, which is then recorded.
            pub(crate) fn read(settings: &mut $crate::config::settings::Settings) -> Option<Self> {
                let mut keys = Self::KEYS.iter();
                $(let $field = keys.next().and_then(|key| settings.read::<$type>(key));)+
                Some(Self { $($field: $field?,)+ })
            }
        }
    };
}

pub(crate) use section;
