//! Roles: names for sets of scopes, so that an identity provider or an API key says who somebody is
//! and the configuration says what that means.

use std::collections::{BTreeMap, BTreeSet};

use super::Scope;
use crate::error::{Error, Result};

/// Most roles that a configuration has.
const MOST: usize = 256;
/// Longest name of a role, in bytes.
const MAX_NAME_BYTES: usize = 128;
/// Most that the scopes of one role have together, in bytes: a signed identity carries them all.
const MAX_SCOPES_BYTES: usize = 2 * 1024;

/// The roles that are there unless the configuration says otherwise: each may do what the one before
/// may, and more.
const PREDEFINED: [(&str, &[Scope]); 4] = [
    ("viewer", &[Scope::ToolsRead]),
    (
        "operator",
        &[Scope::ToolsRead, Scope::Invoke, Scope::Sandbox],
    ),
    (
        "developer",
        &[
            Scope::ToolsRead,
            Scope::Invoke,
            Scope::Sandbox,
            Scope::ToolsWrite,
        ],
    ),
    ("admin", &[Scope::Admin]),
];

/// Named sets of scopes. A name that is not among them gives nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roles(BTreeMap<String, BTreeSet<String>>);

impl Default for Roles {
    /// `viewer`, `operator`, `developer` and `admin`.
    fn default() -> Self {
        let scopes = |of: &[Scope]| -> BTreeSet<String> {
            of.iter().map(|scope| scope.as_str().to_owned()).collect()
        };
        Self(
            PREDEFINED
                .map(|(name, of)| (name.to_owned(), scopes(of)))
                .into(),
        )
    }
}

impl Roles {
    /// The predefined roles, changed and added to by entries of the form `name=scope scope`. An entry
    /// replaces the role of its name; without scopes that role gives nothing.
    ///
    /// # Errors
    /// `invalid_argument` that quotes the entry and says what is wrong with it.
    pub fn with(entries: &[String]) -> Result<Self> {
        let mut roles = Self::default();
        let mut named = BTreeSet::new();
        for entry in entries {
            let invalid = |what: &str| {
                Error::invalid("roles", format!("`{entry}` {what}")).with_limit("name=scope scope")
            };
            let (name, scopes) = entry
                .split_once('=')
                .ok_or_else(|| invalid("has no `=` between a role and its scopes"))?;
            let name = name.trim();
            if !is_name(name) {
                return Err(invalid(
                    "begins with no name of a role: 1-128 printable ASCII characters without space, comma and =",
                ));
            }
            if !named.insert(name) {
                return Err(invalid("names a role that another entry names"));
            }
            let scopes: BTreeSet<String> =
                scopes.split_ascii_whitespace().map(str::to_owned).collect();
            if let Some(bad) = scopes.iter().find(|scope| !is_scope(scope)) {
                return Err(invalid(&format!(
                    "holds {bad:?}, which no caller can be given"
                )));
            }
            if scopes.iter().map(|scope| scope.len() + 3).sum::<usize>() > MAX_SCOPES_BYTES {
                return Err(invalid("has more than 2 KiB of scopes"));
            }
            roles.0.insert(name.to_owned(), scopes);
        }
        if roles.0.len() > MOST {
            return Err(Error::invalid("roles", "are more than 256"));
        }
        Ok(roles)
    }

    /// The scopes of a role; none for a role that is not known.
    pub fn scopes(&self, role: &str) -> impl Iterator<Item = &str> {
        self.0.get(role).into_iter().flatten().map(String::as_str)
    }

    /// Whether there is such a role.
    #[must_use]
    pub fn has(&self, role: &str) -> bool {
        self.0.contains_key(role)
    }

    /// Every role with its scopes, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &BTreeSet<String>)> {
        self.0.iter().map(|(name, scopes)| (name.as_str(), scopes))
    }
}

fn is_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_graphic() && byte != b',' && byte != b'=';
    (1..=MAX_NAME_BYTES).contains(&text.len()) && text.bytes().all(fits)
}

/// RFC 6749, section 3.3; the scope of our own services is none that a caller can have.
fn is_scope(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    text.bytes().all(fits) && text != Scope::Internal.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(roles: &Roles, role: &str) -> Vec<String> {
        roles.scopes(role).map(str::to_owned).collect()
    }

    #[test]
    fn each_predefined_role_holds_what_the_one_before_does() {
        let roles = Roles::default();
        let mut before = BTreeSet::new();
        for (name, _) in &PREDEFINED[..3] {
            let scopes: BTreeSet<String> = of(&roles, name).into_iter().collect();
            assert!(
                scopes.is_superset(&before) && scopes.len() > before.len(),
                "{name}"
            );
            before = scopes;
        }
        assert_eq!(of(&roles, "admin"), ["mcp:admin"]);
        assert_eq!(roles.iter().count(), 4);
    }

    #[test]
    fn what_is_not_a_role_gives_nothing() {
        let roles = Roles::default();
        for unknown in [
            "",
            "Admin",
            "ADMIN",
            "admin ",
            "mcp:admin",
            "root",
            "dynamic-mcp:internal",
        ] {
            assert_eq!(of(&roles, unknown), [""; 0], "{unknown:?}");
            assert!(!roles.has(unknown));
        }
    }

    #[test]
    fn roles_are_changed_and_added_to() {
        let entries = [
            "support = mcp:tools:read  team:blue",
            "viewer=",
            "admin=mcp:invoke",
        ];
        let roles = Roles::with(&entries.map(str::to_owned)).unwrap();
        assert_eq!(of(&roles, "support"), ["mcp:tools:read", "team:blue"]);
        assert_eq!(of(&roles, "viewer"), [""; 0]);
        assert_eq!(of(&roles, "admin"), ["mcp:invoke"]);
        assert_eq!(of(&roles, "operator").len(), 3, "as it was");
    }

    #[test]
    fn what_is_no_role_is_refused_with_its_text() {
        let long = format!("r={}", "x".repeat(3_000));
        for (entries, why) in [
            (vec!["viewer"], "has no `=`"),
            (vec!["=mcp:invoke"], "no name of a role"),
            (vec!["a b=mcp:invoke"], "no name of a role"),
            (vec!["r=mcp:invoke", "r=mcp:admin"], "another entry"),
            (vec!["r=dynamic-mcp:internal"], "no caller can be given"),
            (vec!["r=a\"b"], "no caller can be given"),
            (vec!["r=é"], "no caller can be given"),
            (vec![long.as_str()], "more than 2 KiB"),
        ] {
            let entries: Vec<String> = entries.into_iter().map(str::to_owned).collect();
            let error = Roles::with(&entries).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        let many: Vec<String> = (0..300).map(|number| format!("r{number}=x")).collect();
        assert!(Roles::with(&many).unwrap_err().to_string().contains("256"));
    }
}
