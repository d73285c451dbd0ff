//! The SDKs that people use, over each way in: the scripts of `tests/clients`.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::deployment::{Deployment, Kind, binary};

/// A script ends by itself after 60 seconds.
const LIMIT: Duration = Duration::from_secs(75);

/// One of the scripts, speaking one era.
#[derive(Clone, Copy)]
struct Sdk {
    script: &'static str,
    era: &'static str,
}

const PYTHON: Sdk = sdk("python", "2026-07-28");
const PYTHON_LEGACY: Sdk = sdk("python", "legacy");
const CLIENT2: Sdk = sdk("client2", "2026-07-28");
const CLIENT2_LEGACY: Sdk = sdk("client2", "legacy");
const SDK1: Sdk = sdk("sdk1", "legacy");

const fn sdk(script: &'static str, era: &'static str) -> Sdk {
    Sdk { script, era }
}

/// Where `setup.sh` puts the SDKs: beside the profile's folder of binaries.
fn target() -> PathBuf {
    let program = binary("dynamic-mcp");
    program.ancestors().nth(2).unwrap().to_owned()
}

fn assert_set_up() {
    let stamps = ["python.stamp", "typescript.stamp"];
    let ready = stamps
        .iter()
        .all(|name| target().join("clients").join(name).exists());
    assert!(
        ready,
        "the SDKs are not installed; run: services/standalone/tests/clients/setup.sh"
    );
}

/// Runs the script in `folder` and checks that it says that all went well.
async fn run(sdk: Sdk, folder: &Path, arguments: &[&str], log: impl Fn() -> String) {
    assert_set_up();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/run.sh");
    let running = Command::new(script)
        .args([sdk.script, "--era", sdk.era])
        .args(arguments)
        .env("CARGO_TARGET_DIR", target())
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

async fn over_http(kind: Kind, sdk: Sdk, profile: &str) {
    let deployment = Deployment::start(kind, &[("MCP_PROFILE", profile)]).await;
    let url = format!("http://{}/mcp", deployment.address);
    let arguments = ["--profile", profile, "--url", &url];
    run(sdk, deployment.folder(), &arguments, || {
        deployment.front.log().join("\n")
    })
    .await;
    deployment.stop().await;
}

/// The SDK starts the program itself; its log comes with the script's stderr.
async fn over_stdio(sdk: Sdk, profile: &str, transport: &str) {
    let folder = tempfile::tempdir().unwrap();
    let program = binary("dynamic-mcp").display().to_string();
    let own = [
        "--transport",
        transport,
        "--profile",
        profile,
        "--log-level",
        "debug",
    ];
    let arguments = [&["--profile", profile, "--stdio", &program], &own[..]].concat();
    run(sdk, folder.path(), &arguments, String::new).await;
}

macro_rules! each_sdk {
    ($($name:ident = $sdk:expr;)+) => {
        $(mod $name {
            use super::*;

            #[tokio::test]
            async fn standalone_over_http() {
                over_http(Kind::Direct, $sdk, "enterprise").await;
            }

            #[tokio::test]
            async fn standalone_over_stdio() {
                over_stdio($sdk, "enterprise", "stdio").await;
            }

            #[tokio::test]
            async fn standalone_sees_by_itself_that_it_has_pipes() {
                over_stdio($sdk, "enterprise", "auto").await;
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

each_sdk! {
    python = PYTHON;
    python_legacy = PYTHON_LEGACY;
    client2 = CLIENT2;
    client2_legacy = CLIENT2_LEGACY;
    sdk1 = SDK1;
}
