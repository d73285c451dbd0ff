//! Ends that are none of returning: exits, signals, closed streams, lost processes.

use std::fs;
use std::time::Duration;

use domain::error::ErrorCode;
use serde_json::json;

use crate::rig::{Rig, printed};
use crate::suite::run::{brief, idle, run, run_call};

/// 15, 16, 23, 72: each is the tool's failure with a sentence, never a success and never a hang.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_15_23_72_no_exit_is_a_success() {
    let rig = Rig::new().await;
    let cases = [
        ("process.exit(0)", "exit code 0"),
        ("process.exit(3); return 1", "exit code 3"),
        ("process.exitCode = 4; process.exit()", "exit code 4"),
        ("process.reallyExit(5)", "exit code 5"),
        (
            "process.on('exit', () => process.exit(0)); process.exit(1)",
            "exit code",
        ),
        (
            "process.removeAllListeners(); process.exit(0)",
            "exit code 0",
        ),
        (
            "process.removeAllListeners(); setTimeout(() => { throw new Error('x') }); await new Promise(() => {})",
            "exit code",
        ),
        (
            "process.removeAllListeners(); await new Promise(() => {})",
            "exit code",
        ),
        (
            "setTimeout(() => process.exit(0), 5); await new Promise((done) => setTimeout(done, 1000)); return 1",
            "exit code 0",
        ),
        ("process.abort()", "SIGABRT"),
        ("process.kill(process.pid, 'SIGKILL'); for (;;);", "SIGKILL"),
        ("process.kill(process.pid, 'SIGSEGV'); for (;;);", "SIGSEGV"),
        ("process.kill(1, 'SIGTERM'); for (;;);", "SIG"),
        (
            "const fs = require('fs'); fs.closeSync(1); return 1",
            "exit code",
        ),
        (
            "const fs = require('fs'); for (const fd of [0, 1, 2]) fs.closeSync(fd); console.log('x'); return 1",
            "exit code",
        ),
        (
            "process.chdir('/'); process.emit('exit', 0); return 1",
            "exit code",
        ),
        (
            "process.emit('uncaughtException', new Error('forged')); return 1",
            "forged",
        ),
    ];
    for (code, words) in cases {
        let ended = run_call(&rig.engine, brief(code, 5_000)).await;
        let failure = ended.failure(ErrorCode::ToolFailed);
        assert!(failure.message.contains(words), "{code}: {failure:?}");
        assert!(
            ended.took < Duration::from_secs(4),
            "{code}: {:?}",
            ended.took
        );
        idle(&rig.engine).await;
    }
    // The result is out before the handler runs.
    let late = "process.on('exit', () => { throw new Error('late') }); return 1";
    assert_eq!(run(&rig.engine, late).await.value(), Some(json!(1)));
    let closed = "require('fs').closeSync(0); return 2";
    assert_eq!(run(&rig.engine, closed).await.value(), Some(json!(2)));
    let dump = "const { spawnSync } = require('child_process'); const child = spawnSync('sh', ['-c', 'kill -ABRT $$']); \
                return [child.signal, require('fs').readdirSync('/workspace')]";
    assert_eq!(
        run(&rig.engine, dump).await.value(),
        Some(json!(["SIGABRT", []]))
    );
    rig.close().await;
}

/// 18, 21, 22: nothing that the code started outlives it, and orphans are reaped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_18_21_22_no_process_outlives_its_call() {
    let rig = Rig::new().await;
    let daemon = "const { spawn } = require('child_process'); \
        spawn('setsid', ['sh', '-c', 'trap \"\" TERM HUP; sleep 98761 & sleep 98762'], {detached: true, stdio: 'ignore'}).unref(); \
        await new Promise((done) => setTimeout(done, 100)); ";
    for (end, millis) in [("return 1", 5_000), ("for (;;);", 700)] {
        let call = brief(&format!("{daemon}{end}"), millis);
        let ended = run_call(&rig.engine, call).await;
        assert_eq!(ended.outcome.result.is_ok(), end == "return 1");
        idle(&rig.engine).await;
        assert_eq!(sleepers(), 0, "after {end}");
    }
    let orphans = "const { execSync } = require('child_process'); const fs = require('fs'); \
        for (let i = 0; i < 20; i++) execSync('(sleep 0.01 &) ; true'); \
        await new Promise((done) => setTimeout(done, 300)); \
        const states = fs.readdirSync('/proc').filter((it) => /^[0-9]+$/.test(it)) \
          .map((it) => { try { return fs.readFileSync(`/proc/${it}/stat`, 'utf8').split(') ')[1][0] } catch { return '-' } }); \
        return states.filter((it) => it === 'Z').length";
    assert_eq!(run(&rig.engine, orphans).await.value(), Some(json!(0)));
    rig.close().await;
}

fn sleepers() -> usize {
    let all = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    all.filter(|entry| {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains("9876")
            && String::from_utf8_lossy(&line).contains("sleep")
    })
    .count()
}

/// 69: frames of the code's own making are text, and half of one is no result.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_69_frames_that_the_code_writes_are_text() {
    let rig = Rig::new().await;
    let code = "const fs = require('fs'); const head = Buffer.alloc(21); head[16] = 2; head[20] = 6; \
        for (const nonce of [Buffer.alloc(16), require('crypto').randomBytes(16)]) { \
          nonce.copy(head); fs.writeSync(1, Buffer.concat([head, Buffer.from('42\\n')])); } \
        throw new Error('real')";
    let ended = run(&rig.engine, code).await;
    assert_eq!(ended.failure(ErrorCode::ToolFailed).message, "real");
    assert_eq!(printed(&ended).matches("42").count(), 2);
    rig.close().await;
}

/// Usage is reported for calls that end, and CPU time also for those that are ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn docker_usage_is_reported() {
    let rig = Rig::new().await;
    let busy = "const t = Date.now(); while (Date.now() - t < 100); return 1";
    for (code, ends) in [(busy, true), ("for (;;);", false)] {
        let ended = run_call(&rig.engine, brief(code, 1_000)).await;
        assert_eq!(ended.outcome.result.is_ok(), ends);
        let usage = ended.outcome.usage;
        assert!(
            usage.warm && usage.running >= Duration::from_millis(95),
            "{usage:?}"
        );
        let cpu = usage.cpu.unwrap();
        // On a busy machine it gets little.
        assert!(
            cpu >= Duration::from_millis(2) && cpu < Duration::from_secs(3),
            "{usage:?}"
        );
        let peak = usage.peak_memory_bytes.unwrap();
        assert!((4 << 20..=64 << 20).contains(&peak), "{usage:?}");
    }
    rig.close().await;
}
