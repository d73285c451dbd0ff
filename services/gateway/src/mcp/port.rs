//! What the edges ask of the gateway's core, and nothing more: the core implements it, and so does
//! the fake that the tests of the edges run against.

use std::sync::Arc;

use async_trait::async_trait;
use domain::call::CallContext;
use domain::principal::{Principal, Scope};
use domain::{RawValue, TenantId};
use tokio::sync::{mpsc, watch};

use crate::mcp::params::ParamHeader;
use crate::operations::{Check, Features, Notification, ProtocolError, ToolCall, ToolResult};

/// One page of a list, already in the form of the wire.
#[derive(Debug, Clone)]
pub struct Page {
    /// A JSON array, serialised when the catalogue changed and not when it is asked for.
    pub items: Arc<RawValue>,
    /// The cursor of the next page; `None` on the last one.
    pub next_cursor: Option<String>,
}

/// The result of `prompts/get`.
#[derive(Debug, Clone)]
pub struct PromptResult {
    /// What the prompt is for.
    pub description: Option<String>,
    /// JSON array of prompt messages.
    pub messages: Box<RawValue>,
}

/// One `completion/complete`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompletionRequest {
    /// Name of the prompt, or URI (template) of the resource.
    pub reference: CompletionReference,
    /// The argument that is being typed.
    pub argument: String,
    /// What was typed so far.
    pub value: String,
}

/// What a completion is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CompletionReference {
    /// An argument of this prompt.
    Prompt(String),
    /// A variable of this resource template.
    Resource(String),
}

/// The core as its edges see it. Every method is called with a verified principal; authorisation
/// is the core's.
#[async_trait]
pub trait Operations: Send + Sync + 'static {
    /// Calls a tool. Dropping the future cancels the call. Notifications that were sent before the
    /// future is ready reach the client before the result.
    ///
    /// # Errors
    /// Unknown tool, malformed request or a fault of ours; everything else is a result.
    async fn call_tool(
        &self,
        call: ToolCall,
        notifications: mpsc::Sender<Notification>,
    ) -> Result<ToolResult, ProtocolError>;

    /// One page of `tools/list`.
    ///
    /// # Errors
    /// -32602 for a cursor that is not ours.
    async fn list_tools(
        &self,
        principal: &Principal,
        cursor: Option<&str>,
    ) -> Result<Page, ProtocolError>;

    /// The arguments of a tool that travel in `Mcp-Param-*` headers too, kept per revision; empty
    /// for a tool that this caller may not see.
    fn param_headers(&self, principal: &Principal, tool: &str) -> Arc<[ParamHeader]>;

    /// The scope that the caller lacks for a method or for a built-in; over HTTP that is a 403. The
    /// scopes that a tool requires on its own are none of these.
    fn missing_scope(
        &self,
        principal: &Principal,
        method: &str,
        tool: Option<&str>,
        arguments: Option<&RawValue>,
    ) -> Option<Scope>;

    /// One page of `resources/list`.
    ///
    /// # Errors
    /// -32602 for a cursor that is not ours.
    async fn list_resources(
        &self,
        principal: &Principal,
        cursor: Option<&str>,
    ) -> Result<Page, ProtocolError>;

    /// One page of `resources/templates/list`.
    ///
    /// # Errors
    /// -32602 for a cursor that is not ours.
    async fn list_resource_templates(
        &self,
        principal: &Principal,
        cursor: Option<&str>,
    ) -> Result<Page, ProtocolError>;

    /// The `contents` array of a resource.
    ///
    /// # Errors
    /// -32602 with `data.uri` for an unknown resource.
    async fn read_resource(
        &self,
        context: CallContext,
        uri: &str,
    ) -> Result<Box<RawValue>, ProtocolError>;

    /// One page of `prompts/list`.
    ///
    /// # Errors
    /// -32602 for a cursor that is not ours.
    async fn list_prompts(
        &self,
        principal: &Principal,
        cursor: Option<&str>,
    ) -> Result<Page, ProtocolError>;

    /// A prompt with its arguments filled in.
    ///
    /// # Errors
    /// -32602 for an unknown prompt or missing arguments.
    async fn get_prompt(
        &self,
        context: CallContext,
        name: &str,
        arguments: serde_json::Map<String, serde_json::Value>,
    ) -> Result<PromptResult, ProtocolError>;

    /// Suggestions for an argument, at most 100, best first.
    ///
    /// # Errors
    /// -32602 for an unknown prompt or resource.
    async fn complete(
        &self,
        context: CallContext,
        request: CompletionRequest,
    ) -> Result<Vec<String>, ProtocolError>;

    /// A number that grows whenever `tools/list` may have changed for this tenant.
    fn changes(&self, tenant: &TenantId) -> watch::Receiver<u64>;

    /// Which parts of MCP the profile has.
    fn features(&self) -> Features;

    /// The principal that holds `mcp:admin` besides, when the token is the configured one. The
    /// comparison takes the same time for every token.
    fn elevate(&self, principal: &Arc<Principal>, admin_token: &str) -> Option<Arc<Principal>>;

    /// What `/readyz` and the health page say.
    async fn health(&self) -> Vec<Check>;
}
