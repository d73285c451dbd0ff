//! The settings that the Node server published, as they are, given to our program.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use testkit::issuer::Issuer;
use testkit::postgres::{Cluster, Durability};
use tokio::task::JoinSet;

use super::document;
use crate::piped::Piped;
use crate::start::{Ended, run, serve};
use crate::table;

/// What every operator has to set for himself.
const ADMIN: (&str, &str) = (
    "MCP_ADMIN_TOKEN",
    "0123456789abcdef0123456789abcdef01234567",
);

fn file(name: &str) -> String {
    let path = table::path("system/upgrade/baselines").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The variables of a YAML file: of the container `dynamic-mcp`, or of ConfigMap and Secret.
fn of_yaml(name: &str) -> Vec<(String, String)> {
    let mut variables = Vec::new();
    for document in serde_yaml_ng::Deserializer::from_str(&file(name)) {
        let part: Value = serde::Deserialize::deserialize(document).unwrap();
        let container = &part["services"]["dynamic-mcp"]["environment"];
        for members in [container, &part["data"], &part["stringData"]] {
            let members = members.as_object().into_iter().flatten();
            variables.extend(members.map(|(name, value)| match value {
                Value::String(text) => (name.clone(), text.clone()),
                other => (name.clone(), other.to_string()),
            }));
        }
    }
    assert!(variables.len() > 15, "{name}: {variables:?}");
    variables
}

/// The variables and the arguments of the Node server's image.
fn of_image() -> (Vec<(String, String)>, Vec<String>) {
    let text = file("Dockerfile");
    let variables = text.lines().filter_map(|line| line.strip_prefix("ENV "));
    let variables = variables.filter_map(|line| line.split_once('='));
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let command = text.lines().find_map(|line| line.strip_prefix("CMD "));
    let command: Vec<String> = serde_json::from_str(command.unwrap()).unwrap();
    assert_eq!(command[..2], ["node", "dist/index.js"]);
    (variables.collect(), command[2..].to_vec())
}

fn borrowed(variables: &[(String, String)]) -> Vec<(&str, &str)> {
    let pairs = variables.iter();
    pairs
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}

/// Runs the program in a folder whose `.env` is the file.
async fn with_dotenv(name: &str, arguments: &[&str], env: &[(&str, &str)]) -> Ended {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(".env"), file(name)).unwrap();
    run("dynamic-mcp", folder.path(), arguments, env).await
}

/// Checks that exactly these keys are refused, the ones with a line in the document in its words.
#[track_caller]
fn assert_refused(ended: &Ended, wanted: &[(&str, Option<&str>)]) {
    ended.assert(78, &[]);
    assert_eq!(
        ended.err.matches("\n- ").count(),
        wanted.len(),
        "{}",
        ended.err
    );
    for (key, line) in wanted {
        assert!(
            ended.err.contains(&format!("\n- {key}")),
            "no {key}: {}",
            ended.err
        );
        let said = line
            .map(|line| document::line(line).said)
            .unwrap_or_default();
        for text in said {
            assert!(ended.err.contains(&text), "no {text:?}: {}", ended.err);
        }
    }
}

const CHECK: &[&str] = &["--check-config"];

/// Development: as it is.
#[tokio::test]
async fn the_example_of_development_starts_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(".env"), file("env.example")).unwrap();
    let mut program = Piped::start(folder.path(), &[]);
    program.initialize().await;
    program.call(2, "system.health", json!({})).await;
    let answer = program.answer(2).await;
    assert_eq!(
        answer["result"]["structuredContent"]["status"], "ok",
        "{answer}"
    );
    program
        .call(3, "run_js_ephemeral", json!({"code": "return 6 * 7"}))
        .await;
    let answer = program.answer(3).await;
    assert_eq!(
        answer["result"]["structuredContent"]["result"], 42,
        "{answer}"
    );
    program.close();
    assert_eq!(
        program.ended(std::time::Duration::from_secs(20)).await,
        Some(0)
    );
    assert!(folder.path().join(".dynamic-mcp/registry.db").exists());
}

/// Production: only the admin token of the example has to go.
#[tokio::test]
async fn the_example_of_production_wants_an_admin_token() {
    let ended = with_dotenv("env.prod.example", CHECK, &[]).await;
    assert_refused(&ended, &[("MCP_ADMIN_TOKEN", Some("U-113"))]);
    let ended = with_dotenv("env.prod.example", CHECK, &[ADMIN]).await;
    ended.assert(0, &[]);
    let unused = document::line("U-127").said;
    assert_eq!(ended.err.matches(&unused[0]).count(), 1, "{}", ended.err);
}

/// The same with everything there that it names: a database and an identity provider.
#[tokio::test]
async fn the_example_of_production_serves_with_its_database_and_its_issuer() {
    let issuer = Issuer::default();
    let mut serving = JoinSet::new();
    let keys = key_set(&issuer, &mut serving).await;
    let cluster = Cluster::start(Durability::Relaxed).await;
    let url = cluster.url("postgres");
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(".env"), file("env.prod.example")).unwrap();
    let audit = folder.path().join("audit.log");
    let own = [
        ("MCP_DYNAMIC_PG_URL", url.as_str()),
        ("MCP_AUTH_JWKS_URL", keys.as_str()),
        ("MCP_AUDIT_FILE", audit.to_str().unwrap()),
        ADMIN,
    ];
    let (program, mut client) = serve(folder.path(), &own).await;
    assert_eq!(client.send("tools/list", json!({})).await.status, 401);
    let named = json!({"iss": "https://issuer.example.com/", "aud": "dynamic-mcp"});
    for (scopes, status) in [("mcp.invoke", 403), ("mcp.invoke mcp:invoke", 200)] {
        let bearer = format!("Bearer {}", issuer.token("me", scopes, &named));
        client.headers = vec![("authorization".to_owned(), bearer)];
        let call = json!({"name": "time.now", "arguments": {}});
        assert_eq!(
            client.send("tools/call", call).await.status,
            status,
            "{scopes}"
        );
    }
    let tool = json!({"name": "made.here", "description": "d", "code": "return 'made'"});
    let create = json!({"adminToken": ADMIN.1, "tool": tool});
    client.ok("dynamic.tool.create", create).await;
    assert_eq!(client.ok("made.here", json!({})).await["result"], "made");
    program.stop().await;
    let recorded = std::fs::read_to_string(&audit).unwrap();
    assert!(recorded.contains("\"action\":\"http.auth\""), "{recorded}");
    assert!(recorded.contains("\"target\":\"made.here\""), "{recorded}");
    assert!(!recorded.contains(ADMIN.1), "the secret is not in it");
}

/// Serves the issuer's key as a JSON Web Key Set and returns its URL.
async fn key_set(issuer: &Issuer, serving: &mut JoinSet<()>) -> String {
    let pem = issuer.public_pem();
    let body: String = pem
        .lines()
        .filter(|line| !line.starts_with("---"))
        .collect();
    let der = STANDARD.decode(body).unwrap();
    // The key itself is the end of a SubjectPublicKeyInfo.
    let x = URL_SAFE_NO_PAD.encode(&der[der.len() - 32..]);
    let set =
        json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "x": x}]});
    let answer = move || async move { axum::Json(set) };
    let router = axum::Router::new().route("/keys", axum::routing::get(answer));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/keys", listener.local_addr().unwrap());
    serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

/// The short one of its README leaves the database to the reader.
#[tokio::test]
async fn the_baseline_of_the_readme_wants_a_token_and_its_database() {
    let ended = with_dotenv("readme.env", CHECK, &[]).await;
    let wanted = [
        ("MCP_ADMIN_TOKEN", Some("U-113")),
        ("MCP_DYNAMIC_BACKEND", None),
    ];
    assert_refused(&ended, &wanted);
    let database = ("MCP_DYNAMIC_PG_URL", "postgres://u:p@127.0.0.1/x");
    let ended = with_dotenv("readme.env", CHECK, &[ADMIN, database]).await;
    ended.assert(0, &[]);
}

/// Compose and Kubernetes: the admin token, and who may call.
#[tokio::test]
async fn compose_and_kubernetes_start_with_an_admin_token_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["docker-compose.postgres.yml", "dynamic-mcp-postgres.yaml"] {
        let published = of_yaml(name);
        let ended = run("dynamic-mcp", folder.path(), CHECK, &borrowed(&published)).await;
        assert_refused(&ended, &[("MCP_ADMIN_TOKEN", Some("U-113"))]);
        let cluster = Cluster::start(Durability::Relaxed).await;
        let url = cluster.url("postgres");
        let audit = folder.path().join(name).join("audit.log");
        let own = [
            ("MCP_DYNAMIC_PG_URL", url.as_str()),
            ("MCP_AUDIT_FILE", audit.to_str().unwrap()),
            ("MCP_AUTH_ALLOW_ANONYMOUS", "true"),
            ("MCP_PORT", "0"),
            ADMIN,
        ];
        serves(folder.path(), &published, &own).await;
    }
}

/// With what differs from place to place set anew, it starts and answers the probes of the
/// manifests.
async fn serves(folder: &Path, published: &[(String, String)], own: &[(&str, &str)]) {
    let mut env = borrowed(published);
    env.retain(|(name, _)| !own.iter().any(|(set, _)| set == name));
    env.extend(own);
    let (program, mut client) = serve(folder, &env).await;
    for path in ["/livez", "/readyz", "/metrics"] {
        let answer = testkit::http::exchange(&client.address, "GET", path, &[], b"").await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }
    let tool = json!({"name": "made.here", "description": "d", "code": "return 'made'"});
    let refused = client
        .refusal("dynamic.tool.create", json!({"tool": tool}))
        .await;
    assert_eq!(refused, "permission_denied");
    client.headers = vec![("x-mcp-admin-token".to_owned(), ADMIN.1.to_owned())];
    client
        .ok("dynamic.tool.create", json!({"tool": tool}))
        .await;
    assert_eq!(client.ok("made.here", json!({})).await["result"], "made");
    program.stop().await;
}

/// The image's own command: an address that others reach, and nobody who is asked.
#[tokio::test]
async fn the_command_of_the_image_is_understood() {
    let (variables, arguments) = of_image();
    let folder = tempfile::tempdir().unwrap();
    let mut all: Vec<&str> = arguments.iter().map(String::as_str).collect();
    all.push("--check-config");
    let ended = run("dynamic-mcp", folder.path(), &all, &borrowed(&variables)).await;
    ended.assert(0, &[]);
    let mut env = borrowed(&variables);
    env.push(("MCP_AUTH_MODE", "none"));
    let ended = run("dynamic-mcp", folder.path(), &all, &env).await;
    assert_refused(&ended, &[("MCP_HOST", Some("U-112"))]);
}
