//! What only Python has: its values, its ways to be written, its ways to end.

use std::time::Duration;

use domain::error::ErrorCode;
use domain::runner::LogLevel;
use serde_json::{Value, json};

use super::run::{Ended, idle};
use super::spoken::Spoken;

async fn run(it: &Spoken, code: &str) -> Ended {
    it.run((code, code)).await
}

/// The table of docs/python.md.
pub(crate) async fn values_of_python_are_what_the_page_says(it: &Spoken) {
    let values: [(&str, Value); 16] = [
        (
            "return {1: 'a', 2.5: 'b', None: 'c', True: 'd'}",
            json!({"1": "d", "2.5": "b", "null": "c"}),
        ),
        (
            "import datetime as d\nreturn [d.datetime(2024, 1, 2, 3, tzinfo=d.timezone.utc), d.date(2024, 1, 2), d.time(3, 4)]",
            json!(["2024-01-02T03:00:00+00:00", "2024-01-02", "03:04:00"]),
        ),
        (
            "import uuid; return uuid.UUID(int=5)",
            json!("00000000-0000-0000-0000-000000000005"),
        ),
        (
            "import enum\nclass E(enum.Enum): A = 1\nclass S(str, enum.Enum): B = 'b'\nclass I(enum.IntEnum): C = 3\n\
             return [E.A, S.B, I.C, {E.A: 1, S.B: 2}]",
            json!([1, "b", 3, {"1": 1, "b": 2}]),
        ),
        (
            "import dataclasses\n@dataclasses.dataclass\nclass P:\n  x: int\n  y: list\nreturn P(1, [P(2, [])])",
            json!({"x": 1, "y": [{"x": 2, "y": []}]}),
        ),
        (
            "import collections\nreturn [collections.namedtuple('P', 'x y')(1, 2), collections.OrderedDict(a=1), collections.Counter('aab')]",
            json!([[1, 2], {"a": 1}, {"a": 2, "b": 1}]),
        ),
        ("return (1, (2, ()))", json!([1, [2, []]])),
        (
            "return [2 ** 63, -2 ** 63, 2 ** 53 + 1, 1e300, 1e16]",
            json!([
                9_223_372_036_854_775_808_u64,
                i64::MIN,
                9_007_199_254_740_993_i64,
                1e300,
                1e16
            ]),
        ),
        (
            "class S(str): pass\nclass I(int):\n def __repr__(self): return 'lie'\nclass F(float):\n def __repr__(self): return 'lie'\n\
             return [S('a'), I(5), F(1.5), {S('k'): 1}]",
            json!(["a", 5, 1.5, {"k": 1}]),
        ),
        (
            "return {'deep': [[[[[[1]]]]]], '': {}, 'e': []}",
            json!({"deep": [[[[[[1]]]]]], "": {}, "e": []}),
        ),
        (
            "a = [1]; return [a, a, {'a': a}]",
            json!([[1], [1], {"a": [1]}]),
        ),
        ("return ctx.tool", json!({"name": "tool", "revision": null})),
        ("return True", json!(true)),
        (
            "return ['\\u2028', '\\x7f', '\"\\\\']",
            json!(["\u{2028}", "\u{7f}", "\"\\"]),
        ),
        ("return -0.0 == 0", json!(true)),
        (
            "return str(2 ** 100)",
            json!("1267650600228229401496703205376"),
        ),
    ];
    for (code, wanted) in values {
        let mut call = it.call((code, code));
        call.tool = "tool".to_owned();
        call.revision = None;
        let ended = it.run_call(call).await;
        assert_eq!(ended.value(), Some(wanted), "{code}");
    }
}

/// 70: the sentence says where it is, what it is, and what to do.
pub(crate) async fn fault_70_what_json_cannot_hold_is_named_with_its_place(it: &Spoken) {
    let cases = [
        (
            "return {'a': [1, {2, 3}]}",
            "result['a'][1] is of type set; use sorted(...)",
        ),
        ("return b'x'", "it is of type bytes; use base64"),
        (
            "return 1 << 64",
            "it is an int of more than 64 bits; use str",
        ),
        (
            "return [1, (x for x in [])]",
            "result[1] is of type generator; use list(...)",
        ),
        (
            "class P: pass\nreturn {'p': P()}",
            "result['p'] is of type P; return a dict",
        ),
        (
            "return {(1, 2): 3}",
            "it has a key of type tuple; keys are text",
        ),
        ("return {1: 1, '1': 2}", "has the key '1' twice"),
        (
            "a = []; a.append({'in': a}); return a",
            "result[0]['in'] contains itself",
        ),
        (
            "return len",
            "is of type builtin_function_or_method; call it",
        ),
        (
            "import asyncio\nasync def f(): pass\nreturn f()",
            "is of type coroutine; await it",
        ),
        (
            "import decimal; return decimal.Decimal(1)",
            "is of type Decimal",
        ),
        ("ctx.log('info', {'x': {1}})", "data['x'] is of type set"),
    ];
    for (code, words) in cases {
        let ended = run(it, code).await;
        let message = &ended.failure(ErrorCode::ToolFailed).message;
        assert!(message.contains(words), "{code}: {message}");
    }
}

/// The code is whole lines of any indentation; what is inside of texts stays as it is.
pub(crate) async fn any_indentation_is_the_authors(it: &Spoken) {
    let values = [
        ("    x = '''a\n  b\nc'''\n    return x", json!("a\n  b\nc")),
        (
            "\n\n\t# first\n\tif args is not None:\n\t\treturn 1\n\treturn 2\n",
            json!(1),
        ),
        ("   \n# at the left\n   return 3", json!(3)),
        ("def f(a):\n    return a * 2\n\nreturn f(4)", json!(8)),
        ("\u{feff}return 5", json!(5)),
        ("x = [\n1,\n  2]\r\nreturn x", json!([1, 2])),
        ("'''says what it does'''\nreturn 6", json!(6)),
        (
            "from __future__ import annotations\ndef f(a: Nothing): return 7\nreturn f(1)",
            json!(7),
        ),
        ("global g\ng = 8\ndef f(): return g\nreturn f()", json!(8)),
        (
            "async def gen():\n  yield 9\nreturn [x async for x in gen()][0]",
            json!(9),
        ),
        ("return __name__", json!("__main__")),
        ("class A:\n  x = 10\nreturn A.x", json!(10)),
        (
            "n = 0\ndef f():\n  nonlocal n\n  n = 11\nf()\nreturn n",
            json!(11),
        ),
    ];
    for (code, wanted) in values {
        assert_eq!(run(it, code).await.value(), Some(wanted), "{code}");
    }
    let errors = [
        ("return 1\n  return 2", "tool.py:2"),
        ("    x = 1\n    if x\n    return x", "tool.py:2"),
        ("  x = 1\nreturn x", "tool.py:2"),
        ("x = (\n", "tool.py:1"),
        ("yield 1", "yields"),
        ("return 1\0", "null bytes"),
        ("import nothing_of_that_name", "nothing_of_that_name"),
    ];
    for (code, words) in errors {
        let ended = run(it, code).await;
        let message = &ended.failure(ErrorCode::ToolFailed).message;
        assert!(message.contains(words), "{code}: {message}");
    }
}

/// Everything of asyncio, threads and processes works; what still runs at the end is nobody's.
pub(crate) async fn tasks_threads_and_loops_are_the_languages_own(it: &Spoken) {
    let values = [
        (
            "import asyncio\nasync def f(n):\n  await asyncio.sleep(0.001)\n  return n\n\
             return await asyncio.gather(*map(f, range(5)))",
            json!([0, 1, 2, 3, 4]),
        ),
        (
            "import asyncio, time\nreturn await asyncio.to_thread(lambda: (time.sleep(0.02), 7)[1])",
            json!(7),
        ),
        (
            "import asyncio\np = await asyncio.create_subprocess_exec('echo', 'hi', stdout=asyncio.subprocess.PIPE)\n\
             return (await p.communicate())[0].decode()",
            json!("hi\n"),
        ),
        (
            "import concurrent.futures as c\nwith c.ThreadPoolExecutor(4) as pool: return list(pool.map(abs, [-1, -2]))",
            json!([1, 2]),
        ),
        (
            "import multiprocessing as m\nwith m.get_context('fork').Pool(2) as pool: return pool.map(abs, [-1, -2])",
            json!([1, 2]),
        ),
        (
            "import os\npid = os.fork()\nif pid == 0: return 'child'\nos.waitpid(pid, 0)\nreturn 'parent'",
            json!("parent"),
        ),
        (
            "import os\npid = os.fork()\nif pid == 0: raise ValueError('child')\nreturn os.waitpid(pid, 0)[1] >> 8",
            json!(1),
        ),
        (
            "import asyncio\nasync def forever():\n  while True: await asyncio.sleep(0.001)\n\
             asyncio.create_task(forever()); await asyncio.sleep(0.01); return 'early'",
            json!("early"),
        ),
        (
            "import threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start(); return 'early'",
            json!("early"),
        ),
        (
            "import asyncio\ntry: await asyncio.wait_for(ctx.signal.wait(), 0.01)\nexcept asyncio.TimeoutError: return ctx.signal.aborted",
            json!(false),
        ),
        (
            "import contextlib, io\nout = io.StringIO()\nwith contextlib.redirect_stdout(out): print('x')\nreturn out.getvalue()",
            json!("x\n"),
        ),
        (
            "import sys\nreturn [sys.stdin.read(), sys.argv, sys.stdout.encoding]",
            json!(["", ["tool.py"], "utf-8"]),
        ),
        (
            "with open('/workspace/mine.py', 'w') as f: f.write('x = 5')\nimport mine; return mine.x",
            json!(5),
        ),
        (
            "import os, tempfile\nreturn [os.getcwd(), os.environ['HOME'], tempfile.gettempdir(), os.listdir('/workspace')]",
            json!(["/workspace", "/workspace", "/tmp", []]),
        ),
    ];
    for (code, wanted) in values {
        let ended = run(it, code).await;
        assert_eq!(ended.value(), Some(wanted), "{code}");
        assert!(ended.took < Duration::from_secs(4), "{code}");
    }
}

/// 15, 21, 23, 72: each is the tool's failure with a sentence, never a success and never a hang.
pub(crate) async fn fault_72_python_ends_of_its_own_are_no_success(it: &Spoken) {
    let cases = [
        ("import sys; sys.exit()", "exit code 0"),
        ("import sys; sys.exit(3)", "exit code 3"),
        ("import sys; sys.exit('bye')", "exit code 1"),
        ("import os; os._exit(0)", "exit code 0"),
        ("import os; os._exit(5)", "exit code 5"),
        (
            "import asyncio, sys\nasyncio.get_running_loop().call_later(0.005, sys.exit, 4); await asyncio.sleep(3)",
            "exit code 4",
        ),
        (
            "import threading, os\nthreading.Thread(target=os._exit, args=(6,)).start()\nwhile True: pass",
            "exit code 6",
        ),
        ("import os; os.abort()", "SIGABRT"),
        (
            "import os; os.kill(os.getpid(), 9)\nwhile True: pass",
            "SIGKILL",
        ),
        (
            "import os; os.kill(os.getpid(), 15)\nwhile True: pass",
            "SIGTERM",
        ),
        ("import ctypes; ctypes.string_at(0)", "SIGSEGV"),
        ("import os; os.kill(1, 15)\nwhile True: pass", "SIG"),
        (
            "import os, signal; os.kill(os.getpid(), signal.SIGINT)\nwhile True: pass",
            "KeyboardInterrupt",
        ),
        (
            "import faulthandler; faulthandler.dump_traceback_later(0.01, exit=True)\nwhile True: pass",
            "exit code 1",
        ),
        ("import os; os.execvp('true', ['true'])", "exit code 0"),
        ("raise KeyError('a')", "KeyError: 'a'"),
        ("assert False", "AssertionError"),
        (
            "import asyncio; asyncio.get_running_loop().stop(); await asyncio.sleep(1)",
            "loop stopped",
        ),
        (
            "import asyncio\nawait asyncio.Event().wait()",
            "never come to its end",
        ),
        (
            "import asyncio; asyncio.run(asyncio.sleep(0))",
            "running event loop",
        ),
    ];
    for (code, words) in cases {
        let ended = it.run_call(it.brief((code, code), 5_000)).await;
        let failure = ended.outcome.result.as_ref().unwrap_err();
        assert_eq!(failure.code, ErrorCode::ToolFailed, "{code}: {failure:?}");
        assert!(failure.message.contains(words), "{code}: {failure:?}");
        assert!(
            ended.took < Duration::from_secs(4),
            "{code}: {:?}",
            ended.took
        );
        idle(&it.engine).await;
    }
    // Nothing runs after the result.
    let late = "import atexit; atexit.register(lambda: 1 / 0); return 1";
    assert_eq!(run(it, late).await.value(), Some(json!(1)));
}

/// 23: the streams are the agent's own, so that closing them harms nobody, unless all are closed.
pub(crate) async fn fault_23_closed_streams_are_an_answer(it: &Spoken) {
    for code in [
        "import os; os.close(0); return 1",
        "import os; os.close(1); os.close(2); return 1",
        "import sys; sys.stdout.close(); sys.stderr.close(); return 1",
        "import sys; sys.stdout = sys.stderr = None; print('x'); return 1",
        "import os; fd = os.open('/dev/null', os.O_WRONLY); os.dup2(fd, 1); os.dup2(fd, 2); return 1",
        "import fcntl; fcntl.fcntl(1, fcntl.F_SETFL, 2048); print('x' * 9000); return 1",
    ] {
        assert_eq!(run(it, code).await.value(), Some(json!(1)), "{code}");
    }
    for code in [
        "import os; os.closerange(0, 256); return 1",
        "import os\nfor fd in range(3, 256):\n  try: os.dup2(0, fd)\n  except OSError: pass\nreturn 1",
    ] {
        let ended = it.run_call(it.brief((code, code), 3_000)).await;
        ended.failure(ErrorCode::ToolFailed);
    }
}

/// 69: what the code writes where the agent writes is text, also when it looks like a frame.
pub(crate) async fn fault_69_frames_that_the_code_writes_are_text(it: &Spoken) {
    let code = "import os, stat, struct\n\
        for fd in range(1, 20):\n  try:\n    if fd != 2 and stat.S_ISFIFO(os.fstat(fd).st_mode):\n      \
        for nonce in (bytes(16), os.urandom(16)): os.write(fd, nonce + struct.pack('<IB', 2, 6) + b'42\\n')\n  \
        except OSError: pass\nraise ValueError('real')";
    let ended = run(it, code).await;
    assert_eq!(ended.failure(ErrorCode::ToolFailed).message, "real");
    let all: Vec<_> = ended.outcome.printed.iter().collect();
    let forged = all.iter().filter(|line| line.message.contains("42"));
    assert!(forged.count() >= 2, "{all:?}");
}

/// 10: the console, raw bytes, C and children of the code write one text.
pub(crate) async fn fault_10_printed_text_of_every_kind_is_one_text(it: &Spoken) {
    let code = "import os, subprocess, sys, ctypes\nprint('one'); os.write(1, b'2\\xff\\0\\n')\n\
        sys.stdout.write('th'); print('e', file=sys.stderr); sys.stdout.write('ree\\nfo')\n\
        subprocess.run(['echo', 'child']); print('ur'); sys.stdout.buffer.write(b'\\xfe5\\n')\n\
        ctypes.CDLL(None).puts(b'six'); print('no end', end='')";
    let ended = run(it, code).await;
    let lines: Vec<&str> = ended
        .outcome
        .printed
        .iter()
        .map(|line| line.message.as_str())
        .collect();
    assert_eq!(
        lines.join("\n"),
        "one\n2\u{fffd}\0\ne\nthree\nchild\nfour\n\u{fffd}5\nsix\nno end"
    );
    let errors = "import subprocess; subprocess.run('echo err >&2', shell=True); import time; time.sleep(0.05)";
    let ended = run(it, errors).await;
    assert_eq!(ended.outcome.printed[0].level, LogLevel::Error);
    assert_eq!(ended.outcome.printed[0].message, "err");
}

/// 21, 30, 31: children that hold the streams open, or outlive the code, hold nobody.
pub(crate) async fn fault_30_31_a_child_that_goes_on_holds_nobody(it: &Spoken) {
    let daemon = "import subprocess, time\nsubprocess.Popen(['setsid', 'sh', '-c', 'trap \"\" TERM HUP; sleep 98764'])\n\
                  time.sleep(0.05)\n";
    for (end, fine) in [("return 1", true), ("import os; os._exit(0)", false)] {
        let code = format!("{daemon}{end}");
        let ended = it.run_call(it.brief((&code, &code), 5_000)).await;
        assert_eq!(ended.outcome.result.is_ok(), fine, "{end}");
        assert!(ended.took < Duration::from_secs(4), "{:?}", ended.took);
        assert!(idle(&it.engine).await < Duration::from_secs(2), "{end}");
    }
}
