//! What stands between the services: who may connect, and what a gateway may not have.

use crate::address::{ListenAddress, ServiceUrl};
use crate::config::sections::{
    ExecutorServerConfig, FleetConfig, GatewayRightsConfig, InternalConfig, RegistryClientConfig,
    SigningConfig, VerifyConfig,
};
use crate::config::settings::Settings;
use crate::environment::Environment;
use crate::tls::NamedFile;

/// Variables by which programs are given the password of a database.
const DATABASE_VARIABLES: &[&str] = &[
    "DATABASE_URL",
    "PGPASSFILE",
    "PGPASSWORD",
    "PGSERVICEFILE",
    "POSTGRES_PASSWORD",
    "POSTGRES_PASSWORD_FILE",
    "POSTGRES_URL",
];

/// The three files belong together, and can be used.
pub(crate) fn channels(settings: &mut Settings, internal: Option<&InternalConfig>) {
    let Some(internal) = internal else { return };
    let named = [
        ("MCP_INTERNAL_TLS_CA", &internal.tls_ca),
        ("MCP_INTERNAL_TLS_CERT", &internal.tls_cert),
        ("MCP_INTERNAL_TLS_KEY", &internal.tls_key),
    ];
    let set = named.iter().filter(|(_, path)| path.is_some()).count();
    if set != 0 && set != named.len() {
        for (name, _) in named.iter().filter(|(_, path)| path.is_none()) {
            settings.refuse(
                name,
                "must be set: MCP_INTERNAL_TLS_CA, MCP_INTERNAL_TLS_CERT and MCP_INTERNAL_TLS_KEY \
                 belong together",
                "name its file, or unset the others; `dynamic-mcp certs` makes all three",
            );
        }
        return;
    }
    if let Some(files) = internal.tls_files()
        && let Err(problem) = files.read()
    {
        settings.refuse(problem.setting, problem.message, problem.fix);
    }
}

/// Whoever can connect has to show a certificate, unless only this machine can.
pub(crate) fn incoming(
    settings: &mut Settings,
    internal: Option<&InternalConfig>,
    name: &str,
    listen: Option<&ListenAddress>,
) {
    let (Some(internal), Some(listen)) = (internal, listen) else {
        return;
    };
    if !internal.insecure && !internal.has_tls() && !listen.is_local() {
        settings.refuse(
            name,
            "is not a loopback address, and without certificates nothing says who connects",
            "set MCP_INTERNAL_TLS_CA, MCP_INTERNAL_TLS_CERT and MCP_INTERNAL_TLS_KEY (`dynamic-mcp \
             certs` makes them), or listen on 127.0.0.1 or unix:/path, or set \
             MCP_INTERNAL_INSECURE=true on a network that you trust",
        );
    }
}

/// What leaves this machine goes over TLS.
pub(crate) fn outgoing(
    settings: &mut Settings,
    internal: Option<&InternalConfig>,
    registry: Option<&RegistryClientConfig>,
    fleet: Option<&FleetConfig>,
) {
    let Some(internal) = internal else { return };
    if let Some(registry) = registry {
        dialled(settings, internal, "MCP_REGISTRY_URL", &registry.url);
    }
    for url in fleet.map_or(&[][..], |fleet| &fleet.executors) {
        dialled(settings, internal, "MCP_EXECUTOR_URLS", url);
    }
}

/// What an executor tells gateways to dial has to be what they may dial.
pub(crate) fn advertised(
    settings: &mut Settings,
    internal: Option<&InternalConfig>,
    server: Option<&ExecutorServerConfig>,
) {
    let (Some(internal), Some(url)) = (
        internal,
        server.and_then(|server| server.advertise.as_ref()),
    ) else {
        return;
    };
    dialled(settings, internal, "MCP_EXECUTOR_ADVERTISE", url);
}

fn dialled(settings: &mut Settings, internal: &InternalConfig, name: &str, url: &ServiceUrl) {
    if url.is_tls() && !internal.has_tls() {
        settings.refuse(
            name,
            "asks for TLS, and this service has no certificate to show",
            "set MCP_INTERNAL_TLS_CA, MCP_INTERNAL_TLS_CERT and MCP_INTERNAL_TLS_KEY; `dynamic-mcp \
             certs` makes them",
        );
    }
    if !url.is_tls() && !url.is_local() && !internal.insecure {
        settings.refuse(
            name,
            "is not on this machine and not https",
            "use https:// with MCP_INTERNAL_TLS_CA, MCP_INTERNAL_TLS_CERT and MCP_INTERNAL_TLS_KEY, \
             or a loopback or unix: URL, or set MCP_INTERNAL_INSECURE=true on a network that you \
             trust",
        );
    }
}

pub(crate) fn signing_key(settings: &mut Settings, signing: Option<&SigningConfig>, needed: bool) {
    let Some(signing) = signing else { return };
    match &signing.key {
        None if needed => settings.refuse(
            "MCP_INTERNAL_SIGNING_KEY",
            "must be set: registry and executor refuse calls that are not signed",
            "make one with `dynamic-mcp certs signing-key gateway` and set \
             MCP_INTERNAL_SIGNING_KEY_FILE=gateway-signing.pem",
        ),
        None => {}
        Some(key) => {
            let Some(path) = &key.file else { return };
            let file = NamedFile::new("MCP_INTERNAL_SIGNING_KEY_FILE", path);
            if let Err(problem) = file.check_private() {
                let message = format!("its file {}", problem.message);
                settings.refuse("MCP_INTERNAL_SIGNING_KEY_FILE", message, problem.fix);
            }
        }
    }
}

pub(crate) fn verify_keys(settings: &mut Settings, verify: Option<&VerifyConfig>) {
    if verify.is_some_and(|verify| verify.keys.is_none()) {
        settings.refuse(
            "MCP_INTERNAL_VERIFY_KEYS",
            "must be set: without it no call could be accepted",
            "make a pair of keys with `dynamic-mcp certs signing-key gateway` and set \
             MCP_INTERNAL_VERIFY_KEYS_FILE=gateway-signing.pub",
        );
    }
}

/// A gateway is reached by everybody: what it could do beyond its work, whoever takes it over can.
pub(crate) fn privileges(
    settings: &mut Settings,
    rights: Option<&GatewayRightsConfig>,
    environment: &Environment,
) {
    let allowed = rights.is_none_or(|rights| rights.allow_docker_socket);
    if !allowed && let Some(socket) = environment.docker_sockets.first() {
        settings.refuse(
            "MCP_GATEWAY_ALLOW_DOCKER_SOCKET",
            format!(
                "is not set, and this process could use the Docker socket {}: whoever takes the \
                 gateway over would have the machine",
                socket.display()
            ),
            "run the gateway as a user that may not use it, or without that mount; on a machine for \
             development only, set MCP_GATEWAY_ALLOW_DOCKER_SOCKET=true",
        );
    }
    for (name, value) in &environment.variables {
        let holds_password = ["postgres://", "postgresql://"]
            .iter()
            .any(|scheme| value.trim_start().starts_with(scheme));
        // Those of ours are refused as the registry's.
        let ours = name.starts_with("MCP_");
        let named = DATABASE_VARIABLES.contains(&name.as_str()) && !value.trim().is_empty();
        if !ours && (named || holds_password) {
            settings.refuse(
                name,
                "gives this process the credentials of a database, which a gateway never uses",
                "unset it here; only the registry needs a database",
            );
        }
    }
}
