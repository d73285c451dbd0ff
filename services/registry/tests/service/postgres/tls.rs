//! A database that is spoken to over TLS.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use domain::Catalog;
use registry::{PostgresError, PostgresSettings, PostgresStore, Registry, Settings};
use testkit::postgres::{Cluster, Durability};

use super::super::{admin, metrics, small};
use super::database;

/// Makes a certificate for 127.0.0.1 that vouches for itself.
fn certificate(folder: &Path) {
    let output = Command::new("openssl")
        .args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
        ])
        .args(["-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-keyout", "server.key", "-out", "server.crt"])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test]
async fn tls_is_used_and_the_server_is_verified() {
    let folder = tempfile::tempdir().unwrap();
    certificate(folder.path());
    let at = |file: &str| folder.path().join(file).display().to_string();
    let mut cluster = Cluster::start(Durability::Relaxed).await;
    // The server reads its files as its own user: it writes them, too.
    let data = cluster.sql("postgres", "SHOW data_directory").await;
    for file in ["server.key", "server.crt"] {
        let text = std::fs::read_to_string(at(file)).unwrap();
        let lines = format!("string_to_array('{}', E'\\n')", text.trim());
        let copy = format!("COPY (SELECT unnest({lines})) TO '{data}/{file}'");
        cluster.sql("postgres", &copy).await;
    }
    cluster.sql("postgres", "ALTER SYSTEM SET ssl TO on").await;
    let key = Path::new(&data).join("server.key");
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
    cluster.restart(testkit::postgres::Stop::Fast).await;

    let trusted = format!("?sslmode=verify-full&sslrootcert={}", at("server.crt"));
    for (query, works) in [
        ("?sslmode=require", true),
        (&trusted, true),
        ("?sslmode=verify-full", false),
    ] {
        let settings = PostgresSettings {
            url: (cluster.url("postgres") + query).into(),
            init_max_attempts: 1,
            ..database(&cluster)
        };
        let metrics = metrics();
        let opened = PostgresStore::open(settings, metrics.clone()).await;
        assert_eq!(opened.is_ok(), works, "{query}: {opened:?}");
        let store = match opened {
            Ok(store) => store,
            Err(error) => {
                assert!(matches!(error, PostgresError::Refused { .. }), "{error}");
                continue;
            }
        };
        let registry = Registry::new(std::sync::Arc::new(store), Settings::default(), metrics);
        registry
            .create(&admin(), small(&format!("tls{}", query.len())))
            .await
            .unwrap();
        let encrypted = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
            WHERE application_name LIKE 'dynamic-mcp%'";
        assert_eq!(cluster.sql("postgres", encrypted).await, "t");
        registry.close().await;
    }
}
