//! What comes back from a call.

use std::time::Duration;

use domain::runner::{EngineKind, Failure, LogLevel, Printed, Usage};
use domain::{Error, ErrorCode, Outcome, Result, RunEvent};

use super::words::Word;
use super::{json, json_text, micros, required};
use crate::pb;
use crate::pb::outcome::Result as Wire;
use crate::pb::run_response::Event;

pub(crate) fn event_to(event: RunEvent) -> pb::RunResponse {
    let event = match event {
        RunEvent::Accepted { executor, engine } => Event::Accepted(pb::Accepted {
            executor,
            engine: engine.wire(),
        }),
        RunEvent::Log { level, data } => Event::Log(pb::Log {
            level: level.wire(),
            data_json: json_text(data),
        }),
        RunEvent::Progress {
            progress,
            total,
            message,
        } => Event::Progress(pb::Progress {
            progress,
            total,
            message,
        }),
        RunEvent::Finished(outcome) => Event::Finished(outcome_to(outcome)),
    };
    pb::RunResponse { event: Some(event) }
}

pub(crate) fn event_from(response: pb::RunResponse) -> Result<RunEvent> {
    Ok(match required("event", response.event)? {
        Event::Accepted(accepted) => RunEvent::Accepted {
            executor: accepted.executor,
            engine: EngineKind::of_wire("accepted.engine", accepted.engine)?,
        },
        Event::Log(log) => RunEvent::Log {
            level: LogLevel::of_wire("log.level", log.level)?,
            data: json("log.data_json", log.data_json)?,
        },
        Event::Progress(pb::Progress {
            progress,
            total,
            message,
        }) => RunEvent::Progress {
            progress,
            total,
            message,
        },
        Event::Finished(outcome) => RunEvent::Finished(outcome_from(outcome)?),
    })
}

fn outcome_to(outcome: Outcome) -> pb::Outcome {
    let usage = outcome.usage;
    pb::Outcome {
        result: Some(match outcome.result {
            Ok(value) => Wire::Success(pb::Success {
                result_json: value.map(json_text),
            }),
            Err(failure) => Wire::Failure(pb::Failure {
                code: failure.code.as_str().to_owned(),
                message: failure.message,
                may_have_run: failure.may_have_run,
            }),
        }),
        printed: outcome
            .printed
            .into_iter()
            .map(|line| pb::Printed {
                level: line.level.wire(),
                message: line.message,
            })
            .collect(),
        truncated: outcome.truncated,
        usage: Some(pb::Usage {
            queued_us: micros(usage.queued),
            checkout_us: micros(usage.checkout),
            running_us: micros(usage.running),
            cpu_us: usage.cpu.map(micros),
            peak_memory_bytes: usage.peak_memory_bytes,
            warm: usage.warm,
        }),
    }
}

fn outcome_from(outcome: pb::Outcome) -> Result<Outcome> {
    let usage = outcome.usage.unwrap_or_default();
    let result = match required("finished.result", outcome.result)? {
        Wire::Success(success) => Ok(success
            .result_json
            .map(|text| json("finished.result_json", text))
            .transpose()?),
        Wire::Failure(failure) => Err(Failure {
            code: failure
                .code
                .parse::<ErrorCode>()
                .map_err(|unknown| Error::invalid("finished.code", unknown.to_string()))?,
            message: failure.message,
            may_have_run: failure.may_have_run,
        }),
    };
    let line = |line: pb::Printed| {
        Ok(Printed {
            level: LogLevel::of_wire("printed.level", line.level)?,
            message: line.message,
        })
    };
    Ok(Outcome {
        result,
        printed: outcome
            .printed
            .into_iter()
            .map(line)
            .collect::<Result<_>>()?,
        truncated: outcome.truncated,
        usage: Usage {
            queued: Duration::from_micros(usage.queued_us),
            checkout: Duration::from_micros(usage.checkout_us),
            running: Duration::from_micros(usage.running_us),
            cpu: usage.cpu_us.map(Duration::from_micros),
            peak_memory_bytes: usage.peak_memory_bytes,
            warm: usage.warm,
        },
    })
}
