//! What the audit log holds of each call, and what a call does when it cannot be recorded.

mod sessions;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use domain::catalog::Deleted;
use domain::tool::ToolWithCode;
use domain::{
    CallContext, Catalog, CatalogVersion, ChangeStream, Error, Principal, Result, Revision,
    ToolDraft, ToolName, ToolPatch, ToolRecord,
};
use gateway::audit::{AuditLog, AuditSettings, OnFailure};
use gateway::settings::Settings;
use serde_json::{Value, json};
use telemetry::{BuildInfo, Metrics};
use tempfile::TempDir;
use testkit::{FakeRunner, Step};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::rig::{CALLER, Rig, gateway_with, merge, rig_with, shown, tool_call, tool_call_as};

struct Audited {
    rig: Rig,
    folder: TempDir,
    closing: CancellationToken,
    task: JoinSet<()>,
}

impl Audited {
    async fn new(on_failure: OnFailure, change: impl FnOnce(&mut Settings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = AuditSettings {
            file: folder.path().join("logs/audit.log"),
            max_event_bytes: 20_000,
            max_file_bytes: 10_000_000,
            max_files: 5,
            on_failure,
            version: "0",
        };
        let metrics = Metrics::new(BuildInfo {
            service: "gateway",
            version: "0",
            commit: "unknown",
        });
        let (log, task) = AuditLog::open(settings, Arc::new(metrics.unwrap())).unwrap();
        let closing = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let until = closing.clone();
        tasks.spawn(async move { task.run(until).await.unwrap() });
        Self {
            rig: rig_with(log, change).await,
            folder,
            closing,
            task: tasks,
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("logs/audit.log")
    }

    /// Ends the log and gives its records, the first and the last left out.
    async fn records(mut self) -> Vec<Value> {
        self.closing.cancel();
        self.task.join_next().await.unwrap().unwrap();
        let mut records = testkit::audit::records(&self.path());
        assert_eq!(records.remove(0)["action"], "service.start");
        assert_eq!(records.pop().unwrap()["action"], "service.stop");
        records
    }

    /// There is no place to write to any more, and the log knows.
    async fn break_disk(&self) {
        std::fs::rename(
            self.path().parent().unwrap(),
            self.folder.path().join("away"),
        )
        .unwrap();
        let probe = domain::audit::Record::of_system(
            domain::audit::Action::HttpAuth,
            domain::audit::Outcome::Denied,
        );
        self.rig.gateway.audit().record(probe);
        self.until(false).await;
    }

    async fn mend_disk(&self) {
        std::fs::rename(
            self.folder.path().join("away"),
            self.path().parent().unwrap(),
        )
        .unwrap();
        self.until(true).await;
    }

    async fn until(&self, healthy: bool) {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            let checks = self.rig.gateway.health();
            let check = checks.iter().find(|check| check.name == "audit").unwrap();
            if check.healthy == healthy {
                return;
            }
            assert!(Instant::now() < end, "{check:?}");
            sleep(Duration::from_millis(5)).await;
        }
    }
}

/// `action target result code`, with `-` for what is not there.
fn line(record: &Value) -> String {
    let member = |name: &str| record[name].as_str().unwrap_or("-").to_owned();
    ["action", "target", "result", "code"].map(member).join(" ")
}

fn lines(records: &[Value]) -> Vec<String> {
    records.iter().map(line).collect()
}

#[tokio::test]
async fn every_change_has_its_begin_and_its_end() {
    let audited = Audited::new(OnFailure::Deny, |_| {}).await;
    let rig = &audited.rig;
    rig.create(
        "a.tool",
        json!({"title": "T", "inputSchema": {"properties": {"apiKey": {"type": "string"}}}}),
    )
    .await;
    let patch = json!({"name": "a.tool", "patch": {"code": "return 2;"}, "expectedRevision": 1});
    rig.ok("dynamic.tool.update", patch.clone()).await;
    rig.refused("dynamic.tool.update", patch, "revision_conflict")
        .await;
    for enabled in [false, true] {
        let arguments = json!({"name": "a.tool", "enabled": enabled});
        rig.ok("dynamic.tool.enable", arguments).await;
    }
    // Reading is no change.
    rig.ok("dynamic.tool.get", json!({"name": "a.tool"})).await;
    rig.ok("dynamic.tool.delete", json!({"name": "a.tool"}))
        .await;
    rig.refused(
        "dynamic.tool.delete",
        json!({"name": 7}),
        "invalid_argument",
    )
    .await;
    for built_in in ["system.health", "time.now", "system.guard_metrics"] {
        rig.ok(built_in, json!({})).await;
    }
    let on_disk = testkit::audit::records(&audited.path()).len();
    assert_eq!(on_disk, 1 + 13, "each was on the disk before its answer");
    let records = audited.records().await;
    assert_eq!(
        lines(&records),
        [
            "dynamic.tool.create a.tool begun -",
            "dynamic.tool.create a.tool success -",
            "dynamic.tool.update a.tool begun -",
            "dynamic.tool.update a.tool success -",
            "dynamic.tool.update a.tool begun -",
            "dynamic.tool.update a.tool error revision_conflict",
            "dynamic.tool.disable a.tool begun -",
            "dynamic.tool.disable a.tool success -",
            "dynamic.tool.enable a.tool begun -",
            "dynamic.tool.enable a.tool success -",
            "dynamic.tool.delete a.tool begun -",
            "dynamic.tool.delete a.tool success -",
            "dynamic.tool.delete - error invalid_argument",
        ]
    );
    let asked = &records[0]["details"];
    assert_eq!(asked["title"], "T");
    assert_eq!(asked["codeBytes"], "return 1;".len());
    assert_eq!(asked["inputSchema"]["properties"]["apiKey"], "[REDACTED]");
    assert_eq!(asked.get("code"), None);
    assert_eq!(records[1]["details"]["revision"], 1);
    assert_eq!(records[2]["details"]["expectedRevision"], 1);
    assert_eq!(records[3]["details"]["revision"], 2);
    for pair in records[..12].chunks(2) {
        assert_eq!(pair[0]["callId"], pair[1]["callId"]);
        assert_eq!(pair[0]["requestId"], "request-1");
        assert_eq!(
            pair[0]["actor"],
            json!({"subject": "anonymous", "tenant": "default"})
        );
        assert!(pair[0].get("durationMs").is_none() && pair[1]["durationMs"].is_f64());
    }
}

#[tokio::test]
async fn every_execution_has_its_begin_and_its_end() {
    let audited = Audited::new(OnFailure::Deny, |_| {}).await;
    let rig = &audited.rig;
    rig.create("a.tool", json!({})).await;
    rig.ok("a.tool", json!({"args": {"password": "canary-1"}}))
        .await;
    rig.ok("run_js_ephemeral", json!({"code": "return 'canary-2';"}))
        .await;
    rig.executor.refuse_with(Error::unavailable("executor"));
    rig.refused("a.tool", json!({}), "unavailable").await;
    rig.executor
        .play([Step::accepted(), Step::Wait(Duration::from_secs(3600))]);
    let (notify, _unheard) = mpsc::channel(8);
    let call = rig
        .gateway
        .call_tool(tool_call("a.tool", json!({})), notify);
    let cancelled = tokio::time::timeout(Duration::from_millis(100), call).await;
    assert!(cancelled.is_err());
    rig.unknown(tool_call("no.tool", json!({}))).await;
    let text = std::fs::read_to_string(audited.path()).unwrap();
    let records = audited.records().await.split_off(2);
    assert_eq!(
        lines(&records),
        [
            "dynamic.exec a.tool begun -",
            "dynamic.exec a.tool success -",
            "run_js_ephemeral - begun -",
            "run_js_ephemeral - success -",
            "dynamic.exec a.tool begun -",
            "dynamic.exec a.tool error unavailable",
            "dynamic.exec a.tool begun -",
            "dynamic.exec a.tool error cancelled",
        ]
    );
    assert_eq!(records[0]["details"]["revision"], 1);
    assert_eq!(records[1]["details"]["engine"], "isolate");
    assert_eq!(records[2]["details"]["dependencyCount"], 0);
    assert_eq!(
        records[2]["details"]["codeSha256"].as_str().unwrap().len(),
        64
    );
    assert!(
        !text.contains("canary"),
        "neither arguments nor code: {text}"
    );
}

#[tokio::test]
async fn refusals_are_recorded_with_their_reason() {
    let token = "golden-admin-token";
    let audited = Audited::new(OnFailure::Deny, |settings| {
        settings.admin_token = Some(token.into());
        settings.guard.max_calls_per_window = 3;
    })
    .await;
    let rig = &audited.rig;
    let tool = json!({"name": "a.tool", "description": "d", "code": "return 1;",
        "requiredScopes": ["team:special"]});
    let mut create = json!({ "tool": tool });
    for wrong in [json!({}), json!({"adminToken": "canary-3"})] {
        let mut create = create.clone();
        merge(&mut create, wrong);
        rig.refused("dynamic.tool.create", create, "permission_denied")
            .await;
    }
    rig.refused("dynamic.tool.list", json!({}), "permission_denied")
        .await;
    merge(&mut create, json!({ "adminToken": token }));
    rig.ok("dynamic.tool.create", create.clone()).await;
    rig.refused("dynamic.tool.create", create, "rate_limited")
        .await;
    rig.unknown(tool_call("a.tool", json!({}))).await;
    let mut insider = Principal::anonymous(CALLER);
    insider.scopes.insert("team:special".to_owned());
    insider.subject = "jane".to_owned();
    insider.client_id = Some("client-7".to_owned());
    for code in [None, None, None, Some("rate_limited")] {
        let call = tool_call_as(insider.clone(), "a.tool", json!({}));
        let answer = rig.send(call).await.unwrap();
        assert_eq!(answer.structured["code"].as_str(), code);
    }
    let text = std::fs::read_to_string(audited.path()).unwrap();
    let records = audited.records().await;
    let mut expected = vec![
        "dynamic.tool.create a.tool begun -",
        "dynamic.tool.create a.tool denied permission_denied",
        "dynamic.tool.create a.tool begun -",
        "dynamic.tool.create a.tool denied permission_denied",
        "dynamic.tool.list - denied permission_denied",
        "dynamic.tool.create a.tool begun -",
        "dynamic.tool.create a.tool success -",
        "dynamic.tool.create a.tool denied rate_limited",
        "dynamic.exec a.tool denied permission_denied",
    ];
    expected.extend(
        [
            "dynamic.exec a.tool begun -",
            "dynamic.exec a.tool success -",
        ]
        .repeat(3),
    );
    expected.push("dynamic.exec a.tool denied rate_limited");
    assert_eq!(lines(&records), expected);
    let jane = json!({"subject": "jane", "clientId": "client-7", "tenant": "default"});
    assert_eq!(records.last().unwrap()["actor"], jane);
    assert!(!text.contains("canary") && !text.contains(token), "{text}");
}

#[tokio::test]
async fn without_a_log_nothing_is_done_and_it_heals() {
    for on_failure in [OnFailure::Deny, OnFailure::Allow] {
        let audited = Audited::new(on_failure, |_| {}).await;
        let rig = &audited.rig;
        rig.create("a.tool", json!({})).await;
        let (before, revision) = (rig.executor.calls().len(), 1);
        audited.break_disk().await;
        if on_failure == OnFailure::Deny {
            let refused = rig.refused("a.tool", json!({}), "unavailable").await;
            assert!(
                refused["error"].as_str().unwrap().contains("audit log"),
                "{refused}"
            );
            assert_eq!(refused["mayHaveRun"], false);
            assert!(refused["retryAfterMs"].is_u64());
            rig.refused(
                "run_js_ephemeral",
                json!({"code": "return 1;"}),
                "unavailable",
            )
            .await;
            assert_eq!(rig.executor.calls().len(), before, "nothing ran");
        } else {
            rig.ok("a.tool", json!({})).await;
        }
        for (tool, arguments) in [
            (
                "dynamic.tool.create",
                json!({"tool": {"name": "b.tool", "description": "d", "code": "c"}}),
            ),
            (
                "dynamic.tool.update",
                json!({"name": "a.tool", "patch": {"title": "T"}}),
            ),
            (
                "dynamic.tool.enable",
                json!({"name": "a.tool", "enabled": false}),
            ),
            ("dynamic.tool.delete", json!({"name": "a.tool"})),
            // A wrong guess must not be told from a right one.
            ("dynamic.tool.delete", json!({"name": 7})),
        ] {
            rig.refused(tool, arguments, "unavailable").await;
        }
        // What says how things are goes on.
        rig.ok("time.now", json!({})).await;
        let kept = rig.ok("dynamic.tool.get", json!({"name": "a.tool"})).await;
        assert_eq!(kept.structured["tool"]["revision"], revision);
        assert_eq!(rig.listed(), ["a.tool"]);
        audited.mend_disk().await;
        rig.ok("a.tool", json!({})).await;
        rig.ok("dynamic.tool.delete", json!({"name": "a.tool"}))
            .await;
        let records = audited.records().await;
        assert_eq!(
            line(records.last().unwrap()),
            "dynamic.tool.delete a.tool success -"
        );
    }
}

/// A registry whose `create` takes the audit log's directory away.
struct Vanishing {
    inner: testkit::FakeCatalog,
    folder: PathBuf,
}

#[async_trait]
impl Catalog for Vanishing {
    async fn create(&self, context: &CallContext, draft: ToolDraft) -> Result<ToolRecord> {
        std::fs::rename(self.folder.join("logs"), self.folder.join("away")).unwrap();
        self.inner.create(context, draft).await
    }

    async fn update(
        &self,
        context: &CallContext,
        name: &ToolName,
        patch: ToolPatch,
        expected: Option<Revision>,
    ) -> Result<ToolRecord> {
        self.inner.update(context, name, patch, expected).await
    }

    async fn delete(
        &self,
        context: &CallContext,
        name: &ToolName,
        expected: Option<Revision>,
    ) -> Result<Deleted> {
        self.inner.delete(context, name, expected).await
    }

    async fn get(
        &self,
        context: &CallContext,
        name: &ToolName,
        revision: Option<Revision>,
    ) -> Result<ToolWithCode> {
        self.inner.get(context, name, revision).await
    }

    async fn code(
        &self,
        context: &CallContext,
        name: &ToolName,
        revision: Revision,
    ) -> Result<Arc<str>> {
        self.inner.code(context, name, revision).await
    }

    async fn lock(
        &self,
        context: &CallContext,
        name: &ToolName,
        revision: Revision,
    ) -> Result<Option<domain::Lockfile>> {
        self.inner.lock(context, name, revision).await
    }
    async fn set_lock(
        &self,
        context: &CallContext,
        name: &ToolName,
        revision: Revision,
        lock: domain::Lockfile,
    ) -> Result<domain::Lockfile> {
        self.inner.set_lock(context, name, revision, lock).await
    }

    async fn watch(&self, context: &CallContext, since: CatalogVersion) -> Result<ChangeStream> {
        self.inner.watch(context, since).await
    }
}

#[tokio::test]
async fn a_change_that_was_made_and_not_recorded_says_so() {
    let audited = Audited::new(OnFailure::Deny, |_| {}).await;
    let registry = Arc::new(Vanishing {
        inner: testkit::FakeCatalog::default(),
        folder: audited.folder.path().to_owned(),
    });
    let log = audited.rig.gateway.audit().clone();
    let runner = Arc::new(FakeRunner::answering("1"));
    let (gateway, _) = gateway_with(log, Settings::default(), registry, runner);
    let tool = json!({"name": "b.tool", "description": "d", "code": "c"});
    let (notify, _unheard) = mpsc::channel(8);
    let call = tool_call("dynamic.tool.create", json!({ "tool": tool }));
    let told = shown(gateway.call_tool(call, notify).await.unwrap()).structured;
    assert_eq!(
        (&told["code"], &told["mayHaveRun"]),
        (&json!("unavailable"), &json!(true))
    );
    assert!(
        told["error"].as_str().unwrap().contains("was made"),
        "{told}"
    );
    audited.mend_disk().await;
    let records = audited.records().await;
    assert_eq!(
        line(records.last().unwrap()),
        "dynamic.tool.create b.tool success -"
    );
}

#[tokio::test]
async fn an_answer_from_the_cache_is_recorded_or_refused() {
    let audited = Audited::new(OnFailure::Deny, |_| {}).await;
    let cached = json!({"cache": {"ttlSeconds": 60}});
    audited.rig.create("a.tool", cached).await;
    audited.rig.ok("a.tool", json!({})).await;
    let again = audited.rig.ok("a.tool", json!({})).await;
    assert_eq!(again.meta["dynamic-mcp/cache"]["hit"], true);
    audited.break_disk().await;
    let call = ("a.tool", json!({}), "unavailable");
    audited.rig.refused(call.0, call.1, call.2).await;
    audited.mend_disk().await;
    audited.rig.ok("a.tool", json!({})).await;
    assert_eq!(audited.rig.executor.calls().len(), 1, "nothing ran again");
}
