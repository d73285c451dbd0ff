//! The isolate engine: the conformance suite of every engine, and what is its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed helper fails its test"
)]

use std::sync::Arc;

use sandbox::isolate::{IsolateEngine, IsolateSettings};
use telemetry::{BuildInfo, Metrics};

#[path = "isolate/abuse.rs"]
mod abuse;
#[path = "isolate/globals.rs"]
mod globals;
#[path = "isolate/hostile.rs"]
mod hostile;

mod suite {
    #[path = "../suite/abuse.rs"]
    pub(crate) mod abuse;
    #[path = "../suite/cases.rs"]
    mod cases;
    #[path = "../suite/contract.rs"]
    pub(crate) mod contract;
    #[path = "../suite/faults.rs"]
    pub(crate) mod faults;
    #[path = "../suite/javascript.rs"]
    pub(crate) mod javascript;
    #[path = "../suite/run.rs"]
    pub(crate) mod run;
    #[path = "../suite/spoken.rs"]
    pub(crate) mod spoken;
}

fn settings() -> IsolateSettings {
    let program = env!("CARGO_BIN_EXE_sandbox-guest").into();
    IsolateSettings {
        program,
        memory_bytes: 64 << 20,
        ..IsolateSettings::default()
    }
}

fn metrics() -> Arc<Metrics> {
    let build = BuildInfo {
        service: "test",
        version: "0",
        commit: "0",
    };
    Arc::new(Metrics::new(build).unwrap())
}

async fn launch(settings: IsolateSettings, metrics: &Arc<Metrics>) -> suite::run::Subject {
    let engine = IsolateEngine::launch(settings, Arc::clone(metrics)).await;
    Arc::new(engine.unwrap())
}

async fn isolate() -> suite::run::Subject {
    launch(settings(), &metrics()).await
}

/// The same with more memory for a call.
async fn engine_with(memory_bytes: u64) -> suite::run::Subject {
    let settings = IsolateSettings {
        memory_bytes,
        ..settings()
    };
    launch(settings, &metrics()).await
}

conformance!(isolate, javascript);

/// What only the isolate engine lacks, and what it says about it.
#[tokio::test]
async fn what_node_has_and_it_has_not_is_named() {
    use domain::error::ErrorCode;
    let engine = isolate().await;
    for name in [
        "require('fs')",
        "process.env",
        "Buffer.from('x')",
        "fetch('http://x')",
    ] {
        let ended = suite::run::run(&engine, &format!("return {name}")).await;
        let message = &ended.failure(ErrorCode::ToolFailed).message;
        assert!(message.contains("Docker engine"), "{message}");
    }
    let message = suite::run::run(&engine, "await import('fs')").await;
    assert!(
        message
            .failure(ErrorCode::ToolFailed)
            .message
            .contains("Docker engine")
    );
    let absent = "return [typeof require, typeof process, typeof Buffer, typeof fetch, typeof std, \
                  typeof os, typeof print, typeof scriptArgs].every((it) => it === 'undefined')";
    assert_eq!(
        suite::run::run(&engine, absent).await.value(),
        Some(true.into())
    );
    let zone = "return [new Date(0).getHours(), new Date(0).getTimezoneOffset()]";
    assert_eq!(
        suite::run::run(&engine, zone).await.value(),
        Some(serde_json::json!([0, 0]))
    );
    engine.shutdown().await;
}

/// Columns are the author's also on the line that the function's head shares.
#[tokio::test]
async fn columns_of_the_first_line_are_right() {
    let engine = isolate().await;
    let ended = suite::run::run(&engine, "throw new Error('x')").await;
    let stack = &ended.outcome.printed.last().unwrap().message;
    assert!(stack.ends_with("(tool.js:1:11)"), "{stack}");
    engine.shutdown().await;
}
