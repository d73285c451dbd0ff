//! Sessions in memory: files are kept, commands are echoed, code answers what a script says.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use domain::session::{
    self, CommandResult, EntryKind, Exec, FileEntry, Listing, SessionInfo, SessionSpec,
};
use domain::{Call, CallContext, Error, ErrorCode, Result, RunStream, Runner, SessionId, Sessions};
use jiff::Timestamp;
use parking_lot::Mutex;

use crate::FakeRunner;

/// Sessions of one executor, which are their owners' alone.
pub struct FakeSessions {
    executor: String,
    state: Mutex<State>,
    /// What runs code in a session.
    pub runner: FakeRunner,
}

#[derive(Default)]
struct State {
    made: u8,
    open: Vec<Open>,
    opened: Vec<SessionSpec>,
    asked: Vec<&'static str>,
    refuse: Option<Error>,
}

struct Open {
    owner: (domain::TenantId, String),
    info: SessionInfo,
    files: BTreeMap<String, Vec<u8>>,
}

impl FakeSessions {
    /// None yet, at an executor of this name.
    #[must_use]
    pub fn new(executor: &str) -> Self {
        Self {
            executor: executor.to_owned(),
            state: Mutex::default(),
            runner: FakeRunner::answering(r#"{"sum":5}"#),
        }
    }

    /// Refuses every following operation, or none any more.
    pub fn refuse_with(&self, error: Option<Error>) {
        self.state.lock().refuse = error;
    }

    /// What sessions were asked for.
    #[must_use]
    pub fn opened(&self) -> Vec<SessionSpec> {
        self.state.lock().opened.clone()
    }

    /// The operations that arrived, by name.
    #[must_use]
    pub fn asked(&self) -> Vec<&'static str> {
        self.state.lock().asked.clone()
    }

    fn arrives(&self, operation: &'static str) -> Result<()> {
        let mut state = self.state.lock();
        state.asked.push(operation);
        state.refuse.clone().map_or(Ok(()), Err)
    }

    fn with<T>(
        &self,
        context: &CallContext,
        id: &SessionId,
        operation: &'static str,
        work: impl FnOnce(&mut Open) -> Result<T>,
    ) -> Result<T> {
        self.arrives(operation)?;
        let mut state = self.state.lock();
        let caller = owner(context);
        let found = state
            .open
            .iter_mut()
            .find(|open| open.info.id == *id && open.owner == caller);
        work(found.ok_or_else(session::unknown)?)
    }
}

fn owner(context: &CallContext) -> (domain::TenantId, String) {
    let principal = &context.principal;
    (principal.tenant.clone(), principal.subject.clone())
}

/// A command that came to its end by itself.
#[must_use]
pub fn command_result(exit_code: i32, stdout: &str, stderr: &str) -> CommandResult {
    CommandResult {
        exit_code,
        signal: None,
        stdout: stdout.to_owned(),
        stderr: stderr.to_owned(),
        duration: Duration::from_millis(3),
        truncated: false,
        stdout_bytes: stdout.len() as u64,
        stderr_bytes: stderr.len() as u64,
        timed_out: false,
        out_of_memory: false,
    }
}

/// `exit N` ends with that code, `late` runs into its time, `never` is not begun; all else is echoed.
fn run(command: &str) -> Option<CommandResult> {
    Some(match command {
        "never" => return None,
        "late" => CommandResult {
            timed_out: true,
            signal: Some("SIGKILL".to_owned()),
            ..command_result(137, "partial\n", "")
        },
        _ => match command.strip_prefix("exit ") {
            Some(code) => command_result(code.parse().unwrap_or(1), "", "it failed\n"),
            None => command_result(0, &format!("{command}\n"), ""),
        },
    })
}

#[async_trait]
impl Sessions for FakeSessions {
    async fn open(&self, context: &CallContext, spec: SessionSpec) -> Result<SessionInfo> {
        self.arrives("open")?;
        let mut state = self.state.lock();
        state.made += 1;
        let now = Timestamp::now();
        let info = SessionInfo {
            id: SessionId::new(&self.executor, &[state.made])?,
            image: spec.image.clone().unwrap_or_else(|| "some:1".to_owned()),
            idle: spec.idle.unwrap_or(Duration::from_secs(1_800)),
            created_at: now,
            last_used_at: now,
        };
        state.opened.push(spec);
        state.open.push(Open {
            owner: owner(context),
            info: info.clone(),
            files: BTreeMap::new(),
        });
        Ok(info)
    }

    async fn exec(
        &self,
        context: &CallContext,
        id: &SessionId,
        exec: Exec,
    ) -> Result<Vec<CommandResult>> {
        self.with(context, id, "exec", |_| {
            Ok(exec.commands.iter().map_while(|one| run(one)).collect())
        })
    }

    async fn run(&self, context: &CallContext, id: &SessionId, call: Call) -> Result<RunStream> {
        self.with(context, id, "run", |_| Ok(()))?;
        self.runner.run(context, call).await
    }

    async fn write(
        &self,
        context: &CallContext,
        id: &SessionId,
        path: &str,
        content: Vec<u8>,
    ) -> Result<()> {
        self.with(context, id, "write", |open| {
            open.files.insert(path.to_owned(), content);
            Ok(())
        })
    }

    async fn read(&self, context: &CallContext, id: &SessionId, path: &str) -> Result<Vec<u8>> {
        self.with(context, id, "read", |open| {
            let found = open.files.get(path).cloned();
            found.ok_or_else(|| Error::new(ErrorCode::NotFound, "no such file"))
        })
    }

    async fn list(&self, context: &CallContext, id: &SessionId, path: &str) -> Result<Listing> {
        self.with(context, id, "list", |open| {
            let below = open.files.iter();
            let below = below.filter(|(name, _)| path == "." || name.starts_with(path));
            let entries = below.map(|(name, content)| FileEntry {
                path: name.clone(),
                kind: EntryKind::File,
                size: content.len() as u64,
            });
            Ok(Listing {
                entries: entries.collect(),
                truncated: false,
            })
        })
    }

    async fn stop(&self, context: &CallContext, id: &SessionId) -> Result<()> {
        self.with(context, id, "stop", |_| Ok(()))?;
        self.state.lock().open.retain(|open| open.info.id != *id);
        Ok(())
    }

    async fn sessions(&self, context: &CallContext) -> Result<Vec<SessionInfo>> {
        self.arrives("sessions")?;
        let caller = owner(context);
        let state = self.state.lock();
        let own = state.open.iter().filter(|open| open.owner == caller);
        Ok(own.map(|open| open.info.clone()).collect())
    }
}
