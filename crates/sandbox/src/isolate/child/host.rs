//! What the prelude gets from Rust: output, time, randomness, URLs.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use domain::runner::LogLevel;
use rquickjs::prelude::{Func, Opt};
use rquickjs::{Ctx, Exception, Object, Persistent, Promise, Result, TypedArray, Value};
use rustix::time::{ClockId, clock_gettime};

use super::fault::{self, Fault};
use super::outbox::Outbox;
use super::timers::Timers;
use crate::output::well_formed;
use crate::wire;

/// Most rejections without a handler that are kept; more than one is a failure anyway.
const MAX_REJECTIONS: usize = 64;

/// State of the running call that both sides share.
pub(super) struct Host {
    pub(super) outbox: Rc<Outbox>,
    pub(super) timers: RefCell<Timers>,
    /// Whether something waits for `ctx.signal`.
    pub(super) listens_to_signal: Cell<bool>,
    started: Cell<Duration>,
    last_progress: Cell<f64>,
    hooks: RefCell<Option<Persistent<Object<'static>>>>,
    uncaught: RefCell<Option<Persistent<Value<'static>>>>,
    main: RefCell<Option<Persistent<Value<'static>>>>,
    rejected: RefCell<Vec<(Persistent<Value<'static>>, Persistent<Value<'static>>)>>,
}

impl Host {
    pub(super) fn new(outbox: Rc<Outbox>) -> Self {
        Self {
            outbox,
            timers: RefCell::default(),
            listens_to_signal: Cell::default(),
            started: Cell::default(),
            last_progress: Cell::new(f64::NEG_INFINITY),
            hooks: RefCell::default(),
            uncaught: RefCell::default(),
            main: RefCell::default(),
            rejected: RefCell::default(),
        }
    }

    /// Starts the guest's clock.
    pub(super) fn begin(&self) {
        self.started.set(monotonic());
    }

    fn now(&self) -> Duration {
        monotonic().saturating_sub(self.started.get())
    }

    pub(super) fn now_millis(&self) -> u64 {
        u64::try_from(self.now().as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn keep_hooks<'js>(&self, ctx: &Ctx<'js>, hooks: Object<'js>) {
        *self.hooks.borrow_mut() = Some(Persistent::save(ctx, hooks));
    }

    pub(super) fn hooks<'js>(&self, ctx: &Ctx<'js>) -> Result<Object<'js>> {
        let hooks = self.hooks.borrow().clone();
        hooks.ok_or(rquickjs::Error::Unknown)?.restore(ctx)
    }

    /// The promise of the call itself: its rejection is an outcome, not an accident.
    pub(super) fn expect_rejection_of<'js>(&self, ctx: &Ctx<'js>, promise: &Promise<'js>) {
        let main = Persistent::save(ctx, promise.clone().into_value());
        self.rejected
            .borrow_mut()
            .retain(|(rejected, _)| *rejected != main);
        *self.main.borrow_mut() = Some(main);
    }

    /// A promise was rejected without a handler, or got one after all.
    pub(super) fn rejection<'js>(
        &self,
        ctx: &Ctx<'js>,
        promise: Value<'js>,
        reason: Value<'js>,
        handled: bool,
    ) {
        let promise = Persistent::save(ctx, promise);
        if handled {
            self.rejected
                .borrow_mut()
                .retain(|(rejected, _)| *rejected != promise);
        } else if self.main.borrow().as_ref() != Some(&promise) {
            let mut rejected = self.rejected.borrow_mut();
            if rejected.len() < MAX_REJECTIONS {
                rejected.push((promise, Persistent::save(ctx, reason)));
            }
        }
    }

    /// What nobody caught: an exception in a callback, or a rejection without a handler.
    pub(super) fn take_uncaught(&self, ctx: &Ctx<'_>) -> Option<Fault> {
        let uncaught = self.uncaught.borrow_mut().take();
        let rejected = self.rejected.borrow_mut().pop().map(|(_, reason)| reason);
        let value = uncaught.or(rejected)?;
        Some(match value.restore(ctx) {
            Ok(value) => fault::thrown(ctx, value),
            Err(error) => fault::caught(ctx, error),
        })
    }
}

fn monotonic() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    let nanos = u32::try_from(now.tv_nsec).unwrap_or(0);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), nanos)
}

/// The object that the prelude's function is called with.
pub(super) fn functions<'js>(ctx: &Ctx<'js>, host: &Rc<Host>) -> Result<Object<'js>> {
    let object = Object::new(ctx.clone())?;
    output(&object, host)?;
    callbacks(&object, host)?;
    object.set("randomBytes", Func::from(random_bytes))?;
    object.set("randomFloat", Func::from(random_float))?;
    object.set("uuid", Func::from(uuid))?;
    object.set("encode", Func::from(encode))?;
    object.set("decode", Func::from(decode))?;
    object.set("urlParse", Func::from(super::urls::parse))?;
    object.set("urlParts", Func::from(super::urls::parts))?;
    object.set("urlChange", Func::from(super::urls::change))?;
    object.set("formParse", Func::from(super::urls::form_parse))?;
    object.set("formWrite", Func::from(super::urls::form_write))?;
    Ok(object)
}

fn output<'js>(object: &Object<'js>, host: &Rc<Host>) -> Result<()> {
    let to = Rc::clone(host);
    let print = move |level: String, text: String| {
        to.outbox
            .print(LogLevel::parse(&level).unwrap_or_default(), &text);
    };
    object.set("print", Func::from(print))?;
    let to = Rc::clone(host);
    let log = move |level: String, json: String| {
        let level = LogLevel::parse(&level);
        if let Some(level) = level {
            to.outbox.log(level, &well_formed(json));
        }
        level.is_some()
    };
    object.set("log", Func::from(log))?;
    let to = Rc::clone(host);
    let progress = move |progress: f64, total: Opt<Option<f64>>, message: Opt<Option<String>>| {
        // MCP wants it to grow; a report that does not is not one. The prelude refuses what is not
        // finite, with words, but by functions that the code can replace.
        let finite = |number: &f64| number.is_finite();
        if finite(&progress) && progress > to.last_progress.get() {
            to.last_progress.set(progress);
            let total = total.0.flatten().filter(finite);
            let message = message.0.flatten();
            to.outbox.progress(&wire::Progress {
                progress,
                total,
                message,
            });
        }
    };
    object.set("progress", Func::from(progress))
}

fn callbacks<'js>(object: &Object<'js>, host: &Rc<Host>) -> Result<()> {
    let to = Rc::clone(host);
    let start = move |id: u32, millis: f64| {
        // From NaN to 2^31 and beyond: the saturating cast and the prelude's clamp agree.
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates"
        )]
        let due = to.now_millis().saturating_add(millis as u64);
        to.timers.borrow_mut().start(id, due);
    };
    object.set("timerStart", Func::from(start))?;
    let to = Rc::clone(host);
    object.set(
        "timerStop",
        Func::from(move |id: u32| to.timers.borrow_mut().stop(id)),
    )?;
    let to = Rc::clone(host);
    object.set("now", Func::from(move || to.now().as_secs_f64() * 1_000.0))?;
    let to = Rc::clone(host);
    object.set(
        "listens",
        Func::from(move |some: bool| to.listens_to_signal.set(some)),
    )?;
    let to = Rc::clone(host);
    object.set("uncaught", Func::from(Uncaught(to)))
}

/// `uncaught(error)`: keeps the first exception of a callback.
struct Uncaught(Rc<Host>);

impl<'js> rquickjs::function::IntoJsFunc<'js, (Ctx<'js>, Value<'js>)> for Uncaught {
    fn param_requirements() -> rquickjs::function::ParamRequirement {
        rquickjs::function::ParamRequirement::single()
    }

    fn call<'a>(&self, params: rquickjs::function::Params<'a, 'js>) -> Result<Value<'js>> {
        let ctx = params.ctx().clone();
        let value = params
            .arg(0)
            .unwrap_or_else(|| Value::new_undefined(ctx.clone()));
        self.0
            .uncaught
            .borrow_mut()
            .get_or_insert_with(|| Persistent::save(&ctx, value));
        Ok(Value::new_undefined(ctx))
    }
}

fn fill(ctx: &Ctx<'_>, buffer: &mut [u8]) -> Result<()> {
    let mut filled = 0;
    while filled < buffer.len() {
        match rustix::rand::getrandom(&mut buffer[filled..], rustix::rand::GetRandomFlags::empty())
        {
            Ok(more) => filled += more,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Exception::throw_internal(ctx, &error.to_string())),
        }
    }
    Ok(())
}

fn random_bytes<'js>(ctx: Ctx<'js>, count: u32) -> Result<TypedArray<'js, u8>> {
    // The prelude asks for at most 65,536.
    let mut bytes = vec![0; usize::try_from(count).unwrap_or(0).min(65_536)];
    fill(&ctx, &mut bytes)?;
    TypedArray::new(ctx, bytes)
}

/// Uniform in [0, 1) with 53 bits.
fn random_float(ctx: Ctx<'_>) -> Result<f64> {
    let mut bytes = [0; 8];
    fill(&ctx, &mut bytes)?;
    #[allow(clippy::cast_precision_loss, reason = "53 bits are exact")]
    let high = (u64::from_le_bytes(bytes) >> 11) as f64;
    Ok(high / 9_007_199_254_740_992.0)
}

fn uuid(ctx: Ctx<'_>) -> Result<String> {
    let mut bytes = [0; 16];
    fill(&ctx, &mut bytes)?;
    Ok(uuid::Builder::from_random_bytes(bytes)
        .into_uuid()
        .to_string())
}

fn encode<'js>(ctx: Ctx<'js>, text: String) -> Result<TypedArray<'js, u8>> {
    TypedArray::new(ctx, text.into_bytes())
}

/// UTF-8 given as base64, which is how bytes come out of the runtime in one piece. `null` when it
/// is not UTF-8 and `fatal` is set.
fn decode(base64: String, fatal: bool) -> Option<String> {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(base64)
        .ok()?;
    match String::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(_) if fatal => None,
        Err(error) => Some(String::from_utf8_lossy(error.as_bytes()).into_owned()),
    }
}
