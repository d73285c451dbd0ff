//! One tool call, read from top to bottom.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use domain::principal::{Action, authorize};
use domain::schema::Role;
use domain::tool::ToolRecord;
use domain::{Call, Error, ErrorCode, RawValue, SessionId, ToolName};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::audit::call::CallAudit;
use crate::builtin::{BuiltIn, Invocation, ephemeral, sandbox_run};
use crate::catalog::entry::Entry;
use crate::gateway::Gateway;
use crate::guard::ScopeName;
use crate::operations::{Notification, ProtocolError, ToolCall, ToolResult};
use crate::record::CallRecord;
use crate::result::{Settled, Settling};
use crate::running::{self, Listener, On};
use crate::{admin, arguments, error};

/// How long a name that the snapshot does not know is asked for at the registry.
const LOOK_UP_WITHIN: Duration = Duration::from_secs(3);
/// `_meta` key of the engine that ran a call.
const META_ENGINE: &str = "dynamic-mcp/engine";

/// What a name stands for.
enum Target<'a> {
    BuiltIn(&'a BuiltIn),
    Stored(Arc<Entry>),
}

/// What code runs, and where.
enum Place<'a> {
    /// That of a stored tool.
    Stored(&'a Entry),
    /// The caller's own.
    OneOff,
    /// The caller's own, in a session of the caller.
    Session(SessionId),
}

impl<'a> Place<'a> {
    /// The schema of the results, with the entry that it belongs to.
    fn output(&self) -> Option<(&'a Entry, &'a RawValue)> {
        match self {
            Place::Stored(entry) => Some((entry, entry.record.spec.output_schema.as_ref()?)),
            Place::OneOff | Place::Session(_) => None,
        }
    }
}

/// Why there is no result of the tool itself.
pub(crate) enum Refusal {
    /// The request fails.
    Protocol(ProtocolError),
    /// The call is answered with this error.
    Tool(Error),
}

impl From<ProtocolError> for Refusal {
    fn from(error: ProtocolError) -> Self {
        Self::Protocol(error)
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Tool(error)
    }
}

/// Whether a call that the guard has refused leaves a record.
fn due(gateway: &Gateway, call: &ToolCall) -> Option<u64> {
    let caller = &call.context.principal;
    let who = (&caller.tenant, &caller.subject, &call.name);
    gateway.guard().notes.due("guard", who)
}

impl Gateway {
    /// Answers a `tools/call`: resolve, authorise, check the arguments, admit, record the begin,
    /// run, settle, record the end.
    ///
    /// Notifications go out while it runs; when nobody takes them any more the call goes on, until
    /// this future is dropped: that stops the tool.
    ///
    /// # Errors
    /// [`ProtocolError`] for an unknown tool, arguments that are no object, and faults of ours.
    /// Every other failure is a result with `is_error`.
    pub async fn call_tool(
        &self,
        call: ToolCall,
        notify: mpsc::Sender<Notification>,
    ) -> Result<ToolResult, ProtocolError> {
        let mut record = CallRecord::begin(&call, self.metrics());
        let request = call.context.request_id.clone();
        let deadline = record.started() + call.context.budget;
        let settled = self.answer(call, notify, &mut record, deadline).await;
        let settled = match record.recorded(settled, deadline).await {
            Err(Refusal::Tool(refusal)) => error::refused(&refusal, &request, record.took())
                .map(|result| (result, Some(refusal.code()))),
            Err(Refusal::Protocol(error)) => Err(error),
            Ok(settled) => Ok(settled),
        };
        record.end(settled)
    }

    async fn answer(
        &self,
        mut call: ToolCall,
        notify: mpsc::Sender<Notification>,
        record: &mut CallRecord,
        deadline: Instant,
    ) -> Result<Settled, Refusal> {
        let request = call.context.request_id.clone();
        let target = self.resolve(&call, deadline).await?;
        record.resolved(match &target {
            Target::BuiltIn(_) => None,
            Target::Stored(entry) => Some(entry.record.revision),
        });
        match target {
            Target::BuiltIn(tool) => {
                record.audited(CallAudit::of_built_in(self.audit(), &call.context, tool));
                check_idempotency_key(&call, tool.is_write())?;
                let text = arguments::object(call.arguments.as_deref())?;
                let text = if tool.is_management() {
                    let (text, token) = admin::take_token(text)?;
                    if let Some(token) = token {
                        self.elevate_by_argument(&mut call.context, &token)?;
                    }
                    text
                } else {
                    Cow::Borrowed(text)
                };
                authorize(&call.context.principal, tool.action())?;
                let value = arguments::parse(&text)?;
                if tool.is_management() {
                    record.asked(&value);
                }
                arguments::check(tool.schema(), &value)?;
                let principal = &call.context.principal;
                let permit = tool.is_guarded().then(|| {
                    let name = ScopeName::whole(tool.name());
                    self.guard().admit(principal, name, None)
                });
                let permit = permit.transpose();
                let permit = permit.inspect_err(|_| record.limited(due(self, &call)))?;
                let settled = if let Some((runtime, in_session)) = tool.runs_code() {
                    let (place, run) = if in_session {
                        self.check_admin(&call.context.principal)?;
                        let (id, run) = sandbox_run::call(self.settings(), runtime, &text, &call)?;
                        (Place::Session(id), run)
                    } else {
                        let run = ephemeral::call(self.settings(), runtime, &text, &call)?;
                        (Place::OneOff, run)
                    };
                    self.execute(run, place, &call, deadline, notify, record)
                        .await
                } else {
                    let context = &call.context;
                    let invocation = Invocation {
                        gateway: self,
                        context,
                        text: &text,
                        value: &value,
                        deadline,
                    };
                    match record.acts(deadline).await {
                        Ok(()) => tool.run(&invocation).await,
                        Err(unrecorded) => Err(unrecorded),
                    }
                    .and_then(|mut answer| {
                        record.found(answer.take_facts());
                        answer.into_result()
                    })
                    .map_err(Refusal::from)
                };
                if let (Some(permit), false) = (&permit, matches!(settled, Ok((_, None)))) {
                    permit.failed();
                }
                settled
            }
            Target::Stored(entry) => {
                let settled = self
                    .call_stored(&entry, call, deadline, notify, record)
                    .await;
                match settled {
                    Err(Refusal::Tool(error)) if entry.record.spec.output_schema.is_some() => {
                        let refused = error::refused(&error, &request, record.took())?;
                        Ok((error::in_meta(refused, &request)?, Some(error.code())))
                    }
                    settled => settled,
                }
            }
        }
    }

    async fn call_stored(
        &self,
        entry: &Arc<Entry>,
        call: ToolCall,
        deadline: Instant,
        notify: mpsc::Sender<Notification>,
        record: &mut CallRecord,
    ) -> Result<Settled, Refusal> {
        let spec = &entry.record.spec;
        record.audited(CallAudit::of_stored(
            self.audit(),
            &call.context,
            &call.name,
        ));
        authorize(
            &call.context.principal,
            Action::UseTool(&spec.required_scopes),
        )
        .map_err(|_| {
            record.hidden();
            error::unknown_tool(&call.name)
        })?;
        check_idempotency_key(&call, false)?;
        let text = arguments::object(call.arguments.as_deref())?;
        let args = match &spec.input_schema {
            None => arguments::args_property(text)?,
            Some(schema) => {
                let schema = self.schemas().get(entry.id, Role::Input, schema)?;
                arguments::check(&schema, &arguments::parse(text)?)?;
                text
            }
        };
        let args = arguments::raw(args)?;
        let principal = &call.context.principal;
        let name = ScopeName::stored(&call.name);
        let permit = self.guard().admit(principal, name, spec.rate_limit);
        let permit = permit.inspect_err(|_| record.limited(due(self, &call)))?;
        let place = self.cache().place(&entry.record, &args, &call);
        if let Some(place) = &place
            && let Some(result) = self.cache().get(place, deadline).await
        {
            let recorded = record.answered_before(&entry.record).await;
            recorded.inspect_err(|_| permit.failed())?;
            return Ok((result, None));
        }
        let loaded = match self.load(&entry.record, &call, deadline).await {
            Err(refusal) => Err(refusal),
            Ok(code) => {
                let lock = self.lock_of(&call.context, &entry.record, deadline);
                lock.await.map(|lock| (code, lock)).map_err(Refusal::from)
            }
        };
        let settled = match loaded {
            Err(refusal) => Err(refusal),
            Ok((code, lock)) => {
                let mut run = self.call_of(&entry.record, code, args, &call);
                run.lock = lock;
                self.execute(run, Place::Stored(entry), &call, deadline, notify, record)
                    .await
            }
        };
        match (&settled, &place) {
            // What else reached the client than the answer would be missing the next time.
            (Ok((result, None)), Some(place)) if record.was_silent() => {
                self.cache().put(place, result, deadline).await;
            }
            (Ok((_, None)), _) => {}
            _ => permit.failed(),
        }
        settled
    }

    /// Finds out what the name stands for: a built-in, a tool of the snapshot, or, when the
    /// snapshot may be behind, what the registry says.
    async fn resolve(&self, call: &ToolCall, deadline: Instant) -> Result<Target<'_>, Refusal> {
        let unknown = || Refusal::from(error::unknown_tool(&call.name));
        if let Some(tool) = self.built_in(&call.name) {
            return Ok(Target::BuiltIn(tool));
        }
        let tenant = &call.context.principal.tenant;
        let served = |entry: Arc<Entry>| {
            if entry.served() {
                Ok(Target::Stored(entry))
            } else {
                Err(unknown())
            }
        };
        if let Some(entry) = self.catalogue().find(tenant, &call.name) {
            return served(entry);
        }
        let name = match ToolName::parse(&call.name) {
            Ok(name) if !name.is_reserved() && self.catalogue().is_stale() => name,
            _ => return Err(unknown()),
        };
        let within = deadline.min(Instant::now() + LOOK_UP_WITHIN);
        let found = timeout_at(within, self.catalog().get(&call.context, &name, None));
        match found
            .await
            .unwrap_or_else(|_| Err(Error::unavailable("registry")))
        {
            Ok(tool) => {
                self.codes().put(&tool.record, &tool.code).await;
                served(self.catalogue().learn(tool.record)?)
            }
            Err(error) if error.code() == ErrorCode::NotFound => Err(unknown()),
            // A caller who may use tools but not read definitions cannot ask; that says nothing
            // about the tool.
            Err(error) if error.code() == ErrorCode::PermissionDenied => {
                Err(Error::unavailable("registry").into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The code of a stored tool: cached, or one RPC.
    async fn load(
        &self,
        record: &ToolRecord,
        call: &ToolCall,
        deadline: Instant,
    ) -> Result<Arc<str>, Refusal> {
        let fetch = self
            .catalog()
            .code(&call.context, &record.name, record.revision);
        let loaded = timeout_at(deadline, self.codes().get(record, fetch)).await;
        match loaded.unwrap_or_else(|_| Err(Error::unavailable("registry"))) {
            Ok(code) => Ok(code),
            // Deleted a moment ago, and the feed has not said so yet.
            Err(error) if error.code() == ErrorCode::NotFound => {
                Err(error::unknown_tool(&call.name).into())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn call_of(
        &self,
        record: &ToolRecord,
        code: Arc<str>,
        args: Box<domain::RawValue>,
        call: &ToolCall,
    ) -> Call {
        let spec = &record.spec;
        let mut limits = self.settings().run;
        limits.timeout = limits
            .timeout
            .min(Duration::from_millis(spec.timeout_ms.into()));
        Call {
            tool: record.name.as_str().to_owned(),
            revision: Some(record.revision),
            code,
            code_digest: record.code_digest,
            args,
            runtime: spec.runtime,
            engine: spec.engine,
            isolation: spec.isolation,
            image: spec.image.clone(),
            dependencies: spec.dependencies.clone(),
            lock: None,
            limits,
            log_level: call.log_level,
            wants_progress: call.wants_progress,
            client_capabilities: call.client_capabilities.clone(),
        }
    }

    /// Runs and settles: what every execution of code has in common.
    async fn execute(
        &self,
        run: Call,
        place: Place<'_>,
        call: &ToolCall,
        deadline: Instant,
        notify: mpsc::Sender<Notification>,
        record: &mut CallRecord,
    ) -> Result<Settled, Refusal> {
        let output = match place.output() {
            Some((entry, schema)) => Some(self.schemas().get(entry.id, Role::Output, schema)?),
            None => None,
        };
        let listener = Listener {
            tool: call.name.clone(),
            log_level: call.log_level,
            wants_progress: call.wants_progress,
            notify,
            reached: None,
            sent: 0,
        };
        record.runs(&run).await?;
        let on = match &place {
            Place::Session(id) => On::Session(self.sessions(), id),
            Place::Stored(_) | Place::OneOff => On::Runner(self.runner()),
        };
        let ran = running::run(on, &call.context, run, deadline, listener).await;
        let settling = Settling {
            tool: &call.name,
            output: output.as_deref(),
            default_form: !matches!(place, Place::Stored(_)),
            as_printed: matches!(place, Place::Session(_)),
            request: &call.context.request_id,
            max_text_bytes: usize::try_from(self.settings().run.max_output_bytes)
                .unwrap_or(usize::MAX),
            took: record.took(),
        };
        match ran {
            Err(error) => Ok(settling.failed(&error, &[])?),
            Ok(ran) => {
                record.ran_on(ran.engine);
                if ran.spoke {
                    record.spoke();
                }
                let (mut result, code) = settling.settle(ran.outcome)?;
                result
                    .meta
                    .insert(META_ENGINE.to_owned(), ran.engine.as_str().into());
                Ok((result, code))
            }
        }
    }
}

/// Refuses an idempotency key where it would not keep what it promises: what runs code may run twice.
fn check_idempotency_key(call: &ToolCall, is_write: bool) -> Result<(), Error> {
    if is_write || call.context.idempotency_key.is_none() {
        return Ok(());
    }
    Err(Error::invalid(
        "_meta.dynamic-mcp/idempotencyKey",
        "is for the management tools that write",
    )
    .with_limit("dynamic.tool.create, .update, .enable, .delete")
    .with_fix("leave it out"))
}
