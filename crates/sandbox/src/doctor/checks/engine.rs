//! Which engine the configuration comes to, and the walls of the isolate engine.

use domain::runner::EngineKind;

use crate::doctor::facts::Facts;
use crate::doctor::finding::{State, Verdict};

pub(super) fn engine(facts: &Facts) -> Vec<Verdict> {
    let image = facts.images.iter().any(|image| image.there.is_some());
    let missing = missing(facts);
    let isolate = match (&facts.walls, missing.as_slice()) {
        (Some(Ok(_)), []) => Ok(()),
        (Some(Ok(_)), _) if facts.wanted.allow_weaker_isolate => Ok(()),
        (Some(Ok(_)), missing) => Err(format!("it has no {}", missing.join(", no "))),
        (Some(Err(why)), _) => Err(why.clone()),
        (None, _) => Err("it was not tried".to_owned()),
    };
    vec![match (facts.wanted.engine, &facts.daemon) {
        (Some(EngineKind::Isolate), _) | (_, None) => match isolate {
            Ok(()) => Verdict::ok("isolate: configured, and it starts"),
            Err(why) => Verdict::bad(
                State::Fail,
                format!("isolate is configured and does not start: {why}"),
                "see isolate-walls below; MCP_EXECUTION_ALLOW_WEAKER_ISOLATE=true starts it all the same",
            ),
        },
        (_, Some(Ok(daemon))) if image || facts.wanted.any_image => Verdict::ok(format!(
            "docker: Docker {} at {} (API {}, {})",
            daemon.version, daemon.address, daemon.api, daemon.os
        )),
        (wanted, Some(Ok(daemon))) => {
            let state = match wanted {
                Some(_) => State::Weak,
                None => State::Advice,
            };
            let then = match wanted {
                Some(_) => "calls wait until one is pulled",
                None => "with MCP_EXECUTION_ENGINE=auto, isolate runs unless one can be pulled",
            };
            Verdict::bad(
                state,
                format!(
                    "docker: Docker {} at {} has no allowed image; {then}",
                    daemon.version, daemon.address
                ),
                "pull or load an image of MCP_SANDBOX_ALLOWED_IMAGES; docs/sandbox-images.md makes one \
                 without a registry",
            )
        }
        (Some(EngineKind::Docker), Some(Err(why))) => Verdict::bad(
            State::Fail,
            format!("docker is configured and cannot be used: {why}"),
            "start Docker 20.10 or newer, or set DOCKER_HOST; MCP_EXECUTION_ENGINE=isolate needs none",
        ),
        (None, Some(Err(why))) => match isolate {
            Ok(()) => Verdict::bad(
                State::Advice,
                format!("isolate, because Docker cannot be used: {why}"),
                "tools with Node's modules, Python, dependencies and sessions need Docker",
            ),
            Err(isolate) => Verdict::bad(
                State::Fail,
                format!("none: Docker: {why}; isolate: {isolate}"),
                "start Docker 20.10 or newer, or a kernel with seccomp and Landlock",
            ),
        },
    }]
}

/// Names of the walls that have to hold and do not.
fn missing(facts: &Facts) -> Vec<&'static str> {
    let Some(Ok(walls)) = &facts.walls else {
        return Vec::new();
    };
    let missing = walls.iter().filter(|wall| wall.required && !wall.held);
    missing.map(|wall| wall.name).collect()
}

pub(super) fn walls(facts: &Facts) -> Vec<Verdict> {
    // With Docker configured they are only told: nothing runs behind them.
    let used = facts.wanted.engine != Some(EngineKind::Docker);
    let level = |state: State| if used { state } else { State::Advice };
    match &facts.walls {
        None => vec![Verdict::skipped("not tried")],
        Some(Err(why)) => vec![Verdict::bad(
            level(State::Weak),
            format!("they could not be tried: {why}"),
            "the program must be able to start itself; the sentence above says what stopped it",
        )],
        Some(Ok(walls)) => walls
            .iter()
            .map(|wall| match wall.held {
                true => Verdict::ok(format!("held against: {}", wall.detail)).about(wall.name),
                false if wall.required => Verdict::bad(
                    level(State::Fail),
                    wall.detail.clone(),
                    "a kernel of 5.13 or newer with seccomp and Landlock (lsm=landlock,… on its \
                     command line), outside of containers that filter system calls",
                )
                .about(wall.name),
                false => Verdict::bad(
                    level(State::Weak),
                    wall.detail.clone(),
                    "let ordinary users make user namespaces (user.max_user_namespaces, \
                     kernel.apparmor_restrict_unprivileged_userns)",
                )
                .about(wall.name),
            })
            .collect(),
    }
}
