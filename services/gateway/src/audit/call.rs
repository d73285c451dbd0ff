//! What is recorded of a call: its begin before anything is done, its end before the answer, or, of
//! a call that was never begun, that it was refused.

use std::time::Duration;

use domain::audit::{Action, Outcome, Record, is_denial};
use domain::{Call, CallContext, CodeDigest, ErrorCode, Result, ToolRecord};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::{AuditLog, Place, sandbox};
use crate::builtin::{BuiltIn, Kind};

/// Longest target, in characters: that of a tool's name in the log.
const TARGET_CHARS: usize = 128;

/// The records of one call. Whoever holds it gives it an end, or it counts as cancelled.
pub(crate) struct CallAudit {
    log: AuditLog,
    /// Who, when and from where.
    context: CallContext,
    action: Action,
    target: Option<String>,
    /// What was asked for, of a change.
    asked: Map<String, Value>,
    /// Facts that came to light on the way.
    found: Map<String, Value>,
    begun: Begun,
}

enum Begun {
    Not,
    /// The log takes nothing now, which is the answer.
    Refused,
    /// The record of the begin has gone out.
    Yes(Place),
    /// The record of the begin is not on the disk: nothing must be done.
    NotOnDisk(Place),
}

impl CallAudit {
    /// Of a stored tool.
    pub(crate) fn of_stored(
        log: &AuditLog,
        context: &CallContext,
        name: &str,
    ) -> Option<Box<Self>> {
        let mut audit = Self::new(log, context, Action::Exec)?;
        audit.aim_at(name);
        Some(audit)
    }

    /// Of a built-in; `None` for those that only say how things are.
    pub(crate) fn of_built_in(
        log: &AuditLog,
        context: &CallContext,
        tool: &BuiltIn,
    ) -> Option<Box<Self>> {
        let action = match tool.kind() {
            Kind::ToolCreate => Action::ToolCreate,
            Kind::ToolUpdate => Action::ToolUpdate,
            Kind::ToolDelete => Action::ToolDelete,
            Kind::ToolEnable => Action::ToolEnable,
            Kind::ToolList => Action::ToolList,
            Kind::ToolGet => Action::ToolGet,
            Kind::RunJsEphemeral => Action::RunJsEphemeral,
            Kind::RunPythonEphemeral => Action::RunPythonEphemeral,
            Kind::SandboxInitialize => Action::SandboxInitialize,
            Kind::SandboxExec => Action::SandboxExec,
            Kind::SandboxRunJs => Action::SandboxRunJs,
            Kind::SandboxRunPython => Action::SandboxRunPython,
            Kind::SandboxFilesWrite => Action::SandboxFilesWrite,
            Kind::SandboxFilesRead => Action::SandboxFilesRead,
            Kind::SandboxFilesList => Action::SandboxFilesList,
            Kind::SandboxStop => Action::SandboxStop,
            Kind::SandboxSessionList => Action::SandboxSessionList,
            Kind::Health
            | Kind::Echo
            | Kind::TimeNow
            | Kind::GuardMetrics
            | Kind::RuntimeConfig => {
                return None;
            }
        };
        Self::new(log, context, action)
    }

    fn new(log: &AuditLog, context: &CallContext, action: Action) -> Option<Box<Self>> {
        log.is_on().then(|| {
            Box::new(Self {
                log: log.clone(),
                context: context.clone(),
                action,
                target: None,
                asked: Map::new(),
                found: Map::new(),
                begun: Begun::Not,
            })
        })
    }

    /// Whether it has to be on the disk before the answer.
    pub(crate) fn is_privileged(&self) -> bool {
        self.action.is_privileged()
    }

    /// Whether it has a record of its begin.
    pub(crate) fn begins(&self) -> bool {
        !matches!(
            self.action,
            Action::ToolList | Action::ToolGet | Action::SandboxSessionList
        )
    }

    fn aim_at(&mut self, name: &str) {
        self.target = Some(name.chars().take(TARGET_CHARS).collect());
    }

    /// The arguments of a management tool, checked or not: what it aims at, and what it wants. Code
    /// is named by its digest.
    pub(crate) fn asked(&mut self, arguments: &Value) {
        if sandbox::is_of_sandboxes(self.action) {
            let (session, asked) = sandbox::asked(self.action, arguments);
            self.target = session;
            self.asked = asked;
            return;
        }
        let fields = arguments.get("tool").or_else(|| arguments.get("patch"));
        let name = arguments.get("name").or_else(|| fields?.get("name"));
        if let Some(name) = name.and_then(Value::as_str) {
            self.aim_at(name);
        }
        if self.action == Action::ToolEnable && arguments.get("enabled") == Some(&json!(false)) {
            self.action = Action::ToolDisable;
        }
        for (key, value) in fields.and_then(Value::as_object).into_iter().flatten() {
            match (key.as_str(), value) {
                ("name", _) => {}
                ("code", Value::String(code)) => {
                    let digest = sha256(CodeDigest::of(code));
                    self.asked.insert("codeSha256".to_owned(), digest);
                    self.asked.insert("codeBytes".to_owned(), json!(code.len()));
                }
                _ => {
                    self.asked.insert(key.clone(), value.clone());
                }
            }
        }
        if let Some(revision) = arguments.get("expectedRevision") {
            self.asked
                .insert("expectedRevision".to_owned(), revision.clone());
        }
    }

    /// What is about to be run.
    pub(crate) fn runs(&mut self, call: &Call) {
        match call.revision {
            Some(revision) => {
                self.asked.insert("revision".to_owned(), json!(revision.0));
            }
            None => {
                // That of a session is known to its executor.
                if !call.image.is_empty() {
                    self.asked.insert("image".to_owned(), json!(call.image));
                }
                let dependencies = json!(call.dependencies.len());
                self.asked
                    .insert("dependencyCount".to_owned(), dependencies);
            }
        }
        let digest = sha256(call.code_digest);
        self.asked.insert("codeSha256".to_owned(), digest);
    }

    /// A tool whose code does not run: the answer was made before.
    pub(crate) fn answered_before(&mut self, tool: &ToolRecord) {
        let revision = json!(tool.revision.0);
        self.asked.insert("revision".to_owned(), revision);
        let digest = sha256(tool.code_digest);
        self.asked.insert("codeSha256".to_owned(), digest);
        self.asked.insert("cached".to_owned(), json!(true));
        self.found("cached", json!(true));
    }

    /// Adds a fact to the record of the end.
    pub(crate) fn found(&mut self, key: &str, value: Value) {
        self.found.insert(key.to_owned(), value);
    }

    /// Records the begin of an execution.
    ///
    /// # Errors
    /// `unavailable`: it must not be done.
    pub(crate) async fn begin(&mut self) -> Result<()> {
        let record = self.begin_record();
        self.begun = Begun::Refused;
        self.begun = match self.log.begin(record).await? {
            Some(place) => Begun::Yes(place),
            None => Begun::Not,
        };
        Ok(())
    }

    /// Records the begin of a privileged operation and waits until that is on the disk.
    ///
    /// # Errors
    /// `unavailable`: it must not be done.
    pub(crate) async fn begin_on_disk(&mut self, deadline: Instant) -> Result<()> {
        let record = self.begin_record();
        self.begun = Begun::Refused;
        let Some((place, on_disk)) = self.log.begin_privileged(record).await? else {
            return Ok(());
        };
        let shared = std::sync::Arc::clone(&place.shared);
        self.begun = Begun::NotOnDisk(place);
        shared.wait(on_disk, deadline).await?;
        if let Begun::NotOnDisk(place) = std::mem::replace(&mut self.begun, Begun::Refused) {
            self.begun = Begun::Yes(place);
        }
        Ok(())
    }

    fn begin_record(&mut self) -> Record {
        let mut record = self.record(Outcome::Begun);
        record.details = std::mem::take(&mut self.asked);
        record
    }

    fn record(&self, outcome: Outcome) -> Record {
        let mut record = Record::of_call(&self.context, self.action, outcome);
        record.target.clone_from(&self.target);
        record
    }

    /// Records the end, as far as one is recorded, without waiting. `code`: `None` for a success.
    pub(crate) fn end(mut self, code: Option<ErrorCode>, took: Duration) {
        let record = self.end_record(code, took);
        match self.begun {
            Begun::Yes(place) | Begun::NotOnDisk(place) => place.end(record),
            Begun::Not if self.is_recorded(code) => self.log.record(record),
            Begun::Not | Begun::Refused => {}
        }
    }

    /// As [`CallAudit::end`] for a privileged operation: waits until the record is on the disk.
    ///
    /// # Errors
    /// `unavailable`; it may have been done.
    pub(crate) async fn end_on_disk(
        mut self,
        code: Option<ErrorCode>,
        took: Duration,
        deadline: Instant,
    ) -> Result<()> {
        let record = self.end_record(code, took);
        match self.begun {
            Begun::Yes(place) => {
                place
                    .end_on_disk(record, deadline)
                    .await
                    .map_err(|error| match code {
                        None => unrecorded(),
                        Some(_) => error,
                    })
            }
            Begun::NotOnDisk(place) => {
                place.end(record);
                Ok(())
            }
            Begun::Not => self.log.record_on_disk(record, deadline).await,
            Begun::Refused => Ok(()),
        }
    }

    fn end_record(&mut self, code: Option<ErrorCode>, took: Duration) -> Record {
        let mut record = self.record(Outcome::of(code));
        record.code = code;
        record.duration = Some(took);
        record.details = std::mem::take(&mut self.found);
        record
    }

    /// Whether something that was never begun is recorded: privileged operations always, others
    /// when they were refused.
    fn is_recorded(&self, code: Option<ErrorCode>) -> bool {
        self.is_privileged() || code.is_some_and(is_denial)
    }
}

fn sha256(digest: CodeDigest) -> Value {
    json!(format!("{digest:?}"))
}

/// The answer to a change that was made and whose record is not on the disk.
fn unrecorded() -> domain::Error {
    let message = "the change was made, but the audit log could not record its end";
    domain::Error::new(ErrorCode::Unavailable, message)
        .with_may_have_run(true)
        .with_fix("look at the tool before trying again; the health page says what is wrong")
}
