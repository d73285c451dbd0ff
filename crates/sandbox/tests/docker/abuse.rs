//! Code that takes more than it should: processes, memory, output, files.

use std::fs;
use std::time::Duration;

use domain::error::ErrorCode;
use serde_json::json;

use crate::rig::{Rig, printed};
use crate::suite::run::{brief, call, idle, run, run_call};

/// 1: no more processes than allowed, said so, and the next call works.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_01_a_fork_bomb_is_held() {
    let rig = Rig::new().await;
    let bombs = [
        "const { spawn } = require('child_process'); for (let i = 0; i < 200; i++) spawn('sleep', ['98763']); \
         await new Promise((done) => setTimeout(done, 2000))",
        "require('child_process').execSync('b() { b | b & b; }; b', {timeout: 1500, stdio: 'ignore'}); \
         throw new Error('the bomb is over')",
    ];
    for code in bombs {
        let ended = run_call(&rig.engine, brief(code, 20_000)).await;
        let failure = ended.outcome.result.as_ref().unwrap_err();
        let told =
            failure.code == ErrorCode::ToolFailed && failure.message.contains("64 processes");
        assert!(
            told || failure.code == ErrorCode::OutOfMemory,
            "{failure:?}"
        );
        idle(&rig.engine).await;
        assert_eq!(sleepers(), 0, "they are gone from the machine");
    }
    assert_eq!(run(&rig.engine, "return 1").await.value(), Some(json!(1)));
    rig.close().await;
}

fn sleepers() -> usize {
    let all = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let lines = all.map(|entry| fs::read(entry.path().join("cmdline")).unwrap_or_default());
    lines
        .filter(|line| line.starts_with(b"sleep\x0098763"))
        .count()
}

/// 2, 3: the kernel's kill of a child is told as what it was; one that the code gets over is none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_03_a_child_that_is_killed_for_memory_is_out_of_memory() {
    let rig = Rig::new().await;
    let hog = "require('child_process').execFileSync('sh', ['-c', 'x=$(head -c 200000000 /dev/zero | tr \"\\\\0\" x)'])";
    let ended = run_call(&rig.engine, brief(hog, 20_000)).await;
    let failure = ended.failure(ErrorCode::OutOfMemory);
    assert!(failure.message.contains("67108864"), "{failure:?}");
    rig.close().await;
}

/// 5, 11, 12: files are memory, and both their size and their number end inside.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_05_11_12_files_are_bounded_and_gone_with_the_call() {
    let rig = Rig::new().await;
    let cases = [
        "const fs = require('fs'); const part = Buffer.alloc(1 << 20, 1); \
         for (let i = 0;; i++) fs.appendFileSync('/tmp/big' + i % 7, part)",
        "const fs = require('fs'); const file = fs.openSync('/workspace/big', 'w'); fs.ftruncateSync(file, 1e11)",
        "require('child_process').execSync('fallocate -l 10G /workspace/x', {stdio: 'pipe'})",
        "const fs = require('fs'); for (let i = 0;; i++) fs.writeFileSync('/tmp/f' + i, '')",
        "require('fs').writeFileSync('/etc/passwd', 'x')",
        "require('fs').writeFileSync('/x', 'x')",
        "const fs = require('fs'); const all = []; for (;;) all.push(fs.openSync('/dev/null'))",
    ];
    let words = [
        "ENOSPC",
        "EFBIG",
        "EROFS",
        "EACCES",
        "EMFILE",
        "No space",
        "too large",
        "size limit",
    ];
    for code in cases {
        let ended = run_call(&rig.engine, brief(code, 20_000)).await;
        let failure = ended.outcome.result.as_ref().unwrap_err();
        let told = words.iter().any(|word| failure.message.contains(word));
        assert!(
            told || failure.code == ErrorCode::OutOfMemory,
            "{code}: {failure:?}, {}",
            printed(&ended)
        );
        assert_ne!(failure.code, ErrorCode::Timeout, "{code}");
    }
    // 41: the next call finds nothing of it.
    let look = "const fs = require('fs'); return [fs.readdirSync('/tmp'), fs.readdirSync('/workspace'), process.cwd()]";
    assert_eq!(
        run(&rig.engine, look).await.value(),
        Some(json!([[], [], "/workspace"]))
    );
    rig.close().await;
}

/// 6, 8, 9: text that passes the agent by is bounded, whatever it looks like.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_06_08_09_a_flood_past_the_agent_is_stopped_and_not_held() {
    let rig = Rig::new().await;
    let floods = [
        "const fs = require('fs'); for (;;) fs.writeSync(1, 'a line\\n'.repeat(5000))",
        "const fs = require('fs'); for (;;) fs.writeSync(2, 'a line\\n'.repeat(5000))",
        "const fs = require('fs'); const part = Buffer.alloc(1 << 20, 0x6e); \
         for (let i = 0; i < 1024; i++) for (let n = 0; n < part.length;) n += fs.writeSync(1, part, n)",
        "require('child_process').spawnSync('sh', ['-c', 'yes >&2 & yes'], {stdio: 'inherit'})",
    ];
    for code in floods {
        let before = resident();
        let ended = run_call(&rig.engine, brief(code, 30_000)).await;
        ended.failure(ErrorCode::OutputTooLarge);
        assert!(ended.printed_bytes() <= 200_000 && ended.outcome.truncated);
        let grown = resident().saturating_sub(before);
        assert!(grown < 40 << 20, "{grown} bytes are held after {code}");
    }
    // 7: up to there the result survives.
    let code = "require('child_process').spawnSync('head', ['-c', '3000000', '/dev/zero'], {stdio: 'inherit'}); \
                process.stdout.write('no end'); return 'kept'";
    let ended = run_call(&rig.engine, brief(code, 20_000)).await;
    assert_eq!(ended.value(), Some(json!("kept")));
    assert!(ended.outcome.truncated);
    rig.close().await;
}

fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.unwrap().trim().trim_end_matches(" kB");
    kilobytes.parse::<u64>().unwrap() * 1024
}

/// 10: what is no text becomes text, in the order in which it came.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_10_raw_bytes_and_the_console_are_one_text() {
    let rig = Rig::new().await;
    let code = "const fs = require('fs'); console.log('one'); fs.writeSync(1, Buffer.from([0x32, 0xff, 0, 10])); \
                process.stdout.write('th'); console.error('e'); process.stdout.write('ree\\nfo'); \
                require('child_process').spawnSync('echo', ['child'], {stdio: 'inherit'}); console.log('ur')";
    let ended = run(&rig.engine, code).await;
    assert_eq!(printed(&ended), "one\n2\u{fffd}\0\ne\nthree\nchild\nfour");
    rig.close().await;
}

/// 17: only a signal stops these, and nothing of them goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_17_20_what_ignores_everything_is_killed() {
    let rig = Rig::new().await;
    let cases = [
        "for (const name of Object.keys(require('os').constants.signals)) { try { process.on(name, () => {}) } catch {} } for (;;);",
        "process.on('exit', () => { for (;;); }); process.exit(0)",
        "return new Array(1e9) + ''",
        "Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)",
    ];
    for code in cases {
        let ended = run_call(&rig.engine, brief(code, 1_500)).await;
        assert!(ended.outcome.result.is_err(), "{code}");
        assert!(
            ended.took < Duration::from_secs(4),
            "{code}: {:?}",
            ended.took
        );
        assert!(idle(&rig.engine).await < Duration::from_secs(2), "{code}");
    }
    rig.only_the_pool().await;
    rig.close().await;
}

/// A call that may use less than the executor's ceiling gets a container of its own with that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn docker_a_lower_limit_is_kept() {
    let rig = Rig::with(sandbox::docker::DockerEngineSettings {
        memory_bytes: 256 << 20,
        ..crate::rig::settings()
    })
    .await;
    let ended = run(&rig.engine, "return require('fs').readFileSync('/sys/fs/cgroup/memory/memory.limit_in_bytes', 'utf8').trim()").await;
    assert_eq!(ended.value(), Some(json!("67108864")));
    assert!(!ended.outcome.usage.warm, "the pool has other ones");
    let mut large = call("return 1");
    large.limits.memory_bytes = 256 << 20;
    assert!(run_call(&rig.engine, large).await.outcome.usage.warm);
    rig.close().await;
}
