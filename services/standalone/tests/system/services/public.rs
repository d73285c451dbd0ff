//! The nginx site before a real gateway, looked at from outside by Node.js's clients.

use std::path::Path;

use serde_json::{Value, json};
use testkit::mcp::Era;

use super::site::{Nginx, Site, free_port};
use crate::deployment::{Deployment, Kind};
use crate::faults::make;

const HSTS: &str = "max-age=63072000; includeSubDomains";
/// Tells how far it is, and goes on for a while.
const TELLS: &str = "await ctx.progress(1, 2); \
    await new Promise(done => setTimeout(done, 1500)); return 'told'";

async fn look(https: u16, http: u16) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/system/services/public.mjs");
    let output = tokio::process::Command::new("node")
        .arg(script)
        .args([https.to_string(), http.to_string()])
        .output()
        .await
        .expect("node, which the tests need");
    let said = String::from_utf8_lossy(&output.stdout);
    let wrong = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{wrong}");
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}\n{wrong}"))
}

/// Connections to this port that were closed a moment ago: each stays in the kernel's table for a minute.
fn closed_to(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let port = format!(":{port:04X}");
    let waits = |line: &&str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields.len() > 3
            && fields[3] == "06"
            && (fields[1].ends_with(&port) || fields[2].ends_with(&port))
    };
    table.lines().filter(waits).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_nginx_site_does_what_it_says() {
    let env = [
        ("MCP_HTTP_TRUSTED_PROXIES", "127.0.0.1"),
        ("MCP_HTTP_ALLOWED_HOSTS", "mcp.example.com,127.0.0.1"),
        ("MCP_AUDIT_ENABLED", "true"),
        ("MCP_AUDIT_FILE", "audit.log"),
        ("MCP_TOOL_MAX_CALLS_PER_WINDOW", "10000"),
    ];
    let deployment = Deployment::start(Kind::Three, &env).await;
    make(&deployment.client(Era::Modern), "tells.tool", TELLS).await;
    let gateway: u16 = deployment
        .address
        .rsplit(':')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["mcp.example.com".to_owned()]).unwrap();
    let place = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(place("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(place("key.pem"), made.signing_key.serialize_pem()).unwrap();
    let (http, https) = (free_port(), free_port());
    let site = Site::new()
        .on(http, https)
        .with("/etc/ssl/dynamic-mcp/fullchain.pem", &place("cert.pem"))
        .with("/etc/ssl/dynamic-mcp/privkey.pem", &place("key.pem"))
        .before(&[gateway]);
    let nginx = Nginx::start(&site, https).await;
    let before = closed_to(gateway);
    let seen = look(https, http).await;

    assert_eq!(seen["alpn"], "h2");
    assert_eq!(
        (&seen["h2"]["status"], &seen["h2"]["hsts"]),
        (&json!(200), &json!(HSTS))
    );
    assert!(seen["h2"]["tools"].as_u64() > Some(5), "{seen}");
    let to = "https://mcp.example.com/mcp?x=1";
    assert_eq!(seen["moved"], json!([308, to]));
    assert_eq!(seen["nowhere"], json!([404, HSTS, "nginx"]));
    assert_eq!(
        seen["wrong"],
        json!([405, HSTS]),
        "GET, answered by the gateway"
    );
    for path in ["/health", "/livez", "/readyz", "/metrics"] {
        assert_eq!(seen["private"][path], json!([200, 403]), "{path}");
    }
    assert_eq!(
        seen["metadata"], 404,
        "without an identity provider the gateway has none"
    );
    let stream = &seen["stream"];
    assert_eq!(
        (&stream["status"], &stream["type"], &stream["ends"]),
        (&json!(200), &json!("text/event-stream"), &json!(true))
    );
    let (first, last) = (
        stream["first"].as_u64().unwrap(),
        stream["last"].as_u64().unwrap(),
    );
    assert!(first + 1_000 < last, "the events were held back: {stream}");
    assert_eq!(seen["lied"], 200);
    assert_eq!(seen["called"], 200);
    let log = std::fs::read_to_string(deployment.folder().join("audit.log")).unwrap();
    assert!(
        log.contains("127.0.0.4") && !log.contains("9.9.9.9"),
        "{log}"
    );
    assert_eq!(seen["large"], 413);
    assert_eq!(seen["unkept"], Value::Null);
    // The 60 lists one after the other, and everything before them.
    let closed = closed_to(gateway).saturating_sub(before);
    assert!(
        closed < 20,
        "{closed} connections to the gateway were closed"
    );
    let rate = &seen["rate"];
    let (refused, taken) = (
        rate["refused"].as_u64().unwrap(),
        rate["taken"].as_u64().unwrap(),
    );
    assert!(refused > 20 && taken >= 100, "{rate}");
    assert_eq!(refused + taken, 240, "{rate}");
    assert_eq!(seen["others"], 200, "a rate is that of one client");
    nginx.stop().await;
    deployment.stop().await;
}
