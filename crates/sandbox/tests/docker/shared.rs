//! `isolation: tool`: who shares a container with whom, what a call finds of the one before, and when a
//! container is not used again.

use std::time::Duration;

use domain::error::ErrorCode;
use domain::runner::{Call, RunEvent};
use domain::tool::{Isolation, Runtime};
use domain::{CodeDigest, RequestId, Revision, TenantId};
use futures::StreamExt;
use futures::future::join_all;
use sandbox::Job;
use sandbox::docker::DockerEngineSettings;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::rig::{Rig, settings};
use crate::suite::run::{IMAGE, brief, idle, run_call};
use crate::suite::spoken::{Both, PYTHON_IMAGE, Spoken};

/// Runs what it is given: the code is part of what calls have to have in common.
const CODE: Both<'_> = (
    "return await (new (async () => {}).constructor('ctx', args.code))(ctx)",
    "names = {'ctx': ctx}\nexec('async def f():\\n ' + args['code'].replace('\\n', '\\n '), names)\nreturn await names['f']()",
);

/// Which container this is: its root file system has a name.
const WHERE: Both<'_> = (
    "return require('fs').readFileSync('/proc/self/mountinfo', 'utf8').split('\\n')[0]",
    "return open('/proc/self/mountinfo').readline()",
);

struct Kept {
    rig: Rig,
    it: Spoken,
}

impl Kept {
    async fn new(runtime: Runtime) -> Self {
        let rig = Rig::with(DockerEngineSettings {
            pool_size: 1,
            allowed_images: vec![IMAGE.to_owned(), PYTHON_IMAGE.to_owned()],
            shared_tools: vec!["kept".to_owned()],
            ..settings()
        })
        .await;
        let engine = std::sync::Arc::clone(&rig.engine);
        let it = Spoken { engine, runtime };
        Self { rig, it }
    }

    fn call(&self, code: Both<'_>) -> Call {
        let args = json!({ "code": self.it.say(code) }).to_string();
        let mut call = self.it.with_args(CODE, &args);
        call.tool = "kept".to_owned();
        call.revision = Some(Revision(1));
        call.isolation = Isolation::Tool;
        call.limits.timeout = Duration::from_secs(20);
        call
    }

    async fn value(&self, code: Both<'_>) -> Value {
        let ended = run_call(&self.it.engine, self.call(code)).await;
        // On a busy machine the making ready takes longer than the next call would wait for.
        idle(&self.it.engine).await;
        ended.value().unwrap_or_default()
    }

    fn count(&self, found: &str) -> u64 {
        let counted = &self.rig.metrics.shared_calls;
        counted.with_label_values(&[found]).get()
    }
}

async fn a_realm_for_each(runtime: Runtime) {
    let kept = Kept::new(runtime).await;
    let first = kept.value(WHERE).await;
    let leave = (
        "globalThis.left = 1; Array.prototype.left = 1; JSON.stringify = () => 'forged'; process.env.LEFT = '1'; \
         require('fs').writeFileSync('/workspace/left.js', 'module.exports = ' + Math.random()); process.chdir('/tmp'); \
         setInterval(() => console.log('late'), 1); process.on('exit', () => {}); console.left = 1; \
         return require('/workspace/left.js')",
        "import asyncio, builtins, json, os, random, sys, logging\nglobal left\nleft = 1; builtins.left = 1; os.environ['LEFT'] = '1'\n\
         open('/workspace/left.py', 'w').write(f'x = {random.random()}'); os.chdir('/tmp'); sys.path.append('/left')\n\
         asyncio.create_task(asyncio.sleep(60)); logging.basicConfig(level=1); random.seed(5)\n\
         sys.path.insert(0, '/workspace')\nimport left\nreturn left.x",
    );
    let look = (
        "const fs = require('fs'); return [globalThis.left === undefined && !('left' in []), JSON.stringify([1]), \
         process.env.LEFT === undefined, fs.readdirSync('/workspace').concat(fs.readdirSync('/tmp')), process.cwd(), \
         'left' in console ? 'left' : typeof console.log, Object.getPrototypeOf(ctx.signal) !== undefined]",
        "import builtins, json, os, sys, logging\n\
         return ['left' not in globals() and not hasattr(builtins, 'left') and '/left' not in sys.path, json.dumps([1]), \
         'LEFT' not in os.environ and 'left' not in sys.modules, os.listdir('/workspace') + os.listdir('/tmp'), os.getcwd(), \
         'function' if not logging.root.handlers else 'handlers', not ctx.signal.aborted]",
    );
    let clean = json!([true, "[1]", true, [], "/workspace", "function", true]);
    let mut numbers = Vec::new();
    for _ in 0..3 {
        numbers.push(kept.value(leave).await);
        assert_eq!(kept.value(look).await, clean);
        assert_eq!(kept.value(WHERE).await, first, "it is the same container");
    }
    assert!(
        numbers[0] != numbers[1] && numbers[1] != numbers[2],
        "80: {numbers:?}"
    );
    let broken = kept
        .it
        .say((&"throw new Error('mine')", &"raise ValueError('mine')"));
    let ended = run_call(&kept.it.engine, kept.call((broken, broken))).await;
    idle(&kept.it.engine).await;
    assert_eq!(ended.failure(ErrorCode::ToolFailed).message, "mine");
    assert_eq!(
        kept.value(WHERE).await,
        first,
        "a failure of the code is no breach"
    );
    assert_eq!((kept.count("fresh"), kept.count("kept")), (1, 11));
    kept.rig.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shared_calls_have_a_realm_each() {
    a_realm_for_each(Runtime::Node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shared_calls_have_a_realm_each_in_python() {
    a_realm_for_each(Runtime::Python).await;
}

/// What cannot be cleaned is not used again.
async fn breaches(runtime: Runtime) {
    let kept = Kept::new(runtime).await;
    let breaches: &[&str] = match runtime {
        Runtime::Node => &[
            "require('child_process').spawn('sleep', ['60'], {detached: true, stdio: 'ignore'}).unref(); return 1",
            "require('net').createServer().listen('/tmp/left'); return 1",
            "process.constructor.constructor('return JSON')().stringify = () => 1; return 1",
            "new (require('worker_threads').Worker)('setInterval(() => {}, 9)', {eval: true}); return 1",
            "globalThis.x = require('fs').openSync('/dev/null'); return 1",
            "process.removeAllListeners(); return 1",
            "setTimeout(() => { throw new Error('x') }, 1); await new Promise(() => {})",
            "process.exit(3)",
            "for (;;);",
            "const all = []; for (;;) all.push(new Uint8Array(1e6).fill(1))",
        ],
        Runtime::Python => &[
            "import subprocess; subprocess.Popen(['sleep', '60']); return 1",
            "import threading, time; threading.Thread(target=time.sleep, args=(60,)).start(); return 1",
            "import json; json.loads = None; return 1",
            "import os; os.open('/dev/null', 0); return 1",
            "import asyncio\nasync def f():\n while True:\n  try: await asyncio.sleep(9)\n  except BaseException: pass\nasyncio.create_task(f()); await asyncio.sleep(0); return 1",
            "import sys; sys.stdout.close(); return 1",
            "import threading\ndef f(): raise ValueError('x')\nt = threading.Thread(target=f); t.start(); t.join()",
            "import os; os._exit(3)",
            "while True: pass",
            "every = []\nwhile True: every.append(bytearray(b'x' * 1000000))",
        ],
    };
    let mut last = kept.value(WHERE).await;
    for code in breaches {
        let mut call = kept.call((code, code));
        call.limits.timeout = Duration::from_millis(4_000);
        // However it ends, it ends.
        let ended = run_call(&kept.it.engine, call).await;
        idle(&kept.it.engine).await;
        let next = kept.value(WHERE).await;
        assert_ne!(next, last, "{code}: {:?}", ended.outcome.result);
        last = next;
    }
    idle(&kept.it.engine).await;
    kept.rig.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shared_containers_end_with_a_breach() {
    breaches(Runtime::Node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shared_containers_end_with_a_breach_in_python() {
    breaches(Runtime::Python).await;
}

/// Nobody else's calls, and none that did not ask for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shared_containers_are_one_tools_alone() {
    let kept = Kept::new(Runtime::Node).await;
    let own = kept.value(WHERE).await;
    let other_code = {
        let mut call = kept.call(WHERE);
        call.code = "return require('fs').readFileSync('/proc/self/mountinfo', 'utf8').split('\\n')[0] + ''".into();
        call
    };
    let others = [
        Call {
            revision: Some(Revision(2)),
            ..kept.call(WHERE)
        },
        Call {
            revision: None,
            ..kept.call(WHERE)
        },
        Call {
            isolation: Isolation::Call,
            ..kept.call(WHERE)
        },
        other_code,
    ];
    for call in others {
        let there = run_call(&kept.it.engine, call).await.value().unwrap();
        assert_ne!(there, own);
    }
    let call = kept.call(WHERE);
    let job = Job {
        deadline: Instant::now() + call.limits.timeout,
        call: Call {
            code_digest: CodeDigest::of(&call.code),
            ..call
        },
        tenant: TenantId::parse("another").unwrap(),
        request_id: RequestId::random(),
        slot: None,
    };
    let events: Vec<_> = kept.it.engine.start(job).await.unwrap().collect().await;
    let Some(RunEvent::Finished(outcome)) = events.last() else {
        panic!("{events:?}")
    };
    let there = outcome.result.as_ref().unwrap().as_ref().unwrap();
    assert_ne!(serde_json::from_str::<Value>(there.get()).unwrap(), own);
    assert_eq!(kept.value(WHERE).await, own, "it waited for its own");
    // Calls that overlap have a container each, and no more than four of them stay.
    let slow = (
        "await new Promise((done) => setTimeout(done, 300)); return 1",
        "",
    );
    let calls = (0..6).map(|_| run_call(&kept.it.engine, kept.call(slow)));
    for ended in join_all(calls).await {
        assert_eq!(ended.value(), Some(json!(1)));
    }
    idle(&kept.it.engine).await;
    sleep(Duration::from_millis(1_500)).await;
    // Revision 1 has four, revision 2, the other code and the other tenant one each; two images wait.
    let there = kept.rig.containers().await.len();
    let waiting = kept.it.engine.status().pool_idle;
    assert!(
        there <= 4 + 3 + waiting + 2,
        "{there} containers, {waiting} wait"
    );
    kept.rig.close().await;
}

/// Off unless an administrator allows it for the tool.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sharing_has_to_be_allowed_by_name() {
    let kept = Kept::new(Runtime::Node).await;
    let call = Call {
        tool: "other".to_owned(),
        ..kept.call(WHERE)
    };
    let error = kept.it.engine.supports(&call).unwrap_err();
    assert_eq!(error.code(), ErrorCode::PolicyDenied, "{error}");
    let told = format!("{error:?}");
    assert!(told.contains("MCP_SANDBOX_SHARED_TOOLS"), "{told}");
    let fine = Call {
        isolation: Isolation::Call,
        ..call
    };
    assert!(kept.it.engine.supports(&fine).is_ok());
    let plain = brief("return 1", 20_000);
    assert_eq!(
        run_call(&kept.it.engine, plain).await.value(),
        Some(json!(1))
    );
    kept.rig.close().await;
}
