//! The isolate engine: the conformance suite of every engine, and what is its own.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed helper fails its test")]

use std::sync::Arc;

use sandbox::isolate::{IsolateEngine, IsolateSettings};
use telemetry::{BuildInfo, Metrics};

mod suite {
    #[path = "../suite/cases.rs"]
    mod cases;
    #[path = "../suite/contract.rs"]
    pub(crate) mod contract;
    #[path = "../suite/faults.rs"]
    pub(crate) mod faults;
    #[path = "../suite/run.rs"]
    pub(crate) mod run;
}

fn settings() -> IsolateSettings {
    let program = env!("CARGO_BIN_EXE_sandbox-guest").into();
    IsolateSettings {
        program,
        memory_bytes: 64 << 20,
        ..IsolateSettings::default()
    }
}

async fn isolate() -> suite::run::Subject {
    let build = BuildInfo {
        service: "test",
        version: "0",
        commit: "0",
    };
    let metrics = Arc::new(Metrics::new(build).unwrap());
    Arc::new(IsolateEngine::launch(settings(), metrics).await.unwrap())
}

conformance!(isolate);
