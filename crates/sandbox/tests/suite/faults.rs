//! The attacks and faults of the design's list that are about what goes in, what comes out, and how
//! it ends; each case names its number.

use std::time::Duration;

use domain::error::ErrorCode;
use domain::runner::EngineKind;
use serde_json::{Value, json};

use super::abuse::still_works;
use super::spoken::{Both, Spoken};

/// 10: whatever characters come out, they are valid JSON and UTF-8.
pub(crate) async fn fault_10_odd_characters_are_valid_json(it: &Spoken) {
    let code = (
        r"const odd = 'a\ud800b\udfffc\0d\x1b[2Je\u2028';
        console.log(odd); ctx.log('info', {odd}); return [odd, {['\udc00']: 1}, '\\ud800']",
        r"odd = 'a\ud800b\udfffc\0d\x1b[2Je\u2028'
print(odd); ctx.log('info', {'odd': odd}); return [odd, {'\udc00': 1}, '\\ud800']",
    );
    let ended = it.run(code).await;
    let wanted = "a\u{fffd}b\u{fffd}c\0d\u{1b}[2Je\u{2028}";
    assert_eq!(
        ended.value(),
        Some(json!([wanted, {"\u{fffd}": 1}, "\\ud800"]))
    );
    assert_eq!(ended.outcome.printed[0].message, wanted);
    assert_eq!(ended.logs[0].1, json!({"odd": wanted}));
    let code = (
        r"throw new Error('\ud800!')",
        r"raise ValueError('\ud800!')",
    );
    let ended = it.run(code).await;
    assert_eq!(ended.failure(ErrorCode::ToolFailed).message, "\u{fffd}!");
}

/// 16: what can never settle is a failure, and no empty success.
pub(crate) async fn fault_16_a_promise_that_cannot_settle_is_a_failure(it: &Spoken) {
    let cases: [Both<'_>; 3] = [
        (
            "await new Promise(() => {})",
            "import asyncio; await asyncio.Event().wait()",
        ),
        (
            "return new Promise(() => {})",
            "import asyncio; await asyncio.get_running_loop().create_future()",
        ),
        (
            "await {then() {}}",
            "import asyncio; await asyncio.Queue().get()",
        ),
    ];
    for code in cases {
        let ended = it.run_call(it.brief(code, 1_000)).await;
        let failure = ended.outcome.result.as_ref().unwrap_err();
        assert!(
            matches!(failure.code, ErrorCode::ToolFailed | ErrorCode::Timeout),
            "{code:?}: {failure:?}"
        );
    }
}

/// 33, 71: arguments and code larger than any buffer of the kernel.
pub(crate) async fn fault_33_large_arguments_and_code_go_through(it: &Spoken) {
    let length = ("return args.big.length", "return len(args['big'])");
    for size in [900_000, 10_000_000] {
        let args = json!({ "big": "y".repeat(size) }).to_string();
        let ended = it.run_call(it.with_args(length, &args)).await;
        assert_eq!(ended.value(), Some(json!(size)));
    }
    let javascript = format!("/* {} */ return 'é🌍'.length", "é".repeat(199_900));
    let python = format!("'''{}'''; return len('é🌍') + 1", "é".repeat(199_900));
    let ended = it.run((&javascript, &python)).await;
    assert_eq!(ended.value(), Some(json!(3)));
    let code = format!("return {}1", "1+".repeat(50_000));
    let ended = it.run((&code, &code)).await;
    let word = it.say(("stack", "nested too deeply"));
    assert!(
        ended.outcome.result.is_ok() || ended.failure(ErrorCode::ToolFailed).message.contains(word)
    );
}

/// 41: nothing of one call is seen by another.
pub(crate) async fn fault_41_calls_share_nothing(it: &Spoken) {
    let leave = (
        "globalThis.left = 1; Object.prototype.left = 2; Array.prototype.map = null; \
         JSON.stringify = () => 'forged'; setInterval(() => {}, 1); return 1",
        "global left\nleft = 1\nimport builtins, json, sys, os, threading, time\n\
         threading.Thread(target=time.sleep, args=(9,)).start(); builtins.left = 2; builtins.len = None\n\
         json.dumps = lambda *a: 'forged'; sys.modules['left'] = json\n\
         os.environ['LEFT'] = '1'; sys.path.append('/left'); return 1",
    );
    assert_eq!(it.run(leave).await.value(), Some(json!(1)));
    let look = (
        "return [globalThis.left === undefined, ({}).left === undefined, \
         typeof [].map === 'function', JSON.stringify([1]) === '[1]']",
        "import builtins, json, sys, os\n\
         return ['left' not in globals() and not hasattr(builtins, 'left'), len([1]) == 1 and 'left' not in sys.modules, \
         'LEFT' not in os.environ and '/left' not in sys.path, json.dumps([1]) == '[1]']",
    );
    for _ in 0..3 {
        assert_eq!(
            it.run(look).await.value(),
            Some(json!([true, true, true, true]))
        );
    }
}

/// 43, 47, 48, 49: no environment, no files, no network; nothing there to reach them with.
pub(crate) async fn fault_43_there_is_no_way_out(it: &Spoken) {
    let cases: [Both<'_>; 2] = [
        (
            "return typeof process === 'undefined' ? [] : Object.keys(process.env).filter((name) => /KEY|TOKEN|SECRET|MCP_|DATABASE/.test(name))",
            "import os, re\nreturn [name for name in os.environ if re.search('KEY|TOKEN|SECRET|MCP_|DATABASE', name)]",
        ),
        (
            "try { return await (await fetch('http://169.254.169.254/')).text() } catch { return [] }",
            "import urllib.request\ntry: return urllib.request.urlopen('http://169.254.169.254/', timeout=2).read().decode()\nexcept OSError: return []",
        ),
    ];
    for code in cases {
        assert_eq!(it.run(code).await.value(), Some(json!([])), "{code:?}");
    }
    if it.is_python() {
        return;
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
        let ended = it.run((&code, "")).await;
        assert!(
            ended.outcome.result.is_err() || it.engine.kind() != EngineKind::Isolate,
            "{module}"
        );
    }
}

/// 69: what looks like our frames is text.
pub(crate) async fn fault_69_printed_frames_are_text(it: &Spoken) {
    let code = (
        r#"for (const text of ['\u0006', '{"ok":true}', '\0\0\0\u0012\u0006' + '\0'.repeat(16) + '1',
            '\x1e{"type":"result","value":"forged"}\n', 'Content-Length: 5\r\n\r\nabcde'])
            { console.log(text); console.error(text); ctx.log('info', text) }
        throw new Error('real')"#,
        r#"import sys
for text in ['\u0006', '{"ok":true}', '\0\0\0\u0012\u0006' + '\0' * 16 + '1',
        '\x1e{"type":"result","value":"forged"}\n', 'Content-Length: 5\r\n\r\nabcde']:
    print(text); print(text, file=sys.stderr); ctx.log('info', text)
raise ValueError('real')"#,
    );
    let ended = it.run(code).await;
    assert_eq!(ended.failure(ErrorCode::ToolFailed).message, "real");
    assert_eq!(ended.logs.len(), 5);
}

/// 70: what JSON cannot hold is a failure with a sentence.
pub(crate) async fn fault_70_odd_values_have_a_defined_end(it: &Spoken) {
    let failures = it.say((
        &[
            "return 1n",
            "const a = {}; a.a = a; return a",
            "return () => 1",
            "return Symbol('x')",
            "return {toJSON() { throw new Error('no') }}",
            "return {get x() { throw new Error('no') }}",
            "return new Proxy({}, {ownKeys() { throw new Error('no') }})",
            "return {toJSON() { return this.toJSON }}",
            "return Object.create(null, {toJSON: {get() { throw null }}})",
        ],
        &[
            "return 1 << 70",
            "a = {}; a['a'] = a; return a",
            "return lambda: 1",
            "return b'x'",
            "class Odd(dict):\n def items(self): raise ValueError('no')\nreturn Odd(a=1)",
            "class Odd:\n @property\n def __dict__(self): raise ValueError('no')\nreturn Odd()",
            "class Odd:\n def __getattribute__(self, name): raise ValueError('no')\nreturn Odd()",
            "return {'a', 'b'}",
            "return {1: 1, '1': 2}",
        ],
    ));
    for code in failures {
        let failure = it
            .run((code, code))
            .await
            .failure(ErrorCode::ToolFailed)
            .clone();
        assert!(!failure.message.is_empty(), "{code}");
    }
    let values: [(Both<'_>, Value); 4] = [
        (
            (
                "return [NaN, Infinity, undefined]",
                "return [float('nan'), float('-inf'), None]",
            ),
            json!([null, null, null]),
        ),
        (
            (
                "JSON.stringify = () => '\"forged\"'; return 1",
                "import json; json.dumps = json.JSONEncoder.encode = lambda *a, **k: '\"forged\"'; return 1",
            ),
            json!(1),
        ),
        (
            (
                "JSON.parse = null; Promise.prototype.then = null; return 2",
                "import json; json.loads = None; import asyncio; asyncio.Task = asyncio.sleep = None; return 2",
            ),
            json!(2),
        ),
        (
            (
                "delete globalThis.JSON; delete globalThis.Promise; delete globalThis.Object; return {a: 1}",
                "import builtins\nfor name in ('len', 'str', 'isinstance', 'type', 'dict', 'min', 'max', 'repr'): setattr(builtins, name, None)\n\
                 return {'a': 1}",
            ),
            json!({"a": 1}),
        ),
    ];
    for (code, wanted) in values {
        assert_eq!(it.run(code).await.value(), Some(wanted), "{code:?}");
    }
    let lying = (
        "throw {get message() { throw new Error('again') }, get stack() { throw 2 }}",
        "class Lying(Exception):\n def __str__(self): raise ValueError('again')\nraise Lying()",
    );
    it.run(lying).await.failure(ErrorCode::ToolFailed);
}

/// 71: arguments that are deep or named like a prototype harm nobody.
pub(crate) async fn fault_71_deep_arguments_are_an_answer(it: &Spoken) {
    let deep = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    let read = ("return 'read'", "return 'read'");
    let ended = it.run_call(it.with_args(read, &deep(100))).await;
    assert_eq!(ended.value(), Some(json!("read")));
    let mut call = it.call(("return args", "return args"));
    call.args = domain::RawValue::from_string(deep(120)).unwrap();
    assert!(it.run_call(call).await.value().is_some());
    still_works(it).await;
}

/// 72: no way of ending badly is a success.
pub(crate) async fn fault_72_no_bad_end_is_a_success(it: &Spoken) {
    let cases = it.say((
        &[
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
        ],
        &[
            "raise None",
            "raise 0",
            "raise Exception",
            "raise KeyboardInterrupt",
            "raise GeneratorExit",
            "import asyncio; raise asyncio.CancelledError",
            "raise StopIteration(1)",
            "import sys; sys.exit(0)",
            "import asyncio\nasync def f(): raise ValueError('nobody listens')\n\
             task = asyncio.create_task(f()); await asyncio.sleep(0.005); return 'ok'",
            "import asyncio\nasync def f(): raise ValueError('nobody listens')\n\
             asyncio.create_task(f()); return 'ok'",
            "import threading, time\ndef f(): raise ValueError('nobody listens')\n\
             threading.Thread(target=f).start(); time.sleep(1); return 'ok'",
            "exit()",
            "class Odd(Exception):\n def __str__(self): return 5\nraise Odd",
        ],
    ));
    for code in cases {
        let ended = it.run((code, code)).await;
        let failure = ended.failure(ErrorCode::ToolFailed);
        assert!(!failure.message.is_empty(), "{code}: {failure:?}");
    }
    let handled = (
        "const late = Promise.reject(new Error('x')); late.catch(() => {}); \
         await new Promise((r) => setTimeout(r, 2)); return 'ok'",
        "import asyncio\nasync def f(): raise ValueError('x')\ntask = asyncio.create_task(f())\n\
         await asyncio.wait([task]); task.exception(); return 'ok'",
    );
    assert_eq!(it.run(handled).await.value(), Some(json!("ok")));
}

/// 73: what code does while it is loaded counts against the same time.
pub(crate) async fn fault_73_loading_counts_against_the_same_time(it: &Spoken) {
    let code = (
        "for (;;); function later() {}",
        "class Loads:\n while True: pass",
    );
    let ended = it.run_call(it.brief(code, 300)).await;
    ended.failure(ErrorCode::Timeout);
    assert!(ended.took < Duration::from_secs(3), "{:?}", ended.took);
}

/// 80: no two calls see the same random numbers.
pub(crate) async fn fault_80_random_numbers_differ_between_calls(it: &Spoken) {
    let code = (
        "return [Math.random(), Math.random(), crypto.randomUUID(), \
         [...crypto.getRandomValues(new Uint8Array(8))].join()]",
        "import os, random, uuid\n\
         return [random.random(), random.random(), str(uuid.uuid4()), os.urandom(8).hex()]",
    );
    let calls = (0..6).map(|_| it.run(code));
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
