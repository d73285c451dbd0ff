//! The SDKs that people use, over each way in: the scripts of `tests/clients`.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::deployment::{Deployment, IMAGE, Kind, binary};
use crate::tokens::issuer::Issuer;

/// A script ends by itself after 60 seconds.
const LIMIT: Duration = Duration::from_secs(75);

/// One of the scripts, speaking one era.
#[derive(Clone, Copy)]
struct Sdk {
    script: &'static str,
    era: &'static str,
}

const MCP1: Sdk = sdk("mcp1", "legacy");
const MCP2: Sdk = sdk("mcp2", "2026-07-28");
const MCP2_LEGACY: Sdk = sdk("mcp2", "legacy");
const SDK1: Sdk = sdk("sdk1", "legacy");
const CLIENT2: Sdk = sdk("client2", "2026-07-28");
const CLIENT2_LEGACY: Sdk = sdk("client2", "legacy");

const fn sdk(script: &'static str, era: &'static str) -> Sdk {
    Sdk { script, era }
}

/// Where `setup.sh` puts the SDKs: beside the profile's folder of binaries.
fn target() -> PathBuf {
    let program = binary("dynamic-mcp");
    program.ancestors().nth(2).unwrap().to_owned()
}

fn assert_set_up() {
    let stamps = ["mcp1.stamp", "mcp2.stamp", "typescript.stamp"];
    let ready = stamps
        .iter()
        .all(|name| target().join("clients").join(name).exists());
    assert!(
        ready,
        "the SDKs are not installed; run: services/standalone/tests/clients/setup.sh"
    );
}

/// Runs the script in `folder` and checks that it says that all went well.
async fn run(
    sdk: Sdk,
    folder: &Path,
    arguments: &[&str],
    env: &[(&str, &str)],
    log: impl Fn() -> String,
) {
    assert_set_up();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/run.sh");
    let running = Command::new(script)
        .args([sdk.script, "--era", sdk.era])
        .args(arguments)
        .env("CARGO_TARGET_DIR", target())
        .envs(env.iter().copied())
        .current_dir(folder)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(LIMIT, running).await;
    let output = output
        .unwrap_or_else(|_| panic!("not done within {LIMIT:?}; server:\n{}", log()))
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let last = said.lines().last().unwrap_or_default();
    let checks = last
        .strip_prefix("ok ")
        .and_then(|rest| rest.strip_suffix(" checks"));
    let checks: u32 = checks.and_then(|count| count.parse().ok()).unwrap_or(0);
    let errors = String::from_utf8_lossy(&output.stderr);
    let shown = || format!("{said}\n--- stderr\n{errors}\n--- server\n{}", log());
    assert_eq!(output.status.code(), Some(0), "{}", shown());
    assert!(checks >= 50, "{last:?} is no full run\n{}", shown());
}

/// The engine that a deployment of this kind runs tools on.
fn engine_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Direct | Kind::Pipes | Kind::Three => "isolate",
        Kind::Docker | Kind::Production => "docker",
    }
}

async fn over_http(kind: Kind, sdk: Sdk, profile: &str) {
    let deployment = Deployment::start(kind, &[("MCP_PROFILE", profile)]).await;
    let url = format!("http://{}/mcp", deployment.address);
    let engine = engine_of(kind);
    let mut arguments = vec!["--profile", profile, "--engine", engine, "--url", &url];
    if let Some(token) = deployment.token() {
        arguments.extend(["--token", token]);
    }
    run(sdk, deployment.folder(), &arguments, &[], || {
        deployment.front.log().join("\n")
    })
    .await;
    deployment.stop().await;
}

/// The SDK starts the program itself; its log comes with the script's stderr.
async fn over_stdio(kind: Kind, sdk: Sdk, transport: &str) {
    let folder = tempfile::tempdir().unwrap();
    let program = binary("dynamic-mcp").display().to_string();
    let engine = engine_of(kind);
    let own = [
        "--transport",
        transport,
        "--profile",
        "enterprise",
        "--log-level",
        "debug",
    ];
    let arguments = [&["--engine", engine, "--stdio", &program], &own[..]].concat();
    let mut env = vec![("MCP_EXECUTION_ENGINE", engine)];
    if engine == "docker" {
        env.push(("MCP_SANDBOX_ALLOWED_IMAGES", IMAGE));
    }
    run(sdk, folder.path(), &arguments, &env, String::new).await;
}

/// In every era that the SDK speaks.
macro_rules! each_era {
    ($($name:ident = $sdk:expr;)+) => {
        $(mod $name {
            use super::*;

            #[tokio::test]
            async fn standalone_over_http() {
                over_http(Kind::Direct, $sdk, "enterprise").await;
            }

            #[tokio::test]
            async fn standalone_over_stdio() {
                over_stdio(Kind::Direct, $sdk, "stdio").await;
            }

            #[tokio::test]
            async fn standalone_sees_by_itself_that_it_has_pipes() {
                over_stdio(Kind::Direct, $sdk, "auto").await;
            }

            #[tokio::test]
            async fn three_processes_over_http() {
                over_http(Kind::Three, $sdk, "enterprise").await;
            }

            #[tokio::test]
            async fn profile_mvp() {
                over_http(Kind::Direct, $sdk, "mvp").await;
            }
        })+
    };
}

each_era! {
    mcp1 = MCP1;
    mcp2 = MCP2;
    mcp2_legacy = MCP2_LEGACY;
    sdk1 = SDK1;
    client2 = CLIENT2;
    client2_legacy = CLIENT2_LEGACY;
}

/// In containers; where the SDK speaks both eras, the older one over stdio.
macro_rules! each_package {
    ($($name:ident = $over_http:expr, $over_stdio:expr;)+) => {
        $(mod $name {
            use super::*;

            #[tokio::test]
            async fn standalone_over_http() {
                over_http(Kind::Docker, $over_http, "enterprise").await;
            }

            #[tokio::test]
            async fn standalone_over_stdio() {
                over_stdio(Kind::Docker, $over_stdio, "stdio").await;
            }

            #[tokio::test]
            async fn three_processes_postgres_and_token_over_http() {
                over_http(Kind::Production, $over_http, "enterprise").await;
            }
        })+
    };
}

mod docker {
    use super::*;

    each_package! {
        mcp1 = MCP1, MCP1;
        mcp2 = MCP2, MCP2_LEGACY;
        sdk1 = SDK1, SDK1;
        client2 = CLIENT2, CLIENT2_LEGACY;
    }
}

/// From the endpoint's address and credentials at the issuer, the SDK finds its way to tokens.
/// `required`: what the first challenge names; without it the SDK asks for more when it is refused.
async fn login(sdk: Sdk, required: &str) {
    let issuer = Issuer::start().await;
    let jwks = format!("{}/jwks", issuer.url);
    let env = [
        ("MCP_PROFILE", "enterprise"),
        ("MCP_REQUIRE_ADMIN_TOKEN", "false"),
        ("MCP_AUTH_MODE", "jwt"),
        ("MCP_AUTH_JWKS_URL", &jwks),
        ("MCP_AUTH_ISSUER", &issuer.url),
        ("MCP_AUTH_AUDIENCE", "dynamic-mcp"),
        ("MCP_AUTH_REQUIRED_SCOPES", required),
    ];
    let deployment = Deployment::start(Kind::Direct, &env).await;
    let url = format!("http://{}/mcp", deployment.address);
    let credentials = issuer.url.replace("http://", "http://sdk:secret@");
    let arguments = ["--login", &credentials, "--url", &url];
    run(sdk, deployment.folder(), &arguments, &[], || {
        deployment.front.log().join("\n")
    })
    .await;
    deployment.stop().await;
}

#[tokio::test]
async fn mcp1_logs_in() {
    login(MCP1, "mcp:invoke,mcp:tools:read,mcp:tools:write").await;
}

#[tokio::test]
async fn mcp2_logs_in_and_steps_up() {
    login(MCP2, "").await;
}

#[tokio::test]
async fn sdk1_logs_in() {
    login(SDK1, "mcp:invoke,mcp:tools:read,mcp:tools:write").await;
}

#[tokio::test]
async fn client2_logs_in_and_steps_up() {
    login(CLIENT2, "").await;
}
