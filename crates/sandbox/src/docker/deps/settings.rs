//! Where packages come from and how much they may be.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use domain::error::{Error, Result};
use domain::tool::Runtime;
use url::Url;

/// How packages are installed.
#[derive(Clone)]
pub struct InstallSettings {
    /// Certificates in PEM that are trusted besides those of the image.
    pub extra_ca: Option<String>,
    /// The npm registry, `http` or `https`, with or without a password; npm's own when there is none.
    pub npm_registry: Option<String>,
    /// The index of Python packages (PEP 503), likewise.
    pub pip_index: Option<String>,
    /// The longest that one install, or the resolving before it, may take.
    pub timeout: Duration,
    /// Most bytes of one set of packages: on disk, and on the way.
    pub max_bytes: u64,
    /// Most files and folders of one set.
    pub max_files: u64,
    /// Most bytes of all sets together.
    pub cache_bytes: u64,
    /// After how long without use a set is removed.
    pub cache_age: Duration,
    /// Whether packages may bring native code.
    pub allow_native: bool,
    /// Packages that are never installed, also when only another one needs them.
    pub blocked: Vec<String>,
}

impl Default for InstallSettings {
    fn default() -> Self {
        Self {
            extra_ca: None,
            npm_registry: None,
            pip_index: None,
            timeout: Duration::from_secs(120),
            max_bytes: 512 << 20,
            max_files: 100_000,
            cache_bytes: 4 << 30,
            cache_age: Duration::from_secs(604_800),
            allow_native: true,
            blocked: Vec::new(),
        }
    }
}

impl fmt::Debug for InstallSettings {
    /// Without the addresses, which may hold passwords.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("InstallSettings")
            .field("npm_registry", &self.npm_registry.is_some())
            .field("pip_index", &self.pip_index.is_some())
            .field("timeout", &self.timeout)
            .field("max_bytes", &self.max_bytes)
            .field("max_files", &self.max_files)
            .field("allow_native", &self.allow_native)
            .finish_non_exhaustive()
    }
}

/// A registry, with the password apart from its address.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Registry {
    address: Url,
    user: String,
    password: Option<String>,
}

impl Registry {
    /// Reads an address.
    ///
    /// # Errors
    /// `invalid_argument` that names the setting and never its value.
    pub(super) fn parse(field: &str, text: &str) -> Result<Self> {
        let bad = |what: &str| {
            Error::invalid(field, what).with_limit("an http or https address without ? and #")
        };
        let mut address = Url::parse(text.trim()).map_err(|_| bad("is not an address"))?;
        let whole = matches!(address.scheme(), "http" | "https")
            && address.host_str().is_some_and(|host| !host.is_empty())
            && address.query().is_none()
            && address.fragment().is_none();
        if !whole {
            return Err(bad("is not the address of a registry"));
        }
        let decoded = |text: &str| {
            let pairs = format!("x={}", text.replace('+', "%2B"));
            let pair = url::form_urlencoded::parse(pairs.as_bytes()).next();
            pair.map(|(_, value)| value.into_owned())
                .unwrap_or_default()
        };
        let user = decoded(address.username());
        let password = address.password().map(decoded);
        let plain = address.set_username("").is_ok() && address.set_password(None).is_ok();
        if !plain {
            return Err(bad("is not the address of a registry"));
        }
        if [&user, password.as_ref().unwrap_or(&user)]
            .iter()
            .any(|text| text.chars().any(char::is_control))
        {
            return Err(bad("has a password with control characters"));
        }
        Ok(Self {
            address,
            user,
            password,
        })
    }

    /// The address without a password, without a slash at its end.
    pub(super) fn address(&self) -> &str {
        self.address.as_str().trim_end_matches('/')
    }

    /// The same with the password: only for files inside of the container.
    pub(super) fn with_password(&self) -> String {
        let mut address = self.address.clone();
        let set = address.set_username(&self.user).is_ok()
            && address.set_password(self.password.as_deref()).is_ok();
        let address = if set { &address } else { &self.address };
        address.as_str().trim_end_matches('/').to_owned()
    }

    /// Its host and port.
    pub(super) fn place(&self) -> (String, u16) {
        let host = self.address.host_str().unwrap_or_default();
        let port = self.address.port_or_known_default().unwrap_or(443);
        (host.trim_matches(['[', ']']).to_ascii_lowercase(), port)
    }

    /// The `Authorization` that it wants: a user and a password, or a token where the user is empty.
    pub(super) fn authorization(&self) -> Option<String> {
        match (self.user.as_str(), &self.password) {
            ("", None) => None,
            ("", Some(token)) => Some(format!("Bearer {token}")),
            (user, password) => {
                let password = password.as_deref().unwrap_or_default();
                let pair = BASE64_STANDARD.encode(format!("{user}:{password}"));
                Some(format!("Basic {pair}"))
            }
        }
    }

    /// The line of `.npmrc` that says so: for which addresses, which key, which value.
    pub(super) fn npm_auth(&self) -> Option<[String; 3]> {
        let authorization = self.authorization()?;
        let (kind, value) = authorization.split_once(' ')?;
        let key = if kind == "Bearer" {
            "_authToken"
        } else {
            "_auth"
        };
        let (_, rest) = self.address.as_str().split_once(':')?;
        let scope = format!("{}/", rest.trim_end_matches('/'));
        Some([scope, key.to_owned(), value.to_owned()])
    }

    /// Takes what must not be shown out of a text.
    pub(super) fn redact(&self, text: &str) -> String {
        let mut text = text.to_owned();
        let authorization = self.authorization().unwrap_or_default();
        let encoded = authorization.split_once(' ').map_or("", |(_, value)| value);
        let inner = self.with_password();
        let between = inner
            .split_once("://")
            .and_then(|(_, rest)| rest.rsplit_once('@'))
            .map_or("", |(between, _)| between);
        let password = self.password.as_deref().unwrap_or_default();
        for secret in [encoded, between, password] {
            if !secret.is_empty() {
                text = text.replace(secret, "***");
            }
        }
        text
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Registry({})", self.address())
    }
}

/// The variable that names the registry of a language.
pub(super) const fn variable(runtime: Runtime) -> &'static str {
    match runtime {
        Runtime::Node => "MCP_SANDBOX_NPM_REGISTRY",
        Runtime::Python => "MCP_SANDBOX_PIP_INDEX",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_part_of_what_is_shown() {
        let registry =
            Registry::parse("x", "https://me%40home:p%2Bw@Registry.Example:8443/npm/").unwrap();
        assert_eq!(registry.address(), "https://registry.example:8443/npm");
        assert_eq!(registry.place(), ("registry.example".to_owned(), 8443));
        assert_eq!(
            registry.authorization().unwrap(),
            format!("Basic {}", BASE64_STANDARD.encode("me@home:p+w"))
        );
        let [scope, key, value] = registry.npm_auth().unwrap();
        assert_eq!(
            (scope.as_str(), key.as_str()),
            ("//registry.example:8443/npm/", "_auth")
        );
        let shown = registry.redact(&format!("GET {} {value} p+w", registry.with_password()));
        assert_eq!(shown, "GET https://***@registry.example:8443/npm *** ***");
        assert_eq!(
            format!("{registry:?}"),
            "Registry(https://registry.example:8443/npm)"
        );
        let token = Registry::parse("x", "http://:secret@127.0.0.1:4873").unwrap();
        assert_eq!(token.authorization().unwrap(), "Bearer secret");
        assert_eq!(token.npm_auth().unwrap()[1], "_authToken");
        let settings = InstallSettings {
            npm_registry: Some("https://:secret@x".to_owned()),
            ..InstallSettings::default()
        };
        assert!(!format!("{settings:?}").contains("secret"));
    }

    #[test]
    fn fault_64_what_is_no_address_of_a_registry_is_refused_without_being_shown() {
        for bad in [
            "",
            "registry",
            "ftp://secret@x/",
            "file:///secret",
            "https://secret:x@/",
            "https://x/?secret",
            "https://x/#secret",
            "git+https://secret/",
            "https://u:a%0Asecret@x/",
        ] {
            let error = Registry::parse("MCP_SANDBOX_NPM_REGISTRY", bad).expect_err(bad);
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        let split = Registry::parse("x", "https://x/a\nregistry=http://y").unwrap();
        assert!(!split.address().contains('\n'));
    }
}
