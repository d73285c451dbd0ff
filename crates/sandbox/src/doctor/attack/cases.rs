//! Code that takes more than it should. Each runs in a sandbox of its own.

use domain::error::ErrorCode;
use domain::error::ErrorCode::{OutOfMemory, OutputTooLarge, Timeout, ToolFailed};

/// One attack, or a list of them that tells of each itself. One that tells of none is for the look at
/// what is left behind.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) tried: &'static str,
    pub(super) code: &'static str,
    /// The time that the call is given.
    pub(super) millis: u64,
    /// The ends that show that it held.
    pub(super) ends: &'static [ErrorCode],
}

/// For containers with Node.js.
pub(super) const DOCKER: &[Case] = &[
    Case {
        name: "look",
        tried: "look around",
        code: include_str!("look.js"),
        millis: 30_000,
        ends: &[],
    },
    Case {
        name: "system-calls",
        tried: "make forbidden system calls",
        code: include_str!("syscalls.js"),
        millis: 20_000,
        ends: &[],
    },
    Case {
        name: "fork-bomb",
        tried: "start processes until the kernel refuses",
        code: include_str!("bomb.js"),
        millis: 20_000,
        ends: &[OutOfMemory, ToolFailed],
    },
    Case {
        name: "memory-bomb",
        tried: "fill memory without end",
        code: "const all = []; for (;;) all.push(Buffer.alloc(8 << 20, 1))",
        millis: 20_000,
        ends: &[OutOfMemory],
    },
    Case {
        name: "memory-bomb-of-a-child",
        tried: "fill memory from a child process",
        code: "require('child_process').execFileSync(process.execPath, ['-e', \
               'const all = []; for (;;) all.push(Buffer.alloc(8 << 20, 1))'], {stdio: 'ignore'})",
        millis: 20_000,
        ends: &[OutOfMemory],
    },
    Case {
        name: "fill-tmp",
        tried: "fill /tmp",
        code: "const fs = require('fs'); const part = Buffer.alloc(1 << 20, 1); let n = 0, why; \
               try { for (; n < 4096; n++) fs.appendFileSync('/tmp/x' + (n >> 5), part) } catch (error) { why = error.code } \
               return [{name: 'fill-tmp', tried: 'write 4 GiB to /tmp', held: why !== undefined, found: `${why} after ${n} MiB`}]",
        millis: 20_000,
        ends: &[OutOfMemory],
    },
    Case {
        name: "fill-shm",
        tried: "fill /dev/shm",
        code: "const fs = require('fs'); const part = Buffer.alloc(1 << 20, 1); let n = 0, why; \
               try { for (; n < 1024; n++) fs.appendFileSync('/dev/shm/x', part) } catch (error) { why = error.code } \
               return [{name: 'fill-shm', tried: 'write 1 GiB to /dev/shm', held: why !== undefined, found: `${why} after ${n} MiB`}]",
        millis: 20_000,
        ends: &[OutOfMemory],
    },
    Case {
        name: "many-files",
        tried: "make a million files",
        code: "const fs = require('fs'); let n = 0, why; \
               try { for (; n < 1e6; n++) fs.writeFileSync('/tmp/f' + n, '') } catch (error) { why = error.code } \
               return [{name: 'many-files', tried: 'make a million files in /tmp', held: why !== undefined, found: `${why} after ${n}`}]",
        millis: 30_000,
        ends: &[OutOfMemory, Timeout],
    },
    Case {
        name: "huge-file",
        tried: "make a file of 100 GB without writing it",
        code: "let why; try { require('fs').truncateSync(require('fs').openSync('/workspace/x', 'w'), 1e11) } catch (error) { why = error.code ?? error.name } \
               return [{name: 'huge-file', tried: 'make a file of 100 GB without writing it', held: why !== undefined, found: why ?? 'made'}]",
        millis: 10_000,
        ends: &[ToolFailed],
    },
    Case {
        name: "open-files",
        tried: "open files until the kernel refuses",
        code: "const fs = require('fs'); const all = []; let why; \
               try { while (all.length < 1e5) all.push(fs.openSync('/dev/null')) } catch (error) { why = error.code } \
               const n = all.length; for (const file of all) fs.closeSync(file); \
               return [{name: 'open-files', tried: 'open 100,000 files', held: why !== undefined, found: `${why} after ${n}`}]",
        millis: 10_000,
        ends: &[ToolFailed],
    },
    Case {
        name: "output-flood",
        tried: "print without end, past the agent",
        code: "const fs = require('fs'); for (;;) fs.writeSync(1, 'a line\\n'.repeat(5000))",
        millis: 20_000,
        ends: &[OutputTooLarge],
    },
    Case {
        name: "stderr-flood",
        tried: "print one line without end to stderr",
        code: "const fs = require('fs'); const part = Buffer.alloc(1 << 16, 0x6e); for (;;) fs.writeSync(2, part)",
        millis: 20_000,
        ends: &[OutputTooLarge],
    },
    Case {
        name: "huge-result",
        tried: "return 100 MB",
        code: "return 'x'.repeat(1e8)",
        millis: 20_000,
        ends: &[OutputTooLarge, OutOfMemory],
    },
    Case {
        name: "spin",
        tried: "use the CPU without end",
        code: "for (;;);",
        millis: 1_500,
        ends: &[Timeout],
    },
    Case {
        name: "ignore-signals",
        tried: "ignore every signal and stay",
        code: "for (const name of ['SIGTERM', 'SIGINT', 'SIGHUP']) process.on(name, () => {}); \
               setInterval(() => {}, 1000); await new Promise(() => {})",
        millis: 1_500,
        ends: &[Timeout],
    },
    Case {
        name: "forge-a-result",
        tried: "end the process as if all was well",
        code: "require('fs').writeSync(1, '{\"ok\":true,\"value\":42}\\n'); process.exit(0)",
        millis: 10_000,
        ends: &[ToolFailed],
    },
    Case {
        name: "kill-the-agent",
        tried: "kill the own process",
        code: "process.kill(process.pid, 'SIGKILL'); await new Promise(() => {})",
        millis: 10_000,
        ends: &[ToolFailed],
    },
    Case {
        name: "stay-behind",
        tried: "leave a process behind that forked away",
        code: "const it = require('child_process').spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], \
                 {detached: true, stdio: 'ignore'}); it.unref(); return []",
        millis: 10_000,
        ends: &[],
    },
];

/// For QuickJS.
pub(super) const ISOLATE: &[Case] = &[
    Case {
        name: "look",
        tried: "look around",
        code: include_str!("isolate.js"),
        millis: 15_000,
        ends: &[],
    },
    Case {
        name: "memory-bomb",
        tried: "fill memory without end",
        code: "const all = []; for (;;) all.push(new Uint8Array(1 << 20).fill(1))",
        millis: 20_000,
        ends: &[OutOfMemory],
    },
    Case {
        name: "spin",
        tried: "use the CPU without end",
        code: "for (;;);",
        millis: 1_500,
        ends: &[Timeout],
    },
    Case {
        name: "regular-expression",
        tried: "match without end",
        code: "return /^(a+)+$/.test('a'.repeat(64) + 'b')",
        millis: 1_500,
        ends: &[Timeout],
    },
    Case {
        name: "wait-for-ever",
        tried: "wait for what never comes",
        code: "setInterval(() => {}, 1000); await new Promise(() => {})",
        millis: 1_500,
        ends: &[Timeout],
    },
    Case {
        name: "output-flood",
        tried: "print without end",
        code: "for (;;) console.log('a line '.repeat(1000))",
        millis: 2_000,
        ends: &[OutputTooLarge, Timeout],
    },
    Case {
        name: "huge-result",
        tried: "return 20 MB",
        code: "return 'x'.repeat(2e7)",
        millis: 20_000,
        ends: &[OutputTooLarge, OutOfMemory],
    },
];
