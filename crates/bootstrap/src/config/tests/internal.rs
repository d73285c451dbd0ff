//! What stands between the services, and what a gateway may not have.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

use super::*;

const TLS: &str =
    "--internal-tls-ca ca.pem --internal-tls-cert cert.pem --internal-tls-key key.pem";

/// A start in a folder with a certificate, its key and an authority; files are named by their paths.
fn with_files(arguments: &str, variables: &[(&str, &str)]) -> Start {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).unwrap().pem();
    let mut start = start(arguments, variables)
        .file("ca.pem", &certificate)
        .file("cert.pem", &certificate)
        .file("key.pem", &key.serialize_pem());
    let folder = start.path().display().to_string();
    for argument in &mut start.environment.arguments {
        if argument.ends_with(".pem") {
            *argument = format!("{folder}/{argument}");
        }
    }
    mode(&start, "key.pem", 0o600);
    start
}

fn mode(start: &Start, name: &str, mode: u32) {
    let path = start.path().join(name);
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn with_certificates_services_are_reached_from_other_machines() {
    let registry = format!("{TLS} --registry-listen 0.0.0.0:1");
    let loaded = with_files(&registry, INNER)
        .load::<RegistryConfig>()
        .unwrap();
    assert!(loaded.config.internal.has_tls());
    let executor = format!(
        "{TLS} --executor-listen 0.0.0.0:1 --registry-url https://registry:1 \
         --executor-advertise https://executor-1:1"
    );
    with_files(&executor, INNER)
        .load::<ExecutorConfig>()
        .unwrap();
    let gateway = format!(
        "{TLS} --registry-url https://registry:1 --executor-urls dns+https://executors:1,https://e:1"
    );
    with_files(&gateway, GATEWAY)
        .load::<GatewayConfig>()
        .unwrap();

    // In clear nothing leaves the machine, with certificates or without.
    let plain = format!("{TLS} --registry-url http://registry:1");
    let text = with_files(&plain, GATEWAY).refused::<GatewayConfig>();
    assert!(text.contains("not https"), "{text}");
    // One service is one name; only gateways dial every address of a name, of executors.
    let every = format!("{TLS} --registry-url dns+https://registry:1");
    let text = with_files(&every, GATEWAY).refused::<GatewayConfig>();
    assert!(
        text.contains("flag --registry-url): begins with `dns+`"),
        "{text}"
    );
    let every = format!("{TLS} --executor-advertise dns+https://executors:1");
    let text = with_files(&every, INNER).refused::<ExecutorConfig>();
    assert!(
        text.contains("flag --executor-advertise): begins with `dns+`"),
        "{text}"
    );
    let told = format!("{TLS} --executor-advertise http://executor-1:1");
    let text = with_files(&told, INNER).refused::<ExecutorConfig>();
    assert!(text.contains("MCP_EXECUTOR_ADVERTISE"), "{text}");
}

#[test]
fn the_three_files_belong_together_and_have_to_be_usable() {
    let part = with_files("--internal-tls-ca ca.pem", INNER).refused::<RegistryConfig>();
    for name in ["MCP_INTERNAL_TLS_CERT", "MCP_INTERNAL_TLS_KEY"] {
        assert!(part.contains(&format!("{name}: must be set")), "{part}");
    }
    let open = with_files(TLS, INNER);
    mode(&open, "key.pem", 0o644);
    let text = open.refused::<RegistryConfig>();
    assert!(
        text.contains("MCP_INTERNAL_TLS_KEY")
            && text.contains("0644")
            && text.contains("chmod 600"),
        "{text}"
    );
    let broken = with_files(TLS, GATEWAY).file("ca.pem", "canary");
    let text = broken.refused::<GatewayConfig>();
    assert!(
        text.contains("MCP_INTERNAL_TLS_CA") && !text.contains("canary"),
        "{text}"
    );
}

#[test]
fn a_signing_key_that_others_can_read_does_not_start() {
    let start =
        start("", &[("MCP_INTERNAL_SIGNING_KEY_FILE", "signing.pem")]).file("signing.pem", KEY_PEM);
    mode(&start, "signing.pem", 0o600);
    let loaded = start.load::<GatewayConfig>().unwrap();
    let followed = loaded.config.signing.key.unwrap();
    assert_eq!(followed.file, Some(start.path().join("signing.pem")));
    mode(&start, "signing.pem", 0o604);
    let text = start.refused::<GatewayConfig>();
    assert!(
        text.contains("MCP_INTERNAL_SIGNING_KEY_FILE") && text.contains("mode 0604"),
        "{text}"
    );
}

#[test]
fn a_gateway_with_a_docker_socket_does_not_start_unless_that_is_asked_for() {
    let with_socket = |arguments: &str| {
        let mut start = start(arguments, GATEWAY);
        start.environment.docker_sockets = vec![PathBuf::from("/var/run/docker.sock")];
        start
    };
    let text = with_socket("").refused::<GatewayConfig>();
    assert!(
        text.contains("MCP_GATEWAY_ALLOW_DOCKER_SOCKET") && text.contains("/var/run/docker.sock"),
        "{text}"
    );
    with_socket("--gateway-allow-docker-socket")
        .load::<GatewayConfig>()
        .unwrap();
    // Where tools run there has to be one.
    let mut standalone = start("", &[]);
    standalone.environment.docker_sockets = vec![PathBuf::from("/var/run/docker.sock")];
    standalone.standalone();
}

#[test]
fn a_gateway_with_credentials_of_a_database_or_a_daemon_does_not_start() {
    for (name, value) in [
        ("DATABASE_URL", "postgres://user:canary@db/x"),
        ("PGPASSWORD", "canary"),
        ("PGPASSFILE", "/canary"),
        ("POSTGRES_PASSWORD", "canary"),
        ("BILLING_DB", "postgresql://user:canary@db/x"),
        ("MCP_DYNAMIC_PG_URL", "postgres://user:canary@db/x"),
        ("DOCKER_HOST", "tcp://canary:2376"),
        ("DOCKER_CERT_PATH", "/canary"),
    ] {
        let variables = [GATEWAY, &[(name, value)]].concat();
        let text = start("--gateway-allow-docker-socket", &variables).refused::<GatewayConfig>();
        assert!(text.contains(name), "{name}: {text}");
        assert!(text.contains("fix: unset it here"), "{name}: {text}");
        assert!(!text.contains("canary"), "{text}");
    }
}
