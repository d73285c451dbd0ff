//! Every field of the profile: as it is sent, as the daemon reports it, and as it is felt inside.

use std::time::Duration;

use serde_json::{Map, Value, json};
use testkit::docker::{BARE_IMAGE, IMAGE};
use tokio::time::Instant;

use super::*;
use crate::docker::daemon::tests::{labels, node, profile, run, run_body, shared};
use crate::docker::daemon::{Daemon, ImageFacts};
use crate::docker::reaper::new_name;

fn example() -> Profile {
    let facts = ImageFacts {
        id: format!("sha256:{}", "12".repeat(32)),
        env: ["PATH", "LD_PRELOAD", "NODE_OPTIONS"]
            .map(str::to_owned)
            .into(),
        volumes: ["/var/lib/data", "/workspace"].map(str::to_owned).into(),
    };
    Profile {
        image: facts.into(),
        runtime: Some("runsc".to_owned()),
        memory_bytes: 512 << 20,
        cpu_millis: 1_500,
        purpose: Purpose::Call,
        network: Network::None,
        volume: None,
        cgroup_parent: None,
        data_mounts: Vec::new(),
        labels: BTreeMap::new(),
    }
}

/// The long and the changing parts are replaced by their names.
fn shown(mut body: Value) -> Value {
    let options = body
        .pointer_mut("/HostConfig/SecurityOpt")
        .and_then(Value::as_array_mut);
    for option in options.into_iter().flatten() {
        if option
            .as_str()
            .is_some_and(|it| *it == format!("seccomp={}", seccomp::profile()))
        {
            *option = json!("seccomp=<ours>");
        }
    }
    let labels = body.as_object_mut().and_then(|body| body.get_mut("Labels"));
    if let Some(epoch) = labels.and_then(|labels| labels.get_mut("dynamic-mcp.epoch")) {
        *epoch = json!("<epoch>");
    }
    body
}

#[test]
fn fault_51_the_create_request_is_this() {
    let body = example().body(node("1"), &labels("an owner"));
    insta::assert_json_snapshot!("create", shown(serde_json::to_value(body).unwrap()));
}

/// 51: what a session and an install have besides, each in a snapshot of its own.
#[test]
fn fault_51_a_session_and_an_install_differ_in_this_only() {
    let mounted = |target, writable| {
        let volume = VolumeName::from("dynamic-mcp-deps-1".to_owned());
        Some(Mounted {
            volume,
            target,
            writable,
        })
    };
    let session = Profile {
        purpose: Purpose::Session,
        network: Network::Bridge,
        volume: mounted(dependencies_at(Runtime::Python), false),
        cgroup_parent: Some("sandboxes.slice".to_owned()),
        data_mounts: vec![DataMount::parse("models=/srv/models").unwrap()],
        labels: [
            ("a".to_owned(), "b".to_owned()),
            ("dynamic-mcp.sandbox".to_owned(), "0".to_owned()),
        ]
        .into(),
        ..example()
    };
    let install = Profile {
        purpose: Purpose::Install,
        volume: mounted("/tmp", true),
        ..example()
    };
    let call = shown(serde_json::to_value(example().body(node("1"), &labels("o"))).unwrap());
    for (name, profile) in [("session", session), ("install", install)] {
        let body = shown(serde_json::to_value(profile.body(node("1"), &labels("o"))).unwrap());
        insta::assert_json_snapshot!(name, difference(&call, &body));
    }
}

/// What is new or other in `b`, by path.
fn difference(a: &Value, b: &Value) -> Map<String, Value> {
    fn walk(path: &str, a: &Value, b: &Value, found: &mut Map<String, Value>) {
        let keys = |value: &Value| -> Vec<String> {
            let map = value.as_object();
            map.map_or_else(Vec::new, |map| map.keys().cloned().collect())
        };
        if !(a.is_object() && b.is_object()) {
            if a != b {
                found.insert(path.to_owned(), b.clone());
            }
            return;
        }
        let mut all = keys(a);
        all.extend(keys(b));
        all.sort();
        all.dedup();
        for key in all {
            let of = |value: &Value| value.get(&key).cloned().unwrap_or_default();
            walk(&format!("{path}/{key}"), &of(a), &of(b), found);
        }
    }
    let mut found = Map::new();
    walk("", a, b, &mut found);
    found
}

#[test]
fn the_cpu_and_the_memory_are_what_was_set() {
    let host = |millis, memory| {
        let profile = Profile {
            cpu_millis: millis,
            memory_bytes: memory,
            ..example()
        };
        profile.body(node("1"), &labels("o")).host_config.unwrap()
    };
    let small = host(1, 8 << 20);
    assert_eq!(
        small.cpu_quota,
        Some(1_000),
        "the least that the kernel takes"
    );
    assert_eq!(small.memory, Some(8 << 20));
    assert_eq!(small.memory_swap, small.memory);
    assert!(small.tmpfs.unwrap()["/tmp"].contains("size=4194304,"));
    let large = host(64_000, u64::MAX);
    assert_eq!(large.cpu_quota, Some(6_400_000));
    assert_eq!(large.memory, Some(i64::MAX));
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(it) => !it,
        Value::Number(it) => it.as_f64() == Some(0.0),
        Value::String(it) => it.is_empty(),
        Value::Array(it) => it.iter().all(is_empty),
        Value::Object(it) => it.is_empty(),
    }
}

/// Everything that the golden file names is so; what a daemon reports beyond it is nothing.
fn compare(golden: &Map<String, Value>, found: &Map<String, Value>, differences: &mut Vec<String>) {
    for (key, value) in golden {
        match (value, found.get(key)) {
            // Newer daemons hide more.
            (Value::Array(least), Some(Value::Array(all))) if key.ends_with("Paths") => {
                for path in least.iter().filter(|path| !all.contains(path)) {
                    differences.push(format!("{key} is without {path}"));
                }
            }
            (value, Some(found)) if value == found || (is_empty(value) && is_empty(found)) => {}
            (value, None) if is_empty(value) => {}
            (value, found) => differences.push(format!("{key}: {value} is {found:?}")),
        }
    }
    for (key, value) in found {
        if !golden.contains_key(key) && !is_empty(value) {
            differences.push(format!("{key}: {value} is not in the golden file"));
        }
    }
}

async fn inspect(name: &str) -> Value {
    let printed = testkit::docker::daemon().run(&["inspect", name]).await;
    let all: Vec<Value> = serde_json::from_str(&printed).unwrap();
    all.into_iter().next().unwrap()
}

#[tokio::test]
async fn fault_51_the_daemon_reports_every_field_as_it_was_set() {
    let daemon = shared().await;
    let body = profile(&daemon, BARE_IMAGE)
        .await
        .body(node("1"), &labels("golden"));
    let name = new_name();
    let id = daemon.create(&name, &body).await.unwrap();
    let mut found = inspect(&name).await;
    daemon.kill_and_remove(&id).await.unwrap();
    for option in found["HostConfig"]["SecurityOpt"].as_array_mut().unwrap() {
        if *option == format!("seccomp={}", seccomp::profile()) {
            *option = json!("seccomp=<ours>");
        }
    }
    found["Config"]["Image"] = json!("<image>");
    found["Config"]["Labels"]["dynamic-mcp.epoch"] = json!("<epoch>");
    let golden: Value = serde_json::from_str(include_str!("golden.json")).unwrap();
    let mut differences = Vec::new();
    for part in ["HostConfig", "Config"] {
        let (golden, found) = (
            golden[part].as_object().unwrap(),
            found[part].as_object().unwrap(),
        );
        compare(golden, found, &mut differences);
    }
    let report = serde_json::to_string_pretty(&json!({
        "Config": found["Config"],
        "HostConfig": found["HostConfig"],
    }));
    assert!(
        differences.is_empty(),
        "{differences:#?}\n{}",
        report.unwrap()
    );
    let mounts = found["Mounts"].as_array().unwrap();
    assert!(mounts.is_empty(), "{mounts:?}");
}

#[test]
fn a_field_that_nobody_thought_of_is_found() {
    let golden = json!({"A": 1, "B": [], "MaskedPaths": ["/x"]});
    let of = |found: Value| {
        let mut differences = Vec::new();
        compare(
            golden.as_object().unwrap(),
            found.as_object().unwrap(),
            &mut differences,
        );
        differences.len()
    };
    assert_eq!(
        of(json!({"A": 1, "B": null, "MaskedPaths": ["/x", "/y"], "New": 0})),
        0
    );
    assert_eq!(of(json!({"A": 1, "MaskedPaths": ["/x"], "New": true})), 1);
    assert_eq!(of(json!({"A": 2, "B": [1], "MaskedPaths": ["/y"]})), 3);
    assert_eq!(of(json!({"B": []})), 2);
}

const LOOK: &str = r#"
const fs = require('fs'), os = require('os');
const read = path => { try { return fs.readFileSync(path, 'utf8').trim() } catch (e) { return e.code } };
const write = path => { try { fs.writeFileSync(path, 'x'); return 'written' } catch (e) { return 'refused' } };
const field = name => read('/proc/self/status').match(new RegExp('^' + name + ':\\s*(.*)$', 'm'))?.[1];
const mount = at => read('/proc/mounts').split('\n').map(l => l.split(' ')).filter(m => m[1] === at).pop()?.[3].split(',').filter(o => !/^(relatime|noatime|inode64|huge=.*)$/.test(o)).sort();
const limit = name => read('/proc/self/limits').split('\n').find(l => l.startsWith(name))?.slice(26).trim().split(/\s+/).slice(0, 2).join(' ');
console.log(JSON.stringify({
  uid: process.getuid(), gid: process.getgid(), groups: process.getgroups(),
  cwd: process.cwd(), hostname: os.hostname(), parent: read('/proc/1/comm'),
  env: Object.keys(process.env).sort(),
  caps: ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'].map(field),
  noNewPrivs: field('NoNewPrivs'), seccomp: field('Seccomp'), oom: read('/proc/self/oom_score_adj'),
  interfaces: Object.keys(os.networkInterfaces()), resolv: read('/etc/resolv.conf').split('\n').filter(l => !/^(#.*|nameserver 127.0.0.1|search \.|options.*|)$/.test(l)),
  hosts: read('/etc/hosts').split('\n').filter(l => l && !/^(127|::1|f[ef]0)/.test(l)),
  cgroup: read('/proc/self/cgroup').split('\n').map(l => l.split(':')[2]).filter((p, i, a) => a.indexOf(p) === i),
  tmp: mount('/tmp'), workspace: mount('/workspace'), shm: mount('/dev/shm'),
  written: ['/x', '/etc/x', '/dev/x', '/usr/x', '/sys/fs/cgroup/x', '/tmp/x', '/workspace/x', '/proc/sysrq-trigger', '/proc/sys/kernel/core_pattern', '/data/x']
    .map(path => path + ' ' + write(path)),
  hidden: ['/proc/kcore', '/proc/keys', '/proc/timer_list', '/proc/sched_debug'].map(path => path + ' ' + (/^(E[A-Z]+)?$/.test(read(path)) ? 'nothing' : read(path).slice(0, 20))),
  sockets: ['/var/run/docker.sock', '/run/containerd/containerd.sock'].map(path => fs.existsSync(path)),
  limits: ['Max core', 'Max file size', 'Max locked', 'Max msgqueue', 'Max open files'].map(limit),
}));
"#;

async fn look(daemon: &Daemon, image: &str) -> Value {
    let profile = profile(daemon, image).await;
    let ran = run(daemon, &profile, node(LOOK)).await;
    assert_eq!(ran.end.exit_code, Some(0), "{ran:?}");
    serde_json::from_str(&ran.out).unwrap()
}

/// Faults 43, 44, 48 (what is there at all), 49, 54.
#[tokio::test]
async fn fault_43_44_48_49_54_inside_it_is_as_narrow_as_it_was_made() {
    let daemon = shared().await;
    insta::assert_json_snapshot!("inside", look(&daemon, IMAGE).await);
}

/// An image that wants everything its own way.
async fn hostile() -> String {
    let tag = format!("dynamic-mcp-test/hostile:{}", &new_name()[20..32]);
    let file = format!(
        r#"FROM {BARE_IMAGE}
USER root
WORKDIR /proc/self/fd/7
ENTRYPOINT ["/bin/false"]
CMD ["--version"]
ENV NODE_OPTIONS=--require=/etc/passwd LD_PRELOAD=/nothing.so PATH=/nowhere
VOLUME /data /workspace
HEALTHCHECK --interval=1s CMD true
STOPSIGNAL SIGWINCH
LABEL dynamic-mcp.owner=somebody dynamic-mcp.max-age-seconds=1
EXPOSE 80
"#
    );
    let script = format!("docker build --quiet --tag {tag} - <<'END'\n{file}END\n");
    let mut shell = tokio::process::Command::new("bash");
    let made = shell
        .args(["-c", &script])
        .env("DOCKER_BUILDKIT", "0")
        .output()
        .await;
    let made = made.unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    tag
}

/// Faults 54 and 55.
#[tokio::test]
async fn fault_54_55_an_image_changes_nothing() {
    let (daemon, docker) = (shared().await, testkit::docker::daemon());
    let tag = hostile().await;
    let before = docker.listing().await.volumes;
    let plain = look(&daemon, BARE_IMAGE).await;
    let theirs = look(&daemon, &tag).await;
    let profile = profile(&daemon, &tag).await;
    let name = new_name();
    let id = daemon
        .create(&name, &profile.body(node("1"), &labels("golden")))
        .await
        .unwrap();
    let found = inspect(&name).await;
    let made = docker.listing().await.volumes;
    daemon.kill_and_remove(&id).await.unwrap();
    docker.run(&["rmi", &tag]).await;
    assert_eq!(theirs, plain);
    assert_eq!(found["Config"]["Labels"]["dynamic-mcp.owner"], "golden");
    assert_eq!(found["Config"]["StopSignal"], "SIGKILL");
    assert_eq!(found["Config"]["Healthcheck"]["Test"], json!(["NONE"]));
    let came: Vec<_> = made.difference(&before).collect();
    assert!(came.is_empty(), "volumes of an image: {came:?}");
}

/// What is asked for and cannot be had is an error.
#[tokio::test]
async fn a_runtime_that_the_daemon_does_not_have_is_an_error() {
    let daemon = shared().await;
    let mut profile = profile(&daemon, BARE_IMAGE).await;
    profile.runtime = Some("no-such-runtime".to_owned());
    let name = new_name();
    let made = daemon
        .create(&name, &profile.body(node("1"), &labels("golden")))
        .await;
    let error = made.expect_err("no such runtime");
    assert!(
        error
            .cause()
            .unwrap()
            .to_string()
            .contains("no-such-runtime"),
        "{error:?}"
    );
    let there = daemon.list().await.unwrap();
    assert!(there.iter().all(|it| it.name != name));
}

const TAKE: &str = r#"
use strict; $SIG{XFSZ} = 'IGNORE';
sub until_error { my ($most, $act) = @_; for my $n (0 .. $most) { $! = 0; $act->($n) or return "$n " . ($! + 0) } return "all" }
my @files;
print "files ", until_error(9_999, sub { open(my $f, '<', '/dev/null') or return; push @files, $f }), "\n";
@files = ();
print "inodes ", until_error(99_999, sub { open(my $f, '>', "/tmp/$_[0]") }), "\n";
my $mb = 'x' x (1 << 20);
my $write = sub { my $path = shift; open(my $f, '>', $path) or return $!; until_error(999, sub { my $done = syswrite($f, $mb); defined $done && $done == 1 << 20 }) };
print "workspace ", $write->('/workspace/large'), "\n"; unlink '/workspace/large';
print "shm ", $write->('/dev/shm/large'), "\n"; unlink '/dev/shm/large';
my @children;
print "processes ", until_error(999, sub { my $pid = fork; return unless defined $pid; if (!$pid) { sleep 100; exit } push @children, $pid }), "\n";
kill 'KILL', @children;
"#;

/// Faults 1, 5, 11, 12 and 14: what can be counted ends, with an error inside and nothing outside.
#[tokio::test]
async fn fault_01_05_11_12_14_what_can_be_counted_comes_to_an_end() {
    let daemon = shared().await;
    let profile = profile(&daemon, IMAGE).await;
    let command = ["perl", "-e", TAKE].map(str::to_owned).into();
    let ran = run(&daemon, &profile, command).await;
    assert_eq!(ran.end.exit_code, Some(0), "{ran:?}");
    let found: Vec<(&str, i64, i64)> = ran
        .out
        .lines()
        .map(|line| {
            let mut words = line.split(' ');
            let name = words.next().unwrap();
            let mut number = || words.next().and_then(|it| it.parse().ok()).unwrap_or(-1);
            (name, number(), number())
        })
        .collect();
    let (emfile, enospc, eagain) = (24, 28, 11);
    let [files, inodes, workspace, shm, processes] = found[..] else {
        panic!("{ran:?}");
    };
    assert!(files.1 < 256 && files.2 == emfile, "{files:?}");
    assert!(
        (8_000..8_192).contains(&inodes.1) && inodes.2 == enospc,
        "{inodes:?}"
    );
    // The last one is cut short, which is no error yet.
    assert!((60..=64).contains(&workspace.1), "{workspace:?}");
    assert!((2..=4).contains(&shm.1), "{shm:?}");
    assert!(
        (50..64).contains(&processes.1) && processes.2 == eagain,
        "{processes:?}"
    );
}

/// 13, 17: a loop that keeps the agent from everything ends even when nobody is left to end it.
#[tokio::test]
async fn fault_13_17_a_loop_ends_by_the_kernel_when_nobody_else_does_it() {
    let daemon = shared().await;
    let profile = profile(&daemon, BARE_IMAGE).await;
    let labels = Labels {
        max_age: Duration::from_secs(1),
        ..labels("tests")
    };
    let begun = Instant::now();
    let ran = run_body(&daemon, &profile.body(node("for (;;);"), &labels)).await;
    // 128 and the number of SIGKILL.
    assert_eq!(ran.end.exit_code, Some(137), "{ran:?}");
    assert!(!ran.end.oom_killed && begun.elapsed() < Duration::from_secs(20));
}
