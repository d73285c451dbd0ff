//! Reports of faults of this program, to a receiver that speaks Sentry's envelopes.
//!
//! A fault is an `error` event that has a field `fault`: an internal error, or a panic. What is sent
//! of it was written by us and not by a user: the event's literal message, its place in the source,
//! the ids of the trace. Causes, arguments and names stay in the log.

mod dsn;
mod envelope;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, Request, StatusCode};
use opentelemetry::trace::TraceContextExt as _;
use prometheus::IntCounterVec;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::Instant;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

pub use self::dsn::{Dsn, DsnError};
use self::envelope::Fault;
use crate::lines::Marks;
use crate::post::Post;

/// Reports that wait to be sent; more are counted as lost.
const QUEUE: usize = 64;
/// Longest time that one takes to be sent.
const WITHIN: Duration = Duration::from_secs(5);
/// Reports in a minute: a fault that happens at every request is known after the first of them.
const PER_MINUTE: u32 = 30;
/// How long nothing is sent after the receiver asked for less without saying how long.
const PAUSE: Duration = Duration::from_secs(60);
/// Longest pause that a receiver may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(3_600);

/// Where reports go and what they say of the program.
#[derive(Debug, Clone)]
pub struct ReportSettings {
    /// The receiver's address with its key.
    pub dsn: Dsn,
    /// The program.
    pub service: &'static str,
    /// Version of the release.
    pub version: &'static str,
    /// Commit that was built.
    pub commit: &'static str,
}

enum Order {
    Report(Box<Fault>),
    Flush(SyncSender<()>),
}

/// What became of reports.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    sent: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
}

impl Counts {
    /// Adds what was counted since the last time.
    pub(crate) fn add_to(&self, counter: &IntCounterVec) {
        for (outcome, count) in [
            ("sent", &self.sent),
            ("failed", &self.failed),
            ("dropped", &self.dropped),
        ] {
            let count = count.swap(0, Ordering::Relaxed);
            counter.with_label_values(&[outcome]).inc_by(count);
        }
    }
}

/// The thread that sends, and the way to it.
#[derive(Debug)]
pub(crate) struct Reports {
    orders: Sender<Order>,
    counts: Arc<Counts>,
}

impl Reports {
    /// Starts the thread. It has a runtime of its own, so that it also reports what happens while
    /// the service's hangs.
    ///
    /// # Errors
    /// No thread or no trusted certificates can be had.
    pub(crate) fn start(settings: ReportSettings) -> std::io::Result<Self> {
        let (orders, received) = mpsc::channel(QUEUE);
        let counts = Arc::new(Counts::default());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let post = {
            let _inside = runtime.enter();
            Post::new(WITHIN)?
        };
        let desk = Desk {
            settings,
            post,
            counts: Arc::clone(&counts),
            paused: None,
            window: (Instant::now(), 0),
        };
        std::thread::Builder::new()
            .name(String::from("error reports"))
            .spawn(move || runtime.block_on(desk.run(received)))?;
        Ok(Self { orders, counts })
    }

    pub(crate) fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }

    pub(crate) fn layer(&self) -> ReportLayer {
        ReportLayer {
            orders: self.orders.clone(),
            counts: Arc::clone(&self.counts),
        }
    }

    /// Waits until what was reported before has left, for `within` at most.
    pub(crate) fn flush(self, within: Duration) {
        let (done, waits) = sync_channel(1);
        if self.orders.try_send(Order::Flush(done)).is_err() || waits.recv_timeout(within).is_err()
        {
            tracing::warn!("the last error reports could not be sent");
        }
    }
}

/// Whether it is an event that says a fault of ours.
pub(crate) fn is_fault(metadata: &Metadata<'_>) -> bool {
    metadata.is_event()
        && *metadata.level() == Level::ERROR
        && metadata.fields().field("fault").is_some()
}

/// Takes faults out of the stream of events.
pub(crate) struct ReportLayer {
    orders: Sender<Order>,
    counts: Arc<Counts>,
}

impl<S> Layer<S> for ReportLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        if !is_fault(metadata) {
            return;
        }
        let mut said = Said::default();
        event.record(&mut said);
        let spans: Vec<&'static str> = context
            .event_scope(event)
            .into_iter()
            .flatten()
            .map(|span| span.name())
            .collect();
        let here = opentelemetry::Context::current();
        let here = here.span().span_context().clone();
        let (mut trace_id, mut span_id) = (None, None);
        if here.is_valid() {
            trace_id = Some(here.trace_id().to_string());
            span_id = Some(here.span_id().to_string());
        } else {
            for span in context.event_scope(event).into_iter().flatten() {
                if let Some(marks) = span.extensions().get::<Marks>() {
                    trace_id = trace_id.or_else(|| marks.trace_id.clone());
                }
            }
        }
        let fault = Fault {
            kind: said.kind,
            message: said.message,
            target: metadata.target(),
            file: metadata.file().unwrap_or_default(),
            line: metadata.line().unwrap_or_default(),
            at: said.at,
            spans,
            trace_id,
            span_id,
        };
        if self
            .orders
            .try_send(Order::Report(Box::new(fault)))
            .is_err()
        {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The fields that are sent: those that this program's own source text fills.
#[derive(Default)]
struct Said {
    kind: String,
    message: String,
    at: Option<String>,
}

/// Longest text of a field, in bytes; all of them are literals or places in the source.
const MAX_FIELD: usize = 256;

impl Visit for Said {
    fn record_str(&mut self, field: &Field, value: &str) {
        let text = || value.chars().take(MAX_FIELD).collect();
        match field.name() {
            "fault" => self.kind = text(),
            "at" => self.at = Some(text()),
            _ => {}
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            "fault" | "at" => self.record_str(field, &format!("{value:?}")),
            _ => {}
        }
    }
}

struct Desk {
    settings: ReportSettings,
    post: Post,
    counts: Arc<Counts>,
    /// The receiver wants nothing before.
    paused: Option<Instant>,
    /// When the minute began, and what was sent in it.
    window: (Instant, u32),
}

impl Desk {
    async fn run(mut self, mut orders: Receiver<Order>) {
        while let Some(order) = orders.recv().await {
            match order {
                Order::Report(fault) => self.report(&fault).await,
                // Whoever waited may have given up.
                Order::Flush(done) => drop(done.try_send(())),
            }
        }
    }

    async fn report(&mut self, fault: &Fault) {
        if !self.may_send() {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let outcome = match self.send(fault).await {
            Ok((status, headers)) => {
                if status == StatusCode::TOO_MANY_REQUESTS {
                    self.paused = Some(Instant::now() + pause(&headers));
                }
                if status.is_success() {
                    &self.counts.sent
                } else {
                    tracing::debug!(%status, "an error report was refused");
                    &self.counts.failed
                }
            }
            Err(why) => {
                tracing::debug!(%why, "an error report could not be sent");
                &self.counts.failed
            }
        };
        outcome.fetch_add(1, Ordering::Relaxed);
    }

    fn may_send(&mut self) -> bool {
        let now = Instant::now();
        if self.paused.is_some_and(|until| now < until) {
            return false;
        }
        if now.saturating_duration_since(self.window.0) >= Duration::from_secs(60) {
            self.window = (now, 0);
        }
        self.window.1 += 1;
        self.window.1 <= PER_MINUTE
    }

    async fn send(
        &self,
        fault: &Fault,
    ) -> Result<(StatusCode, HeaderMap), Box<dyn std::error::Error + Send + Sync>> {
        let dsn = &self.settings.dsn;
        let request = Request::post(dsn.envelope_url())
            .header(CONTENT_TYPE, "application/x-sentry-envelope")
            .header("x-sentry-auth", dsn.auth(self.settings.version))
            .body(envelope::write(fault, &self.settings).into())?;
        let answer = self.post.send(request).await?;
        let (parts, _) = answer.into_parts();
        Ok((parts.status, parts.headers))
    }
}

/// How long a receiver wants nothing, as it says in seconds.
fn pause(headers: &HeaderMap) -> Duration {
    let seconds = headers
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok());
    seconds.map_or(PAUSE, |seconds| {
        Duration::from_secs(seconds).min(LONGEST_PAUSE)
    })
}
