//! How what the code returned or threw becomes what the caller reads.

use rquickjs::{Ctx, Error, Object, Runtime, Value};

use super::guest::{FILE_NAME, HEAD};
use crate::output::well_formed;
use crate::wire::Cause;

/// Longest error text, in bytes.
const MAX_MESSAGE: usize = 8_192;
/// Lines of a stack trace that are shown.
const STACK_LINES: usize = 10;

/// Names that other hosts have. Missing them is the most likely mistake.
const FOREIGN: [&str; 8] = [
    "require",
    "process",
    "Buffer",
    "fetch",
    "module",
    "exports",
    "global",
    "__dirname",
];

/// Why there is no value.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) cause: Cause,
    pub(super) message: String,
    /// Name, message and the lines of the tool's code, for the log of the call.
    pub(super) stack: Option<String>,
    /// Whether this is also how a runtime behaves that has no memory left for an error.
    pub(super) vague: bool,
}

impl Fault {
    /// The code threw, or something that counts as that.
    pub(super) fn threw(message: impl Into<String>) -> Self {
        Self {
            cause: Cause::Threw,
            message: message.into(),
            stack: None,
            vague: false,
        }
    }

    pub(super) fn vague(message: &str) -> Self {
        Self {
            vague: true,
            ..Self::threw(message)
        }
    }

    fn out_of_memory() -> Self {
        Self {
            cause: Cause::OutOfMemory,
            ..Self::threw("")
        }
    }

    /// The last word: a runtime that is out of memory cannot always make the error that says so,
    /// and then `null` is thrown or nothing ever settles. Its own account of memory tells.
    pub(super) fn told(mut self, runtime: &Runtime, limit: usize) -> Self {
        if self.vague {
            let used = usize::try_from(runtime.memory_usage().malloc_size).unwrap_or(0);
            let peak = usize::try_from(peak_bytes()).unwrap_or(0);
            if used.max(peak) >= limit / 8 * 7 {
                self.cause = Cause::OutOfMemory;
            }
        }
        if self.cause == Cause::OutOfMemory {
            self.message = format!("the code used more than its memory limit of {limit} bytes");
        }
        self
    }
}

fn peak_bytes() -> i64 {
    nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF)
        .map_or(0, |usage| usage.max_rss().saturating_mul(1024))
}

/// The fault behind an error of the runtime.
pub(super) fn caught(ctx: &Ctx<'_>, error: Error) -> Fault {
    match error {
        Error::Exception => thrown(ctx, ctx.catch()),
        Error::Allocation => Fault::out_of_memory(),
        other => Fault::threw(other.to_string()),
    }
}

/// The fault that a thrown value describes.
pub(super) fn thrown<'js>(ctx: &Ctx<'js>, value: Value<'js>) -> Fault {
    if value.is_null() {
        return Fault::vague("null was thrown");
    }
    let Some(object) = value.as_object() else {
        return Fault::threw(clip(primitive(&value), MAX_MESSAGE));
    };
    let message = property(ctx, object, "message");
    let name = property(ctx, object, "name").unwrap_or_default();
    let Some(mut message) = message else {
        let json = ctx
            .json_stringify(value)
            .ok()
            .flatten()
            .and_then(|json| json.to_string().ok());
        // A getter or a toJSON of the value may have thrown again.
        ctx.catch();
        let text = json.unwrap_or_else(|| "an object that is no error".to_owned());
        return Fault::threw(clip(format!("thrown: {text}"), MAX_MESSAGE));
    };
    if name == "InternalError" && message == "out of memory" {
        return Fault::out_of_memory();
    }
    let lines: Vec<String> = property(ctx, object, "stack")
        .unwrap_or_default()
        .lines()
        .filter(|line| line.contains(FILE_NAME))
        .take(STACK_LINES)
        .map(|line| format!("    {}", own_column(line.trim())))
        .collect();
    if name == "SyntaxError"
        && let Some(line) = lines.first()
    {
        message = format!("{message} ({})", line.trim().trim_start_matches("at "));
    }
    if let Some(missing) = foreign(&name, &message) {
        message = format!(
            "{message}: the isolate engine has no {missing}; a tool that needs it must run on the \
             Docker engine"
        );
    }
    let stack = std::iter::once(format!("{name}: {message}"))
        .chain(lines)
        .collect::<Vec<_>>();
    Fault {
        stack: Some(clip(stack.join("\n"), MAX_MESSAGE)),
        ..Fault::threw(clip(message, MAX_MESSAGE))
    }
}

/// The line of a stack with the column as the author counts it: the first line of the code stands
/// behind the head of the function.
fn own_column(line: &str) -> String {
    let place = format!("{FILE_NAME}:1:");
    let moved = line.split_once(&place).and_then(|(before, after)| {
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        let column = after[..digits]
            .parse::<usize>()
            .ok()?
            .checked_sub(HEAD.len())?;
        Some(format!("{before}{place}{column}{}", &after[digits..]))
    });
    moved.unwrap_or_else(|| line.to_owned())
}

fn foreign(name: &str, message: &str) -> Option<&'static str> {
    if message.starts_with("Error resolving module ") {
        return Some("modules");
    }
    let missing = message
        .strip_suffix(" is not defined")
        .filter(|_| name == "ReferenceError")?;
    FOREIGN
        .into_iter()
        .find(|foreign| *foreign == missing.trim_matches('\''))
}

fn property<'js>(ctx: &Ctx<'js>, object: &Object<'js>, name: &str) -> Option<String> {
    match object.get::<_, Value<'js>>(name) {
        Ok(value) => value.as_string().map(|text| lossy(ctx, text)),
        Err(_) => {
            // A getter threw; what it threw is of no interest.
            ctx.catch();
            None
        }
    }
}

/// The text of a string, lone surrogates replaced.
fn lossy<'js>(ctx: &Ctx<'js>, text: &rquickjs::String<'js>) -> String {
    text.to_string().unwrap_or_else(|_| {
        let json = ctx.json_stringify(text.clone()).ok().flatten();
        json.and_then(|json| json.to_string().ok())
            .and_then(|json| serde_json::from_str(&well_formed(json)).ok())
            .unwrap_or_default()
    })
}

fn primitive(value: &Value<'_>) -> String {
    if let Some(text) = value.as_string() {
        let text = lossy(value.ctx(), text);
        return if text.is_empty() {
            "an empty string was thrown".to_owned()
        } else {
            text
        };
    }
    if value.is_undefined() {
        return "undefined was thrown".to_owned();
    }
    let text = value.as_bool().map(|it| it.to_string());
    let text = text.or_else(|| value.as_number().map(|it| it.to_string()));
    format!(
        "{} was thrown",
        text.unwrap_or_else(|| format!("a {}", value.type_name()))
    )
}

/// The value as JSON; `None` for `undefined`.
pub(super) fn encode<'js>(
    ctx: &Ctx<'js>,
    value: Value<'js>,
    max_bytes: u64,
) -> Result<Option<String>, Fault> {
    if value.is_undefined() {
        return Ok(None);
    }
    let kind = value.type_name();
    let json = ctx.json_stringify(value).map_err(|error| {
        let mut fault = caught(ctx, error);
        if fault.cause == Cause::Threw {
            fault.message = format!("the returned value is not JSON: {}", fault.message);
        }
        fault
    })?;
    let Some(json) = json else {
        return Err(Fault::threw(format!(
            "the returned value is not JSON: it is a {kind}"
        )));
    };
    let json = json
        .to_string()
        .map(well_formed)
        .map_err(|error| caught(ctx, error))?;
    if json.len() as u64 > max_bytes {
        let message = format!(
            "the result has {} bytes; {max_bytes} are allowed",
            json.len()
        );
        return Err(Fault {
            cause: Cause::TooLarge,
            ..Fault::threw(message)
        });
    }
    Ok(Some(json))
}

fn clip(mut text: String, bytes: usize) -> String {
    if text.len() > bytes {
        text.truncate(text.floor_char_boundary(bytes));
        text.push_str("...");
    }
    text
}
