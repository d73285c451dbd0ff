//! `sandbox.run_js` and `sandbox.run_python`: one-off code in the workspace of a session.

use std::sync::Arc;

use domain::dependency::Dependency;
use domain::tool::{EngineChoice, Runtime};
use domain::{Call, Error, RawValue, Result, SessionId};
use serde::Deserialize;

use super::ephemeral::{self, OneOff};
use super::sandbox::{
    check_dependencies, dependencies_property, npm_names, session_property, timeout_of,
    timeout_property,
};
use super::view::admin_property;
use super::{Definition, Hints, Kind};
use crate::operations::ToolCall;
use crate::settings::{Profile, Settings};

macro_rules! input {
    ($code:literal, $dependencies:expr) => {
        concat!(
            r#"{"type":"object","properties":{"#,
            session_property!(),
            r#","code":{"type":"string","minLength":1,"maxLength":200000,"description":""#,
            $code,
            r#""},"args":{"type":"object","default":{}},"#,
            $dependencies,
            ",",
            timeout_property!(),
            ",",
            admin_property!(),
            r#"},"required":["sessionId","code"],"additionalProperties":false}"#
        )
    };
}

pub(super) const JAVASCRIPT: Definition = Definition {
    kind: Kind::SandboxRunJs,
    name: "sandbox.run_js",
    title: "Run JavaScript In Session",
    description: "Install dependencies and run JavaScript in an existing sandbox session",
    input: input!(
        "Body of async function run(args, ctx); files in /workspace stay",
        dependencies_property!(npm_names!())
    ),
    output: ephemeral::OUTPUT,
    hints: Hints::DESTROYS,
    profile: Profile::Enterprise,
};

pub(super) const PYTHON: Definition = Definition {
    kind: Kind::SandboxRunPython,
    name: "sandbox.run_python",
    title: "Run Python In Session",
    description: "Install dependencies and run Python code in an existing sandbox session",
    input: input!(
        "Body of async def run(args, ctx); files in /workspace stay",
        dependencies_property!("")
    ),
    output: ephemeral::OUTPUT,
    hints: Hints::DESTROYS,
    profile: Profile::Enterprise,
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Arguments {
    session_id: String,
    code: Arc<str>,
    args: Option<Box<RawValue>>,
    #[serde(default)]
    dependencies: Vec<Dependency>,
    timeout_ms: Option<u32>,
}

/// The session, and the execution in it that the arguments ask for.
///
/// # Errors
/// `invalid_argument`, `policy_denied` (package), `not_found` for what is no handle.
pub(crate) fn call(
    settings: &Settings,
    runtime: Runtime,
    text: &str,
    call: &ToolCall,
) -> Result<(SessionId, Call)> {
    let Arguments {
        session_id,
        code,
        args,
        dependencies,
        timeout_ms,
    } = serde_json::from_str(text)
        .map_err(|error| Error::invalid("arguments", error.to_string()))?;
    let id = SessionId::parse(&session_id)?;
    check_dependencies(settings, &dependencies, runtime)?;
    let one_off = OneOff {
        code,
        args,
        runtime,
        engine: EngineChoice::Docker,
        image: String::new(),
        dependencies,
        timeout: timeout_of(settings, timeout_ms),
    };
    Ok((id, one_off.call(settings, call)?))
}
