//! `run_js_ephemeral` and `run_python_ephemeral`: code that is not stored, run like that of a stored tool.

use std::sync::Arc;
use std::time::Duration;

use domain::dependency::Dependency;
use domain::tool::{EngineChoice, Isolation, Runtime};
use domain::{Call, CodeDigest, Error, RawValue, Result, limits, validate};
use serde::Deserialize;

use super::sandbox::{dependencies_property, timeout_property};
use super::{Definition, Hints, Kind};
use crate::arguments;
use crate::operations::ToolCall;
use crate::settings::{Profile, Settings};

pub(super) const JAVASCRIPT: Definition = Definition {
    kind: Kind::RunJsEphemeral,
    name: "run_js_ephemeral",
    title: "Run JS Ephemeral",
    description: "Execute one-off JavaScript in the configured execution sandbox without \
                  persisting a tool",
    input: r#"{"type":"object","properties":{
        "code":{"type":"string","minLength":1,"maxLength":200000,
        "description":"Body of async function run(args, ctx)"},
        "args":{"type":"object","default":{}},
        "image":{"type":"string","minLength":1,"maxLength":200,
        "description":"Optional Docker image override"},
        "dependencies":{"type":"array","default":[],"maxItems":64,"items":{"type":"object",
        "properties":{"name":{"type":"string","maxLength":214,
        "pattern":"^(?:@[a-z0-9-~][a-z0-9-._~]*\\/)?[a-z0-9-~][a-z0-9-._~]*$"},
        "version":{"type":"string","minLength":1,"maxLength":128}},
        "required":["name","version"],"additionalProperties":false}},
        "timeoutMs":{"type":"integer","minimum":1000,"maximum":120000}},
        "required":["code"],"additionalProperties":false}"#,
    output: OUTPUT,
    hints: Hints::ADDS,
    profile: Profile::Mvp,
};

pub(super) const PYTHON: Definition = Definition {
    kind: Kind::RunPythonEphemeral,
    name: "run_python_ephemeral",
    title: "Run Python Ephemeral",
    description: "Execute one-off Python code in the configured execution sandbox without \
                  persisting a tool",
    input: concat!(
        r#"{"type":"object","properties":{
        "code":{"type":"string","minLength":1,"maxLength":200000,
        "description":"Body of async def run(args, ctx)"},
        "args":{"type":"object","default":{}},
        "image":{"type":"string","minLength":1,"maxLength":200,
        "description":"Optional Docker image override"},"#,
        dependencies_property!(""),
        ",",
        timeout_property!(),
        r#"},"required":["code"],"additionalProperties":false}"#
    ),
    output: OUTPUT,
    hints: Hints::ADDS,
    profile: Profile::Mvp,
};

/// The result of one-off code, in a session too.
pub(super) const OUTPUT: &str = r#"{"type":"object","properties":{
    "ok":{"type":"boolean"},
    "result":{"description":"What the code returned"},
    "error":{"type":"string"},
    "code":{"type":"string","description":"An error code when ok is false"},
    "durationMs":{"type":"integer","minimum":0},
    "logs":{"type":"array","items":{"type":"object","properties":{
    "level":{"type":"string"},"message":{"type":"string"}},
    "required":["level","message"]}}}}"#;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Arguments {
    code: Arc<str>,
    args: Option<Box<RawValue>>,
    image: Option<String>,
    #[serde(default)]
    dependencies: Vec<Dependency>,
    timeout_ms: Option<u32>,
}

/// The execution that the arguments ask for.
///
/// # Errors
/// `invalid_argument`, `policy_denied` (image, package).
pub(crate) fn call(
    settings: &Settings,
    runtime: Runtime,
    text: &str,
    call: &ToolCall,
) -> Result<Call> {
    let Arguments {
        code,
        args,
        image,
        dependencies,
        timeout_ms,
    } = serde_json::from_str(text)
        .map_err(|error| Error::invalid("arguments", error.to_string()))?;
    if let Some(image) = &image {
        validate::image_allowed("/image", image, &settings.policy)?;
    }
    validate::dependencies_allowed("/dependencies", &dependencies, runtime, &settings.policy)?;
    let asked = timeout_ms.unwrap_or(limits::DEFAULT_TIMEOUT_MS);
    let one_off = OneOff {
        code,
        args,
        runtime,
        engine: EngineChoice::Any,
        image: image.unwrap_or_else(|| settings.policy.image_for(runtime).to_owned()),
        dependencies,
        timeout: Duration::from_millis(asked.into()),
    };
    one_off.call(settings, call)
}

/// Code that is not stored, as a caller brings it.
pub(super) struct OneOff {
    pub(super) code: Arc<str>,
    pub(super) args: Option<Box<RawValue>>,
    pub(super) runtime: Runtime,
    pub(super) engine: EngineChoice,
    /// Empty in a session: its executor knows which one it has.
    pub(super) image: String,
    pub(super) dependencies: Vec<Dependency>,
    pub(super) timeout: Duration,
}

impl OneOff {
    /// The execution that `call` asks for.
    ///
    /// # Errors
    /// `internal`.
    pub(super) fn call(self, settings: &Settings, call: &ToolCall) -> Result<Call> {
        let mut limits = settings.run;
        limits.timeout = limits.timeout.min(self.timeout);
        Ok(Call {
            tool: call.name.clone(),
            revision: None,
            code_digest: CodeDigest::of(&self.code),
            code: self.code,
            args: self.args.map_or_else(|| arguments::raw("{}"), Ok)?,
            runtime: self.runtime,
            engine: self.engine,
            isolation: Isolation::Call,
            image: self.image,
            dependencies: self.dependencies,
            lock: None,
            limits,
            log_level: call.log_level,
            wants_progress: call.wants_progress,
            client_capabilities: call.client_capabilities.clone(),
        })
    }
}
