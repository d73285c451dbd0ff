//! What leaves a process: traces, lines and error reports, read at the other end. Logging is started
//! once per process, so each test needs a process of its own, which is how nextest runs them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod lines;
mod reports;
mod traces;

use telemetry::{LogFile, LogFormat, LogSettings};
use tokio::runtime::Runtime;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

fn logs(filter: &str, file: Option<&std::path::Path>) -> LogSettings {
    LogSettings {
        filter: filter.to_owned(),
        format: LogFormat::Json,
        colours: false,
        file: file.map(|path| LogFile {
            path: path.to_owned(),
            max_bytes: 1_000_000,
            max_files: 2,
        }),
    }
}
