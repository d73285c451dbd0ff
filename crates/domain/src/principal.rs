//! Who calls, and the one function that says what they may do.

mod roles;

use std::collections::BTreeSet;
use std::fmt;

use crate::error::{Error, ErrorCode, Result};
use crate::id::TenantId;

pub use self::roles::Roles;

/// A right of the product itself. Tools may require scopes of other names besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// Call tools.
    Invoke,
    /// See definitions and code of tools.
    ToolsRead,
    /// Create, change and delete tools.
    ToolsWrite,
    /// Use sandbox sessions.
    Sandbox,
    /// Everything a caller from outside can do.
    Admin,
    /// One of our own services: follow the catalogue of every tenant, join the fleet. Never given
    /// to a caller from outside and not implied by [`Scope::Admin`].
    Internal,
}

impl Scope {
    /// Every scope that a caller from outside can hold.
    pub const OUTSIDE: &'static [Scope] = &[
        Scope::Invoke,
        Scope::ToolsRead,
        Scope::ToolsWrite,
        Scope::Sandbox,
        Scope::Admin,
    ];

    /// The scope as it is written in tokens.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Scope::Invoke => "mcp:invoke",
            Scope::ToolsRead => "mcp:tools:read",
            Scope::ToolsWrite => "mcp:tools:write",
            Scope::Sandbox => "mcp:sandbox",
            Scope::Admin => "mcp:admin",
            Scope::Internal => "dynamic-mcp:internal",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// A verified caller. Made by `auth` from a credential, or by a gateway for anonymous callers on
/// loopback; carried from hop to hop only in a signed token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The tenant whose tools this caller sees.
    pub tenant: TenantId,
    /// Who it is, unique within the tenant; 1-256 bytes.
    pub subject: String,
    /// The client program, when the credential names one.
    pub client_id: Option<String>,
    /// Scopes as written in the credential.
    pub scopes: BTreeSet<String>,
    /// The tier of limits that the credential belongs to, when it names one. Of use at the gateway
    /// alone: it does not travel to the other services.
    pub tier: Option<String>,
}

impl Principal {
    /// A caller without a credential: the `default` tenant, with exactly these scopes.
    #[must_use]
    pub fn anonymous(scopes: &[Scope]) -> Self {
        Self::of(TenantId::default(), "anonymous", scopes)
    }

    /// One of our own services, acting for itself.
    #[must_use]
    pub fn service(name: &str) -> Self {
        Self::of(TenantId::default(), name, &[Scope::Internal])
    }

    fn of(tenant: TenantId, subject: &str, scopes: &[Scope]) -> Self {
        let scopes = scopes
            .iter()
            .map(|scope| scope.as_str().to_owned())
            .collect();
        Self {
            tenant,
            subject: subject.to_owned(),
            client_id: None,
            scopes,
            tier: None,
        }
    }

    /// Whether it holds the scope, directly or because `mcp:admin` implies it.
    #[must_use]
    pub fn has(&self, scope: Scope) -> bool {
        self.holds(scope.as_str())
            && (scope != Scope::Internal || self.scopes.contains(scope.as_str()))
    }

    fn holds(&self, scope: &str) -> bool {
        self.scopes.contains(scope)
            || (scope != Scope::Internal.as_str() && self.scopes.contains(Scope::Admin.as_str()))
    }
}

/// What somebody wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action<'a> {
    /// Call a built-in that reads nothing of a tenant.
    UseBuiltIn,
    /// Run code that is not stored.
    RunEphemeral,
    /// See or call a stored tool that requires these scopes.
    UseTool(&'a BTreeSet<String>),
    /// Read definitions and code of tools: which ones, [`Action::ReadTool`] says of each.
    ReadTools,
    /// Read definition and code of a stored tool that requires these scopes.
    ReadTool(&'a BTreeSet<String>),
    /// Create tools, or change those that [`Action::WriteTool`] allows.
    WriteTools,
    /// Change, enable, disable or delete a stored tool that requires these scopes.
    WriteTool(&'a BTreeSet<String>),
    /// See the effective configuration and the guard's counters.
    Operate,
    /// Make, use and end sandbox sessions of one's own.
    UseSandbox,
    /// Make, see, revoke and rotate the API keys of one's own tenant.
    ManageKeys,
    /// Search the audit records of one's own tenant.
    ReadAudit,
    /// Follow the catalogue of all tenants, or join the fleet.
    Internal,
}

impl Action<'_> {
    /// The scope of the product that it needs; a tool may require others besides.
    #[must_use]
    pub const fn scope(self) -> Scope {
        match self {
            Action::UseBuiltIn | Action::RunEphemeral | Action::Operate | Action::UseTool(_) => {
                Scope::Invoke
            }
            Action::ReadTools | Action::ReadTool(_) => Scope::ToolsRead,
            Action::WriteTools | Action::WriteTool(_) => Scope::ToolsWrite,
            Action::UseSandbox => Scope::Sandbox,
            Action::ManageKeys | Action::ReadAudit => Scope::Admin,
            Action::Internal => Scope::Internal,
        }
    }

    /// The scopes of the stored tool that it is about. Who may not use a tool may not read or change
    /// it either: to them it does not exist.
    const fn tool_scopes(&self) -> Option<&BTreeSet<String>> {
        match self {
            Action::UseTool(required)
            | Action::ReadTool(required)
            | Action::WriteTool(required) => Some(required),
            Action::UseBuiltIn
            | Action::RunEphemeral
            | Action::ReadTools
            | Action::WriteTools
            | Action::Operate
            | Action::UseSandbox
            | Action::ManageKeys
            | Action::ReadAudit
            | Action::Internal => None,
        }
    }
}

/// The one rule of who may do what, used by list and call at the gateway and again by registry and
/// executor. Default-deny: no scope, no right.
///
/// # Errors
/// `permission_denied` that names the missing scope. What the caller may not even know of is the
/// caller of this function's to hide: a tool whose [`Action::UseTool`], [`Action::ReadTool`] or
/// [`Action::WriteTool`] is refused looks like one that does not exist.
pub fn authorize(principal: &Principal, action: Action<'_>) -> Result<()> {
    let scope = action.scope();
    if !principal.has(scope) {
        return Err(missing(scope.as_str()));
    }
    let mut required = action.tool_scopes().into_iter().flatten();
    match required.find(|scope| !principal.holds(scope)) {
        Some(scope) => Err(missing(scope)),
        None => Ok(()),
    }
}

fn missing(scope: &str) -> Error {
    Error::new(
        ErrorCode::PermissionDenied,
        format!("the scope {scope} is needed"),
    )
    .with_field("scope")
    .with_fix("use a credential that holds it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_allowed_without_a_scope() {
        let nobody = Principal::anonymous(&[]);
        let none = BTreeSet::new();
        for action in [
            Action::UseBuiltIn,
            Action::RunEphemeral,
            Action::UseTool(&none),
            Action::ReadTools,
            Action::ReadTool(&none),
            Action::WriteTools,
            Action::WriteTool(&none),
            Action::Operate,
            Action::UseSandbox,
            Action::ManageKeys,
            Action::ReadAudit,
            Action::Internal,
        ] {
            let refused = authorize(&nobody, action).unwrap_err();
            assert_eq!(refused.code(), ErrorCode::PermissionDenied, "{action:?}");
        }
    }

    #[test]
    fn admin_implies_all_but_the_services_scope() {
        let admin = Principal::anonymous(&[Scope::Admin]);
        let special = BTreeSet::from(["team:special".to_owned()]);
        for action in [
            Action::UseTool(&special),
            Action::ReadTools,
            Action::WriteTools,
        ] {
            assert!(authorize(&admin, action).is_ok(), "{action:?}");
        }
        assert!(authorize(&admin, Action::Internal).is_err());
        let service = Principal::service("gateway");
        assert!(authorize(&service, Action::Internal).is_ok());
        assert!(authorize(&service, Action::WriteTools).is_err());
    }

    #[test]
    fn a_tools_scope_is_needed_besides_the_products() {
        let special = BTreeSet::from(["team:special".to_owned()]);
        for (scope, action) in [
            (Scope::Invoke, Action::UseTool(&special)),
            (Scope::ToolsRead, Action::ReadTool(&special)),
            (Scope::ToolsWrite, Action::WriteTool(&special)),
        ] {
            let mut caller = Principal::anonymous(&[scope]);
            assert!(authorize(&caller, action).is_err(), "{action:?}");
            caller.scopes.insert("team:special".to_owned());
            assert!(authorize(&caller, action).is_ok(), "{action:?}");
            caller.scopes.remove(scope.as_str());
            assert!(authorize(&caller, action).is_err(), "{action:?}");
        }
    }
}
