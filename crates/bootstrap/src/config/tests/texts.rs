use serde_json::json;

use super::*;
use crate::version::{COMMIT, VERSION};

fn printed<C: ServiceConfig>(arguments: &str) -> String {
    match decide::<C>(&start(arguments, &[]).environment) {
        Decision::Print { text, .. } => text
            .replace(VERSION, "VERSION")
            .replace(&format!("({COMMIT})"), "(COMMIT)"),
        _ => panic!("nothing is printed"),
    }
}

#[test]
fn help_of_every_program() {
    insta::assert_snapshot!("help_standalone", printed::<StandaloneConfig>("--help"));
    insta::assert_snapshot!("help_gateway", printed::<GatewayConfig>("--help --port x"));
    insta::assert_snapshot!("help_registry", printed::<RegistryConfig>("-h"));
    insta::assert_snapshot!("help_executor", printed::<ExecutorConfig>("--help"));
}

#[test]
fn version_and_check() {
    assert_eq!(
        printed::<GatewayConfig>("--version"),
        "gateway VERSION (COMMIT)\n"
    );
    let checked = decide::<StandaloneConfig>(&start("--check-config", &[]).environment);
    assert!(matches!(checked, Decision::Check(_)));
    let refused = decide::<StandaloneConfig>(&start("--check-config --port x", &[]).environment);
    assert!(matches!(refused, Decision::Refuse(_)));
    let health = decide::<StandaloneConfig>(&start("health --port 1", &[]).environment);
    assert!(matches!(health, Decision::Health(_)));
}

#[test]
fn the_printed_configuration_hides_secrets_and_loads_again() {
    let arguments = "--port 1 --admin-token canary-canary-canary-canary-canary --print-config \
                     --sandbox-allowed-images a,b --host ::1";
    let text = printed::<StandaloneConfig>(arguments);
    assert!(
        text.contains("adminToken = \"***\"") && !text.contains("canary"),
        "{text}"
    );
    insta::assert_snapshot!("printed", text.clone());
    // With the stars in it, it is no configuration: somebody would have three stars for a token.
    let load = |text: &str| start("--config again.toml", &[]).file("again.toml", text);
    let refused = load(&text).refused::<StandaloneConfig>();
    assert!(refused.contains("MCP_ADMIN_TOKEN"), "{refused}");
    let filled = text.replace("***", "canary-canary-canary-canary-canary");
    let again = load(&filled).standalone();
    let first = start(arguments, &[]).standalone();
    assert_eq!(again.view, first.view);
    assert_eq!(again.config.public.http.port, 1);
}

#[test]
fn the_view_has_no_secrets_and_the_sections_of_the_node_server() {
    let loaded = start("--admin-token canary --profile enterprise", &[]).standalone();
    assert!(
        !loaded.view.to_string().contains("canary"),
        "{}",
        loaded.view
    );
    assert_eq!(loaded.view["profile"], "enterprise");
    assert_eq!(loaded.view["dynamic"]["adminTokenSet"], true);
    assert_eq!(loaded.view["dynamic"]["maxTools"], 256);
    assert_eq!(loaded.view["http"]["port"], 8788);
    assert_eq!(loaded.view["sandbox"]["memoryLimit"], "512m");
    assert_eq!(
        loaded.view["sandbox"]["allowedImages"],
        json!(["node:lts-slim", "python:3-slim"])
    );
    assert_eq!(loaded.view["security"]["toolRateWindowMs"], 60_000);
}

#[test]
fn the_page_in_docs_is_the_generated_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
    let written = std::fs::read_to_string(path).unwrap();
    assert!(
        written == reference_markdown(),
        "docs/configuration.md is out of date: \
         cargo run -p bootstrap --example reference > docs/configuration.md"
    );
}
