//! MCP over HTTP: translate in, translate out. `endpoint` decides, `call` answers the hot method,
//! `through_rmcp` and `handler` answer everything else, and the core is behind `port`.

mod body;
mod call;
mod endpoint;
mod handler;
mod headers;
mod listeners;
mod message;
mod params;
mod port;
mod refusal;
mod reply;
mod request;
mod scan;
mod stream;
mod through_rmcp;
mod validity;
mod version;
mod write;

pub use endpoint::McpSettings;
pub use params::ParamHeader;
pub use port::{CompletionReference, CompletionRequest, Operations, Page, PromptResult};

pub(crate) use endpoint::Endpoint;
pub(crate) use handler::{Handler, Wire};
pub(crate) use refusal::Refusal;
pub(crate) use reply::{is_event_stream, json as json_response};
pub(crate) use request::Origin;
pub(crate) use scan::readable;
pub(crate) use validity::Validity;
#[cfg(test)]
pub(crate) use {
    endpoint::MAX_BATCH,
    listeners::Listeners,
    message::MAX_ECHO_BYTES,
    refusal::MAX_ECHO_CHARS,
    scan::{MAX_DEPTH, MAX_NUMBER_BYTES},
};
