//! What a real process says about itself: its log in a file, the level that SIGHUP changes, its
//! metrics and profiles on a port of their own, and its faults to a receiver of reports.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use testkit::http::{Answer, exchange};
use testkit::process::Program;
use testkit::receiver::Receiver;
use tokio::time::{Instant, sleep};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn example() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().unwrap().with_file_name("examples");
    let program = folder.join("service");
    assert!(
        program.exists(),
        "`cargo build -p bootstrap --examples` first"
    );
    program
}

const OWN: &[(&str, &str)] = &[("MCP_PORT", "0"), ("MCP_TRANSPORT", "http")];

fn start(folder: &Path, env: &[(&str, &str)]) -> Program {
    Program::start(&example(), folder, &[], &[OWN, env].concat())
}

fn dotenv(folder: &Path, text: &str) {
    std::fs::write(folder.join(".env"), text).unwrap();
}

fn lines(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Waits for a line of the file with these texts.
async fn line(file: &Path, texts: &[&str]) -> Value {
    let end = Instant::now() + PATIENCE;
    loop {
        let all = lines(file);
        let is_it = |line: &&Value| texts.iter().all(|text| line.to_string().contains(text));
        if let Some(found) = all.iter().find(is_it) {
            return found.clone();
        }
        assert!(Instant::now() < end, "no line with {texts:?} in {all:#?}");
        sleep(Duration::from_millis(20)).await;
    }
}

async fn get(address: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    exchange(address, "GET", path, headers, b"").await
}

async fn metric(address: &str, series: &str) -> f64 {
    let text = get(address, "/metrics", &[]).await.text();
    let line = text.lines().find_map(|line| line.strip_prefix(series));
    line.map_or(0.0, |value| value.trim().parse().unwrap())
}

#[tokio::test]
async fn a_log_in_a_file_rotates_survives_its_disk_and_changes_its_level() {
    let folder = tempfile::tempdir().unwrap();
    let logs = folder.path().join("logs");
    std::fs::create_dir(&logs).unwrap();
    let file = logs.join("service.log");
    dotenv(folder.path(), "LOG_LEVEL=info\n");
    let env = [
        ("LOG_FILE", "logs/service.log"),
        ("LOG_MAX_FILE_BYTES", "10000"),
        ("LOG_MAX_FILES", "2"),
    ];
    let program = start(folder.path(), &env);
    let listening = line(&file, &["\"listener\":\"http\""]).await;
    let address = listening["address"].as_str().unwrap().to_owned();
    line(&file, &["\"message\":\"ready\""]).await;
    assert!(program.log().is_empty(), "{:?}", program.log());

    dotenv(folder.path(), "LOG_LEVEL=loud,=\n");
    program.signal("HUP").await;
    line(&file, &["what was in use stays in use", "LOG_LEVEL"]).await;
    dotenv(folder.path(), "LOG_LEVEL=debug\n");
    program.signal("HUP").await;
    let changed = line(&file, &["the level of the log changes"]).await;
    assert_eq!(
        (changed["from"].as_str(), changed["to"].as_str()),
        (Some("info"), Some("debug"))
    );
    let series = "mcp_reloads_total{outcome=\"ok\",what=\"log_level\"}";
    assert!((metric(&address, series).await - 1.0).abs() < 0.1);

    // Debug lines of every request fill the files.
    let end = Instant::now() + PATIENCE;
    while !logs.join("service.log.2").exists() {
        assert!(Instant::now() < end, "{:?}", lines(&file).len());
        get(&address, "/", &[]).await;
        program.signal("HUP").await;
    }
    assert!(std::fs::metadata(&file).unwrap().len() <= 10_000);
    assert!(!logs.join("service.log.3").exists());

    // The disk goes, the service stays.
    std::fs::rename(&logs, folder.path().join("gone")).unwrap();
    let end = Instant::now() + PATIENCE;
    while metric(&address, "mcp_log_lines_lost_total").await < 3.0 {
        assert!(Instant::now() < end, "nothing is lost: {:?}", program.log());
        assert_eq!(get(&address, "/", &[]).await.status, 200);
        program.signal("HUP").await;
        sleep(Duration::from_millis(100)).await;
    }
    let said = program.log();
    assert_eq!(said.len(), 1, "once: {said:?}");
    assert!(
        said[0].contains("cannot be written") && said[0].contains("service.log"),
        "{said:?}"
    );
    std::fs::create_dir(&logs).unwrap();
    let end = Instant::now() + PATIENCE;
    while program.log().len() < 2 {
        assert!(Instant::now() < end, "{:?}", program.log());
        program.signal("HUP").await;
        sleep(Duration::from_millis(100)).await;
    }
    assert!(program.log()[1].contains("again"), "{:?}", program.log());
    program.stop().await;
    line(&file, &["\"message\":\"stopped\""]).await;
}

#[tokio::test]
async fn a_log_file_that_cannot_be_written_ends_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let mut program = start(folder.path(), &[("LOG_FILE", "none/service.log")]);
    assert_eq!(program.ended(PATIENCE).await, Some(1));
    let said = program.log().join("\n");
    assert!(
        said.contains("LOG_FILE") && said.contains("unset LOG_FILE"),
        "{said}"
    );
}

#[tokio::test]
async fn profiles_and_metrics_have_a_port_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let token = "a-token-of-more-than-thirty-two-characters";
    let env = [("METRICS_PORT", "0"), ("MCP_ADMIN_TOKEN", token)];
    let mut program = start(folder.path(), &env);
    let admin = program
        .field_of_line("\"listener\":\"admin\"", "address")
        .await;
    program
        .field_of_line("\"message\":\"ready\"", "message")
        .await;
    let path = "/debug/pprof/profile?seconds=1";
    let heap = "/debug/pprof/heap?seconds=1";
    assert_eq!(get(&admin, path, &[]).await.status, 401);
    assert_eq!(get(&admin, heap, &[]).await.status, 401);
    let wrong = [(
        "x-mcp-admin-token",
        "a-token-of-more-than-thirty-two-characterS",
    )];
    assert_eq!(get(&admin, path, &wrong).await.status, 401);
    let taken = get(&admin, path, &[("x-mcp-admin-token", token)]).await;
    assert_eq!(taken.status, 200, "{}", taken.text());
    assert!(taken.body.starts_with(b"\x0a"), "a profile of pprof");
    assert!(
        (metric(&admin, "mcp_profiles_total{kind=\"cpu\",outcome=\"ok\"}").await - 1.0).abs() < 0.1
    );
    assert!(
        (metric(
            &admin,
            "mcp_profiles_total{kind=\"cpu\",outcome=\"denied\"}"
        )
        .await
            - 2.0)
            .abs()
            < 0.1
    );
    let log = program.log().join("\n");
    assert!(log.contains("a profile of this process is taken") && !log.contains(token));
    program.stop().await;
    // Where the allocator cannot sample, the answer says what is missing.
    let unable = [env[0], env[1], ("_RJEM_MALLOC_CONF", "prof:false")];
    let mut program = start(folder.path(), &unable);
    let admin = program
        .field_of_line("\"listener\":\"admin\"", "address")
        .await;
    let answer = get(&admin, heap, &[("x-mcp-admin-token", token)]).await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(
        answer.text().contains(".cargo/config.toml"),
        "{}",
        answer.text()
    );
    program.stop().await;
    // Without a token there is nothing to ask for.
    let mut program = start(folder.path(), &env[..1]);
    let admin = program
        .field_of_line("\"listener\":\"admin\"", "address")
        .await;
    for path in [path, heap] {
        let answer = get(&admin, path, &[("x-mcp-admin-token", token)]).await;
        assert_eq!(answer.status, 404, "{path}");
    }
    program.stop().await;
}

#[tokio::test]
async fn a_panic_is_reported_with_its_place_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start().await;
    let dsn = receiver.endpoint.replace("http://", "http://canarykey@") + "/7";
    let mut program = start(folder.path(), &[("SENTRY_DSN", &dsn)]);
    let address = program
        .field_of_line("\"listener\":\"http\"", "address")
        .await;
    program
        .field_of_line("\"message\":\"ready\"", "message")
        .await;
    // The answer is the end of the connection.
    drop(testkit::http::attempt(&address, "GET", "/panic/canarypath", &[], b"").await);
    let report = receiver.wait(|requests| requests.first().cloned()).await;
    assert_eq!(report.path, "/api/7/envelope/");
    let text = String::from_utf8(report.body.to_vec()).unwrap();
    assert!(!text.contains("canary"), "{text}");
    let event: Value = serde_json::from_str(text.lines().nth(2).unwrap()).unwrap();
    assert_eq!(event["tags"]["fault"], "panic");
    let at = event["tags"]["at"].as_str().unwrap();
    assert!(at.contains("examples/service.rs:"), "{at}");
    let log = program.log().join("\n");
    assert!(!log.contains("canarykey"), "{log}");
    assert_eq!(
        log.matches("\"level\":\"ERROR\"").count(),
        1,
        "one line: {log}"
    );
    program.stop().await;
}
