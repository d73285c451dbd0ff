//! Names of tools: the grammar, and the names that belong to the product.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorCode, Result};

/// Every built-in of every version and profile, also those that come later, so that no stored tool
/// can take one of them first.
pub const BUILT_INS: &[&str] = &[
    "system.health",
    "dynamic.tool.create",
    "dynamic.tool.update",
    "dynamic.tool.delete",
    "dynamic.tool.enable",
    "dynamic.tool.list",
    "dynamic.tool.get",
    "dynamic.tool.history",
    "dynamic.tool.rollback",
    "dynamic.tool.test",
    "dynamic.prompt.create",
    "dynamic.prompt.update",
    "dynamic.prompt.delete",
    "dynamic.prompt.list",
    "dynamic.prompt.get",
    "dynamic.prompt.enable",
    "dynamic.resource.create",
    "dynamic.resource.update",
    "dynamic.resource.delete",
    "dynamic.resource.list",
    "dynamic.resource.get",
    "dynamic.resource.enable",
    "run_js_ephemeral",
    "run_python_ephemeral",
    "sandbox.initialize",
    "sandbox.exec",
    "sandbox.run_js",
    "sandbox.run_python",
    "sandbox.files.write",
    "sandbox.files.read",
    "sandbox.files.list",
    "sandbox.stop",
    "sandbox.session.list",
    "system.guard_metrics",
    "system.runtime_config",
    "dev.echo",
    "time.now",
    "upstream.mcp.attach",
    "upstream.mcp.detach",
];

const RESERVED_PREFIX: &str = "dynamic.tool.";

/// The name of a stored tool: `^[a-zA-Z][a-zA-Z0-9._:-]{2,63}$`, case-sensitive.
///
/// A value of this type obeys the grammar; whether the name is free for use is
/// [`ToolName::check_not_reserved`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ToolName(String);

impl ToolName {
    /// The grammar, as users see it in schemas and errors.
    pub const PATTERN: &'static str = "^[a-zA-Z][a-zA-Z0-9._:-]{2,63}$";

    /// Parses a name by the grammar.
    ///
    /// # Errors
    /// `invalid_argument` naming the field `name` and the grammar.
    pub fn parse(text: &str) -> Result<Self> {
        let rest = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
        let good = (3..=64).contains(&text.len())
            && text.as_bytes()[0].is_ascii_alphabetic()
            && text.bytes().all(rest);
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::invalid("name", "is not a tool name").with_limit(Self::PATTERN))
        }
    }

    /// Refuses the names of built-ins and the prefix `dynamic.tool.`, in any case: a name that
    /// differs from a built-in's in case only would be mistaken for it.
    ///
    /// # Errors
    /// `policy_denied` naming the field `name`.
    pub fn check_not_reserved(&self) -> Result<()> {
        let message = if self.has_reserved_prefix() {
            format!("Reserved tool name prefix is not allowed: {self}")
        } else if self.is_built_in() {
            format!("Reserved built-in tool name is not allowed: {self}")
        } else {
            return Ok(());
        };
        Err(Error::new(ErrorCode::PolicyDenied, message)
            .with_field("name")
            .with_fix("choose another name"))
    }

    /// Whether the product owns this name now, so that a stored tool with it is `shadowed`.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        self.has_reserved_prefix() || self.is_built_in()
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn has_reserved_prefix(&self) -> bool {
        self.0
            .get(..RESERVED_PREFIX.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(RESERVED_PREFIX))
    }

    fn is_built_in(&self) -> bool {
        BUILT_INS
            .iter()
            .any(|name| name.eq_ignore_ascii_case(&self.0))
    }
}

impl TryFrom<String> for ToolName {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

impl From<ToolName> for String {
    fn from(name: ToolName) -> Self {
        name.0
    }
}

impl fmt::Display for ToolName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for ToolName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grammar_takes_what_the_contract_takes() {
        for good in ["abc", "a.b:c-d_E9", &format!("a{}", "x".repeat(63))] {
            assert!(ToolName::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "ab",
            "1ab",
            ".ab",
            "a b",
            "a/b",
            "äbc",
            &"x".repeat(65),
            "abc\n",
            "a\0b",
        ] {
            let error = ToolName::parse(bad).unwrap_err();
            assert_eq!(error.code(), ErrorCode::InvalidArgument, "{bad:?}");
            assert_eq!(error.field(), Some("name"));
        }
    }

    #[test]
    fn built_ins_are_refused_in_any_case() {
        for bad in [
            "system.health",
            "System.Health",
            "dynamic.tool.mine",
            "DYNAMIC.TOOL.x",
            "dev.echo",
        ] {
            let name = ToolName::parse(bad).unwrap();
            assert_eq!(
                name.check_not_reserved().unwrap_err().code(),
                ErrorCode::PolicyDenied
            );
            assert!(name.is_reserved());
        }
        assert!(
            ToolName::parse("dynamic.toolbox")
                .unwrap()
                .check_not_reserved()
                .is_ok()
        );
    }

    #[test]
    fn every_built_in_is_itself_a_name() {
        for name in BUILT_INS {
            assert!(ToolName::parse(name).is_ok(), "{name}");
        }
    }
}
