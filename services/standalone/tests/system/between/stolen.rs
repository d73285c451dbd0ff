//! What somebody can do who has stolen certificates or keys: rows 99 to 104 of the threats.

use std::sync::Arc;
use std::time::Duration;

use auth::internal::{Audience, SigningKey};
use domain::fleet::{ExecutorInfo, Fleet as _};
use domain::runner::RunEvent;
use domain::session::{Network, SessionSpec, Sessions as _};
use domain::{CallContext, Catalog as _, ErrorCode, Principal, Runner as _, Scope};
use futures::StreamExt as _;
use rpc::Endpoint;
use rpc::client::{CatalogClient, FleetClient, Link, RunnerClient, SessionsClient};
use serde_json::json;
use testkit::certificates::Authority;
use testkit::{call, context, draft};

use super::rig::Rig;
use crate::deployment::IMAGE;

type Outcome = Result<(), ErrorCode>;

const DENIED: Outcome = Err(ErrorCode::PermissionDenied);
const UNKNOWN: Outcome = Err(ErrorCode::Unauthenticated);
const UNREACHABLE: Outcome = Err(ErrorCode::Unavailable);

async fn create(link: &Link, name: &str) -> Outcome {
    let catalog = CatalogClient::new(link.clone());
    let made = catalog.create(&context(&[Scope::Admin]), draft(name)).await;
    made.map(drop).map_err(|error| error.code())
}

async fn run(link: &Link) -> Outcome {
    let runner = RunnerClient::new(link.clone());
    let run = runner
        .run(&context(&[Scope::Admin]), call("return 1"))
        .await;
    run.map(drop).map_err(|error| error.code())
}

async fn heartbeat(link: &Link) -> Outcome {
    let fleet = FleetClient::new(link.clone());
    let executor = ExecutorInfo {
        id: "intruder".to_owned(),
        address: "https://127.0.0.1:1".to_owned(),
        labels: std::collections::BTreeMap::new(),
        engines: Vec::new(),
        capacity: 1,
        draining: false,
        version: "0".to_owned(),
    };
    let service = CallContext::service("intruder", Duration::from_secs(5));
    fleet
        .heartbeat(&service, executor)
        .await
        .map_err(|error| error.code())
}

/// Rows 99, 100 and 102: each of the two alone opens nothing, and both together only what is theirs.
#[tokio::test]
async fn a_stolen_certificate_or_key_alone_opens_nothing() {
    use Audience::{Executor, Registry};
    let rig = Rig::start(&[]).await;
    let nobody = || Arc::new(SigningKey::generate().unwrap());
    // With both, a gateway is served.
    assert_eq!(
        create(&rig.link(Registry, "gateway", "gateway"), "one.tool").await,
        Ok(())
    );
    assert_eq!(run(&rig.link(Executor, "gateway", "gateway")).await, Ok(()));
    // The certificate alone.
    assert_eq!(
        create(&rig.link_signed(Registry, "gateway", nobody()), "two.tool").await,
        UNKNOWN
    );
    assert_eq!(
        run(&rig.link_signed(Executor, "gateway", nobody())).await,
        UNKNOWN
    );
    // The key alone: in clear, and with a certificate of another authority.
    let stranger = Authority::new("dynamic-mcp services");
    stranger.service("gateway").write(&rig.file(""), "stranger");
    let linked = rig.link(Registry, "stranger", "gateway");
    assert_eq!(create(&linked, "two.tool").await, UNREACHABLE);
    let pem = std::fs::read_to_string(rig.file("gateway-signing.pem")).unwrap();
    let key = Arc::new(SigningKey::from_pem(&pem).unwrap());
    for (to, at) in [(Registry, &rig.registry_at), (Executor, &rig.executor_at)] {
        let plain = Endpoint::parse("test", &format!("http://{at}")).unwrap();
        let link = Link::new(&plain, auth::internal::Signer::new(Arc::clone(&key), to)).unwrap();
        assert_eq!(create(&link, "two.tool").await, UNREACHABLE);
    }
    // A certificate of one and the key of another.
    for (shown, signing) in [
        ("gateway", "executor"),
        ("executor", "billing"),
        ("billing", "gateway"),
    ] {
        let mixed = rig.link(Registry, shown, signing);
        assert_eq!(
            create(&mixed, "two.tool").await,
            DENIED,
            "{shown} {signing}"
        );
    }
    // Each with its own, at what is not its own.
    let executor = rig.link(Registry, "executor", "executor");
    assert_eq!(create(&executor, "two.tool").await, DENIED);
    assert_eq!(
        heartbeat(&executor).await,
        Ok(()),
        "the fleet is what it is for"
    );
    assert_eq!(
        heartbeat(&rig.link(Registry, "gateway", "gateway")).await,
        DENIED
    );
    assert_eq!(
        run(&rig.link(Executor, "executor", "gateway")).await,
        DENIED
    );
    assert_eq!(
        run(&rig.link(Executor, "registry", "gateway")).await,
        DENIED
    );
    // Nothing of all that was done.
    let names = rig.client().ok("dynamic.tool.list", json!({})).await;
    let names: Vec<_> = names["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| &tool["name"])
        .collect();
    assert_eq!(names, ["one.tool"]);
    rig.stop().await;
}

/// An internal service speaks for callers within the bounds of its key.
#[tokio::test]
async fn an_internal_service_has_the_rights_of_its_entry_and_no_others() {
    let rig = Rig::start(&[]).await;
    rig.works("shared.tool").await;
    let registry = rig.link(Audience::Registry, "billing", "billing");
    let executor = rig.link(Audience::Executor, "billing", "billing");
    let catalog = CatalogClient::new(registry.clone());
    let reader = context(&[Scope::ToolsRead]);
    let name = draft("shared.tool").name;
    assert_eq!(
        catalog.get(&reader, &name, None).await.unwrap().record.name,
        name
    );
    let runner = RunnerClient::new(executor);
    let events = runner
        .run(&context(&[Scope::Invoke]), call("return 6 * 7"))
        .await;
    let events: Vec<RunEvent> = events.unwrap().collect().await;
    let Some(RunEvent::Finished(outcome)) = events.last() else {
        panic!("{events:?}");
    };
    assert_eq!(
        outcome.result.as_ref().unwrap().as_ref().unwrap().get(),
        "42"
    );
    // Beyond its scopes, its tenants and its methods.
    assert_eq!(create(&registry, "own.tool").await, DENIED);
    let mut foreign = context(&[Scope::ToolsRead]);
    let mut principal = Principal::clone(&foreign.principal);
    principal.tenant = domain::TenantId::parse("other").unwrap();
    foreign.principal = Arc::new(principal);
    let refused = catalog.get(&foreign, &name, None).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::PermissionDenied);
    let watched = catalog
        .watch(
            &CallContext::service("billing", Duration::from_secs(5)),
            domain::CatalogVersion(0),
        )
        .await;
    assert_eq!(watched.err().unwrap().code(), ErrorCode::PermissionDenied);
    assert_eq!(heartbeat(&registry).await, DENIED);
    rig.stop().await;
}

/// Row 104: everything that a gateway holds, in other hands. The executor decides what a sandbox is.
#[tokio::test]
async fn a_stolen_gateway_cannot_choose_what_a_sandbox_is_docker() {
    let rig = Rig::start(&[
        ("MCP_EXECUTION_ENGINE", "docker"),
        ("MCP_SANDBOX_ALLOWED_IMAGES", IMAGE),
        ("MCP_SANDBOX_POOL_SIZE", "1"),
        ("MCP_SANDBOX_MEMORY_LIMIT", "96m"),
    ])
    .await;
    let link = rig.link(Audience::Executor, "gateway", "gateway");
    let runner = RunnerClient::new(link.clone());
    let admin = context(&[Scope::Admin, Scope::Internal]);
    let outcome = async |call| {
        let events: Vec<RunEvent> = match runner.run(&admin, call).await {
            Ok(events) => events.collect().await,
            Err(error) => return Err(error.code()),
        };
        match events.into_iter().last() {
            Some(RunEvent::Finished(outcome)) => match outcome.result {
                Ok(value) => Ok(value.unwrap().get().to_owned()),
                Err(failure) => Err(failure.code),
            },
            other => panic!("{other:?}"),
        }
    };
    let asked = |code: &str, image: &str| {
        let mut call = call(code);
        image.clone_into(&mut call.image);
        call.limits.memory_bytes = 1 << 40;
        call.limits.cpu_millis = 4_000_000;
        call
    };
    for image in [
        "alpine:latest",
        "debian:stable",
        &format!("{IMAGE}-evil"),
        "../../host",
        "",
    ] {
        let refused = outcome(asked("return 1", image)).await.unwrap_err();
        assert!(
            matches!(
                refused,
                ErrorCode::PolicyDenied | ErrorCode::InvalidArgument
            ),
            "{image}: {refused}"
        );
    }
    // What it runs with all it may ask for: no network, no capabilities, no mounts of the host, the
    // executor's memory limit, nobody's environment.
    let look = "const fs = require('node:fs'), os = require('node:os'); \
        const status = fs.readFileSync('/proc/self/status', 'utf8'); \
        const own = fs.readFileSync('/proc/self/mountinfo', 'utf8'); \
        return {links: Object.keys(os.networkInterfaces()).filter((name) => name !== 'lo'), \
            capabilities: /CapEff:\\s*(\\w+)/.exec(status)[1], \
            socket: fs.existsSync('/var/run/docker.sock'), \
            host: own.split('\\n').filter((line) => / \\/dev\\/[a-z]+\\d+ /.test(line) && / \\/(home|root|var|srv|mnt) /.test(line)).length, \
            user: process.getuid(), env: Object.keys(process.env).filter((name) => name.startsWith('MCP_') || name.startsWith('DOCKER')), \
            memory: process.constrainedMemory()}";
    let seen = outcome(asked(look, IMAGE)).await.unwrap();
    let seen: serde_json::Value = serde_json::from_str(&seen).unwrap();
    assert_eq!(seen["links"], json!([]), "{seen}");
    assert_eq!(seen["capabilities"], "0000000000000000", "{seen}");
    assert_eq!(
        (&seen["socket"], &seen["host"]),
        (&json!(false), &json!(0)),
        "{seen}"
    );
    assert_ne!(seen["user"], 0, "{seen}");
    assert_eq!(seen["env"], json!([]), "{seen}");
    let memory = seen["memory"].as_u64().unwrap();
    assert!((1..=96 << 20).contains(&memory), "{seen}");

    let sessions = SessionsClient::new(link);
    let opened = sessions.open(
        &admin,
        SessionSpec {
            image: Some(IMAGE.to_owned()),
            runtime: None,
            idle: None,
            network: Some(Network::Bridge),
            env: std::collections::BTreeMap::new(),
            dependencies: Vec::new(),
        },
    );
    assert_eq!(opened.await.unwrap_err().code(), ErrorCode::PolicyDenied);
    rig.stop().await;
}

/// Row 104: there are no fields by which anybody could ask for more.
#[test]
fn the_protocol_has_no_words_for_walls() {
    let folder = crate::table::path("../../../proto/dynamic_mcp/v1");
    let mut fields = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        for line in text
            .lines()
            .map(str::trim)
            .filter(|line| !line.starts_with("//"))
        {
            let Some((field, _)) = line.split_once(" = ") else {
                continue;
            };
            fields += 1;
            for word in [
                "mount",
                "bind",
                "volume",
                "privileged",
                "cap_",
                "capabilities_add",
                "device",
                "security",
                "seccomp",
                "apparmor",
                "user_ns",
                "host_path",
                "entrypoint",
                "sql",
                "database",
                "docker_",
            ] {
                assert!(!field.to_lowercase().contains(word), "{field}");
            }
        }
    }
    assert!(fields > 100, "only {fields} fields");
}
