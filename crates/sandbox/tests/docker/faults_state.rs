//! What a call leaves in its sandbox, what it is told of its own end, and whose sandboxes are whose.

use std::time::Duration;

use domain::error::ErrorCode;
use futures::StreamExt;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::rig::{Rig, settings};
use crate::suite::run::{brief, idle, run, run_call, start};

/// 4: a kill of ours is a timeout, however much memory was in use; a kill of somebody else's is told as
/// that: 137 alone says nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_04_a_kill_is_told_by_who_did_it() {
    let rig = Rig::new().await;
    let full = "const kept = []; for (let n = 0; n < 20; n++) kept.push(Buffer.alloc(1 << 20, 1)); for (;;);";
    let ended = run_call(&rig.engine, brief(full, 1_500)).await;
    let failure = ended.failure(ErrorCode::Timeout);
    assert!(failure.message.contains("1500 ms"), "{failure:?}");
    idle(&rig.engine).await;
    rig.only_the_pool().await;
    let waiting = rig.containers().await;
    let mut execution = start(&rig.engine, brief("ctx.log('info', 1); for (;;);", 20_000)).await;
    execution.next().await.unwrap();
    for name in &waiting {
        drop(testkit::docker::daemon().try_run(&["kill", name]).await);
    }
    let events: Vec<_> = execution.collect().await;
    let Some(domain::runner::RunEvent::Finished(outcome)) = events.last() else {
        panic!("no end")
    };
    let failure = outcome.result.as_ref().unwrap_err();
    assert_eq!(failure.code, ErrorCode::ToolFailed, "{failure:?}");
    assert!(failure.message.contains("SIGKILL"), "{failure:?}");
    rig.close().await;
}

/// 5, 12: shared memory is memory too; and a sandbox with as many files as fit is gone as soon as an
/// empty one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_05_12_shared_memory_and_many_files_end_and_go_quickly() {
    let rig = Rig::new().await;
    let shm = "const fs = require('fs'); const part = Buffer.alloc(1 << 20, 1); let n = 0; \
        try { for (; n < 512; n++) fs.appendFileSync('/dev/shm/x', part) } catch (e) { return [e.code, n < 16] }";
    let ended = run_call(&rig.engine, brief(shm, 20_000)).await;
    assert_eq!(ended.value(), Some(json!(["ENOSPC", true])));
    let files = "const fs = require('fs'); let n = 0; \
        for (const where of ['/tmp', '/workspace']) try { for (;; n++) fs.writeFileSync(where + '/' + n, '') } catch {} \
        return n";
    let ended = run_call(&rig.engine, brief(files, 20_000)).await;
    let made = ended.value().unwrap().as_u64().unwrap();
    assert!((1_000..100_000).contains(&made), "{made}");
    let took = idle(&rig.engine).await;
    assert!(took < Duration::from_secs(3), "{took:?}");
    rig.only_the_pool().await;
    rig.close().await;
}

/// 41: a second call finds nothing of the first, wherever that has left it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_41_nothing_of_a_call_is_there_for_the_next() {
    let rig = Rig::with(sandbox::docker::DockerEngineSettings {
        pool_size: 1,
        ..settings()
    })
    .await;
    let leave = "const fs = require('fs'); \
        for (const where of ['/tmp', '/workspace', '/dev/shm', '/var/tmp', process.env.HOME]) try { fs.writeFileSync(where + '/left', 'x') } catch {} \
        process.env.LEFT = '1'; process.title = 'left'; process.umask(0o777); globalThis.left = 1; \
        require('os').left = 1; require('module').prototype.left = 1; setInterval(() => {}, 1); \
        try { process.setpriority(19) } catch {} \
        require('child_process').spawn('sleep', ['98760'], {detached: true, stdio: 'ignore'}).unref(); \
        return [process.pid, fs.readlinkSync('/proc/self/ns/pid')]";
    let look = "const fs = require('fs'); \
        const files = ['/tmp', '/workspace', '/dev/shm', '/var/tmp', process.env.HOME].filter((it) => fs.existsSync(it + '/left')); \
        const names = fs.readdirSync('/proc').filter((it) => /^[0-9]+$/.test(it)) \
          .map((it) => { try { return fs.readFileSync(`/proc/${it}/comm`, 'utf8').trim() } catch { return '' } }); \
        return {files, names: names.includes('sleep') || names.includes('left'), env: 'LEFT' in process.env, \
          globals: ['left' in globalThis, 'left' in require('os'), 'left' in require('module').prototype], \
          umask: process.umask() === 0o777}";
    for _ in 0..3 {
        assert!(run(&rig.engine, leave).await.value().is_some());
        let seen = run(&rig.engine, look).await.value();
        let nothing = json!({"files": [], "names": false, "env": false,
            "globals": [false, false, false], "umask": false});
        assert_eq!(seen, Some(nothing));
    }
    rig.close().await;
}

/// 16, 73: what runs while a module is loaded is on the call's own time, and its end is the call's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_73_the_loading_of_modules_is_on_the_calls_own_time() {
    let rig = Rig::new().await;
    let module = |text: &str, load: &str| {
        format!("require('fs').writeFileSync('/workspace/m.js', {text:?}); {load}; return 1")
    };
    let late = [
        module("for (;;);", "require('/workspace/m.js')"),
        module("while (true) {}", "await import('/workspace/m.js')"),
        module(
            "Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)",
            "require('/workspace/m.js')",
        ),
    ];
    for code in &late {
        let ended = run_call(&rig.engine, brief(code, 1_000)).await;
        ended.failure(ErrorCode::Timeout);
        assert!(
            ended.took < Duration::from_secs(4),
            "{code}: {:?}",
            ended.took
        );
        idle(&rig.engine).await;
    }
    for (text, words) in [
        ("throw new Error('at load')", "at load"),
        ("process.exit(0)", "exit code 0"),
    ] {
        let ended = run_call(
            &rig.engine,
            brief(&module(text, "require('/workspace/m.js')"), 5_000),
        )
        .await;
        let failure = ended.failure(ErrorCode::ToolFailed);
        assert!(failure.message.contains(words), "{failure:?}");
    }
    rig.close().await;
}

/// 71: arguments go in as a stream: neither the size of a variable nor that of an argument is their
/// limit, and nothing of them is on a command line, in the environment or in what the daemon shows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_71_arguments_are_nowhere_but_in_the_call() {
    let rig = Rig::new().await;
    let secret = format!("secret-{}", uuid::Uuid::new_v4());
    let big = "x".repeat(1 << 20);
    let args = json!({"secret": secret, "big": big, "__proto__": {"polluted": true}}).to_string();
    let code = "const fs = require('fs'); ctx.log('info', 'runs'); await new Promise((done) => setTimeout(done, 1500)); \
        const seen = ['cmdline', 'environ'].filter((it) => fs.readdirSync('/proc').filter((pid) => /^[0-9]+$/.test(pid)) \
          .some((pid) => { try { return fs.readFileSync(`/proc/${pid}/${it}`, 'utf8').includes(args.secret) } catch { return false } })); \
        return [args.big.length, seen, ({}).polluted === undefined]";
    let mut asked = crate::suite::run::with_args(code, &args);
    asked.limits.timeout = Duration::from_secs(20);
    rig.only_the_pool().await;
    let names = rig.containers().await;
    let mut execution = start(&rig.engine, asked).await;
    execution.next().await.unwrap();
    for name in &names {
        let shown = testkit::docker::daemon().run(&["inspect", name]).await;
        assert!(!shown.contains(&secret));
    }
    let events: Vec<_> = execution.collect().await;
    let Some(domain::runner::RunEvent::Finished(outcome)) = events.last() else {
        panic!("no end")
    };
    let value = outcome.result.as_ref().unwrap().as_ref().unwrap();
    assert_eq!(value.get(), "[1048576,[],true]");
    rig.close().await;
}

/// 25: two executors that share a name and a daemon: each ends what is its own, in use or not, and
/// nothing of the other's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_25_two_executors_of_one_name_leave_each_other_alone() {
    let owner = uuid::Uuid::new_v4().to_string();
    let of_that_name = || sandbox::docker::DockerEngineSettings {
        owner: owner.clone(),
        pool_size: 1,
        ..settings()
    };
    let one = Rig::with(of_that_name()).await;
    while one.engine.status().pool_idle == 0 {
        sleep(Duration::from_millis(20)).await;
    }
    let of_one = one.containers().await;
    let code = "await ctx.log('info', 1); await new Promise((done) => setTimeout(done, 5000)); return 'mine'";
    let mut running = start(&one.engine, brief(code, 20_000)).await;
    running.next().await.unwrap();
    // Its first sweep is at its start, its last one at its end.
    let other = Rig::with(of_that_name()).await;
    let begun = Instant::now();
    while other.engine.status().pool_idle == 0 {
        assert!(begun.elapsed() < Duration::from_secs(30));
        sleep(Duration::from_millis(20)).await;
    }
    other.engine.shutdown().await;
    assert!(one.containers().await.contains(&of_one[0]), "it is in use");
    let events: Vec<_> = running.collect().await;
    let Some(domain::runner::RunEvent::Finished(outcome)) = events.last() else {
        panic!("no end")
    };
    assert_eq!(
        outcome.result.as_ref().unwrap().as_ref().unwrap().get(),
        "\"mine\""
    );
    one.only_the_pool().await;
    one.close().await;
}
