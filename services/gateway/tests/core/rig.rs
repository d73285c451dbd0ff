//! A gateway over a fake registry and a fake executor.

use std::sync::Arc;
use std::time::Duration;

use domain::{CallContext, Catalog, Principal, RequestId, Scope};
use gateway::Gateway;
use gateway::audit::AuditLog;
use gateway::operations::{Notification, ProtocolError, ToolCall, ToolResult};
use gateway::settings::{Parts, Profile, Settings};
use serde_json::{Value, json};
use telemetry::{BuildInfo, Metrics};
use testkit::{FakeCatalog, FakeRunner, FakeSessions};
use tokio::sync::mpsc;

/// Everything that a caller on loopback may do, the admin's rights aside.
pub(crate) const CALLER: &[Scope] = &[
    Scope::Invoke,
    Scope::ToolsRead,
    Scope::ToolsWrite,
    Scope::Sandbox,
];

pub(crate) struct Rig {
    pub(crate) gateway: Gateway,
    pub(crate) registry: Arc<FakeCatalog>,
    pub(crate) executor: Arc<FakeRunner>,
    pub(crate) sessions: Arc<FakeSessions>,
    pub(crate) metrics: Arc<Metrics>,
}

/// A gateway of the enterprise profile, synced, with these changes to the default settings.
pub(crate) async fn rig(change: impl FnOnce(&mut Settings)) -> Rig {
    rig_with(AuditLog::default(), change).await
}

/// As [`rig`], with an audit log.
pub(crate) async fn rig_with(audit: AuditLog, change: impl FnOnce(&mut Settings)) -> Rig {
    let registry = Arc::new(FakeCatalog::default());
    let executor = Arc::new(FakeRunner::answering(r#"{"sum":5}"#));
    let mut settings = Settings {
        profile: Profile::Enterprise,
        ..Settings::default()
    };
    change(&mut settings);
    let sessions = Arc::new(FakeSessions::new("fake"));
    let ports = (executor.clone(), sessions.clone());
    let (gateway, metrics) = gateway_over(audit, settings, registry.clone(), ports);
    assert!(gateway.synced(Duration::from_secs(5)).await);
    Rig {
        gateway,
        registry,
        executor,
        sessions,
        metrics,
    }
}

pub(crate) fn gateway(
    settings: Settings,
    catalog: Arc<dyn Catalog>,
    runner: Arc<FakeRunner>,
) -> (Gateway, Arc<Metrics>) {
    gateway_with(AuditLog::default(), settings, catalog, runner)
}

pub(crate) fn gateway_with(
    audit: AuditLog,
    settings: Settings,
    catalog: Arc<dyn Catalog>,
    runner: Arc<FakeRunner>,
) -> (Gateway, Arc<Metrics>) {
    let sessions = Arc::new(FakeSessions::new("fake"));
    gateway_over(audit, settings, catalog, (runner, sessions))
}

fn gateway_over(
    audit: AuditLog,
    settings: Settings,
    catalog: Arc<dyn Catalog>,
    (runner, sessions): (Arc<FakeRunner>, Arc<FakeSessions>),
) -> (Gateway, Arc<Metrics>) {
    let metrics = Metrics::new(BuildInfo {
        service: "gateway",
        version: "0",
        commit: "unknown",
    });
    let metrics = Arc::new(metrics.unwrap());
    let parts = Parts {
        settings,
        catalog,
        runner,
        sessions,
        placement: None,
        metrics: Arc::clone(&metrics),
        audit,
    };
    (Gateway::new(parts).unwrap(), metrics)
}

/// A call by a caller of [`CALLER`].
pub(crate) fn tool_call(name: &str, arguments: Value) -> ToolCall {
    tool_call_as(Principal::anonymous(CALLER), name, arguments)
}

pub(crate) fn tool_call_as(principal: Principal, name: &str, arguments: Value) -> ToolCall {
    let request = RequestId::accept("request-1").unwrap();
    ToolCall {
        context: CallContext::new(Arc::new(principal), request, Duration::from_secs(20)),
        name: name.to_owned(),
        arguments: Some(testkit::raw(&arguments.to_string())),
        log_level: None,
        wants_progress: false,
        client_capabilities: None,
    }
}

/// A result in a form that is easy to look at.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) content: Value,
    pub(crate) structured: Value,
    pub(crate) is_error: bool,
    pub(crate) meta: Value,
}

impl Shown {
    pub(crate) fn text(&self) -> &str {
        self.content[0]["text"].as_str().unwrap_or_default()
    }
}

pub(crate) fn shown(result: ToolResult) -> Shown {
    let value = |raw: &domain::RawValue| serde_json::from_str(raw.get()).unwrap();
    Shown {
        content: value(&result.content),
        structured: result
            .structured_content
            .as_deref()
            .map_or(Value::Null, value),
        is_error: result.is_error,
        meta: json!(result.meta),
    }
}

impl Rig {
    pub(crate) async fn send(&self, call: ToolCall) -> Result<Shown, ProtocolError> {
        let (notify, _unheard) = mpsc::channel::<Notification>(8);
        self.gateway.call_tool(call, notify).await.map(shown)
    }

    /// Calls a tool that has to succeed.
    pub(crate) async fn ok(&self, name: &str, arguments: Value) -> Shown {
        let shown = self.send(tool_call(name, arguments)).await.unwrap();
        assert!(!shown.is_error, "{name}: {}", shown.text());
        shown
    }

    /// Calls a tool that has to fail with this code; gives its `structuredContent`.
    pub(crate) async fn refused(&self, name: &str, arguments: Value, code: &str) -> Value {
        let shown = self.send(tool_call(name, arguments)).await.unwrap();
        assert!(shown.is_error, "{name} succeeded: {shown:?}");
        assert_eq!(shown.structured["code"], code, "{}", shown.text());
        assert_eq!(shown.structured["ok"], false);
        assert!(shown.structured["durationMs"].is_u64());
        shown.structured
    }

    pub(crate) async fn unknown(&self, call: ToolCall) {
        let name = call.name.clone();
        let error = self.send(call).await.unwrap_err();
        assert_eq!(
            (error.code, error.message),
            (-32602, format!("Unknown tool: {name}"))
        );
    }

    pub(crate) async fn create(&self, name: &str, more: Value) -> Value {
        let mut tool = json!({"name": name, "description": "d", "code": "return 1;"});
        merge(&mut tool, more);
        self.ok("dynamic.tool.create", json!({ "tool": tool }))
            .await
            .structured["tool"]
            .clone()
    }

    /// Names of all that `tools/list` shows to a caller of [`CALLER`], built-ins aside.
    pub(crate) fn listed(&self) -> Vec<String> {
        listed(&self.gateway, &Principal::anonymous(CALLER))
    }
}

pub(crate) fn merge(into: &mut Value, more: Value) {
    if let (Some(into), Value::Object(more)) = (into.as_object_mut(), more) {
        into.extend(more);
    }
}

pub(crate) fn listed(gateway: &Gateway, principal: &Principal) -> Vec<String> {
    let mut names = Vec::new();
    let mut cursor = None;
    loop {
        let page = gateway.list_tools(principal, cursor.as_deref()).unwrap();
        let tools: Vec<Value> = serde_json::from_str(page.items.get()).unwrap();
        names.extend(
            tools
                .iter()
                .map(|tool| tool["name"].as_str().unwrap().to_owned()),
        );
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    names.retain(|name| !domain::name::BUILT_INS.contains(&name.as_str()));
    names
}
