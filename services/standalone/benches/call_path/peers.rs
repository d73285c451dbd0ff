//! What we are measured against, each a process of its own: a bare axum JSON echo and a bare rmcp
//! server with the same `time.now`.

use std::sync::Arc;

use rmcp::ServerHandler;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation,
    ServerCapabilities, ServerConfig,
};
use rmcp::service::{RequestContext, RoleServer};
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};

/// Serves one of the peers until it is killed; its address is the first line of standard output.
pub(crate) async fn serve(which: &str) {
    let router = match which {
        "echo" => axum::Router::new().route("/mcp", axum::routing::post(echo)),
        "rmcp" => axum::Router::new().nest_service("/mcp", rmcp_service()),
        other => panic!("no peer {other}"),
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    announce(&listener.local_addr().expect("an address").to_string());
    let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
        stream.set_nodelay(true).expect("nodelay");
    });
    axum::serve(listener, router).await.expect("serves");
}

#[allow(
    clippy::print_stdout,
    reason = "this is how the parent process learns the address"
)]
fn announce(address: &str) {
    println!("{address}");
}

async fn echo(axum::Json(body): axum::Json<serde_json::Value>) -> axum::Json<serde_json::Value> {
    axum::Json(body)
}

#[derive(Clone)]
struct Clock;

impl ServerHandler for Clock {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("bare", "0"))
    }

    async fn call_tool(
        &self,
        _request: CallToolRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, rmcp::ErrorData> {
        let now = jiff::Timestamp::now();
        let output = serde_json::json!({
            "iso": format!("{now:.3}"), "unixSeconds": now.as_second(), "timeZone": "UTC"
        });
        let mut result = CallToolResult::success(vec![ContentBlock::text(output.to_string())]);
        result.structured_content = Some(output);
        Ok(result.into())
    }
}

fn rmcp_service() -> StreamableHttpService<Clock, NeverSessionManager> {
    let mut config = StreamableHttpServerConfig::default();
    config.legacy_session_mode = false;
    config.json_response = true;
    StreamableHttpService::new(
        || Ok(Clock),
        Arc::new(NeverSessionManager::default()),
        config,
    )
}
