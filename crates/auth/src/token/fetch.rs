//! Fetches a key set over HTTP.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL};
use http::{HeaderMap, Request, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use super::TokenSetupError;
use super::key_set::{BadKeySet, KeySet};

/// Longest a fetch takes, from the look-up of the name to the last byte.
const WITHIN: Duration = Duration::from_secs(5);
/// Longest key set that is read, in bytes.
const MAX_BYTES: usize = 256 * 1024;

/// Where the key set is.
pub(crate) struct Source {
    uri: Uri,
    client: Http,
}

enum Http {
    Plain(Client<HttpConnector, Empty<Bytes>>),
    Tls(Client<HttpsConnector<HttpConnector>, Empty<Bytes>>),
}

/// A key set that was fetched.
pub(crate) struct Fetched {
    pub(crate) keys: KeySet,
    /// How long the issuer wants it to be used, if it says so.
    pub(crate) max_age: Option<Duration>,
}

/// Why there is no new key set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("no whole answer within 5 s")]
    Timeout,
    #[error("no connection: {0}")]
    Unreachable(String),
    #[error("the answer has status {0}; redirects are not followed")]
    Status(u16),
    #[error("the answer breaks off or is longer than 256 KiB")]
    Body,
    #[error("the answer {0}")]
    Keys(BadKeySet),
}

impl FetchError {
    /// The label of the metric.
    pub(crate) fn outcome(&self) -> &'static str {
        match self {
            FetchError::Timeout => "timeout",
            FetchError::Unreachable(_) => "unreachable",
            FetchError::Status(_) => "status",
            FetchError::Body => "too_large",
            FetchError::Keys(BadKeySet::Malformed) => "malformed",
            FetchError::Keys(BadKeySet::TooMany) => "too_many_keys",
        }
    }
}

impl Source {
    /// Takes the URL of a key set: `https`, or `http` on a loopback address.
    pub(crate) fn new(url: &str) -> Result<Self, TokenSetupError> {
        let uri: Uri = url.parse().map_err(|_| TokenSetupError::Url)?;
        let host = uri.host().ok_or(TokenSetupError::Url)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let address = host.parse::<IpAddr>().ok();
        if address.is_some_and(is_link_local) {
            return Err(TokenSetupError::LinkLocal);
        }
        let client = match uri.scheme_str() {
            Some("https") => Http::Tls(client(tls()?)),
            Some("http") => {
                let loopback = host.eq_ignore_ascii_case("localhost")
                    || address.is_some_and(|address| address.is_loopback());
                if !loopback {
                    return Err(TokenSetupError::NotHttps);
                }
                Http::Plain(client(HttpConnector::new()))
            }
            _ => return Err(TokenSetupError::NotHttps),
        };
        Ok(Self { uri, client })
    }

    /// The host that is asked, for the log.
    pub(crate) fn host(&self) -> &str {
        self.uri.host().unwrap_or_default()
    }

    /// Fetches the key set: one request, no redirects.
    pub(crate) async fn fetch(&self) -> Result<Fetched, FetchError> {
        let fetched = tokio::time::timeout(WITHIN, self.get()).await;
        fetched.unwrap_or(Err(FetchError::Timeout))
    }

    async fn get(&self) -> Result<Fetched, FetchError> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = self.uri.clone();
        let accepted = http::HeaderValue::from_static("application/jwk-set+json, application/json");
        request.headers_mut().insert(ACCEPT, accepted);
        let answer = match &self.client {
            Http::Plain(client) => client.request(request).await,
            Http::Tls(client) => client.request(request).await,
        };
        let answer = answer.map_err(|error| FetchError::Unreachable(cause(&error)))?;
        if answer.status() != http::StatusCode::OK {
            return Err(FetchError::Status(answer.status().as_u16()));
        }
        let max_age = max_age(answer.headers());
        let body = Limited::new(answer.into_body(), MAX_BYTES).collect().await;
        let body = body.map_err(|_| FetchError::Body)?.to_bytes();
        let keys = KeySet::from_json(&body).map_err(FetchError::Keys)?;
        Ok(Fetched { keys, max_age })
    }
}

fn client<C>(connector: C) -> Client<C, Empty<Bytes>>
where
    C: hyper_util::client::legacy::connect::Connect + Clone,
{
    // A request every few minutes: nothing is gained from a connection that is kept.
    Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(0)
        .build(connector)
}

/// TLS that trusts the system's certificates, or those of `SSL_CERT_FILE`.
fn tls() -> Result<HttpsConnector<HttpConnector>, TokenSetupError> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let builder = HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(provider)
        .map_err(|_| TokenSetupError::NoTrustRoots)?;
    Ok(builder.https_only().enable_http1().build())
}

/// Addresses that never are an issuer's; cloud machines keep their credentials there.
fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_unspecified() || v4.is_broadcast(),
        IpAddr::V6(v6) => {
            v6.is_unicast_link_local()
                || v6.is_unspecified()
                || v6.to_ipv4_mapped().is_some_and(|v4| v4.is_link_local())
        }
    }
}

/// The innermost cause: what a person can act on.
fn cause(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes
        .last()
        .map_or_else(|| error.to_string(), ToString::to_string)
}

/// `max-age` of `Cache-Control`, unless the answer must not be kept at all.
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let mut found = None;
    for value in headers.get_all(CACHE_CONTROL) {
        for directive in value.to_str().ok()?.split(',') {
            let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
            match name.trim().to_ascii_lowercase().as_str() {
                "no-store" | "no-cache" => return Some(Duration::ZERO),
                "max-age" => found = value.trim().trim_matches('"').parse().ok(),
                _ => {}
            }
        }
    }
    found.map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_and_loopback() {
        for good in [
            "http://127.0.0.1:1/jwks",
            "http://localhost/jwks",
            "http://[::1]:8/jwks",
        ] {
            assert!(Source::new(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "jwks",
            "/jwks",
            "file:///etc/passwd",
            "http://issuer.example/jwks",
            "http://10.0.0.1/jwks",
            "http://127.0.0.1.example/jwks",
            "http://localhost.example/jwks",
            "http://169.254.169.254/jwks",
            "https://169.254.169.254/latest",
            "https://[fe80::1]/jwks",
            "https://[::ffff:169.254.169.254]/jwks",
            "ftp://127.0.0.1/jwks",
        ] {
            assert!(Source::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_age_that_the_issuer_wants() {
        let of = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(CACHE_CONTROL, http::HeaderValue::from_static(value));
            max_age(&headers).map(|age| age.as_secs())
        };
        assert_eq!(of("public, max-age=600"), Some(600));
        assert_eq!(of("Max-Age=\"7\""), Some(7));
        assert_eq!(of("max-age=600, no-store"), Some(0));
        assert_eq!(of("max-age=soon"), None);
        assert_eq!(of("public"), None);
        assert_eq!(max_age(&HeaderMap::new()), None);
    }
}
