//! Who may do what, and how often.

use domain::principal::Roles;

use crate::config::choice::choice;
use crate::config::file_keys::FileKeys;
use crate::config::key::{Key, Kind};
use crate::config::section::section;
use crate::config::value::Pem;
use crate::secret::Secret;

choice! {
    /// How callers prove who they are.
    pub enum AuthMode {
        /// What fits: tokens where their keys are configured, else nothing on loopback.
        Auto = "auto",
        /// Nobody is asked.
        None = "none",
        /// Access tokens (JWT) of an identity provider.
        Jwt = "jwt",
        /// API keys that the registry keeps.
        ApiKey = "apikey",
        /// Either.
        JwtAndApiKey = "jwt+apikey",
    }
}

/// How callers are let in: [`AuthMode`] with `auto` decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Nobody is asked.
    Everyone,
    /// By a token of the identity provider.
    Tokens,
    /// By an API key.
    Keys,
    /// By either.
    TokensAndKeys,
    /// By an API key, of which `dynamic-mcp` makes the first when there is none: at a start on an
    /// address that is not loopback.
    FirstKey,
}

impl Admission {
    /// Whether a token of the identity provider lets its holder in.
    #[must_use]
    pub const fn takes_tokens(self) -> bool {
        matches!(self, Self::Tokens | Self::TokensAndKeys)
    }

    /// Whether an API key lets its holder in.
    #[must_use]
    pub const fn takes_keys(self) -> bool {
        matches!(self, Self::Keys | Self::TokensAndKeys | Self::FirstKey)
    }
}

section! {
    /// Authentication of callers.
    pub struct AuthConfig for PUBLIC {
        /// How callers prove who they are. `auto` means `jwt` where MCP_AUTH_JWKS_URL or
        /// MCP_AUTH_PUBLIC_KEY is set. Else it asks nobody on a loopback address; on any other
        /// dynamic-mcp makes an API key at its first start and shows it once, and the gateway refuses
        /// to start.
        pub mode: AuthMode = Key::kept("MCP_AUTH_MODE", "auth.mode")
            .kind(Kind::Choice(AuthMode::CHOICES)).default("auto");
        /// Serves everyone who can reach an address that is not loopback, without authentication.
        pub allow_anonymous: bool = Key::added("MCP_AUTH_ALLOW_ANONYMOUS", "auth.allowAnonymous")
            .kind(Kind::Bool).default("false");
        /// URL of the identity provider's keys (JSON Web Key Set): https, or http on a loopback
        /// address.
        pub jwks_url: Option<String> = Key::kept("MCP_AUTH_JWKS_URL", "auth.jwksUrl");
        /// Public key of the identity provider, instead of a URL: PEM, RSA of at least 2,048 bits,
        /// P-256, P-384 or Ed25519.
        pub public_key: Option<Pem> = Key::added("MCP_AUTH_PUBLIC_KEY", "auth.publicKey")
            .kind(Kind::Pem).or_file();
        /// The `iss` that a token must have, exactly.
        pub issuer: Option<String> = Key::kept("MCP_AUTH_ISSUER", "auth.issuer");
        /// The `aud` that a token must have, or hold in its list.
        pub audience: Option<String> = Key::kept("MCP_AUTH_AUDIENCE", "auth.audience");
        /// Scopes that every token must hold, besides those that a request needs.
        pub required_scopes: Vec<String> =
            Key::kept("MCP_AUTH_REQUIRED_SCOPES", "auth.requiredScopes").kind(Kind::List);
        /// The claim that names the caller's tenant; without it everybody is in `default`.
        pub tenant_claim: Option<String> = Key::added("MCP_AUTH_TENANT_CLAIM", "auth.tenantClaim");
        /// The claim that names the caller's roles: a text (several separated by spaces) or a list; a dot
        /// leads into an object, as in `realm_access.roles`. Without it tokens give no roles.
        pub role_claim: Option<String> = Key::added("MCP_AUTH_ROLE_CLAIM", "auth.roleClaim");
        /// Roles and the scopes that each gives, as `name=scope scope`. An entry changes the predefined
        /// role of its name or adds one; a role that is not known gives nothing.
        pub roles: Roles = Key::added("MCP_AUTH_ROLES", "auth.roles").kind(Kind::List)
            .default_note("`viewer`, `operator`, `developer`, `admin`, see docs/authorization.md");
        /// API keys that stand in the configuration, beside those that the registry keeps: each with the
        /// SHA-256 of the key and not the key itself.
        pub file_keys: FileKeys = Key::added("MCP_AUTH_API_KEYS", "security.apiKeys")
            .kind(Kind::Keys);
        /// Public URL of the MCP endpoint, as RFC 9728 metadata names it to clients.
        pub resource: Option<String> = Key::added("MCP_AUTH_RESOURCE", "auth.resource")
            .default_note("built from the request's Host");
    }
}

impl AuthConfig {
    /// How callers prove who they are, with `auto` decided.
    #[must_use]
    pub fn decided(&self) -> AuthMode {
        match self.mode {
            AuthMode::Auto if self.jwks_url.is_some() || self.public_key.is_some() => AuthMode::Jwt,
            AuthMode::Auto => AuthMode::None,
            mode => mode,
        }
    }

    /// Whether tokens of an identity provider are a way in.
    #[must_use]
    pub fn takes_tokens(&self) -> bool {
        matches!(self.decided(), AuthMode::Jwt | AuthMode::JwtAndApiKey)
    }
}

section! {
    /// The admin token.
    pub struct AccessConfig for PUBLIC {
        /// Refuses to start without MCP_ADMIN_TOKEN.
        pub require_token: Option<bool> =
            Key::kept("MCP_REQUIRE_ADMIN_TOKEN", "dynamic.requireAdminToken")
            .kind(Kind::Bool).default_note("true for profile enterprise over HTTP with jwt, else false");
        /// When set, every management tool needs it: in the header `x-mcp-admin-token` or as the
        /// argument `adminToken`.
        pub token: Option<Secret> = Key::kept("MCP_ADMIN_TOKEN", "dynamic.adminToken").secret();
    }
}
