//! The JavaScript runtime of one call and its event loop.

use std::rc::Rc;

use rquickjs::context::EvalOptions;
use rquickjs::promise::PromiseState;
use rquickjs::{Context, Ctx, Function, Object, Promise, Runtime, Value};

use super::fault::{self, Fault};
use super::host::{self, Host};
use super::outbox::{Outbox, read_frame, wait_for_frame};
use super::prelude;
use crate::wire::{FromChild, JobHead, Thrown, ToChild};

/// Stack that JavaScript may use, in bytes; beyond it a RangeError is thrown.
const STACK_BYTES: usize = 4 << 20;

/// Jobs between two looks at what the engine has to say.
const JOBS_AT_ONCE: u32 = 4_096;

/// File name of the tool's code in stack traces.
pub(super) const FILE_NAME: &str = "tool.js";

/// What stands before the code on its first line.
pub(super) const HEAD: &str = "(async function run(args, ctx) {";

/// A runtime with its globals, waiting for code.
pub(super) struct Guest {
    runtime: Runtime,
    context: Context,
    host: Rc<Host>,
}

/// What the event loop does next.
enum Next {
    Settled,
    Again,
    Fault(Fault),
}

impl Guest {
    /// `bytecode` is what [`prelude::compile`] made.
    pub(super) fn new(outbox: Rc<Outbox>, bytecode: Vec<u8>) -> rquickjs::Result<Self> {
        let runtime = Runtime::new()?;
        runtime.set_max_stack_size(STACK_BYTES);
        let context = Context::full(&runtime)?;
        let host = Rc::new(Host::new(outbox));
        let tracked = Rc::clone(&host);
        runtime.set_host_promise_rejection_tracker(Some(Box::new(
            move |ctx, promise, reason, handled| tracked.rejection(&ctx, promise, reason, handled),
        )));
        prelude::offer(&runtime, bytecode);
        context.with(|ctx| {
            let install = prelude::load(&ctx)?;
            let hooks: Object<'_> = install.call((host::functions(&ctx, &host)?,))?;
            host.keep_hooks(&ctx, hooks);
            Ok::<_, rquickjs::Error>(())
        })?;
        prelude::close(&runtime);
        Ok(Self {
            runtime,
            context,
            host,
        })
    }

    /// Runs the code and sends how it ended.
    pub(super) fn run(&self, head: &JobHead<'_>, args: &str, code: &str) {
        let limit = usize::try_from(head.memory_bytes).unwrap_or(usize::MAX);
        self.runtime.set_memory_limit(limit);
        self.host.begin();
        let ended = self.context.with(|ctx| {
            let value = self.value(&ctx, head, args, code)?;
            fault::encode(&ctx, value, head.max_output_bytes)
        });
        let outbox = &self.host.outbox;
        match ended {
            Ok(Some(json)) => outbox.send(FromChild::Value, &[json.as_bytes()]),
            Ok(None) => outbox.send(FromChild::Value, &[]),
            Err(fault) => {
                let Fault {
                    cause,
                    message,
                    stack,
                    ..
                } = fault.told(&self.runtime, limit);
                if let Some(stack) = stack {
                    outbox.print(domain::runner::LogLevel::Error, &stack);
                }
                outbox.send_json(FromChild::Failure, &Thrown { cause, message });
            }
        }
    }

    fn value<'js>(
        &self,
        ctx: &Ctx<'js>,
        head: &JobHead<'_>,
        args: &str,
        code: &str,
    ) -> Result<Value<'js>, Fault> {
        let started = self
            .start(ctx, head, args, code)
            .map_err(|error| fault::caught(ctx, error))?;
        let Some(promise) = started.as_promise().cloned() else {
            return Ok(started);
        };
        self.host.expect_rejection_of(ctx, &promise);
        loop {
            match self.turn(ctx, &promise) {
                Next::Again => {}
                Next::Fault(fault) => return Err(fault),
                Next::Settled => break,
            }
        }
        match promise.result::<Value<'js>>() {
            Some(result) => result.map_err(|error| fault::caught(ctx, error)),
            None => Err(Fault::threw("the promise was never settled")),
        }
    }

    fn start<'js>(
        &self,
        ctx: &Ctx<'js>,
        head: &JobHead<'_>,
        args: &str,
        code: &str,
    ) -> rquickjs::Result<Value<'js>> {
        let hooks = self.host.hooks(ctx)?;
        let arguments = ctx.json_parse(args)?;
        let info = Object::new(ctx.clone())?;
        info.set("tool", &*head.tool)?;
        info.set("revision", head.revision)?;
        info.set("requestId", &*head.request_id)?;
        #[allow(
            clippy::cast_precision_loss,
            reason = "milliseconds fit for 285,000 years"
        )]
        info.set("deadline", head.deadline_ms as f64)?;
        let capabilities = head.client_capabilities.map_or("null", |raw| raw.get());
        info.set("clientCapabilities", ctx.json_parse(capabilities)?)?;
        let context: Object<'js> = hooks
            .get::<_, Function<'js>>("makeContext")?
            .call((info,))?;

        // The code starts on the first line, so that its own line numbers are right.
        let source = format!("{HEAD}{code}\n}})");
        let run = compile(ctx, source)?;
        run.call((arguments, context))
    }

    /// Runs what is ready, and waits when nothing is.
    fn turn<'js>(&self, ctx: &Ctx<'js>, promise: &Promise<'js>) -> Next {
        for _ in 0..JOBS_AT_ONCE {
            if !ctx.execute_pending_job() {
                break;
            }
        }
        // One more job, if there is one, tells whether the loop above stopped early.
        if ctx.execute_pending_job() {
            return if wait_for_frame(Some(0)) {
                self.listen(ctx)
            } else {
                Next::Again
            };
        }
        if let Some(fault) = self.host.take_uncaught(ctx) {
            return Next::Fault(fault);
        }
        if promise.state() != PromiseState::Pending {
            return Next::Settled;
        }
        let now = self.host.now_millis();
        let next_due = self.host.timers.borrow_mut().next_due();
        match next_due {
            Some(due) if due <= now => {
                // Between two timers the engine is heard too, or an interval of 0 would hide it.
                if wait_for_frame(Some(0)) {
                    return self.listen(ctx);
                }
                self.fire(ctx, now)
            }
            Some(due) if wait_for_frame(Some(due - now)) => self.listen(ctx),
            Some(_) => Next::Again,
            None if self.host.listens_to_signal.get() => {
                if wait_for_frame(None) {
                    self.listen(ctx)
                } else {
                    Next::Again
                }
            }
            None => Next::Fault(Fault::vague(
                "the promise that the code returned can never settle: nothing that it waits for \
                 is left",
            )),
        }
    }

    fn fire(&self, ctx: &Ctx<'_>, now: u64) -> Next {
        let Some(id) = self.host.timers.borrow_mut().take_due(now) else {
            return Next::Again;
        };
        self.call_hook(ctx, "fire", id)
    }

    fn listen(&self, ctx: &Ctx<'_>) -> Next {
        match read_frame() {
            Ok(Some((ToChild::Cancel, _))) => self.call_hook(ctx, "abort", 0),
            // The engine is gone, or speaks nonsense.
            Ok(Some(_) | None) | Err(_) => super::leave(0),
        }
    }

    fn call_hook(&self, ctx: &Ctx<'_>, name: &str, argument: u32) -> Next {
        let call = || {
            let hook: Function<'_> = self.host.hooks(ctx)?.get(name)?;
            hook.call::<_, ()>((argument,))
        };
        match call() {
            Ok(()) => Next::Again,
            Err(error) => Next::Fault(fault::caught(ctx, error)),
        }
    }
}

fn compile<'js>(ctx: &Ctx<'js>, source: String) -> rquickjs::Result<Function<'js>> {
    if source.contains('\0') {
        // NUL may stand in strings and comments, but the binding hands source over as C strings.
        // JavaScript's own `eval` takes it, at the price of the file's name in stacks.
        return ctx
            .globals()
            .get::<_, Function<'js>>("eval")?
            .call((source,));
    }
    ctx.eval_with_options(source, options())
}

fn options() -> EvalOptions {
    let mut options = EvalOptions::default();
    options.strict = false;
    options.filename = Some(FILE_NAME.to_owned());
    options
}
