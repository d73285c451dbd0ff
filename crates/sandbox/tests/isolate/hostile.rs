//! Children that do what a child never does: shell scripts in the place of the program. The probe
//! gets the real one.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use domain::RequestId;
use domain::error::ErrorCode;
use domain::runner::Failure;
use futures::StreamExt;
use sandbox::Job;
use sandbox::isolate::IsolateSettings;
use tempfile::TempDir;
use tokio::time::Instant;

use super::suite::run::{Subject, idle};
use super::{launch, metrics, settings};

/// Reads one frame away.
const SKIP: &str = r"skip() { n=$(od -An -tu4 -N4 | tr -d ' '); head -c $n >/dev/null; }";

/// Reads the frame of a call and keeps its nonce, as text for `printf`.
const CALL: &str = r#"call() {
  n=$(od -An -tu4 -N4 | tr -d ' ')
  numbers=$(head -c $n | tr -d '\000' | grep -a -o '"nonce":\[[0-9,]*\]' | tr -dc '0-9,' | tr ',' ' ')
  nonce=; for one in $numbers; do nonce="$nonce\\$(printf '%03o' $one)"; done
}"#;

/// Writes a frame: kind, nonce, payload of less than 200 bytes.
const SAY: &str = r#"say() {
  printf "\\$(printf '%03o' $((17 + ${#3})))\\0\\0\\0\\$1$2"; printf '%s' "$3"
}
none='\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0'
ready() { skip; say 001 "$none" '{"missing":[]}'; }
started() { say 002 "$nonce" ''; }
value() { say 006 "$nonce" "$1"; }
spent() { say 010 "$nonce" '{"cpu_micros":1,"peak_bytes":1,"truncated":false}'; }"#;

fn program(folder: &TempDir, body: &str) -> std::path::PathBuf {
    let path = folder.path().join("child");
    let guest = env!("CARGO_BIN_EXE_sandbox-guest");
    let probe = format!("[ \"$2\" = probe ] && exec {guest} \"$@\"");
    let text = format!("#!/bin/sh\n{probe}\n{SKIP}\n{CALL}\n{SAY}\n{body}\n");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

async fn engine(folder: &TempDir, body: &str) -> Subject {
    let settings = IsolateSettings {
        program: program(folder, body),
        pool_size: 1,
        ..settings()
    };
    launch(settings, &metrics()).await
}

/// Runs a call with these arguments, and says how it ended and how long that took.
async fn ended(engine: &Subject, args: &str, millis: u64) -> (Result<String, Failure>, Duration) {
    let mut call = testkit::call("return 1");
    call.args = testkit::raw(args);
    call.limits.timeout = Duration::from_millis(millis);
    let begun = Instant::now();
    let job = Job {
        call,
        tenant: domain::TenantId::default(),
        request_id: RequestId::random(),
        deadline: begun + Duration::from_millis(millis),
        slot: None,
    };
    let result = match engine.start(job).await {
        Err(error) => Err(Failure {
            code: error.code(),
            message: error.message().to_owned(),
            may_have_run: error.may_have_run(),
        }),
        Ok(execution) => {
            let events: Vec<_> = execution.collect().await;
            let Some(domain::RunEvent::Finished(outcome)) = events.into_iter().next_back() else {
                panic!("no outcome")
            };
            let text = |value: Option<Box<domain::RawValue>>| {
                value.map_or_else(String::new, |value| value.get().to_owned())
            };
            outcome.result.map(text)
        }
    };
    (result, begun.elapsed())
}

/// The processes whose command names this folder.
fn processes(folder: &TempDir) -> usize {
    let wanted = folder.path().to_str().unwrap();
    let all = fs::read_dir("/proc").unwrap().flatten();
    let lines = all.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines
        .filter(|line| String::from_utf8_lossy(line).contains(wanted))
        .count()
}

/// The scripts themselves speak the protocol: one that does all of it right is believed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_that_keeps_to_the_rules_is_believed() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(&folder, "ready; call; started; value 42; spent").await;
    let (result, _) = ended(&engine, "{}", 10_000).await;
    assert_eq!(result.unwrap(), "42");
    engine.shutdown().await;
}

/// 9, 31, 69: what breaks the rules is a failure, is killed and leaves nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_09_31_69_a_child_that_breaks_the_rules_is_stopped() {
    let cases = [
        // The stream ends, or the process, without a result.
        ("started; exec >&- <&- 2>&-; exec sleep 60", "went on"),
        ("started; exec >&- <&-; exec sleep 60", "went on"),
        ("started; exit 0", "ended before"),
        ("started; value 42; exec >&- <&-; exec sleep 60", ""),
        // A frame with another call's nonce, of an unknown kind, of 4 GB, twice, after the result.
        (
            "started; say 006 \"$none\" 42; spent; exec sleep 60",
            "rules",
        ),
        ("started; say 077 \"$nonce\" 42; exec sleep 60", "rules"),
        (
            "started; printf '\\377\\377\\377\\377'; exec cat /dev/zero",
            "rules",
        ),
        ("started; started; exec sleep 60", "rules"),
        ("started; value 42; value 43; exec sleep 60", "rules"),
        ("started; spent; exec sleep 60", "rules"),
        ("started; value '{no JSON'; exec sleep 60", "rules"),
        (
            "started; say 001 \"$nonce\" '{\"missing\":[]}'; exec sleep 60",
            "rules",
        ),
        ("started; yes", "rules"),
    ];
    for (then, word) in cases {
        let folder = tempfile::tempdir().unwrap();
        let engine = engine(&folder, &format!("ready; call; {then}")).await;
        let (result, took) = ended(&engine, "{}", 20_000).await;
        if word.is_empty() {
            // All that was owed was said before the stream ended.
            assert_eq!(result.unwrap(), "42", "{then}");
        } else {
            let failure = result.unwrap_err();
            assert_eq!(failure.code, ErrorCode::ToolFailed, "{then}: {failure:?}");
            assert!(failure.message.contains(word), "{then}: {failure:?}");
        }
        assert!(took < Duration::from_secs(10), "{then}: {took:?}");
        idle(&engine).await;
        engine.shutdown().await;
    }
}

/// 38: one that dies, or speaks nonsense, before it has read the call has run nothing; three such
/// and the call is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_38_children_that_never_read_a_call_have_run_nothing() {
    for then in ["exit 3", "call; say 006 \"$nonce\" 42; exec sleep 60"] {
        let folder = tempfile::tempdir().unwrap();
        let engine = engine(&folder, &format!("ready; {then}")).await;
        let (result, took) = ended(&engine, "{}", 20_000).await;
        let failure = result.unwrap_err();
        assert_eq!(failure.code, ErrorCode::Unavailable, "{then}: {failure:?}");
        assert!(!failure.may_have_run, "{failure:?}");
        assert!(took < Duration::from_secs(15), "{took:?}");
        engine.shutdown().await;
    }
}

/// 32: nobody waits longer than the call's time for a sandbox that does not come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_32_a_child_that_hangs_while_it_starts_holds_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(&folder, "exec sleep 60").await;
    let (result, took) = ended(&engine, "{}", 300).await;
    let failure = result.unwrap_err();
    assert_eq!(failure.code, ErrorCode::Timeout);
    assert!(failure.message.contains("nothing has run"), "{failure:?}");
    assert!(took < Duration::from_secs(3), "{took:?}");
    let begun = Instant::now();
    engine.shutdown().await;
    assert!(begun.elapsed() < Duration::from_secs(6));
}

/// 30, 33: a child that never reads, and one that keeps its streams open after its end, hold nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_30_33_a_child_that_never_reads_or_never_closes_holds_nobody() {
    let large = serde_json::json!({ "large": "x".repeat(8_000_000) }).to_string();
    let cases = [
        ("ready; exec sleep 60", &*large),
        ("ready; call; started; exec sleep 60", "{}"),
        // Somebody else holds the stream open when the child has ended. In a PID namespace of its own
        // that one ends too.
        ("ready; call; started; sleep 60 & exit 0", "{}"),
    ];
    for (body, args) in cases {
        let folder = tempfile::tempdir().unwrap();
        let engine = engine(&folder, body).await;
        let (result, took) = ended(&engine, args, 700).await;
        let code = result.unwrap_err().code;
        let ended = code == ErrorCode::ToolFailed && body.ends_with("exit 0");
        assert!(code == ErrorCode::Timeout || ended, "{body}: {code:?}");
        assert!(took < Duration::from_secs(5), "{body}: {took:?}");
        assert!(idle(&engine).await < Duration::from_secs(5), "{body}");
        engine.shutdown().await;
        let begun = Instant::now();
        while processes(&folder) > 0 {
            assert!(begun.elapsed() < Duration::from_secs(5), "{body}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
