//! rmcp's handler over the same core: everything on stdio, the cold methods over HTTP.
#![expect(
    deprecated,
    reason = "older clients still get log messages and set their level"
)]

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use domain::RequestId;
use domain::principal::Principal;
use rmcp::model::{
    CacheScope, CallToolRequestParams, CallToolResponse, CompleteRequestParams, CompleteResult,
    CompletionInfo, CustomRequest, CustomResult, DiscoverResult, ErrorCode, ErrorData,
    GetPromptRequestParams, GetPromptResponse, GetPromptResult, Implementation,
    InitializeRequestParams, InitializeResult, ListPromptsResult, ListResourceTemplatesResult,
    ListResourcesResult, ListToolsResult, PaginatedRequestParams, ProtocolVersion,
    ReadResourceRequestParams, ReadResourceResponse, ReadResourceResult, Reference,
    ServerCapabilities, ServerConfig, SetLevelRequestParams, SubscriptionFilter,
};
use rmcp::service::{NotificationContext, SubscriptionContext};
use rmcp::{RoleServer, ServerHandler};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::port::{CompletionReference, CompletionRequest, Operations, Page};
use super::refusal::with_request_id;
use super::request::Origin;
use super::validity::Validity;
use super::version::Version;
use super::write::LIST_TTL_MS;

mod context;
mod tool;

use context::{Context, cursor, declared, fault, is_modern, stamp, trace, within};

/// How long changes of the catalogue are gathered before a client is told once.
const GATHER: Duration = Duration::from_millis(100);

/// What the server says of itself.
pub(crate) fn implementation() -> Implementation {
    Implementation::new("dynamic-mcp", env!("CARGO_PKG_VERSION"))
}

/// Where a handler gets the caller of a request from.
#[derive(Debug, Clone)]
pub(crate) enum Wire {
    /// From the layers in front of the endpoint; each request is alone.
    Http,
    /// One caller for the whole process; requests live within `timeout`.
    Stdio {
        principal: Arc<Principal>,
        timeout: Duration,
    },
}

/// The handler; cloned for every request over HTTP.
#[derive(Clone)]
pub(crate) struct Handler {
    operations: Arc<dyn Operations>,
    wire: Wire,
    closing: CancellationToken,
    /// Whether an older client on pipes is being told of changes: once is enough.
    tells: Arc<AtomicBool>,
    /// The tool calls that run.
    calls: TaskTracker,
}

impl Handler {
    pub(crate) fn new(
        operations: Arc<dyn Operations>,
        wire: Wire,
        closing: CancellationToken,
    ) -> Self {
        Self {
            operations,
            wire,
            closing,
            tells: Arc::default(),
            calls: TaskTracker::new(),
        }
    }

    /// Counts the tool calls that run.
    pub(crate) fn calls(&self) -> TaskTracker {
        self.calls.clone()
    }

    fn origin(&self, context: &Context) -> Result<Origin, ErrorData> {
        match &self.wire {
            Wire::Http => context
                .extensions
                .get::<http::request::Parts>()
                .and_then(|parts| parts.extensions.get::<Origin>())
                .cloned()
                .ok_or_else(|| ErrorData::internal_error("the request has no origin", None)),
            Wire::Stdio { principal, timeout } => Ok(Origin {
                principal: Arc::clone(principal),
                request_id: RequestId::random(),
                trace: trace(context),
                deadline: Instant::now() + *timeout,
                validity: Validity::default(),
                source: None,
                quiet: false,
            }),
        }
    }

    fn capabilities(&self, list_changed: bool) -> ServerCapabilities {
        let features = self.operations.features();
        let mut declared = serde_json::json!({
            "tools": if list_changed { serde_json::json!({"listChanged": true}) } else { serde_json::json!({}) },
            "logging": {},
        });
        if features.resources {
            declared["resources"] = serde_json::json!({});
        }
        if features.prompts {
            declared["prompts"] = serde_json::json!({});
            declared["completions"] = serde_json::json!({});
        }
        serde_json::from_value(declared).unwrap_or_default()
    }

    fn config(&self, list_changed: bool) -> ServerConfig {
        ServerConfig::new(self.capabilities(list_changed)).with_server_info(implementation())
    }

    /// A page of a list, typed again for rmcp.
    fn items<T: DeserializeOwned>(
        &self,
        page: &Page,
        origin: &Origin,
    ) -> Result<Vec<T>, ErrorData> {
        serde_json::from_str(page.items.get()).map_err(|error| fault(origin, &error))
    }

    /// Waits for a change of the catalogue; false when the process stops.
    async fn changed(&self, changes: &mut watch::Receiver<u64>) -> bool {
        tokio::select! {
            () = self.closing.cancelled() => return false,
            changed = changes.changed() => if changed.is_err() {
                return false;
            },
        }
        sleep(GATHER).await;
        changes.mark_unchanged();
        true
    }

    fn has_resources(&self, method: &'static str) -> Result<(), ErrorData> {
        declared(self.operations.features().resources, method)
    }

    fn has_prompts(&self, method: &'static str) -> Result<(), ErrorData> {
        declared(self.operations.features().prompts, method)
    }
}

/// Fills a typed list result in: the same five members for all four lists.
macro_rules! list {
    ($result:ident, $member:ident, $context:expr, $page:expr, $items:expr) => {{
        let page: Page = $page;
        let mut result = $result::with_all_items($items);
        result.next_cursor = page.next_cursor;
        if is_modern($context) {
            result.ttl_ms = Some(LIST_TTL_MS);
            result.cache_scope = Some(CacheScope::Private);
        }
        result.meta = stamp($context);
        Ok(result)
    }};
}

impl ServerHandler for Handler {
    fn get_info(&self) -> ServerConfig {
        self.config(true)
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        Cow::Owned(Version::rmcp())
    }

    async fn initialize(
        &self,
        request: InitializeRequestParams,
        context: Context,
    ) -> Result<InitializeResult, ErrorData> {
        context.peer.set_peer_info(request.clone());
        let mut result = self.negotiate_initialize(&request)?;
        // There is no stream to send it on over HTTP.
        result.capabilities = self.capabilities(matches!(self.wire, Wire::Stdio { .. }));
        Ok(result)
    }

    async fn discover(&self, _context: Context) -> Result<DiscoverResult, ErrorData> {
        Ok(DiscoverResult::from_server_info(
            Version::rmcp(),
            self.config(true),
        ))
    }

    async fn set_level(
        &self,
        _request: SetLevelRequestParams,
        context: Context,
    ) -> Result<(), ErrorData> {
        // Taken and not kept: every call of the older versions gets `info` and above.
        declared(!is_modern(&context), "logging/setLevel")
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: Context,
    ) -> Result<CallToolResponse, ErrorData> {
        self.run_tool(request, context).await
    }

    async fn list_tools(
        &self,
        request: Option<PaginatedRequestParams>,
        context: Context,
    ) -> Result<ListToolsResult, ErrorData> {
        let origin = self.origin(&context)?;
        let cursor = cursor(request.as_ref());
        let listed = self
            .operations
            .list_tools(&origin.principal, cursor.as_deref());
        let page = within(&origin, listed).await?;
        let items = self.items(&page, &origin)?;
        list!(ListToolsResult, tools, &context, page, items)
    }

    async fn list_resources(
        &self,
        request: Option<PaginatedRequestParams>,
        context: Context,
    ) -> Result<ListResourcesResult, ErrorData> {
        self.has_resources("resources/list")?;
        let origin = self.origin(&context)?;
        let cursor = cursor(request.as_ref());
        let listed = self
            .operations
            .list_resources(&origin.principal, cursor.as_deref());
        let page = within(&origin, listed).await?;
        let items = self.items(&page, &origin)?;
        list!(ListResourcesResult, resources, &context, page, items)
    }

    async fn list_resource_templates(
        &self,
        request: Option<PaginatedRequestParams>,
        context: Context,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        self.has_resources("resources/templates/list")?;
        let origin = self.origin(&context)?;
        let cursor = cursor(request.as_ref());
        let listed = self
            .operations
            .list_resource_templates(&origin.principal, cursor.as_deref());
        let page = within(&origin, listed).await?;
        let items = self.items(&page, &origin)?;
        list!(
            ListResourceTemplatesResult,
            resource_templates,
            &context,
            page,
            items
        )
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        context: Context,
    ) -> Result<ReadResourceResponse, ErrorData> {
        self.has_resources("resources/read")?;
        let origin = self.origin(&context)?;
        let read = self
            .operations
            .read_resource(origin.context(), &request.uri);
        let contents = within(&origin, read).await?;
        let contents =
            serde_json::from_str(contents.get()).map_err(|error| fault(&origin, &error))?;
        let mut result = ReadResourceResult::new(contents);
        if is_modern(&context) {
            result.ttl_ms = Some(LIST_TTL_MS);
            result.cache_scope = Some(CacheScope::Private);
        }
        result.meta = stamp(&context);
        Ok(result.into())
    }

    async fn list_prompts(
        &self,
        request: Option<PaginatedRequestParams>,
        context: Context,
    ) -> Result<ListPromptsResult, ErrorData> {
        self.has_prompts("prompts/list")?;
        let origin = self.origin(&context)?;
        let cursor = cursor(request.as_ref());
        let listed = self
            .operations
            .list_prompts(&origin.principal, cursor.as_deref());
        let page = within(&origin, listed).await?;
        let items = self.items(&page, &origin)?;
        list!(ListPromptsResult, prompts, &context, page, items)
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        context: Context,
    ) -> Result<GetPromptResponse, ErrorData> {
        self.has_prompts("prompts/get")?;
        let origin = self.origin(&context)?;
        let arguments = request.arguments.unwrap_or_default();
        let got = self
            .operations
            .get_prompt(origin.context(), &request.name, arguments);
        let prompt = within(&origin, got).await?;
        let messages =
            serde_json::from_str(prompt.messages.get()).map_err(|error| fault(&origin, &error))?;
        let mut result = GetPromptResult::new(messages);
        result.description = prompt.description;
        result.meta = stamp(&context);
        Ok(result.into())
    }

    async fn complete(
        &self,
        request: CompleteRequestParams,
        context: Context,
    ) -> Result<CompleteResult, ErrorData> {
        self.has_prompts("completion/complete")?;
        let origin = self.origin(&context)?;
        let reference = match request.r#ref {
            Reference::Prompt(prompt) => CompletionReference::Prompt(prompt.name),
            Reference::Resource(resource) => CompletionReference::Resource(resource.uri),
            _ => {
                return Err(ErrorData::invalid_params(
                    "params.ref is of an unknown type",
                    None,
                ));
            }
        };
        let (argument, value) = (request.argument.name, request.argument.value);
        let request = CompletionRequest {
            reference,
            argument,
            value,
        };
        let mut values =
            within(&origin, self.operations.complete(origin.context(), request)).await?;
        values.truncate(CompletionInfo::MAX_VALUES);
        let mut completion = CompletionInfo::default();
        completion.values = values;
        let mut result = CompleteResult::new(completion);
        result.meta = stamp(&context);
        Ok(result)
    }

    fn accepted_subscription_filter(
        &self,
        requested: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        let mut accepted = SubscriptionFilter::new();
        accepted.tools_list_changed = requested.tools_list_changed.filter(|wanted| *wanted);
        Some(accepted)
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let wanted = context.accepted().tools_list_changed == Some(true);
        let origin = self.origin(context.request_context())?;
        let mut changes = self.operations.changes(&origin.principal.tenant);
        let mut expired = std::pin::pin!(origin.validity.over());
        loop {
            tokio::select! {
                () = context.cancelled() => return Ok(()),
                () = &mut expired => return Ok(()),
                more = self.changed(&mut changes) => if !more {
                    return Ok(());
                },
            }
            if wanted && context.sink().notify_tool_list_changed().await.is_err() {
                return Ok(());
            }
        }
    }

    async fn on_custom_request(
        &self,
        request: CustomRequest,
        context: Context,
    ) -> Result<CustomResult, ErrorData> {
        let origin = self.origin(&context)?;
        let refused = |code: ErrorCode, message: String| {
            ErrorData::new(
                code,
                message,
                Some(with_request_id(None, &origin.request_id)),
            )
        };
        // rmcp hands requests here whose params it cannot read, too.
        if super::request::needs_id(&request.method) {
            let message = format!("the params are not what {} takes", request.method);
            return Err(refused(ErrorCode::INVALID_PARAMS, message));
        }
        let method = super::refusal::echo(&request.method);
        let message = format!("method not found: {method}");
        Err(refused(ErrorCode::METHOD_NOT_FOUND, message))
    }

    async fn on_initialized(&self, context: NotificationContext<RoleServer>) {
        let Wire::Stdio { principal, .. } = &self.wire else {
            return;
        };
        if self.tells.swap(true, Ordering::Relaxed) {
            return;
        }
        // A client of the older versions is told for as long as it is there; the task that runs
        // this belongs to the connection and ends with it.
        let mut changes = self.operations.changes(&principal.tenant);
        while self.changed(&mut changes).await {
            if context.peer.notify_tool_list_changed().await.is_err() {
                return;
            }
        }
    }
}
