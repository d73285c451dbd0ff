//! The attacks and faults of the design's list; each case names its number.

use std::time::Duration;

use domain::error::ErrorCode;
use domain::runner::{Call, EngineKind, LogLevel};
use serde_json::{Value, json};

use super::run::*;

async fn still_works(engine: &Subject) {
    assert_eq!(
        run(engine, "return 'fine'").await.value(),
        Some(json!("fine"))
    );
}

/// 2, 3: memory is refused, said so, and nobody else notices.
pub(crate) async fn fault_02_memory_loops_are_out_of_memory(engine: &Subject) {
    let loops = [
        "const all = []; for (;;) all.push({})",
        "const all = []; for (;;) all.push('x'.repeat(1e6) + all.length)",
        "const all = []; for (;;) all.push(new Uint8Array(1e6).fill(1))",
        "let text = 'x'; const all = []; for (;;) { all.push(text + all.length); text = all.join('') .slice(0, 1e6) }",
        "const all = new Map(); for (let i = 0;; i++) all.set(i, [i])",
        "return 'x'.repeat(5e7) + 'y'.repeat(5e7)",
    ];
    for code in loops {
        let ended = run_call(engine, brief(code, 20_000)).await;
        let failure = ended.failure(ErrorCode::OutOfMemory);
        assert!(failure.message.contains("67108864"), "{code}: {failure:?}");
    }
    let caught =
        "try { const all = []; for (;;) all.push(new Uint8Array(1e6)) } catch { return 'caught' }";
    if engine.kind() == EngineKind::Isolate {
        // A container gives memory that is not touched, so that nothing is refused there.
        assert_eq!(run(engine, caught).await.value(), Some(json!("caught")));
    }
    still_works(engine).await;
}

/// 4, 13, 17, 20: only a kill stops these, and it is told as what it is.
pub(crate) async fn fault_04_what_does_not_end_is_a_timeout(engine: &Subject) {
    let endless = [
        "for (;;);",
        "for (;;) try { for (;;); } catch {} finally { continue }",
        "/(a+)+$/.test('a'.repeat(40) + 'b')",
        "for (;;) await null",
        "const again = () => queueMicrotask(again); again(); await new Promise(() => {})",
        "setInterval(() => {}, 1); await new Promise(() => {})",
        "await new Promise((done) => ctx.signal.addEventListener('abort', done))",
        "await new Promise((done) => setTimeout(done, 1e6))",
        "return {toJSON() { for (;;); }}",
        "return new Proxy({}, {ownKeys() { for (;;); }})",
        "let n = 2n; for (;;) n = n * n % 10n ** 5000n",
    ];
    for code in endless {
        let ended = run_call(engine, brief(code, 300)).await;
        let failure = ended.failure(ErrorCode::Timeout);
        assert!(failure.message.contains("300 ms"), "{code}: {failure:?}");
        assert!(
            ended.took < Duration::from_secs(3),
            "{code}: {:?}",
            ended.took
        );
        assert!(
            idle(engine).await < Duration::from_secs(2),
            "18: nothing goes on"
        );
    }
    still_works(engine).await;
}

/// 13: CPU time is bounded besides wall time: by a budget that is named, or by a quota that leaves
/// the others theirs.
pub(crate) async fn fault_13_cpu_time_is_bounded_besides_wall_time(engine: &Subject) {
    let is_quota = engine.kind() == EngineKind::Docker;
    let mut call = brief("for (;;);", if is_quota { 5_000 } else { 20_000 });
    call.limits.cpu_millis = if is_quota { 200 } else { 50 };
    let mut ended = run_call(engine, call.clone()).await;
    let failure = ended.failure(ErrorCode::Timeout);
    assert_eq!(failure.message.contains("CPU"), !is_quota, "{failure:?}");
    if is_quota {
        // A daemon that is busy is not waited for; not every time, however.
        for _ in 0..2 {
            if ended.outcome.usage.cpu.is_none() {
                ended = run_call(engine, call.clone()).await;
            }
        }
        let used = ended.outcome.usage.cpu.unwrap();
        let bounds = Duration::from_millis(100)..Duration::from_millis(1_500);
        assert!(bounds.contains(&used), "{used:?}");
    }
}

/// 6, 7, 8: a flood is cut and said to be cut; the result comes all the same.
pub(crate) async fn fault_06_a_flood_of_output_is_cut_and_the_result_survives(engine: &Subject) {
    for print in [
        "console.log",
        "console.error",
        "i % 2 ? console.log : console.error",
    ] {
        let code = format!("for (let i = 0; i < 30000; i++) ({print})('line ' + i); return 'kept'");
        let ended = run_call(engine, brief(&code, 20_000)).await;
        assert_eq!(ended.value(), Some(json!("kept")));
        assert!(ended.outcome.truncated);
        assert!(
            ended.printed_bytes() + 6 <= 200_000,
            "{}",
            ended.printed_bytes()
        );
        assert_eq!(
            ended.outcome.printed[0].message, "line 0",
            "the oldest are kept"
        );
    }
    let code = "for (let i = 0; i < 30000; i++) console.log('line ' + i); throw new Error('kept')";
    let ended = run_call(engine, brief(code, 20_000)).await;
    assert_eq!(
        ended.failure(ErrorCode::ToolFailed).message,
        "kept",
        "7: no success out of it"
    );
    let code = "for (let i = 0; i < 30000; i++) { ctx.log('info', 'x'.repeat(100)); ctx.progress(i) } return 1";
    let ended = run_call(engine, brief(code, 20_000)).await;
    assert_eq!(ended.value(), Some(json!(1)));
    assert!(
        ended.outcome.truncated && ended.logs.len() <= 2_000,
        "{}",
        ended.logs.len()
    );
}

/// 6: a reader that does not read stops the code, not the executor, and not its deadline.
pub(crate) async fn fault_06_a_reader_that_does_not_read_holds_nothing(engine: &Subject) {
    let code = "for (let i = 0;; i++) ctx.log('info', i)";
    let mut call = brief(code, 400);
    call.limits.max_output_bytes = 10_000_000;
    let execution = start(engine, call).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    idle(engine).await;
    drop(execution);
}

/// 7: at the bound is in, one byte more is out.
pub(crate) async fn fault_07_the_result_is_bounded_exactly(engine: &Subject) {
    for (length, fits) in [(199_998, true), (199_999, false)] {
        let ended = run(engine, &format!("return 'x'.repeat({length})")).await;
        if fits {
            assert_eq!(ended.value().unwrap().as_str().unwrap().len(), length);
        } else {
            let failure = ended.failure(ErrorCode::OutputTooLarge);
            assert!(failure.message.contains("200001"), "{failure:?}");
        }
    }
    run(engine, "return 'x'.repeat(1e7)")
        .await
        .failure(ErrorCode::OutputTooLarge);
    // Printed text gives way to the result.
    let ended = run(
        engine,
        "console.log('y'.repeat(9000)); return 'x'.repeat(199000)",
    )
    .await;
    assert!(ended.value().is_some() && ended.outcome.truncated);
    assert!(ended.outcome.printed.is_empty());
}

/// 9: one endless line is cut like many.
pub(crate) async fn fault_09_one_long_line_is_cut(engine: &Subject) {
    let ended = run(engine, "console.log('é'.repeat(8e6)); return 1").await;
    assert_eq!(ended.value(), Some(json!(1)));
    assert!(ended.outcome.truncated);
    assert!(ended.printed_bytes() <= 200_000 && ended.printed_bytes() > 1_000);
}

/// 10: whatever characters come out, they are valid JSON and UTF-8.
pub(crate) async fn fault_10_odd_characters_are_valid_json(engine: &Subject) {
    let code = r"const odd = 'a\ud800b\udfffc\0d\x1b[2Je\u2028';
        console.log(odd); ctx.log('info', {odd}); return [odd, {['\udc00']: 1}, '\\ud800']";
    let ended = run(engine, code).await;
    let wanted = "a\u{fffd}b\u{fffd}c\0d\u{1b}[2Je\u{2028}";
    assert_eq!(
        ended.value(),
        Some(json!([wanted, {"\u{fffd}": 1}, "\\ud800"]))
    );
    assert_eq!(ended.outcome.printed[0].message, wanted);
    assert_eq!(ended.logs[0].1, json!({"odd": wanted}));
    let ended = run(engine, r"throw new Error('\ud800!')").await;
    assert_eq!(ended.failure(ErrorCode::ToolFailed).message, "\u{fffd}!");
}

/// 16: a promise that can never settle is a failure, and no empty success.
pub(crate) async fn fault_16_a_promise_that_cannot_settle_is_a_failure(engine: &Subject) {
    for code in [
        "await new Promise(() => {})",
        "return new Promise(() => {})",
        "await {then() {}}",
    ] {
        let ended = run_call(engine, brief(code, 1_000)).await;
        let failure = ended.outcome.result.as_ref().unwrap_err();
        assert!(
            matches!(failure.code, ErrorCode::ToolFailed | ErrorCode::Timeout),
            "{code}: {failure:?}"
        );
    }
}

/// 17 and more: what breaks the runtime's own limits is the tool's failure.
pub(crate) async fn fault_17_recursion_and_huge_strings_are_the_tools_failure(engine: &Subject) {
    let cases = [
        "function f() { f() } f()",
        "const f = () => { try { f() } finally { f() } }; f()",
        "let a = []; for (let i = 0; i < 1e5; i++) a = [a]; return a",
        "return JSON.parse('['.repeat(1e5) + ']'.repeat(1e5))",
        "return eval('('.repeat(2e5))",
        "return new RegExp('('.repeat(1e5) + ')'.repeat(1e5)).test('x')",
        "let s = 'x'; for (;;) s += s",
    ];
    for code in cases {
        let ended = run_call(engine, brief(code, 3_000)).await;
        if let Err(failure) = &ended.outcome.result {
            let code_ok = matches!(
                failure.code,
                ErrorCode::ToolFailed
                    | ErrorCode::OutOfMemory
                    | ErrorCode::Timeout
                    | ErrorCode::OutputTooLarge
            );
            assert!(code_ok, "{code}: {failure:?}");
        }
    }
    let ended = run(engine, "function f() { f() } f()").await;
    assert!(
        ended.outcome.printed[0].message.starts_with("RangeError"),
        "{:?}",
        ended.outcome
    );
    still_works(engine).await;
}

/// 19: a call whose reader goes away is over like one that timed out.
pub(crate) async fn fault_19_a_cancelled_call_is_gone(engine: &Subject) {
    for code in [
        "for (;;);",
        "for (;;) console.log('x')",
        "for (;;) await null",
    ] {
        let execution = start(engine, call(code)).await;
        tokio::time::sleep(Duration::from_millis(30)).await;
        drop(execution);
        assert!(idle(engine).await < Duration::from_secs(2), "{code}");
    }
}

/// 33, 71: arguments and code larger than any buffer of the kernel.
pub(crate) async fn fault_33_large_arguments_and_code_go_through(engine: &Subject) {
    let big = "y".repeat(900_000);
    let ended = run_call(
        engine,
        with_args("return args.big.length", &json!({ "big": big }).to_string()),
    )
    .await;
    assert_eq!(ended.value(), Some(json!(900_000)));
    let big = "z".repeat(10_000_000);
    let ended = run_call(
        engine,
        with_args("return args.big.length", &json!({ "big": big }).to_string()),
    )
    .await;
    assert_eq!(ended.value(), Some(json!(10_000_000)));
    let code = format!("/* {} */ return 'é🌍'.length", "é".repeat(199_900));
    assert_eq!(run(engine, &code).await.value(), Some(json!(3)));
    let code = format!("return {}1", "1+".repeat(50_000));
    let ended = run(engine, &code).await;
    assert!(
        ended.outcome.result.is_ok()
            || ended
                .failure(ErrorCode::ToolFailed)
                .message
                .contains("stack")
    );
}

/// 41: nothing of one call is seen by another.
pub(crate) async fn fault_41_calls_share_nothing(engine: &Subject) {
    let leave = "globalThis.left = 1; Object.prototype.left = 2; Array.prototype.map = null; \
                 JSON.stringify = () => 'forged'; setInterval(() => {}, 1); return 1";
    run(engine, leave).await.value();
    let look = "return [globalThis.left === undefined, ({}).left === undefined, \
                typeof [].map, JSON.stringify([1])]";
    for _ in 0..3 {
        assert_eq!(
            run(engine, look).await.value(),
            Some(json!([true, true, "function", "[1]"]))
        );
    }
}

/// 43, 47, 48, 49: no environment, no files, no network; nothing there to reach them with.
pub(crate) async fn fault_43_there_is_no_way_out(engine: &Subject) {
    for code in [
        "return typeof process === 'undefined' ? [] : Object.keys(process.env).filter((name) => /KEY|TOKEN|SECRET|MCP_|DATABASE/.test(name))",
        "try { return await (await fetch('http://169.254.169.254/')).text() } catch { return [] }",
    ] {
        assert_eq!(run(engine, code).await.value(), Some(json!([])), "{code}");
    }
    for module in [
        "prelude",
        "fs",
        "net",
        "os",
        "std",
        "/etc/passwd",
        "./x.js",
        "data:text/javascript,1",
    ] {
        let code = format!("const m = await import({module:?}); return Object.keys(m)");
        let ended = run(engine, &code).await;
        assert!(
            ended.outcome.result.is_err() || engine.kind() != EngineKind::Isolate,
            "{module}"
        );
    }
}

/// 69: what looks like our frames is text.
pub(crate) async fn fault_69_printed_frames_are_text(engine: &Subject) {
    let code = r#"for (const text of ['\u0006', '{"ok":true}', '\0\0\0\u0012\u0006' + '\0'.repeat(16) + '1',
            '\x1e{"type":"result","value":"forged"}\n', 'Content-Length: 5\r\n\r\nabcde'])
            { console.log(text); console.error(text); ctx.log('info', text) }
        throw new Error('real')"#;
    let ended = run(engine, code).await;
    assert_eq!(ended.failure(ErrorCode::ToolFailed).message, "real");
    assert_eq!(ended.logs.len(), 5);
}

/// 70: what JSON cannot hold is a failure with a sentence, and patches reach nobody.
pub(crate) async fn fault_70_odd_values_have_a_defined_end(engine: &Subject) {
    let failures = [
        "return 1n",
        "const a = {}; a.a = a; return a",
        "return () => 1",
        "return Symbol('x')",
        "return {toJSON() { throw new Error('no') }}",
        "return {get x() { throw new Error('no') }}",
        "return new Proxy({}, {ownKeys() { throw new Error('no') }})",
        "return {toJSON() { return this.toJSON }}",
        "return Object.create(null, {toJSON: {get() { throw null }}})",
    ];
    for code in failures {
        let failure = run(engine, code)
            .await
            .failure(ErrorCode::ToolFailed)
            .clone();
        assert!(!failure.message.is_empty(), "{code}");
    }
    let values = [
        (
            "return [NaN, Infinity, undefined]",
            json!([null, null, null]),
        ),
        ("JSON.stringify = () => '\"forged\"'; return 1", json!(1)),
        (
            "JSON.parse = null; Promise.prototype.then = null; return 2",
            json!(2),
        ),
        (
            "delete globalThis.JSON; delete globalThis.Promise; delete globalThis.Object; return {a: 1}",
            json!({"a": 1}),
        ),
        (
            "Object.prototype.polluted = 1; return {own: 2}",
            json!({"own": 2}),
        ),
        ("return new Proxy([1, 2], {})", json!([1, 2])),
        (
            "return Object.create({inherited: 1}, {own: {value: 2, enumerable: true}})",
            json!({"own": 2}),
        ),
        ("return new Map([[1, 2]])", json!({})),
        (
            "Array.prototype[Symbol.iterator] = null; console.log('x'); ctx.log('info', 1); return 3",
            json!(3),
        ),
    ];
    for (code, wanted) in values {
        assert_eq!(run(engine, code).await.value(), Some(wanted), "{code}");
    }
    let patched = "Error.prototype.toString = Error.prototype.message = null; \
                   Object.defineProperty(Error.prototype, 'name', {get() { throw 1 }}); throw new Error('told')";
    assert_eq!(
        run(engine, patched)
            .await
            .failure(ErrorCode::ToolFailed)
            .message,
        "told"
    );
    let lying = "throw {get message() { throw new Error('again') }, get stack() { throw 2 }}";
    run(engine, lying).await.failure(ErrorCode::ToolFailed);
}

/// 71: arguments that are deep or named like a prototype harm nobody.
pub(crate) async fn fault_71_deep_arguments_are_an_answer(engine: &Subject) {
    let deep = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    let ended = run_call(engine, with_args("return 'read'", &deep(100))).await;
    assert_eq!(ended.value(), Some(json!("read")));
    let call = Call {
        args: domain::RawValue::from_string(deep(120)).unwrap(),
        ..call("return args")
    };
    assert!(run_call(engine, call).await.value().is_some());
    still_works(engine).await;
}

/// 72: no way of ending badly is a success.
pub(crate) async fn fault_72_no_bad_end_is_a_success(engine: &Subject) {
    let cases = [
        "throw null",
        "throw undefined",
        "throw 0",
        "throw ''",
        "throw Symbol('s')",
        "throw 5n",
        "throw () => 1",
        "return Promise.reject(null)",
        "Promise.reject(new Error('nobody listens')); await new Promise((r) => setTimeout(r, 5)); return 'ok'",
        "Promise.reject(new Error('nobody listens')); return 'ok'",
        "await new Promise((r, reject) => setTimeout(() => reject('late'), 1)); return 'ok'",
        "typeof process === 'object' ? process.exit(0) : notThere()",
        "class Odd extends Error { get name() { throw this } }; throw new Odd('x')",
    ];
    for code in cases {
        let ended = run(engine, code).await;
        let failure = ended.failure(ErrorCode::ToolFailed);
        assert!(!failure.message.is_empty(), "{code}: {failure:?}");
    }
    let handled = "const late = Promise.reject(new Error('x')); late.catch(() => {}); \
                   await new Promise((r) => setTimeout(r, 2)); return 'ok'";
    assert_eq!(run(engine, handled).await.value(), Some(json!("ok")));
}

/// 80: no two calls see the same random numbers.
pub(crate) async fn fault_80_random_numbers_differ_between_calls(engine: &Subject) {
    let code = "return [Math.random(), Math.random(), crypto.randomUUID(), \
                [...crypto.getRandomValues(new Uint8Array(8))].join()]";
    let calls = (0..6).map(|_| run(engine, code));
    let values: Vec<Value> = futures::future::join_all(calls)
        .await
        .iter()
        .map(|it| it.value().unwrap())
        .collect();
    for (at, one) in values.iter().enumerate() {
        assert_ne!(one[0], one[1]);
        assert!((0.0..1.0).contains(&one[0].as_f64().unwrap()));
        for other in &values[at + 1..] {
            for field in 0..4 {
                assert_ne!(one[field], other[field]);
            }
        }
    }
}

/// Code that replaces what the globals are made of harms itself only: nothing it says is taken for
/// a sandbox that broke out.
pub(crate) async fn fault_70_replaced_builtins_are_the_codes_own_matter(engine: &Subject) {
    let code = "Number.isFinite = () => true; try { ctx.progress(Infinity, Infinity) } catch {} \
                try { ctx.progress(1, Infinity) } catch { ctx.progress(1) } \
                Array.prototype.includes = () => true; \
                try { ctx.log('no level', 1) } catch {} JSON.stringify = () => 'not JSON'; ctx.log('info', 2); \
                String.prototype.toWellFormed = () => 5; ctx.progress(2, 3, '\\ud800'); \
                return {a: 1}";
    let ended = run(engine, code).await;
    assert_eq!(ended.value(), Some(json!({"a": 1})));
    let reported: Vec<_> = ended.progress.iter().map(|it| (it.0, it.1)).collect();
    assert_eq!(reported, [(1.0, None), (2.0, Some(3.0))]);
    assert_eq!(ended.logs, [(LogLevel::Info, json!(2))]);
}
