//! The audit record: who did what to what, when, from where, and how it ended.
//!
//! One record is one line of JSON. Names of fields and events are those of the Node server where it
//! has them (`timestamp`, `service`, `serviceVersion`, `action`, `target`, `result`, `details`), so
//! that what reads its log reads this one; the rest is added. Each line ends with its number in the
//! chain and the SHA-256 of the line before it: see [`chain`].

pub mod archive;
pub mod chain;
mod line;
pub mod redact;
pub mod verify;

use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::call::CallContext;
use crate::error::ErrorCode;
use crate::id::{CallId, RequestId, TenantId};
use crate::principal::Principal;

pub use self::archive::{Archive, Head, LogName};
pub use self::chain::Link;
pub use self::line::Writer;

macro_rules! actions {
    ($($(#[doc = $doc:literal])+ $variant:ident = $action:literal),+ $(,)?) => {
        /// The closed list of events. A record's `action` is one of these words and nothing else.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
        pub enum Action {
            $($(#[doc = $doc])+ #[serde(rename = $action)] $variant,)+
        }

        impl Action {
            /// Every action.
            pub const ALL: &'static [Action] = &[$(Action::$variant),+];

            /// The action as the log has it, for example `dynamic.tool.create`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Action::$variant => $action),+ }
            }

            /// What the action means in one sentence.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $(Action::$variant => concat!($($doc),+).trim_ascii()),+ }
            }
        }
    };
}

actions! {
    /// A tool is created.
    ToolCreate = "dynamic.tool.create",
    /// A tool is changed.
    ToolUpdate = "dynamic.tool.update",
    /// A tool is deleted.
    ToolDelete = "dynamic.tool.delete",
    /// A tool is enabled.
    ToolEnable = "dynamic.tool.enable",
    /// A tool is disabled.
    ToolDisable = "dynamic.tool.disable",
    /// Tools are listed with the management tool. Recorded when it is refused.
    ToolList = "dynamic.tool.list",
    /// A definition is read. Recorded when it is refused.
    ToolGet = "dynamic.tool.get",
    /// A stored tool is called.
    Exec = "dynamic.exec",
    /// Code that is not stored is run.
    RunJsEphemeral = "run_js_ephemeral",
    /// Python code that is not stored is run.
    RunPythonEphemeral = "run_python_ephemeral",
    /// A sandbox session is made.
    SandboxInitialize = "sandbox.initialize",
    /// Commands are run in a sandbox session.
    SandboxExec = "sandbox.exec",
    /// JavaScript is run in a sandbox session.
    SandboxRunJs = "sandbox.run_js",
    /// Python code is run in a sandbox session.
    SandboxRunPython = "sandbox.run_python",
    /// A file is written into a sandbox session.
    SandboxFilesWrite = "sandbox.files.write",
    /// A file is read out of a sandbox session.
    SandboxFilesRead = "sandbox.files.read",
    /// A directory of a sandbox session is listed.
    SandboxFilesList = "sandbox.files.list",
    /// A sandbox session is stopped.
    SandboxStop = "sandbox.stop",
    /// The caller's sandbox sessions are listed. Recorded when it is refused.
    SandboxSessionList = "sandbox.session.list",
    /// A credential is accepted or refused.
    HttpAuth = "http.auth",
    /// A request is refused by a limit on its address or caller. Recorded once a minute for each.
    LimitDenied = "limit.denied",
    /// An API key is made.
    KeyCreate = "key.create",
    /// An API key is revoked.
    KeyRevoke = "key.revoke",
    /// An API key is made that takes the place of another.
    KeyRotate = "key.rotate",
    /// The process begins to write this log; the details hold how it is configured.
    ServiceStart = "service.start",
    /// The process ends.
    ServiceStop = "service.stop",
    /// A profile of the process is about to be taken by somebody with the admin token.
    ServiceProfile = "service.profile",
    /// Records were lost before this one, because they could not be written.
    AuditGap = "audit.gap",
    /// A new file of this log begins; the details name the log.
    AuditFile = "audit.file",
}

impl Action {
    /// Whether it changes what others run: such an operation waits until its record is on disk, and
    /// is refused when it cannot be recorded, whatever the configuration says of other calls.
    #[must_use]
    pub const fn is_privileged(self) -> bool {
        matches!(
            self,
            Action::ToolCreate
                | Action::ToolUpdate
                | Action::ToolDelete
                | Action::ToolEnable
                | Action::ToolDisable
                | Action::KeyCreate
                | Action::KeyRevoke
                | Action::KeyRotate
        )
    }
}

/// How far it has come, or how it ended: `result` in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It is about to be done; another record with the same `callId` says how it ended.
    Begun,
    /// It was done.
    Success,
    /// It failed; `code` says how.
    Error,
    /// It was refused: the caller may not, or not now. Nothing was done.
    Denied,
}

impl Outcome {
    /// The end of something that ended with this code, or without one.
    #[must_use]
    pub const fn of(code: Option<ErrorCode>) -> Self {
        match code {
            None => Outcome::Success,
            Some(code) if is_denial(code) => Outcome::Denied,
            Some(_) => Outcome::Error,
        }
    }
}

/// Whether the code says that the caller may not, or not now.
#[must_use]
pub const fn is_denial(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::Unauthenticated
            | ErrorCode::PermissionDenied
            | ErrorCode::PolicyDenied
            | ErrorCode::RateLimited
            | ErrorCode::Overloaded
    )
}

/// Who did it. Only callers have a tenant, so that no caller can pass for one of the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Actor {
    /// The principal's subject; `system` for the process itself, `config` for its configuration,
    /// `unauthenticated` for whoever has shown no valid credential.
    pub subject: String,
    /// The client program, when the credential names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The caller's tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
}

impl Actor {
    /// The process itself.
    #[must_use]
    pub fn system() -> Self {
        Self::without_tenant("system")
    }

    /// The server's configuration, which makes and deletes the tools that it declares.
    #[must_use]
    pub fn config() -> Self {
        Self::without_tenant("config")
    }

    /// Somebody without a valid credential.
    #[must_use]
    pub fn unauthenticated() -> Self {
        Self::without_tenant("unauthenticated")
    }

    /// Somebody who has shown the admin token and nothing else, at the admin endpoint.
    #[must_use]
    pub fn admin_token() -> Self {
        Self::without_tenant("admin-token")
    }

    fn without_tenant(subject: &str) -> Self {
        Self {
            subject: subject.to_owned(),
            client_id: None,
            tenant: None,
        }
    }
}

impl From<&Principal> for Actor {
    fn from(principal: &Principal) -> Self {
        Self {
            subject: principal.subject.clone(),
            client_id: principal.client_id.clone(),
            tenant: Some(principal.tenant.clone()),
        }
    }
}

/// One record, before it has its place in the chain.
#[derive(Debug, Clone)]
pub struct Record {
    /// When it happened.
    pub time: jiff::Timestamp,
    /// The request that it belongs to.
    pub request_id: Option<RequestId>,
    /// The execution that it belongs to: the same in the records of its begin and its end, in the
    /// executor's log and nowhere else.
    pub call_id: Option<CallId>,
    /// Who.
    pub actor: Actor,
    /// What.
    pub action: Action,
    /// To what: a tool's name.
    pub target: Option<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// The error code of an end that was no success.
    pub code: Option<ErrorCode>,
    /// How long it took.
    pub duration: Option<Duration>,
    /// The address that the request came from.
    pub source: Option<IpAddr>,
    /// Facts of this action. Redacted when the line is made.
    pub details: Map<String, Value>,
}

impl Record {
    /// A record of the process itself, now.
    #[must_use]
    pub fn of_system(action: Action, outcome: Outcome) -> Self {
        Self {
            time: jiff::Timestamp::now(),
            request_id: None,
            call_id: None,
            actor: Actor::system(),
            action,
            target: None,
            outcome,
            code: None,
            duration: None,
            source: None,
            details: Map::new(),
        }
    }

    /// A record of a call, now.
    #[must_use]
    pub fn of_call(context: &CallContext, action: Action, outcome: Outcome) -> Self {
        Self {
            request_id: Some(context.request_id.clone()),
            call_id: Some(context.call_id),
            actor: Actor::from(&*context.principal),
            source: context.source,
            ..Self::of_system(action, outcome)
        }
    }

    /// Adds a fact.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.details.insert(key.to_owned(), value.into());
        self
    }
}
