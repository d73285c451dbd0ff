//! A receiver of traces that is away is said once and counted: the service goes on without.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};

/// How many spans could not be sent, and whether the last ones could.
#[derive(Debug, Default)]
pub(crate) struct Fate {
    lost: AtomicU64,
    failing: AtomicBool,
}

impl Fate {
    /// Spans that were lost since this was last asked.
    pub(crate) fn take_lost(&self) -> u64 {
        self.lost.swap(0, Ordering::Relaxed)
    }

    fn note(&self, spans: usize, outcome: &OTelSdkResult) {
        match outcome {
            Ok(()) => {
                if self.failing.swap(false, Ordering::Relaxed) {
                    tracing::info!("traces can be sent again");
                }
            }
            Err(why) => {
                self.lost.fetch_add(spans as u64, Ordering::Relaxed);
                if !self.failing.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%why, "traces cannot be sent; the service goes on without");
                }
            }
        }
    }
}

/// An exporter whose failures are told.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) exporter: opentelemetry_otlp::SpanExporter,
    pub(super) fate: Arc<Fate>,
}

impl SpanExporter for Told {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let outcome = self.exporter.export(batch).await;
        self.fate.note(spans, &outcome);
        outcome
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
