//! The core behind the port of the MCP edges.

use std::sync::Arc;

use async_trait::async_trait;
use domain::principal::{Action, authorize};
use domain::{CallContext, Principal, RawValue, Scope, TenantId};
use tokio::sync::{mpsc, watch};

use crate::gateway::Gateway;
use crate::mcp::{CompletionRequest, Operations, Page, ParamHeader, PromptResult};
use crate::operations::{Check, Features, Notification, ProtocolError, ToolCall, ToolResult};

#[async_trait]
impl Operations for Gateway {
    async fn call_tool(
        &self,
        call: ToolCall,
        notifications: mpsc::Sender<Notification>,
    ) -> Result<ToolResult, ProtocolError> {
        Gateway::call_tool(self, call, notifications).await
    }

    async fn list_tools(
        &self,
        principal: &Principal,
        cursor: Option<&str>,
    ) -> Result<Page, ProtocolError> {
        Gateway::list_tools(self, principal, cursor)
    }

    fn param_headers(&self, principal: &Principal, tool: &str) -> Arc<[ParamHeader]> {
        let entry = self.catalogue().find(&principal.tenant, tool);
        let entry = entry.filter(|entry| {
            let action = Action::UseTool(&entry.record.spec.required_scopes);
            entry.served() && authorize(principal, action).is_ok()
        });
        entry
            .map(|entry| Arc::clone(&entry.param_headers))
            .unwrap_or_default()
    }

    fn missing_scope(
        &self,
        principal: &Principal,
        method: &str,
        tool: Option<&str>,
        arguments: Option<&RawValue>,
    ) -> Option<Scope> {
        Gateway::missing_scope(self, principal, method, tool, arguments)
    }

    async fn list_resources(
        &self,
        principal: &Principal,
        cursor: Option<&str>,
    ) -> Result<Page, ProtocolError> {
        Gateway::list_resources(self, principal, cursor)
    }

    async fn list_resource_templates(
        &self,
        principal: &Principal,
        cursor: Option<&str>,
    ) -> Result<Page, ProtocolError> {
        Gateway::list_resource_templates(self, principal, cursor)
    }

    async fn read_resource(
        &self,
        context: CallContext,
        uri: &str,
    ) -> Result<Box<RawValue>, ProtocolError> {
        Gateway::read_resource(self, &context, uri)
    }

    async fn list_prompts(
        &self,
        principal: &Principal,
        cursor: Option<&str>,
    ) -> Result<Page, ProtocolError> {
        Gateway::list_prompts(self, principal, cursor)
    }

    async fn get_prompt(
        &self,
        context: CallContext,
        name: &str,
        arguments: serde_json::Map<String, serde_json::Value>,
    ) -> Result<PromptResult, ProtocolError> {
        Gateway::get_prompt(self, &context, name, arguments)
    }

    async fn complete(
        &self,
        context: CallContext,
        request: CompletionRequest,
    ) -> Result<Vec<String>, ProtocolError> {
        Gateway::complete(self, &context, &request)
    }

    fn changes(&self, tenant: &TenantId) -> watch::Receiver<u64> {
        self.subscribe(tenant)
    }

    fn features(&self) -> Features {
        Gateway::features(self)
    }

    fn elevate(&self, principal: &Arc<Principal>, admin_token: &str) -> Option<Arc<Principal>> {
        Gateway::elevate(self, principal, admin_token)
    }

    async fn health(&self) -> Vec<Check> {
        Gateway::health(self)
    }
}
