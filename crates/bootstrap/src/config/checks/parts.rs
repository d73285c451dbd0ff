//! Contradictions between the keys of the database, the Docker daemon, the identity provider and
//! the audit log.

use domain::keys::KeptKey;
use serde_json::Value as Json;
use url::Url;

use crate::address::is_loopback;
use crate::config::sections::{
    Admission, AuditConfig, AuthConfig, Backend, CatalogConfig, DockerConfig, EngineChoice,
    EngineConfig, InstallConfig, PostgresConfig, SessionConfig,
};
use crate::config::settings::Settings;

/// Postgres truncates longer names without a word.
const LONGEST_SCHEMA: usize = 63;

pub(crate) fn database(
    settings: &mut Settings,
    catalog: Option<&CatalogConfig>,
    postgres: Option<&PostgresConfig>,
) {
    let (Some(catalog), Some(postgres)) = (catalog, postgres) else {
        return;
    };
    let schema = postgres.schema.as_str();
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let named = schema.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && schema.chars().all(plain)
        && schema.len() <= LONGEST_SCHEMA;
    if !named || schema.starts_with("pg_") || schema == "information_schema" {
        settings.refuse(
            "MCP_DYNAMIC_PG_SCHEMA",
            "is not 1-63 lower-case letters, digits and `_` that start with a letter or `_` and not \
             with `pg_`",
            "set it to a name like dynamic_mcp",
        );
    }
    match (&postgres.url, catalog.backend) {
        (None, Backend::Postgres) => settings.refuse(
            "MCP_DYNAMIC_BACKEND",
            "needs MCP_DYNAMIC_PG_URL, which is not set",
            "set MCP_DYNAMIC_PG_URL or MCP_DYNAMIC_PG_URL_FILE to \
             postgres://user:password@host:5432/database",
        ),
        (Some(url), Backend::Postgres) => {
            if let Some(warning) = Url::parse(url.expose())
                .ok()
                .and_then(|url| on_the_way(&url))
            {
                settings.warnings.push(warning.to_owned());
            }
            let known = |url: &Url| {
                matches!(url.scheme(), "postgres" | "postgresql") && url.path().len() > 1
            };
            if !Url::parse(url.expose()).is_ok_and(|url| known(&url)) {
                settings.refuse(
                    "MCP_DYNAMIC_PG_URL",
                    "is not the URL of a Postgres database",
                    "set it to postgres://user:password@host:5432/database",
                );
            }
        }
        (Some(_), Backend::Sqlite | Backend::File) => settings.refuse(
            "MCP_DYNAMIC_PG_URL",
            format!(
                "is set, but with MCP_DYNAMIC_BACKEND={} no Postgres is used",
                catalog.backend
            ),
            "set MCP_DYNAMIC_BACKEND=postgres, or unset MCP_DYNAMIC_PG_URL",
        ),
        (None, Backend::Sqlite | Backend::File) => {}
    }
}

/// What somebody between here and the database could do. Over a Unix socket or a loopback address there
/// is nobody in between.
fn on_the_way(url: &Url) -> Option<&'static str> {
    let mode = url.query_pairs().find(|(name, _)| name == "sslmode");
    let mode = mode.map(|(_, mode)| mode.into_owned());
    let socket = url
        .query_pairs()
        .any(|(name, host)| name == "host" && host.starts_with('/'));
    let host = url.host_str().unwrap_or_default();
    let near = socket || host.is_empty() || is_loopback(host.trim_matches(['[', ']']));
    match mode.as_deref() {
        Some("verify-full" | "verify-ca") => None,
        Some("require") => Some(
            "MCP_DYNAMIC_PG_URL: with this sslmode the server's certificate is not checked; \
             sslmode=verify-full checks it",
        ),
        _ if near => None,
        _ => Some(
            "MCP_DYNAMIC_PG_URL: with this sslmode password and tools may cross the network in the \
             clear; sslmode=verify-full encrypts them and checks the server's certificate",
        ),
    }
}

pub(crate) fn docker(settings: &mut Settings, docker: Option<&DockerConfig>) {
    let Some(docker) = docker else { return };
    let Some(host) = docker.host.as_deref() else {
        return;
    };
    let known = ["unix://", "tcp://", "http://", "https://"];
    if !known.iter().any(|scheme| host.starts_with(scheme)) {
        settings.refuse(
            "DOCKER_HOST",
            "is not the address of a Docker daemon that can be used here",
            "set it to unix:///path or tcp://host:port (with DOCKER_TLS_VERIFY=1 for TLS)",
        );
    }
}

/// What sandboxes may read, against what runs them.
pub(crate) fn data(
    settings: &mut Settings,
    engine: Option<&EngineConfig>,
    docker: Option<&DockerConfig>,
) {
    let Some(engine) = engine.filter(|engine| !engine.data_mounts.is_empty()) else {
        return;
    };
    if matches!(engine.engine, EngineChoice::Isolate | EngineChoice::Node) {
        settings.refuse(
            "MCP_SANDBOX_DATA_MOUNTS",
            format!(
                "needs the Docker engine, and MCP_EXECUTION_ENGINE={} sees no files",
                engine.engine
            ),
            "set MCP_EXECUTION_ENGINE=docker, or unset MCP_SANDBOX_DATA_MOUNTS",
        );
    }
    let socket = docker.and_then(|docker| docker.host.as_deref()?.strip_prefix("unix://"));
    let Some(socket) = socket else { return };
    if let Some(mount) = engine.data_mounts.iter().find(|it| it.holds(socket)) {
        settings.refuse(
            "MCP_SANDBOX_DATA_MOUNTS",
            format!("`{mount}` would give the daemon's socket at {socket} to code"),
            "name a folder without it",
        );
    }
}

pub(crate) fn sessions(settings: &mut Settings, sessions: Option<&SessionConfig>) {
    let Some(sessions) = sessions else { return };
    if sessions.lifetime < sessions.idle {
        settings.refuse(
            "MCP_SANDBOX_SESSION_LIFETIME_SECONDS",
            "is shorter than MCP_SANDBOX_SESSION_TIMEOUT_SECONDS, which then never counts",
            "raise it, or lower MCP_SANDBOX_SESSION_TIMEOUT_SECONDS",
        );
    }
}

pub(crate) fn install(settings: &mut Settings, install: Option<&InstallConfig>) {
    let Some(install) = install else { return };
    let indexes = [
        ("MCP_SANDBOX_NPM_REGISTRY", &install.npm_registry),
        ("MCP_SANDBOX_PIP_INDEX", &install.pip_index),
    ];
    for (name, index) in indexes {
        let Some(index) = index else { continue };
        let usable = Url::parse(index.expose()).is_ok_and(|url| {
            matches!(url.scheme(), "https" | "http")
                && url.has_host()
                && url.fragment().is_none()
                && url.query().is_none()
        });
        if !usable {
            settings.refuse(
                name,
                "is not an http(s) URL without query and fragment",
                "set it to the URL of the package index",
            );
        }
    }
    if install.cache_bytes.0 < install.max_bytes.0 {
        settings.refuse(
            "MCP_SANDBOX_INSTALL_CACHE_BYTES",
            "is smaller than MCP_SANDBOX_INSTALL_MAX_BYTES: one set of dependencies would not fit",
            "raise it, or lower MCP_SANDBOX_INSTALL_MAX_BYTES",
        );
    }
}

/// The keys of the configuration, with the scopes of their roles.
pub(crate) fn file_keys(
    settings: &mut Settings,
    auth: Option<&AuthConfig>,
    admission: Option<Admission>,
) -> Option<Vec<KeptKey>> {
    let auth = auth?;
    let keys = match auth.file_keys.resolve(&auth.roles) {
        Ok(keys) => keys,
        Err((why, fix)) => {
            settings.refuse("MCP_AUTH_API_KEYS", why, fix);
            return None;
        }
    };
    if !keys.is_empty() && admission.is_some_and(|admission| !admission.takes_keys()) {
        settings.warnings.push(format!(
            "MCP_AUTH_MODE={}: the API keys of the configuration are not used",
            auth.mode
        ));
    }
    Some(keys)
}

pub(crate) fn tokens(settings: &mut Settings, auth: Option<&AuthConfig>) {
    let Some(auth) = auth else { return };
    if !auth.takes_tokens() {
        if auth.jwks_url.is_some() || auth.public_key.is_some() {
            settings.warnings.push(format!(
                "MCP_AUTH_MODE={}: the keys of the identity provider are not used, and nobody is \
                 asked for a token",
                auth.mode
            ));
        }
        return;
    }
    match (&auth.jwks_url, &auth.public_key) {
        (None, None) => settings.refuse(
            "MCP_AUTH_MODE",
            "needs the keys of an identity provider, and none are named",
            "set MCP_AUTH_JWKS_URL, or MCP_AUTH_PUBLIC_KEY",
        ),
        (Some(_), Some(_)) => settings.refuse(
            "MCP_AUTH_PUBLIC_KEY",
            "is set beside MCP_AUTH_JWKS_URL",
            "keep one of them",
        ),
        (Some(url), None) => jwks_url(settings, url),
        (None, Some(_)) => {}
    }
    for (name, value) in [
        ("MCP_AUTH_ISSUER", &auth.issuer),
        ("MCP_AUTH_AUDIENCE", &auth.audience),
    ] {
        if value.is_none() {
            settings.refuse(
                name,
                "must be set: without it tokens made for others would be accepted here",
                format!("set {name} to what the tokens of your identity provider hold"),
            );
        }
    }
    if let Some(resource) = &auth.resource {
        let usable = Url::parse(resource).is_ok_and(|url| {
            matches!(url.scheme(), "https" | "http") && url.has_host() && url.fragment().is_none()
        });
        if !usable {
            settings.refuse(
                "MCP_AUTH_RESOURCE",
                "is not an http(s) URL without a fragment",
                "set it to the URL by which clients reach the MCP endpoint",
            );
        }
    }
}

/// Keys that come over plain HTTP can be replaced on the way, and with them every token.
fn jwks_url(settings: &mut Settings, url: &str) {
    let safe = Url::parse(url).is_ok_and(|url| match (url.scheme(), url.host_str()) {
        ("https", Some(_)) => true,
        ("http", Some(host)) => is_loopback(host.trim_matches(['[', ']'])),
        _ => false,
    });
    if !safe {
        settings.refuse(
            "MCP_AUTH_JWKS_URL",
            "is not an https URL (http is for loopback addresses only)",
            "set it to the jwks_uri of your identity provider",
        );
    }
}

pub(crate) fn audit(settings: &mut Settings, audit: Option<&AuditConfig>, enterprise: bool) {
    let Some(audit) = audit else { return };
    let enabled = audit.enabled.unwrap_or(enterprise);
    settings.derived("MCP_AUDIT_ENABLED", Json::from(enabled));
}
