//! Faults that look different on this engine, or only here; each test names its numbers.

use std::time::Duration;

use domain::error::ErrorCode;
use domain::runner::Call;
use serde_json::json;
use tokio::time::Instant;

use super::suite::run::{Subject, brief, call, idle, run, run_call, start, with_args};
use super::{engine_with, isolate, metrics};

async fn still_works(engine: &Subject) {
    let fine = run(engine, "return 'fine'").await;
    assert_eq!(fine.value(), Some(json!("fine")));
}

/// 2: memory that the program itself takes for the code is within the same limit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_02_memory_outside_of_the_runtime_counts_too() {
    let engine = isolate().await;
    let takes = [
        "const all = []; for (;;) all.push(new TextEncoder().encode('x'.repeat(1e6)))",
        "const all = []; for (;;) all.push(crypto.getRandomValues(new Uint8Array(65536)))",
        "let all = new URLSearchParams(); for (;;) all.append('a'.repeat(1e6), all.size)",
        "const all = []; for (;;) all.push(structuredClone({a: 'x'.repeat(1e6) + all.length}))",
        "let text = 'ab'; for (;;) text = btoa(text)",
        "const all = []; for (;;) all.push(new URL('http://x/' + 'y'.repeat(1e6) + all.length))",
        "for (let i = 0;; i++) setTimeout(() => i, 1e6)",
        "return new Array(6e6).fill('1234567890')",
    ];
    for code in takes {
        // As for containers: which failure it is, not how soon, and a busy machine takes its time to fill memory.
        let ended = run_call(&engine, brief(code, 60_000)).await;
        ended.failure(ErrorCode::OutOfMemory);
    }
    still_works(&engine).await;
    engine.shutdown().await;
}

/// 2, 4: a lack of memory that was caught is no lack, a lie about one tells nothing about a timeout,
/// and code that used much memory and then runs too long has run too long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_02_04_memory_and_time_are_told_apart() {
    let engine = isolate().await;
    let much = "const all = []; try { for (;;) all.push(new Uint8Array(1e6).fill(1)) } catch {}";
    let spins = run_call(&engine, brief(&format!("{much} for (;;);"), 700)).await;
    assert!(spins.failure(ErrorCode::Timeout).message.contains("700 ms"));
    let ended = run(
        &engine,
        &format!("{much} all.length = 0; throw new Error('own')"),
    )
    .await;
    assert_eq!(ended.failure(ErrorCode::ToolFailed).message, "own");
    let mut slow = brief("for (;;);", 10_000);
    slow.limits.cpu_millis = 20;
    let ended = run_call(&engine, slow).await;
    let failure = ended.failure(ErrorCode::Timeout);
    assert!(failure.message.contains("200 ms of CPU"), "{failure:?}");
    assert!(ended.took < Duration::from_secs(8), "{:?}", ended.took);
    // Waiting is no use of CPU time.
    let mut waits = brief(
        "await new Promise((done) => setTimeout(done, 600)); return 1",
        10_000,
    );
    waits.limits.cpu_millis = 20;
    assert_eq!(run_call(&engine, waits).await.value(), Some(json!(1)));
    engine.shutdown().await;
}

/// 7, 70: a result of any size beyond the bound is that, however it is made.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_07_70_a_huge_result_is_an_error_and_no_more() {
    let engine = engine_with(512 << 20).await;
    for code in [
        "return 'x'.repeat(1e8)",
        "return new Array(1e6).fill('x'.repeat(20))",
        "return {toJSON() { return 'y'.repeat(2e6) }}",
        "return Object.fromEntries(Array.from({length: 1e5}, (_, i) => ['key' + i, i]))",
    ] {
        let mut call = brief(code, 20_000);
        call.limits.memory_bytes = 512 << 20;
        let ended = run_call(&engine, call).await;
        let failure = ended.failure(ErrorCode::OutputTooLarge);
        assert!(failure.message.contains("200000"), "{code}: {failure:?}");
    }
    // In the memory of a small call there is no room for such a text.
    let ended = run(&engine, "return 'x'.repeat(1e8)").await;
    ended.failure(ErrorCode::OutOfMemory);
    engine.shutdown().await;
}

/// 13: whoever spins takes no more than his share from the one beside him.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_13_a_neighbour_that_spins_is_endured() {
    let engine = isolate().await;
    let spinning = [
        start(&engine, brief("for (;;);", 20_000)).await,
        start(&engine, brief("for (;;) Math.random()", 20_000)).await,
    ];
    let mut took = Vec::new();
    for _ in 0..20 {
        let begun = Instant::now();
        assert_eq!(run(&engine, "return 1").await.value(), Some(json!(1)));
        took.push(begun.elapsed());
    }
    took.sort();
    // Two cores, two that spin, and whatever else the machine does.
    assert!(took[10] < Duration::from_secs(1), "{took:?}");
    drop(spinning);
    idle(&engine).await;
    engine.shutdown().await;
}

/// 16: nothing is left that could settle the promise: it is said at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_16_what_can_never_end_is_told_at_once() {
    let engine = isolate().await;
    for code in [
        "await new Promise(() => {})",
        "await {then() {}}",
        "const timer = setTimeout(() => {}, 1e6); clearTimeout(timer); await new Promise(() => {})",
        "const c = new AbortController(); await new Promise((r) => c.signal.addEventListener('abort', r))",
        "for await (const x of {[Symbol.asyncIterator]: () => ({next: () => new Promise(() => {})})});",
    ] {
        let ended = run_call(&engine, brief(code, 20_000)).await;
        let failure = ended.failure(ErrorCode::ToolFailed);
        assert!(
            failure.message.contains("never settle"),
            "{code}: {failure:?}"
        );
        assert!(ended.took < Duration::from_secs(10), "{code}");
    }
    engine.shutdown().await;
}

/// 17: what is large only for the runtime ends in the runtime.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_17_huge_requests_have_an_end() {
    use ErrorCode::{OutOfMemory, Timeout, ToolFailed};
    let engine = isolate().await;
    let cases: [(&str, &[ErrorCode]); 9] = [
        (
            "return new Array(1e9) + ''",
            &[OutOfMemory, Timeout, ToolFailed],
        ),
        ("return new Array(2 ** 32)", &[ToolFailed]),
        ("return new ArrayBuffer(1e15)", &[OutOfMemory, ToolFailed]),
        (
            "return 'x'.padEnd(2 ** 30 + 10)",
            &[OutOfMemory, ToolFailed],
        ),
        ("return 2n ** (2n ** 40n)", &[OutOfMemory, ToolFailed]),
        ("return /(x+x+)+y/.test('x'.repeat(60))", &[Timeout]),
        (
            "return [...Array(1e9).keys()].length",
            &[OutOfMemory, Timeout],
        ),
        ("const f = (n) => [].concat(f(n + 1)); f(0)", &[ToolFailed]),
        (
            "let p = Promise.resolve(); for (;;) p = p.then(() => p)",
            &[OutOfMemory, Timeout],
        ),
    ];
    for (code, codes) in cases {
        let ended = run_call(&engine, brief(code, 1_500)).await;
        let failure = ended.outcome.result.as_ref().unwrap_err();
        assert!(codes.contains(&failure.code), "{code}: {failure:?}");
        assert!(ended.took < Duration::from_secs(6), "{code}");
    }
    still_works(&engine).await;
    engine.shutdown().await;
}

/// 42: the code's own idea of time moves no deadline and no timer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_42_a_clock_that_lies_moves_nothing() {
    let engine = isolate().await;
    let lies = "Date.now = () => 0; performance.now = () => 0; globalThis.Date = class {};";
    let code =
        format!("try {{ {lies} }} catch {{}} await new Promise((r) => setTimeout(r, 5)); return 1");
    assert_eq!(run(&engine, &code).await.value(), Some(json!(1)));
    let code = format!("try {{ {lies} }} catch {{}} for (;;) await null");
    let ended = run_call(&engine, brief(&code, 300)).await;
    ended.failure(ErrorCode::Timeout);
    assert!(ended.took < Duration::from_secs(3));
    let ends = "const left = ctx.deadline - Date.now(); return left > 0 && left <= 5000";
    assert_eq!(run(&engine, ends).await.value(), Some(json!(true)));
    engine.shutdown().await;
}

/// 69: the code has no way to the stream: what it writes goes through what counts and marks it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_69_nothing_reaches_the_stream_but_through_the_runtime() {
    let engine = isolate().await;
    let code = "const seen = []; for (let at = globalThis; at !== null; at = Object.getPrototypeOf(at)) \
                seen.push(...Reflect.ownKeys(at).filter((name) => typeof name === 'string')); \
                return seen.filter((name) => /write|stdout|stdin|^fd|^std$|^os$|host|native|bjson|^load/i.test(name))";
    assert_eq!(run(&engine, code).await.value(), Some(json!([])));
    // The functions of the program are held by the globals' own functions and by nothing else.
    let code = "const found = []; const seen = new Set(); const walk = (it) => { \
                if ((typeof it !== 'object' && typeof it !== 'function') || it === null || seen.has(it)) return; \
                seen.add(it); for (const key of Reflect.ownKeys(it)) { \
                  const own = Object.getOwnPropertyDescriptor(it, key); \
                  if (['print', 'timerStart', 'urlParse', 'makeContext', 'uncaught'].includes(key)) found.push(key); \
                  walk(own.value); walk(own.get); walk(own.set) } walk(Object.getPrototypeOf(it)) }; \
                walk(globalThis); walk(ctx); return [found, seen.size > 500]";
    assert_eq!(run(&engine, code).await.value(), Some(json!([[], true])));
    engine.shutdown().await;
}

/// 71, 73: reading the code and the arguments is on the same clock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_71_73_reading_the_call_counts_against_its_time() {
    let engine = engine_with(512 << 20).await;
    let numbers = format!("[{}1]", "1,".repeat(4_000_000));
    let mut call = with_args("return args.length", &format!(r#"{{"args":{numbers}}}"#));
    call.limits.memory_bytes = 512 << 20;
    call.limits.timeout = Duration::from_millis(20);
    let ended = run_call(&engine, call).await;
    ended.failure(ErrorCode::Timeout);
    let many = format!("return [{}]", "function () { return 1 },".repeat(7_000));
    let ended = run_call(&engine, brief(&many, 20_000)).await;
    assert!(ended.took < Duration::from_secs(15), "{:?}", ended.took);
    let ended = run_call(&engine, brief("for (;;); await null; return 1", 200)).await;
    ended.failure(ErrorCode::Timeout);
    engine.shutdown().await;
}

/// 78: each stage of each call is counted, and nothing else is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_78_every_stage_is_counted() {
    let metrics = metrics();
    let engine = super::launch(super::settings(), &metrics).await;
    run(&engine, "return 1").await.value();
    run(&engine, "throw 1").await.failure(ErrorCode::ToolFailed);
    let ended = run_call(&engine, brief("for (;;);", 100)).await;
    ended.failure(ErrorCode::Timeout);
    idle(&engine).await;
    engine.shutdown().await;
    // The first two say a result; the last is ended while it runs. The queue is the executor's.
    let counts = [
        (sandbox::Stage::Queue, 0),
        (sandbox::Stage::Take, 3),
        (sandbox::Stage::Write, 3),
        (sandbox::Stage::Load, 3),
        (sandbox::Stage::Run, 3),
        (sandbox::Stage::Read, 2),
        (sandbox::Stage::Teardown, 3),
    ];
    assert_eq!(counts.map(|(stage, _)| stage), sandbox::Stage::ALL);
    for (stage, count) in counts {
        let all = &metrics.sandbox_stage_duration;
        let one = all.with_label_values(&["isolate", stage.as_str()]);
        assert_eq!(one.get_sample_count(), count, "{stage:?}");
    }
    let ran = metrics
        .sandbox_stage_duration
        .with_label_values(&["isolate", "run"]);
    assert!(ran.get_sample_sum() > 0.0, "{}", ran.get_sample_sum());
    let found = metrics.pool_hits.with_label_values(&["isolate"]).get();
    let misses = sandbox::Miss::ALL.map(|miss| {
        let misses = metrics
            .pool_misses
            .with_label_values(&["isolate", miss.as_str()]);
        misses.get()
    });
    assert_eq!(found + misses.iter().sum::<u64>(), 3, "{found} {misses:?}");
}

/// 41, 79: calls at the same time never meet in one sandbox.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_41_79_calls_at_the_same_time_never_meet() {
    let engine = isolate().await;
    let calls = (0..40).map(|n| {
        let code = format!(
            "if (globalThis.mine !== undefined) return 'met'; globalThis.mine = {n}; \
             await new Promise((done) => setTimeout(done, 20)); return globalThis.mine"
        );
        let engine = &engine;
        async move { run_call(engine, brief(&code, 20_000)).await.value() }
    });
    let values = futures::future::join_all(calls).await;
    for (n, value) in values.into_iter().enumerate() {
        assert_eq!(value, Some(json!(n)));
    }
    engine.shutdown().await;
}

/// 80: sandboxes that were made at the same time have random numbers of their own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_80_twins_do_not_share_their_random_numbers() {
    let engine = isolate().await;
    let code = "return Math.random() + ' ' + crypto.randomUUID()";
    let calls = (0..24).map(|_| async { run(&engine, code).await.value().unwrap().to_string() });
    let values = futures::future::join_all(calls).await;
    let different: std::collections::HashSet<_> = values.iter().collect();
    assert_eq!(different.len(), 24);
    engine.shutdown().await;
}

/// A tool that would share a sandbox between its calls gets one for each, and is not refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_41_a_shared_tool_shares_nothing_here() {
    let engine = isolate().await;
    let count = || Call {
        isolation: domain::tool::Isolation::Tool,
        ..call("globalThis.count = (globalThis.count ?? 0) + 1; return globalThis.count")
    };
    for _ in 0..3 {
        assert_eq!(run_call(&engine, count()).await.value(), Some(json!(1)));
    }
    engine.shutdown().await;
}
