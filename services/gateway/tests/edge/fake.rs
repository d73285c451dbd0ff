//! A core with a handful of tools, each there to show one behaviour of the edges.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use domain::call::CallContext;
use domain::principal::{Principal, Scope};
use domain::runner::LogLevel;
use domain::{RawValue, TenantId};
use gateway::mcp::{CompletionRequest, Operations, Page, ParamHeader, PromptResult};
use gateway::operations::{Check, Features, Notification, ProtocolError, ToolCall, ToolResult};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use tokio::sync::{mpsc, watch};

pub(crate) const ADMIN_TOKEN: &str = "correct horse";

pub(crate) struct Fake {
    pub(crate) calls: AtomicUsize,
    /// Calls that began and have neither ended nor been dropped.
    pub(crate) running: Arc<AtomicUsize>,
    pub(crate) last: Mutex<Option<CallContext>>,
    pub(crate) changes: Mutex<HashMap<TenantId, watch::Sender<u64>>>,
    pub(crate) healthy: Mutex<bool>,
    pub(crate) enterprise: Mutex<bool>,
}

struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

pub(crate) fn raw(value: &Value) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).unwrap()
}

fn text(text: &str, structured: Option<Box<RawValue>>) -> ToolResult {
    ToolResult {
        content: raw(&json!([{"type": "text", "text": text}])),
        structured_content: structured,
        is_error: false,
        meta: Map::new(),
    }
}

impl Fake {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            calls: AtomicUsize::new(0),
            running: Arc::default(),
            last: Mutex::new(None),
            changes: Mutex::default(),
            healthy: Mutex::new(true),
            enterprise: Mutex::new(true),
        })
    }

    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    pub(crate) fn running(&self) -> usize {
        self.running.load(Ordering::SeqCst)
    }

    pub(crate) fn change(&self) {
        self.change_for(&TenantId::default());
    }

    pub(crate) fn change_for(&self, tenant: &TenantId) {
        let mut changes = self.changes.lock();
        let sender = changes.entry(tenant.clone()).or_default();
        sender.send_modify(|version| *version += 1);
    }
}

fn progress(progress: f64) -> Notification {
    Notification::Progress {
        progress,
        total: Some(3.0),
        message: Some("half\nway".to_owned()),
    }
}

fn log(level: LogLevel, data: &Value) -> Notification {
    Notification::Log {
        level,
        logger: "notes".to_owned(),
        data: raw(data),
    }
}

#[async_trait]
impl Operations for Fake {
    async fn call_tool(
        &self,
        call: ToolCall,
        notes: mpsc::Sender<Notification>,
    ) -> Result<ToolResult, ProtocolError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.running.fetch_add(1, Ordering::SeqCst);
        let _running = Running(Arc::clone(&self.running));
        *self.last.lock() = Some(call.context.clone());
        let arguments = call.arguments.unwrap_or_else(|| raw(&json!({})));
        match call.name.as_str() {
            "echo" => Ok(text("echo", Some(arguments))),
            "region" => Ok(text("region", None)),
            "whoami" => {
                let is_admin = call.context.principal.has(Scope::Admin);
                Ok(text("you", Some(raw(&json!({ "admin": is_admin })))))
            }
            "fails" => {
                let mut result = text(
                    "no",
                    Some(raw(&json!({"ok": false, "code": "tool_failed"}))),
                );
                result.is_error = true;
                result
                    .meta
                    .insert("dynamic-mcp/engine".to_owned(), json!("isolate"));
                Ok(result)
            }
            "framing" => {
                let nasty = "{\n\"a\":\r\n\"\\n\\ndata: {}\\n\\n\"}".to_owned();
                notes.send(progress(1.0)).await.ok();
                Ok(text("framing", Some(RawValue::from_string(nasty).unwrap())))
            }
            "notes" => {
                for step in 1..=3 {
                    if let Some(least) = call.log_level {
                        for level in [LogLevel::Debug, LogLevel::Info, LogLevel::Error] {
                            if level >= least {
                                notes.send(log(level, &json!({ "step": step }))).await.ok();
                            }
                        }
                    }
                    if call.wants_progress {
                        notes.send(progress(f64::from(step))).await.ok();
                    }
                }
                Ok(text("done", None))
            }
            "slow" => {
                tokio::time::sleep(Duration::from_secs(40)).await;
                Ok(text("slow", None))
            }
            "hang" => std::future::pending().await,
            "panics" => panic!("a fault of the core"),
            "internal" => Err(ProtocolError::internal(&call.context.request_id)),
            name => Err(ProtocolError::invalid_params(format!(
                "unknown tool: {name}"
            ))),
        }
    }

    async fn list_tools(
        &self,
        _principal: &Principal,
        cursor: Option<&str>,
    ) -> Result<Page, ProtocolError> {
        let tool = |name: &str| json!({"name": name, "description": "d".repeat(900), "inputSchema": {"type": "object"}});
        let (names, next_cursor) = match cursor {
            None => (["echo", "fails"], Some("2".to_owned())),
            Some("2") => (["notes", "slow"], None),
            Some(_) => return Err(ProtocolError::invalid_params("params.cursor is not ours")),
        };
        let items = raw(&json!(names.map(tool)));
        Ok(Page {
            items: items.into(),
            next_cursor,
        })
    }

    fn param_headers(&self, _principal: &Principal, tool: &str) -> Arc<[ParamHeader]> {
        if tool != "region" {
            return Arc::from([]);
        }
        ParamHeader::of_schema(&json!({
            "properties": {"region": {"type": "string", "x-mcp-header": "Region"}},
        }))
    }

    fn missing_scope(
        &self,
        principal: &Principal,
        method: &str,
        tool: Option<&str>,
        _arguments: Option<&RawValue>,
    ) -> Option<Scope> {
        let needed = match (method, tool) {
            ("tools/call", Some("writes")) => Scope::ToolsWrite,
            ("tools/call" | "resources/list", _) => Scope::Invoke,
            _ => return None,
        };
        (!principal.has(needed)).then_some(needed)
    }

    async fn list_resources(
        &self,
        _principal: &Principal,
        _cursor: Option<&str>,
    ) -> Result<Page, ProtocolError> {
        let items = raw(&json!([{"uri": "test://static", "name": "static"}]));
        Ok(Page {
            items: items.into(),
            next_cursor: None,
        })
    }

    async fn list_resource_templates(
        &self,
        _principal: &Principal,
        _cursor: Option<&str>,
    ) -> Result<Page, ProtocolError> {
        Ok(Page {
            items: raw(&json!([])).into(),
            next_cursor: None,
        })
    }

    async fn read_resource(
        &self,
        _context: CallContext,
        uri: &str,
    ) -> Result<Box<RawValue>, ProtocolError> {
        match uri {
            "test://static" => Ok(raw(
                &json!([{"uri": uri, "mimeType": "text/plain", "text": "hello"}]),
            )),
            "test://slow" => {
                tokio::time::sleep(Duration::from_secs(3)).await;
                Ok(raw(
                    &json!([{"uri": uri, "mimeType": "text/plain", "text": "late"}]),
                ))
            }
            _ => {
                let mut error = ProtocolError::invalid_params("unknown resource");
                error.data = Some(json!({ "uri": uri }));
                Err(error)
            }
        }
    }

    async fn list_prompts(
        &self,
        _principal: &Principal,
        _cursor: Option<&str>,
    ) -> Result<Page, ProtocolError> {
        let items = raw(&json!([{"name": "checklist", "arguments": [{"name": "toolName"}]}]));
        Ok(Page {
            items: items.into(),
            next_cursor: None,
        })
    }

    async fn get_prompt(
        &self,
        _context: CallContext,
        name: &str,
        arguments: Map<String, Value>,
    ) -> Result<PromptResult, ProtocolError> {
        if name != "checklist" {
            return Err(ProtocolError::invalid_params("unknown prompt"));
        }
        let said = format!(
            "check {}",
            arguments["toolName"].as_str().unwrap_or_default()
        );
        let messages = json!([{"role": "user", "content": {"type": "text", "text": said}}]);
        Ok(PromptResult {
            description: Some("a list".to_owned()),
            messages: raw(&messages),
        })
    }

    async fn complete(
        &self,
        _context: CallContext,
        request: CompletionRequest,
    ) -> Result<Vec<String>, ProtocolError> {
        Ok(vec![format!("{}-completed", request.value)])
    }

    fn changes(&self, tenant: &TenantId) -> watch::Receiver<u64> {
        let mut changes = self.changes.lock();
        changes.entry(tenant.clone()).or_default().subscribe()
    }

    fn features(&self) -> Features {
        {
            let there = *self.enterprise.lock();
            Features {
                resources: there,
                prompts: there,
            }
        }
    }

    fn elevate(&self, _principal: &Arc<Principal>, admin_token: &str) -> Option<Arc<Principal>> {
        (admin_token == ADMIN_TOKEN).then(|| Arc::new(Principal::anonymous(Scope::OUTSIDE)))
    }

    async fn health(&self) -> Vec<Check> {
        let healthy = *self.healthy.lock();
        let detail = Map::from_iter([("version".to_owned(), json!(3))]);
        vec![Check {
            name: "registry",
            healthy,
            needed: true,
            detail,
        }]
    }
}
