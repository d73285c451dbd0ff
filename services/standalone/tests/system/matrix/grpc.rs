//! The rows of gRPC: each method with an identity that the gateways' key has signed, and with others.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use auth::internal::{Audience, Signer, SigningKey};
use domain::audit::archive::{Batch, LogName, Search};
use domain::fleet::ExecutorInfo;
use domain::keys::{KeyDigest, KeyPrefix, Keys, NewKey, Rotation};
use domain::principal::{Principal, Roles};
use domain::runner::Failure;
use domain::session::{Exec, SessionId, SessionSpec};
use domain::{
    CallContext, Catalog, CatalogVersion, Error, ErrorCode, Lockfile, RequestId, Resolve, Result,
    Revision, RunEvent, RunStream, Runner, Sessions, TenantId, ToolName, ToolPatch,
};
use futures::StreamExt as _;
use rpc::Endpoint;
use rpc::client::{
    ArchiveClient, CatalogClient, FleetClient, KeysClient, Link, RunnerClient, SessionsClient,
};
use testkit::docker::IMAGE;

use super::world::{World, open};
use super::{ROLES, Rpc, Table};

const BUDGET: Duration = Duration::from_secs(30);
/// The subject of every identity: sessions are of one.
const SUBJECT: &str = "matrix";

/// One way to the services: a key that signs.
struct Way {
    registry: Link,
    executor: Link,
}

impl Way {
    fn new(world: &World, key: &str, turned: bool) -> Self {
        let key = std::fs::read_to_string(key).unwrap();
        let key = Arc::new(SigningKey::from_pem(&key).unwrap());
        let link = |service: &str, audience| {
            let endpoint = world.pairs.endpoint(service, 0);
            let endpoint = Endpoint::parse("MCP_TEST", &endpoint).unwrap();
            Link::new(&endpoint, Signer::new(Arc::clone(&key), audience)).unwrap()
        };
        let (registry, executor) = match turned {
            false => (Audience::Registry, Audience::Executor),
            true => (Audience::Executor, Audience::Registry),
        };
        Self {
            registry: link("registry", registry),
            executor: link("executor", executor),
        }
    }
}

fn context(principal: Principal) -> CallContext {
    CallContext::new(Arc::new(principal), RequestId::random(), BUDGET)
}

fn caller(tenant: &str, role: &str) -> CallContext {
    let mut principal = Principal::anonymous(&[]);
    principal.tenant = TenantId::parse(tenant).unwrap();
    SUBJECT.clone_into(&mut principal.subject);
    principal.scopes = Roles::default().scopes(role).map(str::to_owned).collect();
    context(principal)
}

pub(super) async fn run(
    world: &World,
    table: &Table,
    (tenant, other): (&str, &str),
    failures: &mut Vec<String>,
) -> usize {
    let gateways = Way::new(world, &world.pairs.key, false);
    let turned = Way::new(world, &world.pairs.key, true);
    let limited = Way::new(world, &world.limited, false);
    let forged = Way::new(world, &world.forged, false);
    let common = session(&gateways, tenant).await;
    let mut cells = 0;
    let mut fail = |what: &str, wanted: &str, got: Result<()>| {
        cells += 1;
        let word = got
            .as_ref()
            .err()
            .map_or("ok", |error| error.code().as_str());
        if wanted != word {
            let said = got.err().map(|error| error.to_string()).unwrap_or_default();
            failures.push(format!(
                "{what}: {word} ({said}), and the table says {wanted}"
            ));
        }
    };
    for row in &table.rpc {
        let cell = |who: &str| format!("{tenant} gRPC {} {who}", row.name);
        for (role, wanted) in ROLES.iter().zip(&row.outcomes) {
            let objects = Objects::make(world, (&gateways, tenant), row, &common).await;
            let got = call(row, &gateways, &caller(tenant, role), &objects).await;
            fail(&cell(role), wanted, got);
        }
        let objects = Objects::make(world, (&gateways, tenant), row, &common).await;
        let service = CallContext::service("gateway", BUDGET);
        let got = call(row, &gateways, &service, &objects).await;
        fail(&cell("as a service"), &row.service, got);
        let mut reader = caller(tenant, "viewer");
        let got = call(row, &limited, &reader, &objects).await;
        let its_own = tenant == "acme";
        let wanted = if its_own {
            &*row.limited
        } else {
            "permission_denied"
        };
        fail(&cell("limited to mcp:tools:read of acme"), wanted, got);
        // A key that is limited cannot be stretched by what it signs.
        let more = Arc::make_mut(&mut reader.principal);
        more.scopes.insert("mcp:admin".to_owned());
        let got = call(row, &limited, &reader, &objects).await;
        let refused = got.is_err();
        fail(
            &cell("limited, with mcp:admin"),
            "ok",
            if refused {
                Ok(())
            } else {
                Err(Error::internal("let in"))
            },
        );
        let admin = caller(tenant, "admin");
        let got = call(row, &forged, &admin, &objects).await;
        fail(&cell("with an unknown key"), "unauthenticated", got);
        let got = call(row, &turned, &admin, &objects).await;
        fail(
            &cell("with a token for another service"),
            "unauthenticated",
            got,
        );
        if let Some(foreign) = &row.foreign {
            let got = call(row, &gateways, &caller(other, "admin"), &objects).await;
            fail(&cell(&format!("by the admin of {other}")), foreign, got);
        }
    }
    cells
}

/// What one cell is about.
struct Objects {
    tool: ToolName,
    fresh: ToolName,
    session: SessionId,
}

impl Objects {
    async fn make(
        world: &World,
        (way, tenant): (&Way, &str),
        row: &Rpc,
        common: &SessionId,
    ) -> Self {
        let name = |text: &str| ToolName::parse(text).unwrap();
        let changes = matches!(
            &*row.name,
            "Catalog/Update" | "Catalog/Delete" | "Catalog/SetLock"
        );
        let tool = if changes {
            world.own(tenant).await
        } else {
            open(tenant)
        };
        let session = match &*row.name {
            "Sessions/Stop" => session(way, tenant).await,
            _ => common.clone(),
        };
        Self {
            tool: name(&tool),
            fresh: name(&world.fresh()),
            session,
        }
    }
}

/// A session of [`SUBJECT`] with a file in it.
async fn session(way: &Way, tenant: &str) -> SessionId {
    let sessions = SessionsClient::new(way.executor.clone());
    let owner = caller(tenant, "admin");
    let opened = sessions.open(&owner, spec()).await.unwrap();
    sessions
        .write(&owner, &opened.id, "a.txt", b"a".to_vec())
        .await
        .unwrap();
    opened.id
}

fn spec() -> SessionSpec {
    SessionSpec {
        image: Some(IMAGE.to_owned()),
        runtime: None,
        idle: None,
        network: None,
        env: BTreeMap::new(),
        dependencies: Vec::new(),
    }
}

fn code() -> domain::Call {
    let mut call = testkit::call("return 1");
    IMAGE.clone_into(&mut call.image);
    call.limits.timeout = Duration::from_secs(20);
    call
}

/// Whether a run comes to an end.
async fn ran(stream: RunStream) -> Result<()> {
    let mut stream = stream;
    while let Some(event) = stream.next().await {
        if let RunEvent::Finished(outcome) = event {
            let failed = |failure: Failure| Error::new(failure.code, failure.message);
            return outcome.result.map(drop).map_err(failed);
        }
    }
    Err(Error::unavailable("end of the stream"))
}

/// The first message of a feed.
async fn first<T>(mut feed: impl futures::Stream<Item = Result<T>> + Unpin) -> Result<()> {
    match tokio::time::timeout(BUDGET, feed.next()).await {
        Ok(Some(message)) => message.map(drop),
        _ => Err(Error::unavailable("feed")),
    }
}

/// Calls the method of a row; a method that is not here has no row that could be run.
async fn call(row: &Rpc, way: &Way, who: &CallContext, objects: &Objects) -> Result<()> {
    let catalog = CatalogClient::new(way.registry.clone());
    let keys = KeysClient::new(way.registry.clone());
    let archive = ArchiveClient::new(way.registry.clone());
    let fleet = FleetClient::new(way.registry.clone());
    let runner = RunnerClient::new(way.executor.clone());
    let sessions = SessionsClient::new(way.executor.clone());
    let (tool, revision) = (&objects.tool, Revision(1));
    let log = || LogName::parse("matrix").unwrap();
    match &*row.name {
        "Catalog/Create" => {
            let mut draft = testkit::draft(objects.fresh.as_str());
            IMAGE.clone_into(&mut draft.spec.image);
            catalog.create(who, draft).await.map(drop)
        }
        "Catalog/Update" => {
            let patch = ToolPatch {
                enabled: Some(false),
                ..ToolPatch::default()
            };
            catalog.update(who, tool, patch, None).await.map(drop)
        }
        "Catalog/Delete" => catalog.delete(who, tool, None).await.map(drop),
        "Catalog/Get" => catalog.get(who, tool, None).await.map(drop),
        "Catalog/GetCode" => catalog.code(who, tool, revision).await.map(drop),
        "Catalog/GetLock" => catalog.lock(who, tool, revision).await.map(drop),
        "Catalog/SetLock" => {
            let lock = Lockfile::parse(domain::tool::Runtime::Node, EMPTY_LOCK).unwrap();
            let set = catalog.set_lock(who, tool, revision, lock).await.map(drop);
            // A tool without dependencies takes no lockfile: who may not use it is told something else.
            set.or_else(|error| match error.code() {
                ErrorCode::InvalidArgument => Ok(()),
                _ => Err(error),
            })
        }
        "Catalog/Watch" => first(catalog.watch(who, CatalogVersion(0)).await?).await,
        "Keys/Create" => keys.create(who, new_key()).await.map(drop),
        "Keys/List" => keys.list(who).await.map(drop),
        "Keys/Revoke" => keys.revoke(who, &prefix(&[0; 4])).await.map(drop),
        "Keys/Rotate" => {
            let rotation = Rotation {
                prefix: random_prefix(),
                digest: KeyDigest::parse(&"ab".repeat(32)).unwrap(),
                overlap_seconds: 0,
                expires_at: None,
            };
            keys.rotate(who, &prefix(&[0; 4]), rotation).await.map(drop)
        }
        "Keys/Watch" => first(keys.watch(who, CatalogVersion(0)).await?).await,
        "Keys/Touch" => keys.touch(who, Vec::new()).await,
        "Audit/Head" => domain::audit::archive::Archive::head(&archive, who, &log())
            .await
            .map(drop),
        "Audit/Append" => {
            let batch = Batch {
                log: log(),
                after: None,
                lines: Vec::new(),
                lost: false,
            };
            domain::audit::archive::Archive::append(&archive, who, batch)
                .await
                .map(drop)
        }
        "Audit/Segments" => domain::audit::archive::Archive::segments(&archive, who, None, None)
            .await
            .map(drop),
        "Audit/Search" => {
            let search = Search {
                limit: 1,
                ..Search::default()
            };
            domain::audit::archive::Archive::search(&archive, who, search)
                .await
                .map(drop)
        }
        "Fleet/Heartbeat" => {
            let executor = ExecutorInfo {
                id: "matrix".to_owned(),
                address: "unix:/nowhere".to_owned(),
                labels: BTreeMap::new(),
                engines: Vec::new(),
                capacity: 1,
                draining: true,
                version: "0".to_owned(),
            };
            domain::fleet::Fleet::heartbeat(&fleet, who, executor).await
        }
        "Fleet/Leave" => domain::fleet::Fleet::leave(&fleet, who, "matrix").await,
        "Fleet/Watch" => first(domain::fleet::Fleet::watch(&fleet, who).await?).await,
        "Runner/Run" => ran(runner.run(who, code()).await?).await,
        "Runner/Resolve" => {
            let request = Resolve {
                runtime: domain::tool::Runtime::Node,
                image: IMAGE.to_owned(),
                dependencies: Vec::new(),
            };
            runner.resolve(who, request).await.map(drop)
        }
        "Sessions/Open" => sessions.open(who, spec()).await.map(drop),
        "Sessions/Exec" => {
            let exec = Exec {
                commands: vec!["true".to_owned()],
                timeout: Duration::from_secs(10),
            };
            sessions.exec(who, &objects.session, exec).await.map(drop)
        }
        "Sessions/RunIn" => ran(sessions.run(who, &objects.session, code()).await?).await,
        "Sessions/WriteFile" => {
            let content = b"b".to_vec();
            sessions
                .write(who, &objects.session, "b.txt", content)
                .await
        }
        "Sessions/ReadFile" => sessions
            .read(who, &objects.session, "a.txt")
            .await
            .map(drop),
        "Sessions/ListFiles" => sessions.list(who, &objects.session, ".").await.map(drop),
        "Sessions/Stop" => sessions.stop(who, &objects.session).await,
        "Sessions/List" => sessions.sessions(who).await.map(drop),
        other => panic!("{other}: matrix/grpc.rs does not know how to call it"),
    }
}

const EMPTY_LOCK: &str = r#"{"lockfileVersion":3,"packages":{"":{}}}"#;

fn prefix(bytes: &[u8; 4]) -> KeyPrefix {
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    KeyPrefix::parse(&text).unwrap()
}

fn random_prefix() -> KeyPrefix {
    prefix(&fastrand::u32(1..).to_be_bytes())
}

fn new_key() -> NewKey {
    let digest: String = (0..32)
        .map(|_| format!("{:02x}", fastrand::u8(..)))
        .collect();
    NewKey {
        prefix: random_prefix(),
        digest: KeyDigest::parse(&digest).unwrap(),
        name: "matrix".to_owned(),
        subject: None,
        scopes: ["mcp:tools:read".to_owned()].into(),
        role: None,
        tier: None,
        expires_at: None,
    }
}
