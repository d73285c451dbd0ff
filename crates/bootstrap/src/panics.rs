//! Every panic is counted and has a line in the log, wherever it is caught.

use std::panic::PanicHookInfo;
use std::sync::Arc;

use telemetry::Metrics;

/// Replaces the panic hook of the process.
pub(crate) fn report(metrics: Arc<Metrics>) {
    std::panic::set_hook(Box::new(move |panic| {
        metrics.panics.inc();
        let location = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        tracing::error!(
            fault = "panic",
            at = location,
            message = message(panic),
            "a panic: this is a fault of the program"
        );
    }));
}

/// The message when it is a literal. A formatted one may hold data of a caller, so it is shown only
/// in builds for development.
fn message<'a>(panic: &'a PanicHookInfo<'_>) -> &'a str {
    let payload = panic.payload();
    if let Some(literal) = payload.downcast_ref::<&'static str>() {
        return literal;
    }
    match payload.downcast_ref::<String>() {
        Some(formatted) if cfg!(debug_assertions) => formatted,
        _ => "(not shown: it may hold data)",
    }
}
