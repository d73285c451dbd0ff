//! `system.runtime_config`.

use domain::Result;

use super::{Answer, Definition, Hints, Invocation, Kind};
use crate::settings::Profile;

pub(super) const DEFINITION: Definition = Definition {
    kind: Kind::RuntimeConfig,
    name: "system.runtime_config",
    title: "Runtime Config Snapshot",
    description: "Return sanitized runtime config snapshot",
    input: r#"{"type":"object","properties":{},"additionalProperties":false}"#,
    output: r#"{"type":"object","description":"The effective configuration by section; no secrets"}"#,
    hints: Hints::READS,
    profile: Profile::Enterprise,
};

pub(super) fn run(invocation: &Invocation<'_>) -> Result<Answer> {
    Answer::of(&invocation.gateway.settings().runtime_config)
}
