//! Code that does what it should not, with the ends that are right for it. It needs nothing but
//! node: the image of a private daemon has no shell.

/// One way to abuse a sandbox.
pub(crate) struct Abuse {
    pub(crate) code: &'static str,
    pub(crate) timeout_ms: u32,
    /// The codes that are right; nothing for a call that succeeds.
    pub(crate) ends: &'static [&'static str],
}

const fn abuse(code: &'static str, timeout_ms: u32, ends: &'static [&'static str]) -> Abuse {
    Abuse {
        code,
        timeout_ms,
        ends,
    }
}

const FAILED: &[&str] = &["tool_failed"];
const LATE: &[&str] = &["timeout"];
/// Which of its limits stops it first is up to the machine's speed.
const HELD: &[&str] = &["tool_failed", "out_of_memory", "timeout"];

/// The mix: every group of the list of faults that code alone can bring about.
pub(crate) const ABUSES: &[Abuse] = &[
    // 1: processes.
    abuse(
        "const { spawn } = require('child_process'); for (;;) { \
           spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)']).on('error', () => {}); \
           await new Promise(done => setTimeout(done, 1)); }",
        3_000,
        HELD,
    ),
    // 2, 3, 5: memory, a child's, and that of files.
    abuse(
        "const kept = []; for (;;) kept.push(Buffer.alloc(8 << 20, 1))",
        60_000,
        &["out_of_memory"],
    ),
    abuse(
        "const kept = []; for (;;) kept.push('x'.repeat(1e6) + kept.length)",
        60_000,
        &["out_of_memory"],
    ),
    abuse(
        "require('child_process').execFileSync(process.execPath, \
           ['-e', 'const kept = []; for (;;) kept.push(Buffer.alloc(8 << 20, 1))'])",
        60_000,
        &["out_of_memory"],
    ),
    abuse(
        "const fs = require('fs'); const part = Buffer.alloc(1 << 20, 1); \
           for (let n = 0;; n++) fs.appendFileSync('/tmp/big' + n % 7, part)",
        20_000,
        HELD,
    ),
    // 6, 7, 8, 9: output.
    abuse(
        "const { writeSync } = require('fs'); for (;;) writeSync(1, 'x'.repeat(65536))",
        20_000,
        &["output_too_large"],
    ),
    abuse(
        "const { writeSync } = require('fs'); for (;;) writeSync(2, 'a line\\n'.repeat(9000))",
        20_000,
        &["output_too_large"],
    ),
    abuse("for (;;) console.log('x'.repeat(65536))", 1_000, LATE),
    abuse("return 'x'.repeat(1 << 20)", 20_000, &["output_too_large"]),
    // 11, 12, 14: files.
    abuse(
        "const fs = require('fs'); fs.ftruncateSync(fs.openSync('/workspace/x', 'w'), 1e11)",
        20_000,
        FAILED,
    ),
    abuse(
        "const fs = require('fs'); for (let n = 0;; n++) fs.writeFileSync('/tmp/f' + n, '')",
        20_000,
        HELD,
    ),
    abuse(
        "const fs = require('fs'); const all = []; for (;;) all.push(fs.openSync('/dev/null'))",
        20_000,
        FAILED,
    ),
    // 13, 16, 17, 20: what does not end.
    abuse("for (;;) {}", 1_000, LATE),
    abuse("/(a+)+$/.test('a'.repeat(40) + 'b')", 1_000, LATE),
    abuse(
        "await new Promise(() => setInterval(() => {}, 1e6))",
        1_000,
        LATE,
    ),
    abuse(
        "for (const name of Object.keys(require('os').constants.signals)) \
           { try { process.on(name, () => {}) } catch {} } for (;;);",
        1_000,
        LATE,
    ),
    // 15, 23, 72: ends that are none.
    abuse("process.exit(0)", 5_000, FAILED),
    abuse("process.abort()", 5_000, FAILED),
    abuse("process.kill(1, 'SIGTERM'); for (;;);", 5_000, FAILED),
    abuse(
        "for (const fd of [0, 1, 2]) require('fs').closeSync(fd); console.log('x'); return 1",
        5_000,
        FAILED,
    ),
    abuse("throw null", 5_000, FAILED),
    // 21, 22: children that go away.
    abuse(
        "require('child_process').spawn(process.execPath, ['-e', \"process.on('SIGTERM', () => {}); setInterval(() => {}, 9)\"], \
           {detached: true, stdio: 'ignore'}).unref(); await new Promise(done => setTimeout(done, 50)); return 'left'",
        10_000,
        &[],
    ),
    // 44 to 49: the way out.
    abuse(
        "require('fs').writeFileSync('/proc/sys/kernel/core_pattern', 'x')",
        5_000,
        FAILED,
    ),
    abuse("await fetch('http://169.254.169.254/')", 5_000, FAILED),
    // 69, 70: forged frames and values.
    abuse(
        "const head = Buffer.alloc(21); head[16] = 2; head[20] = 6; \
           require('fs').writeSync(1, Buffer.concat([head, Buffer.from('42')])); throw new Error('real')",
        5_000,
        FAILED,
    ),
    abuse("const a = {}; a.a = a; return a", 5_000, FAILED),
];
