//! "The code of a tool": what the contract says that the code finds and what becomes of it.

use std::time::Duration;

use domain::error::ErrorCode;
use domain::runner::{Call, LogLevel};
use domain::{RawValue, Revision};
use serde_json::{Value, json};

use super::run::*;

pub(crate) async fn a_value_comes_back_as_json(engine: &Subject) {
    let cases = [
        ("return 1", json!(1)),
        ("return 'text'", json!("text")),
        ("return null", Value::Null),
        (
            "return [1, 'a', {b: [true, false]}]",
            json!([1, "a", {"b": [true, false]}]),
        ),
        (
            "return {a: undefined, b: NaN, c: -0, d: () => 1}",
            json!({"b": null, "c": 0}),
        ),
        ("return new Date(0)", json!("1970-01-01T00:00:00.000Z")),
        (
            "return await Promise.resolve({deep: await 5})",
            json!({"deep": 5}),
        ),
        (
            "return 'héllo 🌍 \\u0000 \\u001b[31m'",
            json!("héllo 🌍 \u{0} \u{1b}[31m"),
        ),
        ("return ''", json!("")),
        ("// a comment at the end\nreturn 3 // like this", json!(3)),
        ("return {toJSON() { return 'own' }}", json!("own")),
    ];
    for (code, wanted) in cases {
        assert_eq!(run(engine, code).await.value(), Some(wanted), "{code}");
    }
    for code in ["", "return", "return undefined", "await null"] {
        assert_eq!(run(engine, code).await.value(), None, "{code}");
    }
}

pub(crate) async fn arguments_arrive_unchanged(engine: &Subject) {
    let args = r#"{"text":"é🌍\u0000\"","deep":{"a":[1,2.5,null,true]},"__proto__":{"x":1},"":0}"#;
    let ended = run_call(engine, with_args("return args", args)).await;
    assert_eq!(
        ended.value().unwrap(),
        serde_json::from_str::<Value>(args).unwrap()
    );
    let code = "return [Object.getPrototypeOf(args) === Object.prototype, ({}).x === undefined]";
    let ended = run_call(engine, with_args(code, args)).await;
    assert_eq!(ended.value().unwrap(), json!([true, true]));
}

pub(crate) async fn a_throw_is_the_tools_failure_with_its_message(engine: &Subject) {
    let cases = [
        ("throw new Error('it broke')", "it broke"),
        ("throw new TypeError('wrong')", "wrong"),
        ("throw 'just text'", "just text"),
        ("await Promise.reject(new Error('later'))", "later"),
        (
            "setTimeout(() => { throw new Error('in a timer') }); await new Promise(() => {})",
            "in a timer",
        ),
        (
            "queueMicrotask(() => { throw new Error('in a job') }); return 1",
            "in a job",
        ),
        ("throw Object.assign(new Error('é🌍'), {code: 5})", "é🌍"),
    ];
    for (code, message) in cases {
        let ended = run(engine, code).await;
        assert_eq!(
            ended.failure(ErrorCode::ToolFailed).message,
            message,
            "{code}"
        );
    }
    let ended = run(engine, "throw {reason: 7}").await;
    assert!(
        ended
            .failure(ErrorCode::ToolFailed)
            .message
            .contains(r#"{"reason":7}"#)
    );
}

pub(crate) async fn a_stack_names_the_lines_of_the_tool(engine: &Subject) {
    let ended = run(
        engine,
        "const a = 1;\nfunction inner() {\n  null.x;\n}\ninner();",
    )
    .await;
    ended.failure(ErrorCode::ToolFailed);
    let last = ended.outcome.printed.last().unwrap();
    assert_eq!(last.level, LogLevel::Error);
    assert!(last.message.starts_with("TypeError: "), "{last:?}");
    assert!(last.message.contains("tool.js:3:"), "{last:?}");
    assert!(last.message.contains("tool.js:5:"), "{last:?}");
    let ended = run(engine, "\nlet x = ;").await;
    let message = &ended.failure(ErrorCode::ToolFailed).message;
    assert!(message.contains("tool.js:2:"), "{message}");
}

pub(crate) async fn the_console_is_printed_in_order_with_its_level(engine: &Subject) {
    let code = "console.log('a', 1, {b: [2]}); console.warn('%s is %d', 'x', 5); \
                console.error(new Error('e').message); console.debug(null, undefined, [1]);";
    let ended = run(engine, code).await;
    let printed: Vec<_> = ended
        .outcome
        .printed
        .iter()
        .map(|line| (line.level, line.message.as_str()))
        .collect();
    assert_eq!(
        printed,
        [
            (LogLevel::Info, "a 1 { b: [ 2 ] }"),
            (LogLevel::Warning, "x is 5"),
            (LogLevel::Error, "e"),
            (LogLevel::Debug, "null undefined [ 1 ]"),
        ]
    );
    assert!(!ended.outcome.truncated);
}

pub(crate) async fn logs_and_progress_arrive_as_they_happen(engine: &Subject) {
    let code = "await ctx.log('info', {step: 1}); await ctx.progress(1, 3, 'one'); \
                ctx.progress(2, 3); ctx.progress(2, 3, 'no growth'); ctx.log('error', 'text'); \
                return await ctx.progress(3)";
    let ended = run(engine, code).await;
    assert_eq!(ended.value(), None);
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
        ..call(code)
    };
    let ended = run_call(engine, quiet).await;
    assert!(ended.logs.is_empty() && ended.progress.is_empty());
    let some = Call {
        log_level: Some(LogLevel::Warning),
        ..call(code)
    };
    assert_eq!(
        run_call(engine, some).await.logs,
        [(LogLevel::Error, json!("text"))]
    );

    for wrong in [
        "ctx.log('loud', 1)",
        "ctx.log('info')",
        "ctx.progress('1')",
        "ctx.progress(NaN)",
    ] {
        run(engine, wrong).await.failure(ErrorCode::ToolFailed);
    }
}

pub(crate) async fn the_context_says_what_runs(engine: &Subject) {
    let code = "return {...ctx, left: ctx.deadline - Date.now(), frozen: Object.isFrozen(ctx), \
                aborted: ctx.signal.aborted, isSignal: ctx.signal instanceof AbortSignal}";
    let call = Call {
        tool: "my.tool".to_owned(),
        revision: Some(Revision(7)),
        client_capabilities: Some(RawValue::from_string(r#"{"sampling":{}}"#.to_owned()).unwrap()),
        ..call(code)
    };
    let value = run_call(engine, call).await.value().unwrap();
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

pub(crate) async fn every_global_of_the_contract_is_there(engine: &Subject) {
    let code = "const names = ['console', 'setTimeout', 'clearTimeout', 'setInterval', \
        'clearInterval', 'queueMicrotask', 'structuredClone', 'TextEncoder', 'TextDecoder', 'URL', \
        'URLSearchParams', 'atob', 'btoa', 'AbortController', 'AbortSignal', 'crypto', \
        'performance', 'Promise', 'Map', 'Proxy', 'BigInt', 'Intl'.slice(0, 0) || 'JSON']; \
        return names.filter((name) => typeof globalThis[name] === 'undefined')";
    assert_eq!(run(engine, code).await.value().unwrap(), json!([]));
}

pub(crate) async fn the_globals_do_what_the_web_says(engine: &Subject) {
    let cases = [
        (
            "const u = new URL('../x?a=1&b=2#h', 'http://user:pw@Example.com:8080/a/b/c'); \
          u.searchParams.append('c', 'é &'); u.port = '80'; \
          return [u.href, u.host, u.origin, u.searchParams.get('b'), u.hash]",
            json!([
                "http://user:pw@example.com/a/x?a=1&b=2&c=%C3%A9+%26#h",
                "example.com",
                "http://example.com",
                "2",
                "#h"
            ]),
        ),
        (
            "try { new URL('nope') } catch (e) { return [e instanceof TypeError, URL.canParse('a:b')] }",
            json!([true, true]),
        ),
        (
            "const p = new URLSearchParams('?a=1&a=2&b=%20'); p.set('a', '3'); p.delete('x'); \
          return [p.toString(), [...p], p.has('b'), p.size, new URLSearchParams({q: 'x y'}) + '']",
            json!(["a=3&b=+", [["a", "3"], ["b", " "]], true, 2, "q=x+y"]),
        ),
        (
            "const b = new TextEncoder().encode('héé🌍\\ud800'); return [[...b], new TextDecoder().decode(b)]",
            json!([
                [104, 195, 169, 195, 169, 240, 159, 140, 141, 239, 191, 189],
                "héé🌍\u{fffd}"
            ]),
        ),
        (
            "const d = new TextDecoder(); const b = new TextEncoder().encode('a🌍b'); let s = ''; \
          for (const byte of b) s += d.decode(new Uint8Array([byte]), {stream: true}); return s + d.decode()",
            json!("a🌍b"),
        ),
        (
            "try { new TextDecoder('utf-8', {fatal: true}).decode(new Uint8Array([255])) } catch (e) { return e.name }",
            json!("TypeError"),
        ),
        (
            "return [btoa('hi'), atob('aGk='), (() => { try { atob('*') } catch (e) { return e.name } })()]",
            json!(["aGk=", "hi", "InvalidCharacterError"]),
        ),
        (
            "const a = {m: new Map([[1, {d: new Date(5)}]]), s: new Set([1]), b: new Uint8Array([1, 2]), r: /x/gi}; a.self = a; \
          const c = structuredClone(a); \
          return [c.self === c, c !== a, c.m.get(1).d.getTime(), c.s.has(1), [...c.b], String(c.r), \
          (() => { try { structuredClone(() => 1) } catch (e) { return e.name } })()]",
            json!([true, true, 5, true, [1, 2], "/x/gi", "DataCloneError"]),
        ),
        (
            "const order = []; setTimeout(() => order.push('t2'), 2); setTimeout(() => order.push('t0'), 0); \
          const gone = setTimeout(() => order.push('never'), 1); clearTimeout(gone); \
          queueMicrotask(() => order.push('m')); Promise.resolve().then(() => order.push('p')); order.push('s'); \
          await new Promise((r) => setTimeout(r, 20)); return order",
            json!(["s", "m", "p", "t0", "t2"]),
        ),
        (
            "let n = 0; await new Promise((r) => { const i = setInterval(() => { if (++n === 3) { clearInterval(i); r(); } }, 1) }); return n",
            json!(3),
        ),
        (
            "const c = new AbortController(); const seen = []; c.signal.addEventListener('abort', (e) => seen.push(e.type), {once: true}); \
          c.abort('why'); c.abort('again'); seen.push(c.signal.reason, AbortSignal.any([c.signal]).aborted); return seen",
            json!(["abort", "why", true]),
        ),
        (
            "const s = AbortSignal.timeout(30); await new Promise((r) => s.onabort = r); return s.reason.name",
            json!("TimeoutError"),
        ),
        (
            "const b = crypto.getRandomValues(new Uint32Array(4)); return [b.length, new Set(b).size > 1, \
          /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(crypto.randomUUID())]",
            json!([4, true, true]),
        ),
        (
            "const a = performance.now(); await new Promise((r) => setTimeout(r, 5)); const t = performance.now() - a; return t >= 4 && t < 2000",
            json!(true),
        ),
    ];
    for (code, wanted) in cases {
        assert_eq!(run(engine, code).await.value(), Some(wanted), "{code}");
    }
}

/// Told, then killed: code that listens ends by itself, code that does not is ended.
pub(crate) async fn a_dropped_execution_tells_the_code_and_then_ends_it(engine: &Subject) {
    let listens = "await new Promise((done) => ctx.signal.addEventListener('abort', done))";
    let ignores = "setInterval(() => {}, 5); await new Promise(() => {})";
    // Both include the end of the sandbox, which takes its time on a busy machine.
    let (mut by_itself, mut killed) = (Duration::MAX, Duration::MAX);
    for _ in 0..3 {
        killed = killed.min(dropped(engine, ignores).await);
    }
    assert!(
        (90..3_000).contains(&killed.as_millis()),
        "it had a moment: {killed:?}"
    );
    for _ in 0..10 {
        by_itself = by_itself.min(dropped(engine, listens).await);
        if by_itself + Duration::from_millis(40) < killed {
            return;
        }
    }
    panic!("the code was not told: {by_itself:?}, and {killed:?} until the kill");
}

/// Drops a call that waits, and says how long its sandbox lived on.
async fn dropped(engine: &Subject, code: &str) -> Duration {
    let execution = start(engine, call(code)).await;
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert_eq!(engine.status().running, 1, "it waits for the signal");
    drop(execution);
    idle(engine).await
}
