//! `sandbox.stop` and `sandbox.session.list`.

use domain::session::SessionInfo;
use domain::{Result, SessionId};
use serde::{Deserialize, Serialize};

use super::sandbox::{session_property, shown};
use super::view::admin_property;
use super::{Answer, Definition, Hints, Invocation, Kind};
use crate::placement::SessionsFound;
use crate::settings::Profile;

pub(super) const STOP: Definition = Definition {
    kind: Kind::SandboxStop,
    name: "sandbox.stop",
    title: "Stop Sandbox Session",
    description: "Stop and remove a sandbox session container",
    input: concat!(
        r#"{"type":"object","properties":{"#,
        session_property!(),
        ",",
        admin_property!(),
        r#"},"required":["sessionId"],"additionalProperties":false}"#
    ),
    output: r#"{"type":"object","properties":{
        "sessionId":{"type":"string"},
        "stopped":{"const":true}},
        "required":["sessionId","stopped"],"additionalProperties":false}"#,
    hints: Hints::SETS,
    profile: Profile::Enterprise,
};

pub(super) const LIST: Definition = Definition {
    kind: Kind::SandboxSessionList,
    name: "sandbox.session.list",
    title: "List Sandbox Sessions",
    description: "List active long-lived sandbox sessions",
    input: concat!(
        r#"{"type":"object","properties":{"#,
        admin_property!(),
        r#"},"additionalProperties":false}"#
    ),
    output: r#"{"type":"object","properties":{
        "sessions":{"type":"array","items":{"type":"object","properties":{
        "id":{"type":"string","description":"The same as sessionId"},
        "sessionId":{"type":"string"},
        "image":{"type":"string"},
        "timeoutMs":{"type":"integer","description":"It ends after so long without use"},
        "createdAt":{"type":"string"},
        "lastUsedAt":{"type":"string"}},
        "required":["id","sessionId","image","timeoutMs","createdAt","lastUsedAt"],
        "additionalProperties":false}},
        "executorsNotAsked":{"type":"integer",
        "description":"Executors that could not be reached: they may have more"}},
        "required":["sessions"],"additionalProperties":false}"#,
    hints: Hints::READS,
    profile: Profile::Enterprise,
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StopArguments {
    session_id: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Stopped<'a> {
    session_id: &'a str,
    stopped: bool,
}

pub(super) async fn stop(invocation: &Invocation<'_>) -> Result<Answer> {
    invocation.need_admin()?;
    let StopArguments { session_id } = invocation.parse()?;
    let id = SessionId::parse(&session_id)?;
    let context = invocation.context_now();
    let sessions = invocation.gateway.sessions();
    invocation.operated(sessions.stop(&context, &id)).await?;
    Answer::with_text(
        format!("Stopped sandbox session: {}", id.as_str()),
        &Stopped {
            session_id: id.as_str(),
            stopped: true,
        },
    )
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed<'a> {
    sessions: &'a [View<'a>],
    #[serde(skip_serializing_if = "Option::is_none")]
    executors_not_asked: Option<usize>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct View<'a> {
    id: &'a str,
    session_id: &'a str,
    image: &'a str,
    timeout_ms: u128,
    created_at: String,
    last_used_at: String,
}

impl<'a> View<'a> {
    fn of(info: &'a SessionInfo) -> Self {
        Self {
            id: info.id.as_str(),
            session_id: info.id.as_str(),
            image: &info.image,
            timeout_ms: info.idle.as_millis(),
            created_at: shown(info.created_at),
            last_used_at: shown(info.last_used_at),
        }
    }
}

pub(super) async fn list(invocation: &Invocation<'_>) -> Result<Answer> {
    invocation.need_admin()?;
    let context = invocation.context_now();
    let SessionsFound {
        sessions,
        not_asked,
    } = match invocation.gateway.placement() {
        Some(placement) => {
            invocation
                .operated(placement.find_sessions(&context))
                .await?
        }
        None => {
            let asked = invocation.gateway.sessions().sessions(&context);
            SessionsFound {
                sessions: invocation.operated(asked).await?,
                not_asked: 0,
            }
        }
    };
    let views: Vec<View<'_>> = sessions.iter().map(View::of).collect();
    let text = serde_json::to_string_pretty(&views).map_err(domain::Error::internal)?;
    let listed = Listed {
        sessions: &views,
        executors_not_asked: (not_asked > 0).then_some(not_asked),
    };
    Answer::with_text(text, &listed)
}
