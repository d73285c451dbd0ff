//! The allow-list against a kernel: what has to fail does, and node does not notice.

use serde_json::Value;
use testkit::docker::{BARE_IMAGE, IMAGE};

use crate::docker::daemon::tests::{Ran, labels, node, profile, run, run_body, shared};

#[test]
fn the_profile_is_one_line_of_json_that_denies_by_default() {
    let parsed: Value = serde_json::from_str(profile_text()).unwrap();
    assert_eq!(parsed["defaultAction"], "SCMP_ACT_ERRNO");
    assert!(!profile_text().contains('\n'));
    let mut seen = std::collections::HashSet::new();
    for rule in parsed["syscalls"].as_array().unwrap() {
        let action = rule["action"].as_str().unwrap();
        assert!(["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"].contains(&action));
        assert!(rule["comment"].as_str().is_some_and(|why| !why.is_empty()));
        for name in rule["names"].as_array().unwrap() {
            let once = seen.insert((name.as_str().unwrap(), rule["args"].to_string()));
            assert!(once, "{name} is there twice");
        }
    }
}

fn profile_text() -> &'static str {
    super::profile()
}

/// Name, number on x86-64 and on arm64, arguments in Perl.
const DENIED: &[(&str, i32, i32, &str)] = &[
    ("mount", 165, 40, "'none', '/tmp', 'tmpfs', 0, 0"),
    ("umount2", 166, 39, "'/tmp', 0"),
    ("pivot_root", 155, 41, "'/', '/'"),
    ("chroot", 161, 51, "'/tmp'"),
    ("move_mount", 429, 429, "-1, '', -1, '', 0"),
    ("open_tree", 428, 428, "-100, '/', 0"),
    ("fsopen", 430, 430, "'tmpfs', 0"),
    ("fsconfig", 431, 431, "-1, 0, 0, 0, 0"),
    ("fsmount", 432, 432, "-1, 0, 0"),
    ("fspick", 433, 433, "-100, '/', 0"),
    ("mount_setattr", 442, 442, "-100, '/', 0, 0, 0"),
    ("unshare USER", 272, 97, "0x10000000"),
    ("unshare NET", 272, 97, "0x40000000"),
    ("setns", 308, 268, "0, 0"),
    ("clone NEWUSER", 56, 220, "0x10000011, 0, 0, 0, 0"),
    ("clone NEWNS", 56, 220, "0x00020011, 0, 0, 0, 0"),
    ("clone NEWPID", 56, 220, "0x20000011, 0, 0, 0, 0"),
    ("clone NEWCGROUP", 56, 220, "0x02000011, 0, 0, 0, 0"),
    ("clone3", 435, 435, "0, 0"),
    ("ptrace", 101, 117, "0, 0, 0, 0"),
    ("process_vm_readv", 310, 270, "1, 0, 0, 0, 0, 0"),
    ("process_vm_writev", 311, 271, "1, 0, 0, 0, 0, 0"),
    ("kcmp", 312, 272, "1, 1, 0, 0, 0"),
    ("pidfd_open", 434, 434, "1, 0"),
    ("pidfd_getfd", 438, 438, "0, 0, 0"),
    ("bpf", 321, 280, "0, 0, 0"),
    ("perf_event_open", 298, 241, "0, 0, -1, -1, 0"),
    ("userfaultfd", 323, 282, "1"),
    ("io_uring_setup", 425, 425, "1, 0"),
    ("io_uring_enter", 426, 426, "0, 0, 0, 0, 0, 0"),
    ("io_uring_register", 427, 427, "0, 0, 0, 0"),
    ("keyctl", 250, 219, "0, -3, 0, 0, 0"),
    ("add_key", 248, 217, "'user', 'a', 'b', 1, -3"),
    ("request_key", 249, 218, "'user', 'a', 0, 0"),
    ("kexec_load", 246, 104, "0, 0, 0, 0"),
    ("kexec_file_load", 320, 294, "0, 0, 0, 0, 0"),
    ("init_module", 175, 105, "0, 0, 0"),
    ("finit_module", 313, 273, "0, 0, 0"),
    ("delete_module", 176, 106, "'x', 0"),
    ("name_to_handle_at", 303, 264, "-100, '/', 0, 0, 0"),
    ("open_by_handle_at", 304, 265, "-100, 0, 0"),
    ("personality READ_IMPLIES_EXEC", 135, 92, "0x0400000"),
    ("personality ADDR_NO_RANDOMIZE", 135, 92, "0x0040000"),
    ("memfd_create", 319, 279, "'x', 0"),
    ("memfd_secret", 447, 447, "0"),
    ("execveat", 322, 281, "-1, '', 0, 0, 0x1000"),
    ("shmget", 29, 194, "0, 4096, 0x3b6"),
    ("msgget", 68, 186, "0, 0x3b6"),
    ("semget", 64, 190, "0, 1, 0x3b6"),
    ("mq_open", 240, 180, "'x', 0x42, 0, 0"),
    ("mknodat", 259, 33, "-100, '/tmp/dev', 0x2180, 0x101"),
    ("setuid", 105, 146, "65532"),
    ("setgroups", 116, 159, "0, 0"),
    ("capset", 126, 91, "0, 0"),
    ("syslog", 103, 116, "3, 0, 0"),
    ("reboot", 169, 142, "0, 0, 0, 0"),
    ("swapon", 167, 224, "'/x', 0"),
    ("acct", 163, 89, "0"),
    ("quotactl", 179, 60, "0, 0, 0, 0"),
    ("clock_settime", 227, 112, "0, 0"),
    ("settimeofday", 164, 170, "0, 0"),
    ("adjtimex", 159, 171, "0"),
    ("fanotify_init", 300, 262, "0, 0"),
    ("vhangup", 153, 58, ""),
    ("landlock_create_ruleset", 444, 444, "0, 0, 1"),
    ("move_pages", 279, 239, "0, 0, 0, 0, 0, 0"),
    ("mbind", 237, 235, "0, 0, 0, 0, 0, 0"),
    ("sethostname", 170, 161, "'x', 1"),
    ("socket AF_ALG", 41, 198, "38, 5, 0"),
    ("socket AF_VSOCK", 41, 198, "40, 1, 0"),
    ("socket AF_PACKET", 41, 198, "17, 3, 0"),
    ("socket AF_NETLINK audit", 41, 198, "16, 3, 9"),
    ("socket AF_NETLINK uevent", 41, 198, "16, 3, 15"),
    ("socket AF_NETLINK netfilter", 41, 198, "16, 3, 12"),
    ("socket AF_BLUETOOTH", 41, 198, "31, 3, 1"),
    ("socket AF_KEY", 41, 198, "15, 3, 2"),
    ("socket AF_XDP", 41, 198, "44, 3, 0"),
    ("socketpair AF_INET", 53, 199, "2, 1, 0, 0"),
];

const ALLOWED: &[(&str, i32, i32, &str)] = &[
    ("getpid", 39, 172, ""),
    ("personality asked", 135, 92, "0xffffffff"),
    ("socket AF_UNIX", 41, 198, "1, 1, 0"),
    ("socket AF_INET", 41, 198, "2, 1, 0"),
    ("socket AF_NETLINK route", 41, 198, "16, 3, 0"),
];

/// A Perl script that tries each and prints its name and what came.
fn script(tries: &[(&str, i32, i32, &str)]) -> Vec<String> {
    let mut text = String::from("my $arm = (`uname -m` =~ /aarch64/) ? 1 : 0; my ($n, $r);\n");
    for (name, intel, arm, args) in tries {
        // Perl hands only variables to the kernel, no constants.
        let parts = args.split('\'').enumerate().map(|(at, part)| match at % 2 {
            0 => part.to_owned(),
            _ => format!("(my $s{at} = '{part}')"),
        });
        let args: String = parts.collect();
        let comma = if args.is_empty() { "" } else { ", " };
        text.push_str(&format!(
            "$n = $arm ? {arm} : {intel}; $! = 0; $r = syscall($n{comma}{args}); \
             if ($r == 0 && '{name}' =~ /^clone/) {{ exit 0 }} \
             print '{name}', '=', ($r < 0 ? ($!+0) : 'done'), \"\\n\";\n"
        ));
    }
    vec!["perl".to_owned(), "-e".to_owned(), text]
}

fn results(ran: &Ran) -> Vec<(&str, &str)> {
    assert_eq!(ran.end.exit_code, Some(0), "{ran:?}");
    ran.out
        .lines()
        .filter_map(|line| line.split_once('='))
        .collect()
}

/// Faults 45 and 46.
#[tokio::test]
async fn fault_45_46_system_calls_that_lead_out_are_denied() {
    let daemon = shared().await;
    let mut profile = profile(&daemon, IMAGE).await;
    let ran = run(&daemon, &profile, script(DENIED)).await;
    let found = results(&ran);
    assert_eq!(found.len(), DENIED.len());
    // EPERM, or ENOSYS where it is meant to look like an older kernel.
    let wrong = found
        .iter()
        .filter(|(_, errno)| !["1", "38"].contains(errno));
    let wrong: Vec<_> = wrong.collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    let ran = run(&daemon, &profile, script(ALLOWED)).await;
    let refused: Vec<_> = results(&ran)
        .into_iter()
        .filter(|(_, it)| *it != "done")
        .collect();
    assert!(refused.is_empty(), "{refused:?}");

    // That it is this profile and not something else that denies: without it they can be had.
    profile.memory_bytes = 64 << 20;
    let mut body = profile.body(script(DENIED), &labels("seccomp"));
    let host = body.host_config.as_mut().unwrap();
    host.security_opt = Some(vec![
        "no-new-privileges:true".to_owned(),
        "seccomp=unconfined".to_owned(),
    ]);
    let ran = run_body(&daemon, &body).await;
    let open = ran
        .out
        .lines()
        .filter(|line| line.ends_with("=done"))
        .count();
    assert!(open >= 8, "{ran:?}");
}

/// What runtimes do: threads, compiled code, sockets, children, timers, files, watching.
const NODE: &str = r#"
const { Worker } = require('worker_threads'), fs = require('fs'), net = require('net'), cp = require('child_process');
const crypto = require('crypto'), zlib = require('zlib'), dns = require('dns'), assert = require('assert');
(async () => {
  const workers = Array.from({ length: 4 }, (_, i) => new Promise((good, bad) => {
    const worker = new Worker(`require('worker_threads').parentPort.postMessage(${i} * 2)`, { eval: true });
    worker.on('message', good).on('error', bad);
  }));
  assert.deepEqual(await Promise.all(workers), [0, 2, 4, 6]);
  const wasm = new Uint8Array([0,97,115,109,1,0,0,0,1,7,1,96,2,127,127,1,127,3,2,1,0,7,7,1,3,97,100,100,0,0,10,9,1,7,0,32,0,32,1,106,11]);
  assert.equal((await WebAssembly.instantiate(wasm)).instance.exports.add(2, 3), 5);
  let sum = 0; for (let i = 0; i < 3e6; i++) sum += i % 7; assert(sum > 0);
  await fs.promises.writeFile('/workspace/a', 'x'.repeat(1e6));
  await fs.promises.mkdir('/workspace/b/c', { recursive: true });
  await fs.promises.rename('/workspace/a', '/workspace/b/a');
  assert.equal((await fs.promises.stat('/workspace/b/a')).size, 1e6);
  fs.watch('/workspace').close();
  await new Promise((good, bad) => crypto.pbkdf2('a', 'b', 1000, 32, 'sha512', e => e ? bad(e) : good()));
  await new Promise((good, bad) => zlib.gzip(Buffer.alloc(1e6), e => e ? bad(e) : good()));
  assert(crypto.randomUUID());
  const server = net.createServer(s => s.end('hi')).listen(0, '127.0.0.1');
  await new Promise(good => server.on('listening', good));
  const text = await new Promise((good, bad) => net.connect(server.address().port, '127.0.0.1').on('data', d => good('' + d)).on('error', bad));
  assert.equal(text, 'hi'); server.close();
  const local = net.createServer().listen('/tmp/s'); await new Promise(good => local.on('listening', good)); local.close();
  assert.equal(cp.execFileSync(process.execPath, ['-p', '6*7']).toString().trim(), '42');
  await new Promise(good => dns.lookup('example.com', e => { assert(e); good() }));
  const out = await new Promise(good => net.connect(80, '169.254.169.254').on('error', e => good(e.code)));
  assert.equal(out, 'ENETUNREACH');
  console.log('all well');
})().catch(e => { console.error(e); process.exit(1) });
"#;

#[tokio::test]
async fn node_works_with_threads_compiled_code_and_children() {
    let daemon = shared().await;
    for image in [IMAGE, BARE_IMAGE] {
        let profile = profile(&daemon, image).await;
        let ran = run(&daemon, &profile, node(NODE)).await;
        assert_eq!(ran.out.trim(), "all well", "{image}: {ran:?}");
        assert_eq!(ran.end.exit_code, Some(0));
    }
}

#[tokio::test]
async fn a_shell_and_its_tools_work() {
    let daemon = shared().await;
    let profile = profile(&daemon, IMAGE).await;
    let script = "set -e; cd /workspace; mkdir d; echo one > d/a; cp -a d e; mv e/a e/b; ln -s b e/c; \
                  tar cf x.tar d e; rm -r d; tar xf x.tar; sort -u d/a e/c | grep one; (sleep 0.1 &); wait; \
                  find . -name b | xargs cat; date +%Y >/dev/null; head -c 100000 /dev/urandom | md5sum >/dev/null";
    let ran = run(
        &daemon,
        &profile,
        ["bash", "-c", script].map(str::to_owned).into(),
    )
    .await;
    assert_eq!(
        (ran.out.as_str(), ran.err.as_str()),
        ("one\none\n", ""),
        "{ran:?}"
    );
}

/// Fault 47.
#[tokio::test]
async fn fault_47_setuid_programs_gain_nothing() {
    let daemon = shared().await;
    let profile = profile(&daemon, IMAGE).await;
    let script = "ls -l /bin/su | grep -c rws; su -c id 2>&1 </dev/null; echo $?; cp /bin/su /workspace/su; \
                  chmod u+s /workspace/su; /workspace/su -c id 2>&1 </dev/null; echo $?; id -u";
    let ran = run(
        &daemon,
        &profile,
        ["bash", "-c", script].map(str::to_owned).into(),
    )
    .await;
    assert!(
        ran.out.starts_with("1\n") && ran.out.ends_with("65532\n"),
        "{ran:?}"
    );
    assert!(!ran.out.contains("uid=0"), "{ran:?}");
}
