//! Code that takes more than it should, of the design's list; each case names its number.

use std::time::Duration;

use domain::error::ErrorCode;
use domain::runner::EngineKind;
use serde_json::json;

use super::run::{idle, start};
use super::spoken::{Both, Spoken};

pub(super) async fn still_works(it: &Spoken) {
    let fine = it.run(("return 'fine'", "return 'fine'")).await;
    assert_eq!(fine.value(), Some(json!("fine")));
}

/// 2, 3: memory is refused, said so, and nobody else notices.
pub(crate) async fn fault_02_memory_loops_are_out_of_memory(it: &Spoken) {
    let loops = it.say((
        &[
            "const all = []; for (;;) all.push({})",
            "const all = []; for (;;) all.push('x'.repeat(1e6) + all.length)",
            "const all = []; for (;;) all.push(new Uint8Array(1e6).fill(1))",
            "let text = 'x'; const all = []; for (;;) { all.push(text + all.length); text = all.join('') .slice(0, 1e6) }",
            "const all = new Map(); for (let i = 0;; i++) all.set(i, [i])",
            "return 'x'.repeat(5e7) + 'y'.repeat(5e7)",
        ],
        &[
            "every = []\nwhile True: every.append({})",
            "every = []\nwhile True: every.append('x' * 1000000 + str(len(every)))",
            "every = []\nwhile True: every.append(bytearray(b'x' * 1000000))",
            "every = {}\nwhile True: every[len(every)] = [every]",
            "return 'x' * (1 << 62)",
            "raise MemoryError('told by the code')",
        ],
    ));
    for code in loops {
        let ended = it.run_call(it.brief((code, code), 20_000)).await;
        let failure = ended.failure(ErrorCode::OutOfMemory);
        assert!(failure.message.contains("67108864"), "{code}: {failure:?}");
    }
    let caught =
        "try { const all = []; for (;;) all.push(new Uint8Array(1e6)) } catch { return 'caught' }";
    if it.engine.kind() == EngineKind::Isolate {
        // A container gives memory that is not touched, so that nothing is refused there.
        let caught = it.run((caught, "")).await;
        assert_eq!(caught.value(), Some(json!("caught")));
    }
    still_works(it).await;
}

/// 4, 13, 17, 20: only a kill stops these, and it is told as what it is.
pub(crate) async fn fault_04_what_does_not_end_is_a_timeout(it: &Spoken) {
    let endless = it.say((
        &[
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
        ],
        &[
            "while True: pass",
            "while True:\n try:\n  while True: pass\n except BaseException: pass\n finally: continue",
            "import re; re.match(r'(a+)+$', 'a' * 40 + 'b')",
            "import asyncio\nwhile True: await asyncio.sleep(0)",
            "import asyncio\nloop = asyncio.get_running_loop()\ndef again(): loop.call_soon(again)\n\
             again(); await asyncio.Event().wait()",
            "import time; time.sleep(1000)",
            "await ctx.signal.wait()",
            "import asyncio; await asyncio.sleep(1000)",
            "class Endless(dict):\n def items(self):\n  while True: pass\nreturn Endless()",
            "import threading; lock = threading.Lock(); lock.acquire(); lock.acquire()",
            "n = 2\nwhile True: n = n * n % 10 ** 5000",
        ],
    ));
    for code in endless {
        let ended = it.run_call(it.brief((code, code), 300)).await;
        let failure = ended.failure(ErrorCode::Timeout);
        assert!(failure.message.contains("300 ms"), "{code}: {failure:?}");
        assert!(
            ended.took < Duration::from_secs(3),
            "{code}: {:?}",
            ended.took
        );
        assert!(
            idle(&it.engine).await < Duration::from_secs(2),
            "18: nothing goes on"
        );
    }
    still_works(it).await;
}

/// 13: CPU time is bounded besides wall time: by a budget that is named, or by a quota that leaves
/// the others theirs.
pub(crate) async fn fault_13_cpu_time_is_bounded_besides_wall_time(it: &Spoken) {
    let is_quota = it.engine.kind() == EngineKind::Docker;
    let millis = if is_quota { 5_000 } else { 20_000 };
    let mut call = it.brief(("for (;;);", "while True: pass"), millis);
    call.limits.cpu_millis = if is_quota { 200 } else { 50 };
    let mut ended = it.run_call(call.clone()).await;
    let failure = ended.failure(ErrorCode::Timeout);
    assert_eq!(failure.message.contains("CPU"), !is_quota, "{failure:?}");
    if is_quota {
        // A daemon that is busy is not waited for; not every time, however.
        for _ in 0..2 {
            if ended.outcome.usage.cpu.is_none() {
                ended = it.run_call(call.clone()).await;
            }
        }
        let used = ended.outcome.usage.cpu.unwrap();
        let bounds = Duration::from_millis(100)..Duration::from_millis(1_500);
        assert!(bounds.contains(&used), "{used:?}");
    }
}

/// What prints many lines, in each language.
fn flood(print: Both<'_>, end: &str) -> (String, String) {
    let (javascript, python) = print;
    (
        format!("for (let i = 0; i < 30000; i++) {javascript};\n{end}"),
        format!("import sys, logging\nfor i in range(30000): {python}\n{end}"),
    )
}

/// 6, 7, 8: a flood is cut and said to be cut; the result comes all the same.
pub(crate) async fn fault_06_a_flood_of_output_is_cut_and_the_result_survives(it: &Spoken) {
    let prints: [Both<'_>; 3] = [
        ("console.log('line ' + i)", "print('line', i)"),
        (
            "console.error('line ' + i)",
            "print('line', i, file=sys.stderr)",
        ),
        (
            "(i % 2 ? console.log : console.error)('line ' + i)",
            "print('line', i, file=(sys.stdout, sys.stderr)[i % 2])",
        ),
    ];
    for print in prints {
        let (javascript, python) = flood(print, "return 'kept'");
        let ended = it.run_call(it.brief((&javascript, &python), 20_000)).await;
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
    let (javascript, _) = flood(prints[0], "throw new Error('kept')");
    let (_, python) = flood(prints[0], "raise ValueError('kept')");
    let ended = it.run_call(it.brief((&javascript, &python), 20_000)).await;
    assert_eq!(
        ended.failure(ErrorCode::ToolFailed).message,
        "kept",
        "7: no success out of it"
    );
    let print = (
        "{ ctx.log('info', 'x'.repeat(100)); ctx.progress(i) }",
        "ctx.log('info', 'x' * 100); ctx.progress(i)",
    );
    let (javascript, python) = flood(print, "return 1");
    let ended = it.run_call(it.brief((&javascript, &python), 20_000)).await;
    assert_eq!(ended.value(), Some(json!(1)));
    assert!(
        ended.outcome.truncated && ended.logs.len() <= 2_000,
        "{}",
        ended.logs.len()
    );
}

/// 6: a reader that does not read stops the code, not the executor, and not its deadline.
pub(crate) async fn fault_06_a_reader_that_does_not_read_holds_nothing(it: &Spoken) {
    let code = (
        "for (let i = 0;; i++) ctx.log('info', i)",
        "while True: ctx.log('info', 1)",
    );
    let mut call = it.brief(code, 400);
    call.limits.max_output_bytes = 10_000_000;
    let execution = start(&it.engine, call).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    idle(&it.engine).await;
    drop(execution);
}

/// 7: at the bound is in, one byte more is out.
pub(crate) async fn fault_07_the_result_is_bounded_exactly(it: &Spoken) {
    for (length, fits) in [(199_998, true), (199_999, false)] {
        let javascript = format!("return 'x'.repeat({length})");
        let python = format!("return 'x' * {length}");
        let ended = it.run((&javascript, &python)).await;
        if fits {
            assert_eq!(ended.value().unwrap().as_str().unwrap().len(), length);
        } else {
            let failure = ended.failure(ErrorCode::OutputTooLarge);
            assert!(failure.message.contains("200001"), "{failure:?}");
        }
    }
    it.run(("return 'x'.repeat(1e7)", "return 'x' * 10000000"))
        .await
        .failure(ErrorCode::OutputTooLarge);
    // Printed text gives way to the result.
    let code = (
        "console.log('y'.repeat(9000)); return 'x'.repeat(199000)",
        "print('y' * 9000); return 'x' * 199000",
    );
    let ended = it.run(code).await;
    assert!(ended.value().is_some() && ended.outcome.truncated);
    assert!(ended.outcome.printed.is_empty());
}

/// 9: one endless line is cut like many.
pub(crate) async fn fault_09_one_long_line_is_cut(it: &Spoken) {
    let code = (
        "console.log('é'.repeat(8e6)); return 1",
        "print('é' * 2000000); return 1",
    );
    let ended = it.run(code).await;
    assert_eq!(ended.value(), Some(json!(1)));
    assert!(ended.outcome.truncated);
    assert!(ended.printed_bytes() <= 200_000 && ended.printed_bytes() > 1_000);
}

/// 17 and more: what breaks the runtime's own limits is the tool's failure.
pub(crate) async fn fault_17_recursion_and_huge_strings_are_the_tools_failure(it: &Spoken) {
    let cases = it.say((
        &[
            "function f() { f() } f()",
            "const f = () => { try { f() } finally { f() } }; f()",
            "let a = []; for (let i = 0; i < 1e5; i++) a = [a]; return a",
            "return JSON.parse('['.repeat(1e5) + ']'.repeat(1e5))",
            "return eval('('.repeat(2e5))",
            "return new RegExp('('.repeat(1e5) + ')'.repeat(1e5)).test('x')",
            "let s = 'x'; for (;;) s += s",
        ],
        &[
            "def f(): f()\nf()",
            "import sys; sys.setrecursionlimit(10 ** 9)\ndef f(): f()\nf()",
            "a = []\nfor i in range(100000): a = [a]\nreturn a",
            "import json; return json.loads('[' * 100000 + ']' * 100000)",
            "return eval('(' * 200000)",
            "import re; return re.compile('(' * 100000 + ')' * 100000)",
            "s = 'x'\nwhile True: s += s",
        ],
    ));
    for code in cases {
        let ended = it.run_call(it.brief((code, code), 3_000)).await;
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
    let ended = it
        .run(("function f() { f() } f()", "def f(): f()\nf()"))
        .await;
    let last = ended.outcome.printed.last().unwrap();
    let word = it.say(("RangeError", "RecursionError"));
    assert!(last.message.contains(word), "{last:?}");
    still_works(it).await;
}

/// 19: a call whose reader goes away is over like one that timed out.
pub(crate) async fn fault_19_a_cancelled_call_is_gone(it: &Spoken) {
    let cases: [Both<'_>; 3] = [
        ("for (;;);", "while True: pass"),
        ("for (;;) console.log('x')", "while True: print('x')"),
        (
            "for (;;) await null",
            "import asyncio\nwhile True: await asyncio.sleep(0)",
        ),
    ];
    for code in cases {
        let execution = start(&it.engine, it.call(code)).await;
        tokio::time::sleep(Duration::from_millis(30)).await;
        drop(execution);
        assert!(idle(&it.engine).await < Duration::from_secs(2), "{code:?}");
    }
}
