//! `system.health`.

use domain::Result;
use serde::Serialize;

use super::{Answer, Definition, Hints, Invocation, Kind};
use crate::settings::Profile;

pub(super) const DEFINITION: Definition = Definition {
    kind: Kind::Health,
    name: "system.health",
    title: "System Health",
    description: "Return server liveness and uptime info",
    input: r#"{"type":"object","properties":{},"additionalProperties":false}"#,
    output: r#"{"type":"object","properties":{
        "status":{"type":"string","const":"ok"},
        "service":{"type":"string"},
        "version":{"type":"string"},
        "uptimeSeconds":{"type":"integer","minimum":0}},
        "required":["status","service","version","uptimeSeconds"],
        "additionalProperties":false}"#,
    hints: Hints::READS,
    profile: Profile::Mvp,
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Health {
    status: &'static str,
    service: &'static str,
    version: &'static str,
    uptime_seconds: u64,
}

pub(super) fn run(invocation: &Invocation<'_>) -> Result<Answer> {
    Answer::of(&Health {
        status: "ok",
        service: "dynamic-mcp",
        version: invocation.gateway.settings().version,
        uptime_seconds: invocation.gateway.uptime().as_secs(),
    })
}
