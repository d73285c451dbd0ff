//! Writes and the change feed on a Postgres of its own that syncs every commit: how long a write
//! takes, and how long until a follower of another registry has it; also right after a connection
//! that listens was ended, and after the server was restarted.
//!
//! `cargo bench -p registry --bench postgres`

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench prints, and a panic is how it fails"
)]

use std::sync::Arc;
use std::time::Duration;

use domain::catalog::CatalogChange;
use domain::tool::{Change, ToolPatch};
use domain::{
    CallContext, Catalog, CatalogVersion, Principal, RequestId, Scope, ToolDraft, ToolName,
};
use futures::StreamExt;
use registry::{PostgresSettings, PostgresStore, Registry, Settings};
use telemetry::{BuildInfo, Metrics};
use testkit::postgres::{Cluster, Durability, Stop};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

const ROUNDS: usize = 1_000;
const WARM_UP: usize = 50;
const WRITERS: usize = 16;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(run(ROUNDS));
}

async fn run(rounds: usize) {
    let mut cluster = Cluster::start(Durability::Synced).await;
    let (here, there) = (open(&cluster).await, open(&cluster).await);
    println!("postgres, fsync on, two registries, one machine; {rounds} rounds");
    let mut tasks = JoinSet::new();
    let mut lag = follow(&there, &mut tasks);
    let name = ToolName::parse("bench.tool").unwrap();
    here.create(&admin(), draft("bench.tool")).await.unwrap();
    lag.recv().await.unwrap();

    let (mut writes, mut seen) = (Vec::new(), Vec::new());
    for round in 0..rounds + WARM_UP {
        let began = Instant::now();
        let (answered, arrived) = change(&here, &name, round, &mut lag).await;
        if round >= WARM_UP {
            writes.push(answered - began);
            seen.push(arrived);
        }
    }
    show("update, one writer", &mut writes);
    show("answered -> at a follower of the other registry", &mut seen);

    let mut ended = Vec::new();
    for round in 0..50 {
        cluster.terminate("%listener").await;
        ended.push(change(&here, &name, round, &mut lag).await.1);
    }
    show("... its listening connection just ended", &mut ended);

    let (mut first, mut restarted) = (Vec::new(), Vec::new());
    for (round, way) in (0..4)
        .flat_map(|_| [Stop::Fast, Stop::Immediate, Stop::Kill])
        .enumerate()
    {
        cluster.restart(way).await;
        let ready = Instant::now();
        let (answered, arrived) = change(&here, &name, round, &mut lag).await;
        first.push(answered - ready);
        restarted.push(arrived);
    }
    show(
        "restarted server ready -> first update answered",
        &mut first,
    );
    show("... -> at a follower of the other registry", &mut restarted);
    tasks.shutdown().await;

    let began = Instant::now();
    let writers = (0..WRITERS).map(|writer| {
        let registry = if writer % 2 == 0 { &here } else { &there };
        async move {
            let mut times = Vec::new();
            for round in 0..rounds / WRITERS + 1 {
                let tool = draft(&format!("w{writer}.t{round}"));
                let began = Instant::now();
                registry.create(&admin(), tool).await.unwrap();
                times.push(began.elapsed());
            }
            times
        }
    });
    let mut creates = futures::future::join_all(writers).await.concat();
    let rate = creates.len() as f64 / began.elapsed().as_secs_f64();
    show(
        &format!("create, {WRITERS} writers at once, {rate:.0}/s"),
        &mut creates,
    );

    let mut reads = Vec::new();
    for _ in 0..rounds {
        let began = Instant::now();
        there.get(&admin(), &name, None).await.unwrap();
        reads.push(began.elapsed());
    }
    show("get", &mut reads);
    here.close().await;
    there.close().await;
}

/// Changes the tool; when that was answered, and how long after that it arrived.
async fn change(
    registry: &Registry,
    name: &ToolName,
    round: usize,
    lag: &mut mpsc::Receiver<(CatalogVersion, Instant)>,
) -> (Instant, Duration) {
    let made = loop {
        let patch = ToolPatch {
            title: Change::Set(format!("round {round}")),
            ..ToolPatch::default()
        };
        // Right after a restart the first may be refused.
        if let Ok(made) = registry.update(&admin(), name, patch, None).await {
            break made;
        }
    };
    let answered = Instant::now();
    let mut arrived = lag.recv().await.unwrap();
    while arrived.0 < made.version {
        arrived = lag.recv().await.unwrap();
    }
    (answered, arrived.1.saturating_duration_since(answered))
}

fn show(what: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let at = |share: f64| {
        let place = ((times.len() - 1) as f64 * share).round() as usize;
        times[place].as_secs_f64() * 1_000.0
    };
    println!(
        "{what:<52} p50 {:>7.2} ms  p99 {:>7.2} ms  max {:>7.2} ms",
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

async fn open(cluster: &Cluster) -> Registry {
    let build = BuildInfo {
        service: "registry",
        version: "bench",
        commit: "bench",
    };
    let metrics = Arc::new(Metrics::new(build).unwrap());
    let settings = PostgresSettings::of(cluster.url("postgres"));
    let store = PostgresStore::open(settings, Arc::clone(&metrics)).await;
    let settings = Settings {
        max_tools: 100_000,
        ..Settings::default()
    };
    Registry::new(Arc::new(store.unwrap()), settings, metrics)
}

/// When which version came, by the feed of a registry.
fn follow(
    registry: &Registry,
    tasks: &mut JoinSet<()>,
) -> mpsc::Receiver<(CatalogVersion, Instant)> {
    let service = CallContext::service("gateway", Duration::from_secs(3_600));
    let (tell, told) = mpsc::channel(4_096);
    let registry = registry.clone();
    tasks.spawn(async move {
        let mut since = CatalogVersion(0);
        loop {
            // As a gateway: a feed that breaks is opened again from where it was.
            let Ok(mut feed) = Catalog::watch(&registry, &service, since).await else {
                continue;
            };
            while let Some(Ok(change)) = feed.next().await {
                match change {
                    CatalogChange::Synced(version) => since = version,
                    CatalogChange::Upserted(record) => {
                        if tell.send((record.version, Instant::now())).await.is_err() {
                            return;
                        }
                    }
                    CatalogChange::Reset | CatalogChange::Removed { .. } => {}
                }
            }
        }
    });
    told
}

fn admin() -> CallContext {
    let principal = Principal::anonymous(&[Scope::Admin]);
    CallContext::new(
        Arc::new(principal),
        RequestId::random(),
        Duration::from_secs(30),
    )
}

fn draft(name: &str) -> ToolDraft {
    ToolDraft {
        name: ToolName::parse(name).unwrap(),
        spec: serde_json::from_str(r#"{"description":"a tool"}"#).unwrap(),
        code: format!("return {name:?}.repeat(9)").into(),
        lock: None,
    }
}
