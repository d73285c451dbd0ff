//! `system.guard_metrics`.

use domain::Result;

use super::{Answer, Definition, Hints, Invocation, Kind};
use crate::settings::Profile;

pub(super) const DEFINITION: Definition = Definition {
    kind: Kind::GuardMetrics,
    name: "system.guard_metrics",
    title: "Guard Metrics",
    description: "Get guard concurrency/rate-limit counters",
    input: r#"{"type":"object","properties":{},"additionalProperties":false}"#,
    output: r#"{"type":"object","properties":{
        "activeExecutions":{"type":"integer","minimum":0},
        "limits":{"type":"object","properties":{
        "maxConcurrency":{"type":"integer","exclusiveMinimum":0},
        "maxCallsPerWindow":{"type":"integer","exclusiveMinimum":0},
        "windowMs":{"type":"integer","exclusiveMinimum":0}},
        "required":["maxConcurrency","maxCallsPerWindow","windowMs"],
        "additionalProperties":false},
        "scopes":{"type":"array","items":{"type":"object","properties":{
        "scope":{"type":"string"},
        "total":{"type":"integer","minimum":0},
        "allowed":{"type":"integer","minimum":0},
        "rejectedRate":{"type":"integer","minimum":0},
        "rejectedConcurrency":{"type":"integer","minimum":0},
        "failed":{"type":"integer","minimum":0}},
        "required":["scope","total","allowed","rejectedRate","rejectedConcurrency","failed"],
        "additionalProperties":false}}},
        "required":["activeExecutions","limits","scopes"],"additionalProperties":false}"#,
    hints: Hints::READS,
    profile: Profile::Enterprise,
};

pub(super) fn run(invocation: &Invocation<'_>) -> Result<Answer> {
    Answer::of(
        &invocation
            .gateway
            .guard()
            .report(&invocation.context.principal.tenant),
    )
}
