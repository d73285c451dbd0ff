//! The address of a receiver of reports: `https://<key>@host[:port]/[path/]<project>`.

use std::fmt;

use url::Url;

/// A DSN. Its key is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Dsn {
    envelope: String,
    key: String,
}

/// Why a text is no DSN. It never holds the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DsnError {
    /// No URL.
    #[error("is not a URL")]
    Url,
    /// Another scheme.
    #[error("does not start with http:// or https://")]
    Scheme,
    /// No key.
    #[error("has no key before the host")]
    Key,
    /// No project.
    #[error("has no project after the host")]
    Project,
}

impl Dsn {
    /// Reads one.
    ///
    /// # Errors
    /// Which part is missing.
    pub fn parse(text: &str) -> Result<Self, DsnError> {
        let url = Url::parse(text.trim()).map_err(|_| DsnError::Url)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(DsnError::Scheme);
        }
        let host = url.host_str().ok_or(DsnError::Url)?;
        let key = url.username();
        let usable = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if key.is_empty() || !key.chars().all(usable) {
            return Err(DsnError::Key);
        }
        let (path, project) = url.path().rsplit_once('/').ok_or(DsnError::Project)?;
        if project.is_empty() || !project.chars().all(usable) {
            return Err(DsnError::Project);
        }
        let port = url
            .port()
            .map(|port| format!(":{port}"))
            .unwrap_or_default();
        let scheme = url.scheme();
        Ok(Self {
            envelope: format!("{scheme}://{host}{port}{path}/api/{project}/envelope/"),
            key: key.to_owned(),
        })
    }

    pub(super) fn envelope_url(&self) -> &str {
        &self.envelope
    }

    pub(super) fn auth(&self, version: &str) -> String {
        let key = &self.key;
        format!("Sentry sentry_version=7, sentry_client=dynamic-mcp/{version}, sentry_key={key}")
    }
}

impl fmt::Debug for Dsn {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_endpoint_is_made_of_host_path_and_project() {
        for (text, url) in [
            (
                "https://k@o1.example.com/42",
                "https://o1.example.com/api/42/envelope/",
            ),
            (
                "http://k@127.0.0.1:9000/a/b/7",
                "http://127.0.0.1:9000/a/b/api/7/envelope/",
            ),
            ("https://k:old@[::1]:1/p", "https://[::1]:1/api/p/envelope/"),
        ] {
            let dsn = Dsn::parse(text).unwrap();
            assert_eq!(dsn.envelope_url(), url);
            assert!(dsn.auth("1").ends_with("sentry_key=k"));
            assert_eq!(format!("{dsn:?}"), "***");
        }
    }

    #[test]
    fn what_is_no_dsn_is_said_without_it() {
        for (text, why) in [
            ("canary", DsnError::Url),
            ("ftp://canary@h/1", DsnError::Scheme),
            ("https://canary.example.com/1", DsnError::Key),
            ("https://canary@h/", DsnError::Project),
            ("https://canary@h", DsnError::Project),
            ("https://can%0Aary@h/1", DsnError::Key),
        ] {
            assert_eq!(Dsn::parse(text), Err(why), "{text}");
            assert!(!why.to_string().contains("canary"));
        }
    }
}
