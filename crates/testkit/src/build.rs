//! Values that are right unless a test changes them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use domain::limits::RunLimits;
use domain::runner::{LogLevel, Usage};
use domain::tool::{EngineChoice, Isolation, Runtime};
use domain::{
    Call, CallContext, CodeDigest, Outcome, Principal, RawValue, RequestId, Scope, ToolDraft,
    ToolName, ToolSpec,
};

/// JSON from text.
///
/// # Panics
/// When the text is not JSON.
#[must_use]
#[track_caller]
pub fn raw(json: &str) -> Box<RawValue> {
    match RawValue::from_string(json.to_owned()) {
        Ok(value) => value,
        Err(reason) => panic!("{json} is not JSON: {reason}"),
    }
}

/// A context of an anonymous caller with these scopes and 30 seconds.
#[must_use]
pub fn context(scopes: &[Scope]) -> CallContext {
    let principal = Arc::new(Principal::anonymous(scopes));
    CallContext::new(principal, RequestId::random(), Duration::from_secs(30))
}

/// A specification with every default.
#[must_use]
pub fn spec() -> ToolSpec {
    ToolSpec {
        title: None,
        description: "A tool of a test.".to_owned(),
        image: domain::limits::DEFAULT_IMAGE.to_owned(),
        timeout_ms: domain::limits::DEFAULT_TIMEOUT_MS,
        dependencies: Vec::new(),
        enabled: true,
        input_schema: None,
        output_schema: None,
        annotations: None,
        runtime: Runtime::Node,
        engine: EngineChoice::Any,
        isolation: Isolation::Call,
        tags: BTreeSet::new(),
        rate_limit: None,
        cache: None,
        required_scopes: BTreeSet::new(),
    }
}

/// A draft that returns its arguments.
///
/// # Panics
/// When `name` is no tool name.
#[must_use]
#[track_caller]
pub fn draft(name: &str) -> ToolDraft {
    match ToolName::parse(name) {
        Ok(name) => ToolDraft {
            name,
            spec: spec(),
            code: Arc::from("return args;"),
            lock: None,
        },
        Err(reason) => panic!("{name}: {reason}"),
    }
}

/// A call of `code` with empty arguments, five seconds, 64 MiB and one core.
#[must_use]
pub fn call(code: &str) -> Call {
    Call {
        tool: "test.tool".to_owned(),
        revision: None,
        code: Arc::from(code),
        code_digest: CodeDigest::of(code),
        args: raw("{}"),
        runtime: Runtime::Node,
        engine: EngineChoice::Any,
        isolation: Isolation::Call,
        image: domain::limits::DEFAULT_IMAGE.to_owned(),
        dependencies: Vec::new(),
        lock: None,
        limits: RunLimits {
            timeout: Duration::from_secs(5),
            memory_bytes: 64 << 20,
            cpu_millis: 1000,
            max_output_bytes: 200_000,
        },
        log_level: Some(LogLevel::Debug),
        wants_progress: true,
        client_capabilities: None,
    }
}

/// An outcome with this JSON as the result.
#[must_use]
#[track_caller]
pub fn outcome(result: &str) -> Outcome {
    Outcome {
        result: Ok(Some(raw(result))),
        printed: Vec::new(),
        truncated: false,
        usage: Usage::default(),
    }
}
