//! Contradictions between keys. Each check runs on what could be read, so that all mistakes are
//! listed together.

mod front;
mod internal;
mod owned;
mod parts;
mod stores;

use std::time::Duration;

use serde_json::Value as Json;

use super::key::Service;
use super::sections::{
    AccessConfig, Admission, AuthConfig, AuthMode, HttpConfig, LogConfig, PolicyConfig,
    TelemetryConfig,
};
use super::settings::Settings;
use crate::address::is_loopback;
use crate::secret::Secret;

pub(super) use front::{addresses, https};
pub(super) use internal::{
    advertised, channels, incoming, outgoing, privileges, signing_key, verify_keys,
};
pub(super) use owned::{audit_file, store};
pub(super) use parts::{audit, data, database, docker, file_keys, install, sessions, tokens};
pub(super) use stores::{declared, redis};

/// What a request may take beyond the longest tool.
const REQUEST_MARGIN: Duration = Duration::from_secs(10);
/// Shorter admin tokens can be guessed.
const SHORT_TOKEN: usize = 32;
/// Passwords that stand in examples, or that are tried first: letters and digits of them.
const EXAMPLE_TOKENS: &[&str] = &[
    "admin",
    "adminpassword",
    "adminsecret",
    "admintoken",
    "changeme",
    "changemeplease",
    "changethis",
    "default",
    "example",
    "letmein",
    "mcpadmintoken",
    "password",
    "replaceme",
    "secret",
    "test",
    "token",
    "youradmintoken",
    "yoursecret",
    "yoursecrettoken",
    "yourtoken",
];
/// Paths of the public port that are taken.
const FIXED_PATHS: &[&str] = &["/", "/livez", "/readyz", "/metrics"];

/// How callers are let in. `None` together with a recorded problem: an address that others reach,
/// and nothing that tells them apart.
pub(super) fn admission(
    settings: &mut Settings,
    service: Service,
    http: Option<&HttpConfig>,
    auth: Option<&AuthConfig>,
) -> Option<Admission> {
    let (http, auth) = (http?, auth?);
    match auth.decided() {
        AuthMode::Jwt => return Some(Admission::Tokens),
        AuthMode::ApiKey => return Some(Admission::Keys),
        AuthMode::JwtAndApiKey => return Some(Admission::TokensAndKeys),
        AuthMode::Auto | AuthMode::None => {}
    }
    if is_loopback(&http.host) || auth.allow_anonymous {
        return Some(Admission::Everyone);
    }
    let mode = auth.mode;
    if mode == AuthMode::Auto && service == Service::Standalone {
        return Some(Admission::FirstKey);
    }
    settings.refuse(
        "MCP_HOST",
        format!(
            "is not a loopback address, and with MCP_AUTH_MODE={mode} everyone who reaches it could \
             run code here"
        ),
        "set MCP_AUTH_MODE=apikey, or MCP_AUTH_MODE=jwt with MCP_AUTH_JWKS_URL, MCP_AUTH_ISSUER and \
         MCP_AUTH_AUDIENCE, or \
         MCP_HOST=127.0.0.1, or MCP_AUTH_ALLOW_ANONYMOUS=true to serve everyone",
    );
    None
}

pub(super) fn paths(settings: &mut Settings, http: Option<&HttpConfig>) {
    let Some(http) = http else { return };
    for (name, path) in [
        ("MCP_PATH", &http.path),
        ("HEALTH_CHECK_PATH", &http.health_path),
    ] {
        let taken =
            |fixed: &&str| **fixed == *path.as_str() && !(name == "MCP_PATH" && **fixed == *"/");
        if let Some(fixed) = FIXED_PATHS.iter().find(|fixed| taken(fixed)) {
            settings.refuse(name, format!("{fixed} is taken"), "choose another path");
        }
    }
    if http.path == http.health_path {
        settings.refuse(
            "MCP_PATH",
            "is also HEALTH_CHECK_PATH",
            "give MCP_PATH and HEALTH_CHECK_PATH different paths",
        );
    }
    if http
        .metrics_port
        .is_some_and(|port| port != 0 && port == http.port)
    {
        settings.refuse(
            "METRICS_PORT",
            "is the same as MCP_PORT",
            "choose another port, or unset METRICS_PORT to serve /metrics on the public one",
        );
    }
}

/// `exposed`: profile enterprise over HTTP, where token callers alone do not make an administrator.
pub(super) fn admin_token(
    settings: &mut Settings,
    access: Option<&AccessConfig>,
    auth: Option<&AuthConfig>,
    exposed: bool,
) {
    let Some(access) = access else { return };
    let by_default = exposed && auth.is_some_and(AuthConfig::takes_tokens);
    let required = access.require_token.unwrap_or(by_default);
    settings.derived("MCP_REQUIRE_ADMIN_TOKEN", Json::from(required));
    match &access.token {
        None if required => settings.refuse(
            "MCP_REQUIRE_ADMIN_TOKEN",
            if access.require_token.is_some() {
                "needs MCP_ADMIN_TOKEN, which is not set"
            } else {
                "is on for profile enterprise over HTTP with tokens, and needs MCP_ADMIN_TOKEN, \
                 which is not set"
            },
            "set MCP_ADMIN_TOKEN or MCP_ADMIN_TOKEN_FILE, or MCP_REQUIRE_ADMIN_TOKEN=false",
        ),
        Some(token) if is_an_example(token.expose()) => {
            settings.refuse(
                "MCP_ADMIN_TOKEN",
                "is the one of the examples, which everybody knows",
                "set MCP_ADMIN_TOKEN to a secret of your own, for example from \
                 `openssl rand -hex 32`",
            );
        }
        Some(token) if token.expose().chars().count() < SHORT_TOKEN => {
            settings.warnings.push(format!(
                "MCP_ADMIN_TOKEN is shorter than {SHORT_TOKEN} characters and could be guessed; \
                 `openssl rand -hex 32` makes a good one"
            ));
        }
        _ => {}
    }
}

/// Whether everybody would try it: whatever stands between its words, in any case, with digits behind.
fn is_an_example(token: &str) -> bool {
    let plain = token.chars().filter(char::is_ascii_alphanumeric);
    let plain: String = plain.map(|c| c.to_ascii_lowercase()).collect();
    let word = plain.trim_end_matches(|c: char| c.is_ascii_digit());
    word.is_empty() || EXAMPLE_TOKENS.contains(&word)
}

pub(super) fn request_timeout(
    settings: &mut Settings,
    http: Option<&HttpConfig>,
    policy: Option<&PolicyConfig>,
) -> Option<Duration> {
    let (http, policy) = (http?, policy?);
    let least = policy.max_timeout + REQUEST_MARGIN;
    match http.request_timeout {
        Some(timeout) if timeout < least => {
            let least = least.as_millis();
            settings.refuse(
                "MCP_HTTP_REQUEST_TIMEOUT_MS",
                format!("is less than MCP_SANDBOX_MAX_TIMEOUT_MS + 10 s, which is {least} ms"),
                format!("set it to {least} or more, unset it, or lower MCP_SANDBOX_MAX_TIMEOUT_MS"),
            );
            None
        }
        Some(timeout) => Some(timeout),
        None => {
            let millis = u64::try_from(least.as_millis()).unwrap_or(u64::MAX);
            settings.derived("MCP_HTTP_REQUEST_TIMEOUT_MS", Json::from(millis));
            Some(least)
        }
    }
}

pub(super) fn logs(settings: &mut Settings, log: Option<&LogConfig>) {
    let Some(log) = log else { return };
    let wanted = telemetry::LogSettings {
        filter: log.level.clone(),
        format: telemetry::LogFormat::Text,
        colours: false,
        file: None,
    };
    if let Err(why) = wanted.check() {
        settings.refuse(
            "LOG_LEVEL",
            why.to_string(),
            "use error, warn, info, debug, trace or off, also by module: `info,gateway=debug`",
        );
    }
}

pub(super) fn traces(settings: &mut Settings, telemetry: Option<&TelemetryConfig>) {
    let Some(telemetry) = telemetry else { return };
    let usable = |endpoint: &str| {
        url::Url::parse(endpoint).is_ok_and(|url| {
            let bare = url.username().is_empty() && url.password().is_none();
            matches!(url.scheme(), "http" | "https") && url.host_str().is_some() && bare
        })
    };
    if telemetry
        .otlp_endpoint
        .as_deref()
        .is_some_and(|it| !usable(it))
    {
        settings.refuse(
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "is not `http://host:port` or `https://host:port`",
            "name a receiver as http://host:4317 (OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf: \
             http://host:4318), or unset it",
        );
    }
    let headers = telemetry.otlp_headers.as_ref();
    if let Some(Err(why)) = headers.map(|it| telemetry::TraceSettings::check_headers(it.expose())) {
        settings.refuse(
            "OTEL_EXPORTER_OTLP_HEADERS",
            format!("cannot be sent: {why}"),
            "write name=value pairs with commas between them, values percent-encoded",
        );
    }
    let dsn = telemetry.sentry_dsn.as_ref();
    if let Some(Err(why)) = dsn.map(|it| telemetry::Dsn::parse(it.expose())) {
        settings.refuse(
            "SENTRY_DSN",
            why.to_string(),
            "set it to https://<key>@host/<project>, or unset it",
        );
    }
}

/// The token of registry and executor for profiles.
pub(super) fn profiling_token(settings: &mut Settings, token: Option<&Secret>) {
    match token.map(Secret::expose) {
        Some(token) if is_an_example(token) => settings.refuse(
            "MCP_PROFILING_TOKEN",
            "is the one of the examples, which everybody knows",
            "set it to a secret of your own, for example from `openssl rand -hex 32`",
        ),
        Some(token) if token.chars().count() < SHORT_TOKEN => settings.refuse(
            "MCP_PROFILING_TOKEN",
            format!("is shorter than {SHORT_TOKEN} characters and could be guessed"),
            "set it to a secret, for example from `openssl rand -hex 32`",
        ),
        _ => {}
    }
}
