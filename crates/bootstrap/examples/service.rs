//! The smallest program on this crate: the tests start it to see signals, drains and exit codes of
//! a real process. It takes the standalone configuration, answers a few
//! paths.

use std::process::ExitCode;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use bootstrap::config::{HTTP_LISTENER, StandaloneConfig};
use bootstrap::{App, StartError, admin};

/// Longer than the delay before a drain that the tests ask for.
const SLOW: Duration = Duration::from_millis(1_500);

fn main() -> ExitCode {
    bootstrap::run(start)
}

async fn start(config: StandaloneConfig, mut app: App) -> Result<(), StartError> {
    let listener = app
        .listener(HTTP_LISTENER)
        .ok_or("this example speaks HTTP only")?;
    let calls = app.tasks.gate("calls");
    let stuck = calls.clone();
    let tasks = app.tasks.clone();
    let router = Router::new()
        .route("/", get(async || "hello"))
        .route(
            "/holders",
            get(async move || format!("{:?}", tasks.holders())),
        )
        .route(
            "/slow",
            get(async move || {
                let _held = calls.enter();
                tokio::time::sleep(SLOW).await;
                "done"
            }),
        )
        // One that never ends, so that a drain reaches its deadline.
        .route(
            "/stuck",
            get(async move || {
                let _held = stuck.enter();
                std::future::pending::<&'static str>().await
            }),
        )
        // A fault of the program.
        .route("/panic/{path}", get(async || fault()))
        .merge(admin::routes(app.health.clone(), Some(app.metrics.clone())));
    app.tasks.serve("http server", |stop| async move {
        axum::serve(listener, router)
            .with_graceful_shutdown(stop.cancelled_owned())
            .await
    });
    tracing::info!(max_tools = config.catalog.max_tools, "started");
    Ok(())
}

fn fault() -> &'static str {
    panic!("a fault that a test asked for")
}
