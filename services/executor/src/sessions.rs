//! The port `Sessions` on an engine: which sessions there are, whose they are, and when they end.
//!
//! Sessions take no slots of calls: they may be there for hours and mostly wait. What bounds them is
//! their number, and with it the memory that they may use together (number times the memory of one
//! sandbox); within a session one operation runs at a time.

mod entry;
mod handle;
mod operation;
mod table;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use domain::call::CallContext;
use domain::error::{Error, Result};
use domain::principal::{Action, authorize};
use domain::runner::{Call, RunStream};
use domain::session::{
    self, CommandResult, Exec, Listing, Network, SessionId, SessionInfo, SessionSpec, Sessions,
};

use domain::validate::Policy;

use crate::Executor;
use crate::executor::check;

pub(crate) use table::Table;

/// How sessions are bounded.
#[derive(Debug, Clone)]
pub struct SessionSettings {
    /// After how long without an operation a session ends; a caller may ask for less.
    pub idle: Duration,
    /// How long a session lives at most, whatever is done with it.
    pub lifetime: Duration,
    /// Sessions at once, those that are being made or destroyed included.
    pub max_sessions: usize,
    /// The most network that a session may ask for.
    pub network: Network,
    /// What sessions may ask for besides: images and packages.
    pub policy: Policy,
}

impl Default for SessionSettings {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(1_800),
            lifetime: Duration::from_secs(172_800),
            max_sessions: 20,
            network: Network::None,
            policy: Policy::default(),
        }
    }
}

#[async_trait]
impl Sessions for Executor {
    async fn open(&self, context: &CallContext, spec: SessionSpec) -> Result<SessionInfo> {
        let table = self.sessions_of(context)?;
        check_variables(&spec)?;
        let opening = table.open(context, spec);
        table.measured("open", opening).await
    }

    async fn exec(
        &self,
        context: &CallContext,
        id: &SessionId,
        mut exec: Exec,
    ) -> Result<Vec<CommandResult>> {
        let table = self.sessions_of(context)?;
        check_commands(&exec)?;
        let ceiling = table.ceiling();
        exec.timeout = exec.timeout.min(ceiling.timeout);
        let (operation, entry) = table.begin(context, id, "exec")?;
        let deadline = operation.deadline();
        let work = entry.sandbox.exec(exec, ceiling.max_output_bytes, deadline);
        operation.ends(work).await
    }

    async fn run(&self, context: &CallContext, id: &SessionId, call: Call) -> Result<RunStream> {
        let table = self.sessions_of(context)?;
        check(&call)?;
        table.run(context, id, call).await
    }

    async fn write(
        &self,
        context: &CallContext,
        id: &SessionId,
        path: &str,
        content: Vec<u8>,
    ) -> Result<()> {
        let table = self.sessions_of(context)?;
        check_path(path)?;
        if content.len() > session::FILE_BYTES {
            return Err(Error::invalid("content", "is too large")
                .with_limit(format!("{} bytes", session::FILE_BYTES)));
        }
        let (operation, entry) = table.begin(context, id, "write")?;
        let deadline = operation.deadline();
        let work = entry.sandbox.write(path, content, deadline);
        operation.ends(work).await
    }

    async fn read(&self, context: &CallContext, id: &SessionId, path: &str) -> Result<Vec<u8>> {
        let table = self.sessions_of(context)?;
        check_path(path)?;
        let (operation, entry) = table.begin(context, id, "read")?;
        let deadline = operation.deadline();
        let work = entry.sandbox.read(path, deadline);
        operation.ends(work).await
    }

    async fn list(&self, context: &CallContext, id: &SessionId, path: &str) -> Result<Listing> {
        let table = self.sessions_of(context)?;
        check_path(path)?;
        let (operation, entry) = table.begin(context, id, "list")?;
        let deadline = operation.deadline();
        let work = entry.sandbox.list(path, deadline);
        operation.ends(work).await
    }

    async fn stop(&self, context: &CallContext, id: &SessionId) -> Result<()> {
        let table = self.sessions_of(context)?;
        table.measured("stop", table.stop(context, id)).await
    }

    async fn sessions(&self, context: &CallContext) -> Result<Vec<SessionInfo>> {
        Ok(self.sessions_of(context)?.of(&context.principal))
    }
}

impl Executor {
    /// The sessions, for a caller who may use any.
    fn sessions_of(&self, context: &CallContext) -> Result<&Arc<Table>> {
        authorize(&context.principal, Action::UseSandbox)?;
        Ok(self.session_table())
    }
}

/// Longest name and value of one variable, and longest of all together, in bytes.
const VARIABLE_BYTES: (usize, usize, usize) = (128, 4_096, 32_768);

fn check_variables(spec: &SessionSpec) -> Result<()> {
    let (most_name, most_value, most_of_all) = VARIABLE_BYTES;
    if spec.env.len() > session::VARIABLES {
        return Err(Error::invalid("/env", "has too many variables")
            .with_limit(format!("{} variables", session::VARIABLES)));
    }
    let mut total = 0;
    for (name, value) in &spec.env {
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let starts = name
            .bytes()
            .next()
            .is_some_and(|byte| !byte.is_ascii_digit());
        if !starts || !name.bytes().all(word) || name.len() > most_name {
            // The name itself may be where somebody has put a secret by mistake.
            return Err(Error::invalid("/env", "has a name that is none")
                .with_limit("[A-Za-z_][A-Za-z0-9_]{0,127}"));
        }
        if value.len() > most_value || value.contains('\0') {
            return Err(
                Error::invalid(format!("/env/{name}"), "is too long or holds a NUL")
                    .with_limit(format!("{most_value} bytes")),
            );
        }
        total += name.len() + value.len();
    }
    if total > most_of_all {
        return Err(Error::invalid("/env", "is too large")
            .with_limit(format!("{most_of_all} bytes of names and values")));
    }
    Ok(())
}

fn check_commands(exec: &Exec) -> Result<()> {
    if !(1..=session::COMMANDS).contains(&exec.commands.len()) {
        return Err(Error::invalid("/commands", "are too few or too many")
            .with_limit(format!("1-{} commands", session::COMMANDS)));
    }
    for (at, command) in exec.commands.iter().enumerate() {
        if command.is_empty() || command.len() > session::COMMAND_BYTES {
            return Err(
                Error::invalid(format!("/commands/{at}"), "is empty or too long")
                    .with_limit(format!("1-{} bytes", session::COMMAND_BYTES)),
            );
        }
        if command.contains('\0') {
            return Err(Error::invalid(
                format!("/commands/{at}"),
                "holds a NUL, which no shell takes",
            ));
        }
    }
    Ok(())
}

fn check_path(path: &str) -> Result<()> {
    if path.len() > session::PATH_BYTES {
        return Err(Error::invalid("/path", "is too long")
            .with_limit(format!("{} bytes", session::PATH_BYTES)));
    }
    Ok(())
}
