//! Code: the contract of a call, in a workspace that stays.

use std::time::Duration;

use domain::ErrorCode;
use domain::runner::{Outcome, RunEvent};
use domain::tool::Runtime;
use domain::{Call, RequestId, TenantId};
use futures::StreamExt;
use sandbox::{Execution, Job, Session};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::rig::{BARE, IMAGES, NODE, PYTHON, Rig, exec, sh};

pub(crate) fn job(runtime: Runtime, code: &str, millis: u64) -> Job {
    let mut call = Call {
        runtime,
        ..testkit::call(code)
    };
    call.limits.timeout = Duration::from_millis(millis);
    Job {
        deadline: Instant::now() + call.limits.timeout + Duration::from_secs(5),
        call,
        request_id: RequestId::random(),
        tenant: TenantId::default(),
        slot: None,
    }
}

pub(crate) async fn outcome(mut execution: Execution) -> (Outcome, usize) {
    let mut events = 0;
    while let Some(event) = execution.next().await {
        match event {
            RunEvent::Finished(outcome) => return (outcome, events),
            _ => events += 1,
        }
    }
    panic!("no end")
}

async fn run_for(session: &dyn Session, runtime: Runtime, code: &str, millis: u64) -> Outcome {
    let job = job(runtime, code, millis);
    let execution = session.run(job).await;
    outcome(execution.unwrap_or_else(|error| panic!("{code}: {error}")))
        .await
        .0
}

#[track_caller]
pub(crate) fn value(outcome: &Outcome) -> Value {
    match &outcome.result {
        Ok(value) => value
            .as_ref()
            .map_or(Value::Null, |it| serde_json::from_str(it.get()).unwrap()),
        Err(failure) => panic!("{failure:?} {:?}", outcome.printed),
    }
}

fn runtime_of(image: &str) -> Runtime {
    if image == PYTHON {
        Runtime::Python
    } else {
        Runtime::Node
    }
}

/// Files stay, nothing else does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn docker_code_runs_in_a_workspace_that_stays() {
    let rig = Rig::new().await;
    for (image, write, read, log) in [
        (
            NODE,
            "globalThis.kept = 1; require('fs').writeFileSync('made', 'by code'); return [process.cwd(), args]",
            "return [typeof kept, require('fs').readFileSync('made', 'utf8'), require('fs').readFileSync('/workspace/shell', 'utf8')]",
            "console.log('printed'); ctx.log('info', {a: 1}); ctx.progress(1); return [ctx.tool.name, process.env.SECRET, Object.keys(process.env).includes('HOSTNAME')]",
        ),
        (
            PYTHON,
            "import os, builtins\nbuiltins.kept = 1\nopen('made', 'w').write('by code')\nreturn [os.getcwd(), args]",
            "import builtins\nreturn ['number' if hasattr(builtins, 'kept') else 'undefined', open('made').read(), open('/workspace/shell').read()]",
            "import os\nprint('printed')\nawait ctx.log('info', {'a': 1})\nawait ctx.progress(1)\nreturn [ctx.tool['name'] if isinstance(ctx.tool, dict) else ctx.tool.name, os.environ.get('SECRET'), 'HOSTNAME' in os.environ]",
        ),
    ] {
        let runtime = runtime_of(image);
        let mut wanted = Rig::wanted(image);
        wanted
            .env
            .insert("SECRET".to_owned(), "s3cret value".to_owned());
        let session = sandbox::Engine::open_session(&*rig.engine, wanted)
            .await
            .unwrap();
        let first = run_for(&*session, runtime, write, 10_000).await;
        assert_eq!(value(&first), json!(["/workspace", {}]));
        sh(&*session, "printf 'by shell' >shell").await;
        let second = run_for(&*session, runtime, read, 10_000).await;
        assert_eq!(
            value(&second),
            json!(["undefined", "by code", "by shell"]),
            "{image}"
        );
        let execution = session.run(job(runtime, log, 10_000)).await.unwrap();
        let (third, events) = outcome(execution).await;
        let name = testkit::call("").tool;
        assert_eq!(
            value(&third),
            json!([name, "s3cret value", false]),
            "{image}"
        );
        assert_eq!(third.printed[0].message, "printed");
        assert!(events >= 1, "{events}");
        assert!(third.usage.cpu.is_some() && third.usage.peak_memory_bytes.is_some());
        // 43, 74: commands and code see it, nobody else does.
        assert_eq!(sh(&*session, "echo $SECRET").await.stdout, "s3cret value\n");
        let own = sh(&*session, "tr '\\0' '\\n' </proc/1/environ | grep -c SECRET; tr '\\0' ' ' </proc/1/cmdline | grep -c s3cret").await;
        assert_eq!(own.stdout, "0\n0\n", "{image}");
        session.stop().await;
    }
    rig.close().await;
}

/// 16, 17, 18, 21, 72: code that does not end is ended with all that it started; what it started
/// stays after a normal end; and the session goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_16_17_18_21_72_every_end_of_code_leaves_a_session_that_works() {
    let rig = Rig::new().await;
    let node = [
        ("for (;;);", Some(ErrorCode::Timeout)),
        (
            "require('child_process').spawn('setsid', ['sh', '-c', 'trap \"\" TERM; sleep 98762 & sleep 98762'], {detached: true, stdio: 'ignore'}).unref(); await new Promise((r) => setTimeout(r, 60000))",
            Some(ErrorCode::Timeout),
        ),
        ("process.exit(0)", Some(ErrorCode::ToolFailed)),
        (
            "process.kill(process.pid, 'SIGKILL'); for (;;);",
            Some(ErrorCode::ToolFailed),
        ),
        ("throw new Error('thrown')", Some(ErrorCode::ToolFailed)),
        (
            "const a = []; for (;;) a.push(Buffer.alloc(1 << 20, 1))",
            Some(ErrorCode::OutOfMemory),
        ),
        (
            "process.removeAllListeners(); require('fs').closeSync(1); return 1",
            Some(ErrorCode::ToolFailed),
        ),
        ("process.kill(process.ppid, 'SIGTERM'); return 1", None),
    ];
    let python = [
        ("while True: pass", Some(ErrorCode::Timeout)),
        (
            "import subprocess\nsubprocess.Popen(['setsid', 'sh', '-c', 'trap \"\" TERM; sleep 98762 & sleep 98762'])\nimport time\ntime.sleep(60)",
            Some(ErrorCode::Timeout),
        ),
        ("import os\nos._exit(0)", Some(ErrorCode::ToolFailed)),
        (
            "import os\nos.kill(os.getpid(), 9)",
            Some(ErrorCode::ToolFailed),
        ),
        ("raise ValueError('thrown')", Some(ErrorCode::ToolFailed)),
        (
            "a = []\nwhile True: a.append(b'x' * (1 << 20))",
            Some(ErrorCode::OutOfMemory),
        ),
        ("import os\nos.kill(os.getppid(), 15)\nreturn 1", None),
    ];
    for (image, cases) in [(NODE, &node[..]), (PYTHON, &python[..])] {
        let runtime = runtime_of(image);
        let session = rig.open(image).await;
        for (code, wanted) in cases {
            // The kernel takes its time before it gives memory up for lost.
            let memory = *wanted == Some(ErrorCode::OutOfMemory);
            let millis = if memory { 20_000 } else { 1_500 };
            let ended = run_for(&*session, runtime, code, millis).await;
            let code_of = ended.result.as_ref().err().map(|failure| failure.code);
            assert_eq!(code_of, *wanted, "{image}: {code}: {ended:?}");
            let left = sh(
                &*session,
                "cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -c 'sleep 9876[2]'",
            )
            .await;
            assert_eq!(left.stdout, "0\n", "{image}: {code}");
        }
        let stays = match runtime {
            Runtime::Node => {
                "require('child_process').spawn('sleep', ['98763'], {detached: true, stdio: 'ignore'}).unref(); return 1"
            }
            Runtime::Python => "import subprocess\nsubprocess.Popen(['sleep', '98763'])\nreturn 1",
        };
        assert_eq!(
            value(&run_for(&*session, runtime, stays, 5_000).await),
            json!(1)
        );
        let left = sh(
            &*session,
            "cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -c 'sleep 9876[3]'",
        )
        .await;
        assert_eq!(left.stdout, "1\n", "{image}");
        // Nothing of one call's account is another's.
        let fails = match runtime {
            Runtime::Node => "throw new Error('own')",
            Runtime::Python => "raise ValueError('own')",
        };
        let own = run_for(&*session, runtime, fails, 5_000).await;
        assert_eq!(
            own.result.unwrap_err().code,
            ErrorCode::ToolFailed,
            "{image}: an earlier end is not this one's"
        );
        session.stop().await;
    }
    rig.close().await;
}

/// 19: the stream is dropped in the middle.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_19_dropping_an_execution_stops_its_code() {
    let rig = Rig::new().await;
    for (image, code) in [
        (
            NODE,
            "setInterval(() => require('fs').appendFileSync('beat', 'x'), 20); await new Promise(() => {})",
        ),
        (
            PYTHON,
            "import time\nwhile True:\n  open('beat', 'a').write('x')\n  time.sleep(0.02)",
        ),
    ] {
        let session = rig.open(image).await;
        for millis in [0, 5, 500] {
            let execution = session
                .run(job(runtime_of(image), code, 20_000))
                .await
                .unwrap();
            sleep(Duration::from_millis(millis)).await;
            drop(execution);
        }
        let still = sh(
            &*session,
            "a=$(cat beat | wc -c); sleep 0.3; [ $(cat beat | wc -c) = $a ] && echo still",
        )
        .await;
        assert_eq!(still.stdout, "still\n", "{image}: {still:?}");
        session.stop().await;
    }
    rig.close().await;
}

/// 6, 7, 8, 9: floods are cut, counted, and nothing hangs; a result survives them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_06_07_08_09_floods_are_cut_and_counted() {
    let rig = Rig::new().await;
    for image in IMAGES {
        let session = rig.open(image).await;
        let commands = [
            "head -c 50000000 /dev/zero",
            "head -c 30000000 /dev/zero >&2; echo out",
            "yes | head -c 20000000; echo end >&2; exit 5",
            "yes & sleep 0.3; kill $!; wait 2>/dev/null; exit 0",
            "printf 'b\\377ad \\303'",
        ];
        let results = exec(&*session, &commands, 20_000).await.unwrap();
        assert_eq!(results[0].stdout_bytes, 50_000_000);
        assert!(results[0].truncated && !results[0].stdout.is_empty());
        assert_eq!(
            (results[1].stderr_bytes, results[1].stdout.as_str()),
            (30_000_000, "out\n")
        );
        assert_eq!(
            (
                results[2].exit_code,
                results[2].stderr.as_str(),
                results[2].stdout_bytes
            ),
            (5, "end\n", 20_000_000)
        );
        assert!(results[3].truncated && results[3].stdout.starts_with("y\ny\n"));
        assert_eq!(results[4].stdout, "b\u{fffd}ad \u{fffd}");
        let sum: usize = results
            .iter()
            .map(|it| it.stdout.len() + it.stderr.len())
            .sum();
        assert!(sum <= 200_010, "{sum}");
        let endless = exec(&*session, &["yes"], 500).await.unwrap();
        assert!(endless[0].timed_out && endless[0].truncated);
        let flood = match runtime_of(image) {
            Runtime::Node => {
                "require('child_process').execSync('yes | head -c 10000000', {stdio: 'inherit'}); return 'result'"
            }
            Runtime::Python => {
                "import subprocess\nsubprocess.run('yes | head -c 10000000', shell=True)\nreturn 'result'"
            }
        };
        let flooded = run_for(&*session, runtime_of(image), flood, 10_000).await;
        assert_eq!(value(&flooded), json!("result"), "{image}");
        assert!(flooded.truncated);
        session.stop().await;
    }
    rig.close().await;
}

/// An image is asked for what it has only, and says what it lacks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn docker_what_an_image_lacks_is_named() {
    let rig = Rig::new().await;
    let bare = rig.open(BARE).await;
    assert_eq!(bare.runtimes(), [Runtime::Node]);
    let refused = exec(&*bare, &["echo"], 1_000).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::PolicyDenied);
    let sum = run_for(&*bare, Runtime::Node, "return 1 + 1", 10_000).await;
    assert_eq!(value(&sum), json!(2));
    let refused = bare
        .run(job(Runtime::Python, "return 1", 1_000))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), ErrorCode::PolicyDenied);
    bare.stop().await;
    let python = rig.open(PYTHON).await;
    let refused = python
        .run(job(Runtime::Node, "return 1", 1_000))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), ErrorCode::PolicyDenied);
    assert!(refused.message().contains("`node`"), "{refused}");
    python.stop().await;
    rig.close().await;
}
