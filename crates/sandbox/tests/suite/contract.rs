//! "The code of a tool": what the contract says that the code finds and what becomes of it, in every
//! language.

use std::time::Duration;

use domain::error::ErrorCode;
use domain::runner::{Call, LogLevel};
use domain::{RawValue, Revision};
use serde_json::{Value, json};

use super::run::{idle, start};
use super::spoken::{Both, Spoken};

pub(crate) async fn a_value_comes_back_as_json(it: &Spoken) {
    let same = |code| (code, code);
    let cases: [(Both<'_>, Value); 9] = [
        (same("return 1"), json!(1)),
        (same("return 'text'"), json!("text")),
        (("return null", "return None"), Value::Null),
        (
            (
                "return [1, 'a', {b: [true, false]}]",
                "return (1, 'a', {'b': [True, False]})",
            ),
            json!([1, "a", {"b": [true, false]}]),
        ),
        (
            (
                "return {a: undefined, b: NaN, c: -0, d: () => 1}",
                "return {'b': float('nan'), 'c': 0}",
            ),
            json!({"b": null, "c": 0}),
        ),
        (
            (
                "return await Promise.resolve({deep: await 5})",
                "import asyncio\nreturn {'deep': await asyncio.sleep(0, 5)}",
            ),
            json!({"deep": 5}),
        ),
        (
            same("return 'héllo 🌍 \\u0000 \\u001b[31m'"),
            json!("héllo 🌍 \u{0} \u{1b}[31m"),
        ),
        (same("return ''"), json!("")),
        (
            (
                "// a comment at the end\nreturn 3 // like this",
                "# a comment at the end\nreturn 3 # like this",
            ),
            json!(3),
        ),
    ];
    for (code, wanted) in cases {
        assert_eq!(it.run(code).await.value(), Some(wanted), "{code:?}");
    }
    // Python has one word for nothing.
    let nothing = it.is_python().then_some(Value::Null);
    for code in [
        same(""),
        same("return"),
        ("return undefined", "pass"),
        ("await null", "import asyncio; await asyncio.sleep(0)"),
    ] {
        assert_eq!(it.run(code).await.value(), nothing, "{code:?}");
    }
}

pub(crate) async fn arguments_arrive_unchanged(it: &Spoken) {
    let args = r#"{"text":"é🌍\u0000\"","deep":{"a":[1,2.5,null,true]},"__proto__":{"x":1},"":0}"#;
    let code = ("return args", "return args");
    let ended = it.run_call(it.with_args(code, args)).await;
    assert_eq!(
        ended.value().unwrap(),
        serde_json::from_str::<Value>(args).unwrap()
    );
    let code = (
        "return [Object.getPrototypeOf(args) === Object.prototype, ({}).x === undefined]",
        "return [type(args) is dict, not hasattr(args, 'x')]",
    );
    let ended = it.run_call(it.with_args(code, args)).await;
    assert_eq!(ended.value().unwrap(), json!([true, true]));
}

pub(crate) async fn a_throw_is_the_tools_failure_with_its_message(it: &Spoken) {
    let cases: [(Both<'_>, &str); 6] = [
        (
            (
                "throw new Error('it broke')",
                "raise RuntimeError('it broke')",
            ),
            "it broke",
        ),
        (
            ("throw new TypeError('wrong')", "raise TypeError('wrong')"),
            "wrong",
        ),
        (
            (
                "await Promise.reject(new Error('later'))",
                "async def later(): raise ValueError('later')\nawait later()",
            ),
            "later",
        ),
        (
            (
                "setTimeout(() => { throw new Error('in a timer') }); await new Promise(() => {})",
                "import asyncio\ndef fire(): raise ValueError('in a timer')\n\
                 asyncio.get_running_loop().call_later(0.001, fire); await asyncio.sleep(3)",
            ),
            "in a timer",
        ),
        (
            (
                "queueMicrotask(() => { throw new Error('in a job') }); return 1",
                "import asyncio\ndef fire(): raise ValueError('in a job')\n\
                 asyncio.get_running_loop().call_soon(fire); return 1",
            ),
            "in a job",
        ),
        (
            (
                "throw Object.assign(new Error('é🌍'), {code: 5})",
                "error = OSError('é🌍'); error.code = 5; raise error",
            ),
            "é🌍",
        ),
    ];
    for (code, message) in cases {
        let ended = it.run(code).await;
        let told = &ended.failure(ErrorCode::ToolFailed).message;
        assert_eq!(told, message, "{code:?}");
    }
}

pub(crate) async fn a_stack_names_the_lines_of_the_tool(it: &Spoken) {
    let code = (
        "const a = 1;\nfunction inner() {\n  null.x;\n}\ninner();",
        "a = 1\ndef inner():\n  None.x\n\ninner()",
    );
    let ended = it.run(code).await;
    ended.failure(ErrorCode::ToolFailed);
    let last = ended.outcome.printed.last().unwrap();
    assert_eq!(last.level, LogLevel::Error);
    let words = it.say((
        &["TypeError: ", "tool.js:3:", "tool.js:5:"],
        &["AttributeError: ", "tool.py\", line 3", "tool.py\", line 5"],
    ));
    for word in words {
        assert!(last.message.contains(word), "{last:?}");
    }
    let ended = it.run(("\nlet x = ;", "\nx = = 1")).await;
    let message = &ended.failure(ErrorCode::ToolFailed).message;
    let place = it.say(("tool.js:2:", "tool.py:2:"));
    assert!(message.contains(place), "{message}");
}

pub(crate) async fn the_console_is_printed_in_order_with_its_level(it: &Spoken) {
    let code = (
        "console.log('a', 1, {b: [2]}); console.warn('%s is %d', 'x', 5); \
         console.error(new Error('e').message); console.debug(null, undefined, [1]);",
        "import logging, sys\nprint('a', 1, {'b': [2]}); logging.getLogger('own').warning('%s is %d', 'x', 5)\n\
         print('e', file=sys.stderr); logging.info('nobody listens to this'); logging.critical('last')",
    );
    let ended = it.run(code).await;
    let printed: Vec<_> = ended
        .outcome
        .printed
        .iter()
        .map(|line| (line.level, line.message.as_str()))
        .collect();
    let wanted = it.say((
        &[
            (LogLevel::Info, "a 1 { b: [ 2 ] }"),
            (LogLevel::Warning, "x is 5"),
            (LogLevel::Error, "e"),
            (LogLevel::Debug, "null undefined [ 1 ]"),
        ],
        &[
            (LogLevel::Info, "a 1 {'b': [2]}"),
            (LogLevel::Warning, "x is 5"),
            (LogLevel::Error, "e"),
            (LogLevel::Critical, "CRITICAL:root:last"),
        ],
    ));
    assert_eq!(printed, wanted);
    assert!(!ended.outcome.truncated);
}

pub(crate) async fn logs_and_progress_arrive_as_they_happen(it: &Spoken) {
    let code = (
        "await ctx.log('info', {step: 1}); await ctx.progress(1, 3, 'one'); \
         ctx.progress(2, 3); ctx.progress(2, 3, 'no growth'); ctx.log('error', 'text'); \
         await ctx.progress(3)",
        "await ctx.log('info', {'step': 1}); await ctx.progress(1, 3, 'one')\n\
         ctx.progress(2, total=3); ctx.progress(2, 3, message='no growth'); ctx.log('error', 'text')\n\
         return await ctx.progress(3)",
    );
    let ended = it.run(code).await;
    assert!(ended.value().is_none_or(|value| value.is_null()));
    assert_eq!(
        ended.logs,
        [
            (LogLevel::Info, json!({"step": 1})),
            (LogLevel::Error, json!("text"))
        ]
    );
    assert_eq!(
        ended.progress,
        [
            (1.0, Some(3.0), Some("one".to_owned())),
            (2.0, Some(3.0), None),
            (3.0, None, None)
        ]
    );

    let quiet = Call {
        log_level: None,
        wants_progress: false,
        ..it.call(code)
    };
    let ended = it.run_call(quiet).await;
    assert!(ended.logs.is_empty() && ended.progress.is_empty());
    let some = Call {
        log_level: Some(LogLevel::Warning),
        ..it.call(code)
    };
    assert_eq!(
        it.run_call(some).await.logs,
        [(LogLevel::Error, json!("text"))]
    );

    let same = |code| (code, code);
    for wrong in [
        same("ctx.log('loud', 1)"),
        same("ctx.log('info')"),
        same("ctx.progress('1')"),
        ("ctx.progress(NaN)", "ctx.progress(float('nan'))"),
        ("ctx.progress(true)", "ctx.progress(True)"),
        ("ctx.log('info', () => 1)", "ctx.log('info', print)"),
    ] {
        it.run(wrong).await.failure(ErrorCode::ToolFailed);
    }
}

pub(crate) async fn the_context_says_what_runs(it: &Spoken) {
    let code = (
        "return {...ctx, left: ctx.deadline - Date.now(), frozen: Object.isFrozen(ctx), \
         aborted: ctx.signal.aborted, isSignal: ctx.signal instanceof AbortSignal}",
        "import time\ntry: ctx.tool = 1\nexcept AttributeError: frozen = True\n\
         assert (ctx.requestId, ctx.clientCapabilities) == (ctx.request_id, ctx.client_capabilities)\n\
         assert (ctx.tool.name, ctx.tool.revision) == ('my.tool', 7)\n\
         return {'tool': ctx.tool, 'requestId': ctx.requestId, 'frozen': frozen, \
         'clientCapabilities': ctx.clientCapabilities, 'left': ctx.deadline - time.time() * 1000, \
         'aborted': ctx.signal.aborted, 'isSignal': hasattr(ctx.signal, 'wait')}",
    );
    let call = Call {
        tool: "my.tool".to_owned(),
        revision: Some(Revision(7)),
        client_capabilities: Some(RawValue::from_string(r#"{"sampling":{}}"#.to_owned()).unwrap()),
        ..it.call(code)
    };
    let value = it.run_call(call).await.value().unwrap();
    assert_eq!(value["tool"], json!({"name": "my.tool", "revision": 7}));
    assert_eq!(value["requestId"], json!("request-1"));
    assert_eq!(value["clientCapabilities"], json!({"sampling": {}}));
    assert_eq!(
        [&value["frozen"], &value["aborted"], &value["isSignal"]],
        [&json!(true), &json!(false), &json!(true)]
    );
    let left = value["left"].as_f64().unwrap();
    assert!((3_000.0..=5_000.0).contains(&left), "{left}");
}

/// Told, then killed: code that listens ends by itself, code that does not is ended.
pub(crate) async fn a_dropped_execution_tells_the_code_and_then_ends_it(it: &Spoken) {
    let listens = (
        "await new Promise((done) => ctx.signal.addEventListener('abort', done))",
        "await ctx.signal.wait()",
    );
    let ignores = (
        "setInterval(() => {}, 5); await new Promise(() => {})",
        "import asyncio\nwhile True: await asyncio.sleep(0.005)",
    );
    // Both include the end of the sandbox, which takes its time on a busy machine.
    let (mut by_itself, mut killed) = (Duration::MAX, Duration::MAX);
    for _ in 0..3 {
        killed = killed.min(dropped(it, ignores).await);
    }
    assert!(
        (90..3_000).contains(&killed.as_millis()),
        "it had a moment: {killed:?}"
    );
    for _ in 0..10 {
        by_itself = by_itself.min(dropped(it, listens).await);
        if by_itself + Duration::from_millis(40) < killed {
            return;
        }
    }
    panic!("the code was not told: {by_itself:?}, and {killed:?} until the kill");
}

/// Drops a call that waits, and says how long its sandbox lived on.
async fn dropped(it: &Spoken, code: Both<'_>) -> Duration {
    let execution = start(&it.engine, it.call(code)).await;
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert_eq!(it.engine.status().running, 1, "it waits for the signal");
    drop(execution);
    idle(&it.engine).await
}
