//! JSON-RPC as we read it: borrowed from the body, nothing copied, each part with its own error.

use std::borrow::Cow;

use domain::{IdempotencyKey, RawValue};
use serde::{Deserialize, Deserializer};
use serde_json::error::Category;

use super::refusal::Refusal;

/// Longest id or progress token, in bytes of JSON: each is echoed.
pub(crate) const MAX_ECHO_BYTES: usize = 1_024;

/// One request or notification.
#[derive(Debug, Clone)]
pub(crate) struct Message<'a> {
    /// A string or an integer as it was written; `None` for a notification.
    pub(crate) id: Option<&'a RawValue>,
    pub(crate) method: Cow<'a, str>,
    pub(crate) params: Params<'a>,
    /// The whole message.
    pub(crate) raw: &'a RawValue,
}

/// The members of `params` that some method of ours reads.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Params<'a> {
    #[serde(borrow, default, rename = "_meta", deserialize_with = "present")]
    pub(crate) meta: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(crate) name: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(crate) arguments: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(crate) cursor: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(crate) uri: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(crate) task_id: Option<&'a RawValue>,
}

/// The members of `_meta` that we read.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Meta<'a> {
    #[serde(
        borrow,
        default,
        rename = "io.modelcontextprotocol/protocolVersion",
        deserialize_with = "present"
    )]
    pub(crate) protocol_version: Option<&'a RawValue>,
    #[serde(
        borrow,
        default,
        rename = "io.modelcontextprotocol/clientCapabilities",
        deserialize_with = "present"
    )]
    pub(crate) client_capabilities: Option<&'a RawValue>,
    #[serde(
        borrow,
        default,
        rename = "io.modelcontextprotocol/logLevel",
        deserialize_with = "present"
    )]
    pub(crate) log_level: Option<&'a RawValue>,
    #[serde(
        borrow,
        default,
        rename = "progressToken",
        deserialize_with = "present"
    )]
    pub(crate) progress_token: Option<&'a RawValue>,
    #[serde(
        borrow,
        default,
        rename = "dynamic-mcp/idempotencyKey",
        deserialize_with = "present"
    )]
    pub(crate) idempotency_key: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(crate) traceparent: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(crate) tracestate: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    jsonrpc: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    method: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    params: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    error: Option<&'a RawValue>,
}

/// Tells an explicit `null` from an absent member, which `Option` alone does not.
fn present<'de, D: Deserializer<'de>>(source: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(source).map(Some)
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The value as a string; `None` when it is something else.
pub(crate) fn text(raw: &RawValue) -> Option<Cow<'_, str>> {
    serde_json::from_str::<Text<'_>>(raw.get())
        .ok()
        .map(|text| text.0)
}

/// Whether the value is a JSON object.
pub(crate) fn is_object(raw: &RawValue) -> bool {
    raw.get().starts_with('{')
}

/// A refused message with its id, if one could be read.
pub(crate) type Refused<'a> = (Option<&'a RawValue>, Refusal);

/// What a body holds.
#[derive(Debug)]
pub(crate) enum Body<'a> {
    One(&'a RawValue),
    Batch(Vec<&'a RawValue>),
}

/// Splits a body into its messages. The JSON in it is complete and within the bounds of `scan`.
pub(crate) fn split(body: &[u8]) -> Result<Body<'_>, Refusal> {
    let text = std::str::from_utf8(body).map_err(|_| Refusal::parse("the body is not UTF-8"))?;
    // Before the parser, which is not recursive here but would be later.
    super::scan::check(text).map_err(Refusal::parse)?;
    let raw = serde_json::from_str::<&RawValue>(text).map_err(|error| not_json(&error))?;
    if raw.get().starts_with('[') {
        let messages =
            serde_json::from_str::<Vec<&RawValue>>(raw.get()).map_err(|error| not_json(&error))?;
        return Ok(Body::Batch(messages));
    }
    Ok(Body::One(raw))
}

fn not_json(error: &serde_json::Error) -> Refusal {
    Refusal::parse(format!(
        "the body is not JSON: {} at line {} column {}",
        match error.classify() {
            Category::Eof => "it ends too early",
            _ => "syntax error",
        },
        error.line(),
        error.column()
    ))
}

impl<'a> Message<'a> {
    /// Reads one message.
    pub(crate) fn read(raw: &'a RawValue) -> Result<Self, Refused<'a>> {
        if !is_object(raw) {
            return Err((None, Refusal::invalid_request("a message is a JSON object")));
        }
        let envelope = serde_json::from_str::<Envelope<'a>>(raw.get()).map_err(|_| {
            (
                None,
                Refusal::invalid_request("a member of the message is there twice"),
            )
        })?;
        let id = match envelope.id {
            None => None,
            Some(id) if good_id(id) => Some(id),
            Some(_) => {
                let refusal = "id is a string or an integer of at most 1024 bytes, never null";
                return Err((None, Refusal::invalid_request(refusal)));
            }
        };
        let refuse = |text: &'static str| (id, Refusal::invalid_request(text));
        if envelope.jsonrpc.and_then(text).as_deref() != Some("2.0") {
            return Err(refuse("jsonrpc must be \"2.0\""));
        }
        let Some(method) = envelope.method else {
            let answer = envelope.result.is_some() || envelope.error.is_some();
            return Err(refuse(if answer {
                "this server asks nothing of its clients, so it takes no responses"
            } else {
                "method is missing"
            }));
        };
        let method = text(method).ok_or_else(|| refuse("method must be a string"))?;
        let params = match envelope.params {
            None => Params::default(),
            Some(params) if is_object(params) => serde_json::from_str(params.get())
                .map_err(|_| refuse("a member of params is there twice"))?,
            Some(_) => return Err(refuse("params must be an object")),
        };
        Ok(Self {
            id,
            method,
            params,
            raw,
        })
    }

    /// `_meta` of the params.
    pub(crate) fn meta(&self) -> Result<Meta<'a>, Refusal> {
        match self.params.meta {
            None => Ok(Meta::default()),
            Some(meta) if is_object(meta) => serde_json::from_str(meta.get())
                .map_err(|_| Refusal::malformed_params("a member of params._meta is there twice")),
            Some(_) => Err(Refusal::malformed_params("params._meta must be an object")),
        }
    }
}

impl<'a> Meta<'a> {
    /// The progress token as it was written: a string or an integer.
    pub(crate) fn progress_token(&self) -> Result<Option<&'a RawValue>, Refusal> {
        match self.progress_token {
            Some(token) if !good_id(token) => Err(Refusal::invalid_params(
                "params._meta.progressToken is a string or an integer of at most 1024 bytes",
            )),
            token => Ok(token),
        }
    }
}

impl Meta<'_> {
    /// The key by which a write that is sent twice happens once.
    pub(crate) fn idempotency_key(&self) -> Result<Option<IdempotencyKey>, Refusal> {
        let Some(key) = self.idempotency_key else {
            return Ok(None);
        };
        let parsed = text(key).and_then(|key| IdempotencyKey::parse(&key).ok());
        parsed.map(Some).ok_or_else(|| {
            Refusal::invalid_params(
                "params._meta.dynamic-mcp/idempotencyKey is a string of 1-128 printable ASCII \
                 characters without space",
            )
        })
    }
}

fn good_id(raw: &RawValue) -> bool {
    let text = raw.get();
    text.len() <= MAX_ECHO_BYTES && (text.starts_with('"') || text.parse::<i64>().is_ok())
}
