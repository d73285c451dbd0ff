//! The one struct with every metric.

mod define;
mod labels;
mod record;

use std::fmt;

use parking_lot::RwLock;
use prometheus::{
    Gauge, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry,
    TextEncoder,
};
use tokio::time::Instant;

pub use self::define::Description;
use self::define::metrics;
use self::labels::ToolLabels;
pub use self::labels::{MAX_TOOL_LABELS, OTHER_TOOL, ToolLabel};
pub(crate) use self::record::method_label;

/// Buckets, in seconds, of everything that is a latency: from a tenth of a millisecond (a built-in
/// call) to two minutes (the longest tool).
pub const LATENCY_BUCKETS: &[f64] = &[
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0, 30.0, 60.0, 120.0,
];

/// Why the metrics could not be set up or written out. Either is a fault of this program.
#[derive(Debug, thiserror::Error)]
#[error("the metrics registry refused: {0}")]
pub struct MetricsError(#[from] prometheus::Error);

/// What `mcp_build_info` says about the running program.
#[derive(Debug, Clone, Copy)]
pub struct BuildInfo {
    /// The program: `dynamic-mcp`, `gateway`, `registry` or `executor`.
    pub service: &'static str,
    /// Version of the release, as in `--version`.
    pub version: &'static str,
    /// Commit that was built, or `unknown`.
    pub commit: &'static str,
}

metrics! {
    /// Every metric of every service. One is made per process and handed down as an `Arc`; what a
    /// service does not do stays at zero. Fields that are labelled by what a user chose are private
    /// and written through a method that bounds the label.
    pub struct Instruments {
        /// Seconds since this process started.
        pub(crate) uptime: Gauge = "dynamic_mcp_process_uptime_seconds";
        /// Session ids of older protocol versions in use on open streams and requests. This version hands
        /// none out, so all three stay at 0.
        pub http_sessions_active: IntGauge = "dynamic_mcp_http_sessions_active";
        /// Session ids of older protocol versions handed out since start.
        pub http_sessions_created: IntCounter = "dynamic_mcp_http_sessions_created_total";
        /// Session ids of older protocol versions refused because they had expired.
        pub http_sessions_expired: IntCounter = "dynamic_mcp_http_sessions_expired_total";
        /// Requests whose credential was accepted.
        pub http_auth_success: IntCounter = "dynamic_mcp_http_auth_success_total";
        /// Requests refused for a missing or invalid credential.
        pub http_auth_denied: IntCounter = "dynamic_mcp_http_auth_denied_total";
        /// HTTP connections that are open.
        pub http_connections: IntGauge = "mcp_http_connections";
        /// HTTP connections that were closed when they came, by the limit that was reached: `total` or
        /// `address`.
        pub http_connections_refused: IntCounterVec = "mcp_http_connections_refused_total" ["limit"];
        /// TLS handshakes of HTTP clients by outcome: `ok`, `failed` or `timeout`.
        pub tls_handshakes: IntCounterVec = "mcp_http_tls_handshakes_total" ["outcome"];
        /// Decisions about credentials by method (`none`, `jwt`, `api_key`, `admin_token`) and by `accepted` or
        /// the reason of the refusal, for example `expired`.
        pub auth_decisions: IntCounterVec = "mcp_auth_decisions_total" ["method", "decision"];
        /// API keys that this gateway holds hashes of.
        pub api_keys: IntGauge = "mcp_api_keys";
        /// Seconds since the API keys were last known to be all that the registry has.
        pub api_keys_age: Gauge = "mcp_api_keys_age_seconds";
        /// Time to decide about a token, by `cached` (seen before) or `verified`.
        pub auth_duration: HistogramVec = "mcp_auth_duration_seconds" ["source"];
        /// Fetches of the issuer's keys by outcome: `ok`, or why there are no new keys.
        pub jwks_fetches: IntCounterVec = "mcp_jwks_fetches_total" ["outcome"];
        /// Keys of the issuer that can be used now.
        pub jwks_keys: IntGauge = "mcp_jwks_keys";
        /// Seconds since the issuer's keys were last fetched.
        pub jwks_age: Gauge = "mcp_jwks_age_seconds";

        /// Duration of HTTP requests by HTTP method, route pattern and status code; for an event
        /// stream until its end.
        pub(crate) request_duration: HistogramVec = "mcp_request_duration_seconds" ["method", "route", "status_code"];
        /// HTTP requests being answered now.
        pub requests_in_flight: IntGauge = "mcp_requests_in_flight";
        /// Tool executions by tool and by `ok` or the error code. Tools beyond the first 1,000
        /// names of a process are counted as `other`.
        pub(crate) tool_executions: IntCounterVec = "mcp_tool_executions_total" ["tool", "status"];
        /// Duration of tool executions by engine, from admission to outcome.
        pub execution_duration: HistogramVec = "mcp_tool_execution_duration_seconds" ["engine", "status"];
        /// Time that an execution waited for a slot of the executor.
        pub queue_wait: Histogram = "mcp_tool_queue_wait_seconds";
        /// Calls refused by the tool guard, by kind: `rate` (of a tool), `tenant_rate`,
        /// `concurrency` (of all), `tenant_concurrency`, `caller_concurrency`.
        pub guard_rejections: IntCounterVec = "mcp_guard_rejections_total" ["kind"];
        /// Requests refused by a limit before their body was read, by limit: `address_failures`, `address`,
        /// `in_flight`, `load`, `caller`, `caller_in_flight`, `global`.
        pub limit_rejections: IntCounterVec = "mcp_limit_rejections_total" ["limit"];
        /// Names that limits tell apart now, by kind: `address_failures`, `address`, `caller`, `scope`,
        /// `tenant`, `guard_caller`. Each kind is bounded.
        pub limit_tracked: IntGaugeVec = "mcp_limit_tracked" ["kind"];
        /// Requests to the MCP endpoint that are worked on now, each until its answer begins.
        pub http_admitted: IntGauge = "mcp_http_admitted";
        /// Requests to the MCP endpoint that wait for a place among them.
        pub http_queued: IntGauge = "mcp_http_queued";
        /// Share of the requests to the MCP endpoint that is let in: 1, and less while overloaded.
        pub http_admitted_share: Gauge = "mcp_http_admitted_share";

        /// Looks into the response cache for calls of tools with a field `cache`, by outcome: `hit`, `miss`,
        /// `unavailable` (Redis is away or refused), `unreadable`, `uncacheable` (arguments with numbers that
        /// cannot be told apart surely).
        pub response_cache_lookups: IntCounterVec = "mcp_response_cache_lookups_total" ["outcome"];
        /// Results offered to the response cache by outcome: `stored`, `too_large`, `unavailable`, `failed`.
        pub response_cache_stores: IntCounterVec = "mcp_response_cache_stores_total" ["outcome"];
        /// Results that the response cache holds in memory; 0 with Redis.
        pub response_cache_entries: IntGauge = "mcp_response_cache_entries";
        /// Size of the results that the response cache holds in memory, in bytes; 0 with Redis.
        pub response_cache_bytes: IntGauge = "mcp_response_cache_bytes";
        /// Whether Redis answers: 1 or 0; 0 also without REDIS_URL.
        pub redis_up: IntGauge = "mcp_redis_up";
        /// Questions to Redis without an answer, by kind: `away` (it was not asked), `connection`, `timeout`,
        /// `refused` (it answered with an error).
        pub redis_failures: IntCounterVec = "mcp_redis_failures_total" ["kind"];

        /// Audit records that wait to be written, places kept for the ends of running calls included.
        pub audit_queue_depth: IntGauge = "mcp_audit_queue_depth";
        /// Audit records that were written.
        pub audit_written: IntCounter = "mcp_audit_records_written_total";
        /// Audit records that were lost: the queue was full.
        pub audit_lost: IntCounter = "mcp_audit_records_lost_total";
        /// Calls and operations refused because they could not be recorded, by reason: `queue_full` or
        /// `failing`.
        pub audit_rejections: IntCounterVec = "mcp_audit_rejections_total" ["reason"];
        /// Attempts to write the audit log that have failed.
        pub audit_failures: IntCounter = "mcp_audit_write_failures_total";
        /// Time to write waiting audit records, and to bring them onto the disk where somebody waits for
        /// that.
        pub audit_write_duration: Histogram = "mcp_audit_write_duration_seconds";
        /// Number of the last line of the audit log in its chain.
        pub audit_head_seq: IntGauge = "mcp_audit_head_seq";
        /// Audit records that the registry has acknowledged.
        pub audit_shipped: IntCounter = "mcp_audit_shipped_records_total";
        /// Attempts to ship audit records to the registry that have failed.
        pub audit_ship_failures: IntCounter = "mcp_audit_ship_failures_total";
        /// Audit records that were rotated away before they were shipped.
        pub audit_ship_missed: IntCounter = "mcp_audit_ship_missed_records_total";
        /// Audit records that are written and not yet acknowledged by the registry.
        pub audit_ship_lag_records: IntGauge = "mcp_audit_ship_lag_records";
        /// Seconds since the registry had acknowledged every audit record; 0 while it has.
        pub audit_ship_lag: Gauge = "mcp_audit_ship_lag_seconds";
        /// Audit records that this registry has taken from gateways.
        pub audit_archived: IntCounter = "mcp_audit_archived_records_total";
        /// Segments of audit logs that began at this registry, by why: `first`, `restart`, `gap` (lines were
        /// never shown to it) or `mismatch` (a log was changed under its gateway).
        pub audit_archive_segments: IntCounterVec = "mcp_audit_archive_segments_total" ["start"];

        /// Sandboxes that are ready and waiting, by engine.
        pub pool_size: IntGaugeVec = "mcp_sandbox_pool_size" ["engine"];
        /// Executions that found a waiting sandbox, by engine.
        pub pool_hits: IntCounterVec = "mcp_sandbox_pool_hits_total" ["engine"];
        /// Executions that found no waiting sandbox, by engine and reason: `empty` (all were taken),
        /// `cold_key` (none of this kind is kept), `died`, `stale` (its image moved or it grew too old),
        /// `booting` (one was on its way).
        pub pool_misses: IntCounterVec = "mcp_sandbox_pool_misses_total" ["engine", "reason"];
        /// Executions that wait for a sandbox now, by engine.
        pub pool_waiting: IntGaugeVec = "mcp_sandbox_pool_waiting" ["engine"];
        /// Memory that waiting sandboxes use, in bytes, by engine.
        pub pool_memory: IntGaugeVec = "mcp_sandbox_pool_memory_bytes" ["engine"];
        /// Time of each stage of an execution, by engine: `queue` (for a slot), `take` (a sandbox from the
        /// pool), `write` (the call), `load` (until the code starts), `run` (the code), `read` (the
        /// result), `teardown` (until the sandbox is gone).
        pub sandbox_stage_duration: HistogramVec = "mcp_sandbox_stage_duration_seconds" ["engine", "stage"];
        /// Calls of tools with `isolation: tool` by what they found: `kept` (a sandbox of the tool) or
        /// `fresh`.
        pub shared_calls: IntCounterVec = "mcp_sandbox_shared_calls_total" ["found"];
        /// Sandboxes in which packages were loaded ahead of a call, by runtime and outcome: `loaded`, `unfit` (an
        /// error, or a package printed or left something running), `late`, `died`, `busy` (it used the CPU
        /// while it waited). All but the first are destroyed; after three of them nothing is loaded ahead for an hour.
        pub loads_ahead: IntCounterVec = "mcp_sandbox_loads_ahead_total" ["runtime", "outcome"];
        /// Time to load packages ahead of a call, by runtime.
        pub load_ahead_duration: HistogramVec = "mcp_sandbox_load_ahead_duration_seconds" ["runtime"];
        /// Sandbox sessions that are open now.
        pub sessions_active: IntGauge = "mcp_sandbox_sessions_active";
        /// Sandbox sessions that ended, by reason: `stopped`, `idle`, `lifetime`, `died`, `shutdown`.
        pub sessions_ended: IntCounterVec = "mcp_sandbox_sessions_ended_total" ["reason"];
        /// Duration of operations of sandbox sessions by operation and by `ok` or the error code.
        pub session_operation_duration: HistogramVec = "mcp_sandbox_session_operation_duration_seconds" ["operation", "outcome"];
        /// Installs of dependencies by runtime and by `ok` or the error code.
        pub dependency_installs: IntCounterVec = "mcp_dependency_installs_total" ["runtime", "outcome"];
        /// Time to install dependencies, by runtime and stage: `resolve`, `install`, and `manager`, which is
        /// what npm or pip itself takes of either.
        pub dependency_install_duration: HistogramVec = "mcp_dependency_install_duration_seconds" ["runtime", "stage"];
        /// Sets of dependencies that are installed.
        pub dependency_volumes: IntGauge = "mcp_dependency_volumes";
        /// Size of all installed sets of dependencies, in bytes.
        pub dependency_volume_bytes: IntGauge = "mcp_dependency_volume_bytes";
        /// Sets of dependencies that were removed, by reason: `size`, `age`, `incomplete`.
        pub dependency_evictions: IntCounterVec = "mcp_dependency_evictions_total" ["reason"];
        /// Time to create and start a sandbox, by engine.
        pub sandbox_create_duration: HistogramVec = "mcp_sandbox_create_duration_seconds" ["engine"];
        /// Sandboxes of other lives of this product that were found and removed, by reason: `start`,
        /// `expired`, `orphan`.
        pub sandbox_swept: IntCounterVec = "mcp_sandbox_swept_total" ["reason"];
        /// Whether the Docker daemon answered the last time it was asked: 1 or 0.
        pub docker_up: IntGauge = "mcp_docker_up";
        /// Whether the Docker daemon's events about memory that ran out are heard: 1 or 0.
        pub docker_events_up: IntGauge = "mcp_docker_events_up";
        /// Duration of requests to the Docker API by operation and by `ok` or the kind of failure.
        pub docker_request_duration: HistogramVec = "mcp_docker_request_duration_seconds" ["operation", "outcome"];
        /// Duration of image pulls, by `ok` or `failed`.
        pub image_pull_duration: HistogramVec = "mcp_docker_image_pull_duration_seconds" ["outcome"];
        /// Allowed images that are not on the Docker daemon.
        pub images_missing: IntGauge = "mcp_docker_images_missing";
        /// Calls that this executor runs now.
        pub executor_in_flight: IntGauge = "mcp_executor_in_flight";
        /// Calls that this executor runs at once at most.
        pub executor_capacity: IntGauge = "mcp_executor_capacity";

        /// Duration of the registry's store operations, by operation.
        pub registry_query_duration: HistogramVec = "mcp_registry_query_duration_seconds" ["query"];
        /// Connections of the registry's store to its database, by state: `used` or `idle`.
        pub store_connections: IntGaugeVec = "mcp_registry_store_connections" ["state"];
        /// How the registry learned that its database changed, by kind: `notify` (told at once), `poll`
        /// (found by looking, no word of it had come), `reconnect` (looked for after the listening
        /// connection was lost).
        pub store_notifications: IntCounterVec = "mcp_registry_store_notifications_total" ["kind"];
        /// Stored tools that the registry could not read and left out of a change feed, counted each
        /// time that a follower comes to one; the log names them.
        pub registry_unreadable_records: IntCounter = "mcp_registry_unreadable_records_total";
        /// Catalogue version of the registry, or the one that a gateway's snapshot is at.
        pub catalogue_version: IntGauge = "mcp_catalogue_version";
        /// Seconds since a gateway's snapshot was last known to be current.
        pub catalogue_age: Gauge = "mcp_catalogue_age_seconds";
        /// Time from a change of a tool, by the registry's clock, until it was in a gateway's snapshot,
        /// by that gateway's clock. What a gateway reads at its start is not counted.
        pub catalogue_lag: Histogram = "mcp_catalogue_feed_lag_seconds";
        /// Tools in a gateway's snapshot.
        pub catalogue_tools: IntGauge = "mcp_catalogue_tools";

        /// Duration of gRPC calls made by this process, by service, method and gRPC code.
        pub grpc_client_duration: HistogramVec = "mcp_grpc_client_duration_seconds" ["service", "method", "code"];
        /// Duration of gRPC calls answered by this process, by service, method and gRPC code.
        pub grpc_server_duration: HistogramVec = "mcp_grpc_server_duration_seconds" ["service", "method", "code"];

        /// When the certificate in use ends, in seconds since 1970, by endpoint: `http` (the MCP endpoint) or
        /// `internal` (between the services).
        pub certificate_expiry: IntGaugeVec = "mcp_tls_certificate_expiry_timestamp_seconds" ["endpoint"];
        /// Files of certificates and keys that were read again because they changed, by what they are for and by
        /// outcome: `ok`, or `failed` (what was in use stays in use).
        pub reloads: IntCounterVec = "mcp_reloads_total" ["what", "outcome"];

        /// Log lines that are not in the log file: the disk was full or gone, or slower than the lines came.
        pub(crate) log_lines_lost: IntCounter = "mcp_log_lines_lost_total";
        /// Spans that could not be sent to the receiver of traces.
        pub(crate) trace_spans_lost: IntCounter = "mcp_trace_spans_lost_total";
        /// Reports of faults by outcome: `sent`, `failed`, or `dropped` (too many at once, or the receiver
        /// wants no more for now).
        pub(crate) error_reports: IntCounterVec = "mcp_error_reports_total" ["outcome"];
        /// Profiles of the running process that were asked for, by kind (`cpu`, `heap`) and
        /// outcome: `ok`, `denied`, `busy`, `failed`.
        pub profiles: IntCounterVec = "mcp_profiles_total" ["kind", "outcome"];
        /// Panics that were caught. Each is a fault of this program and has a line in the log.
        pub panics: IntCounter = "mcp_panics_total";
        /// Always 1; the labels say what is running.
        pub(crate) build_info: IntGaugeVec = "mcp_build_info" ["service", "version", "commit"];
    }
}

type ScrapeHook = Box<dyn Fn(&Instruments) + Send + Sync>;

/// Every metric of the process, plus what is needed to write them out. Derefs to [`Instruments`],
/// so a service writes `metrics.guard_rejections`.
pub struct Metrics {
    instruments: Instruments,
    registry: Registry,
    tool_labels: ToolLabels,
    started: Instant,
    hooks: RwLock<Vec<ScrapeHook>>,
}

impl Metrics {
    /// Makes and registers every metric. Several can live in one process (tests do that): nothing
    /// global is touched.
    ///
    /// # Errors
    /// Only when two metrics share a name, which the tests of this crate exclude.
    pub fn new(build: BuildInfo) -> Result<Self, MetricsError> {
        let registry = Registry::new();
        let instruments = Instruments::register(&registry)?;
        #[cfg(target_os = "linux")]
        registry.register(Box::new(
            prometheus::process_collector::ProcessCollector::for_self(),
        ))?;
        instruments
            .build_info
            .with_label_values(&[build.service, build.version, build.commit])
            .set(1);
        Ok(Self {
            instruments,
            registry,
            tool_labels: ToolLabels::default(),
            started: Instant::now(),
            hooks: RwLock::new(Vec::new()),
        })
    }

    /// Runs `hook` before every scrape, for values that are read and not counted (an age, a queue
    /// length). It must not block. There is no way to remove one: register at start only.
    pub fn on_scrape(&self, hook: impl Fn(&Instruments) + Send + Sync + 'static) {
        self.hooks.write().push(Box::new(hook));
    }

    /// Seconds since this struct was made, which is when the process started.
    #[must_use]
    pub fn uptime_seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// All metrics in the Prometheus text format, version 0.0.4.
    ///
    /// # Errors
    /// When the encoder refuses a metric, which would be a fault of this program.
    pub fn encode(&self) -> Result<String, MetricsError> {
        self.instruments.uptime.set(self.uptime_seconds());
        for hook in self.hooks.read().iter() {
            hook(&self.instruments);
        }
        Ok(TextEncoder::new().encode_to_string(&self.registry.gather())?)
    }
}

impl std::ops::Deref for Metrics {
    type Target = Instruments;

    fn deref(&self) -> &Instruments {
        &self.instruments
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics")
            .field("hooks", &self.hooks.read().len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
