//! Signals, drains and exit codes of a real process: `examples/service.rs`, which cargo builds with
//! the tests.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::time::Instant;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test
        .parent()
        .unwrap()
        .with_file_name("examples")
        .join("service");
    assert!(
        program.exists(),
        "`cargo build -p bootstrap --examples` first"
    );
    program
}

fn command(directory: &TempDir, arguments: &[&str]) -> Command {
    let mut command = Command::new(program());
    command
        .args(arguments)
        .env_clear()
        .current_dir(directory.path())
        .stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn output(arguments: &[&str]) -> Output {
    let directory = tempfile::tempdir().unwrap();
    command(&directory, arguments).output().unwrap()
}

struct Running {
    child: Child,
    log: Receiver<String>,
    port: u16,
    _directory: TempDir,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Running {
    fn start(arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let fixed = ["--port", "0", "--transport", "http", "--log-format", "json"];
        let mut child = command(&directory, &[&fixed[..], arguments].concat())
            .spawn()
            .unwrap();
        let (send, log) = channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        let mut running = Self {
            child,
            log,
            port: 0,
            _directory: directory,
        };
        let listening = running.line(r#""message":"listening""#);
        let address = listening.split("127.0.0.1:").nth(1).unwrap();
        running.port = address.split('"').next().unwrap().parse().unwrap();
        running.line(r#""message":"ready""#);
        running
    }

    /// The next log line with this text.
    fn line(&self, text: &str) -> String {
        let mut seen = Vec::new();
        loop {
            match self.log.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => seen.push(line),
                Err(_) => panic!("no line with {text} after {seen:#?}"),
            }
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
    }

    fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the process does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn ask(&self, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        )
        .unwrap();
        stream
    }

    /// Asks, and comes back when the call is inside.
    fn call(&self, path: &str) -> TcpStream {
        let stream = self.ask(path);
        let deadline = Instant::now() + PATIENCE;
        while !self.get("/holders").contains(r#"name: "calls", count: 1"#) {
            assert!(Instant::now() < deadline, "{path} is not inside");
        }
        stream
    }

    fn get(&self, path: &str) -> String {
        answer(self.ask(path))
    }
}

fn answer(mut stream: TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_signal_drains_and_exits_with_zero() {
    for signal in [Signal::INT, Signal::TERM] {
        let mut running = Running::start(&[]);
        assert!(running.get("/readyz").ends_with(r#"{"status":"ready"}"#));
        running.signal(signal);
        running.line(r#""message":"stopped""#);
        assert_eq!(running.ended().code(), Some(0));
    }
}

#[test]
fn a_call_that_runs_is_finished_and_readiness_goes_first() {
    let mut running = Running::start(&["--shutdown-min-delay-ms", "1000"]);
    let call = running.call("/slow");
    running.signal(Signal::TERM);
    running.line(r#""message":"stopping""#);
    let readyz = running.get("/readyz");
    assert!(
        readyz.starts_with("HTTP/1.1 503") && readyz.contains("draining"),
        "{readyz}"
    );
    assert!(running.get("/livez").starts_with("HTTP/1.1 200"));
    assert!(answer(call).ends_with("done"));
    assert_eq!(running.ended().code(), Some(0));
}

#[test]
fn the_deadline_names_who_is_cut_off() {
    let mut running = Running::start(&["--shutdown-grace-ms", "200"]);
    let _stuck = running.call("/stuck");
    running.signal(Signal::TERM);
    let line = running.line("is cut off");
    assert!(
        line.contains(r#""cut_off":"calls: 1, http server: 1""#),
        "{line}"
    );
    assert_eq!(running.ended().code(), Some(0));
}

#[test]
fn a_second_signal_ends_at_once() {
    let mut running = Running::start(&["--shutdown-grace-ms", "3600000"]);
    let _stuck = running.call("/stuck");
    running.signal(Signal::INT);
    running.line(r#""message":"stopping""#);
    running.signal(Signal::INT);
    running.line("a second signal");
    assert_eq!(running.ended().code(), Some(130));
}

#[test]
fn health_is_the_readiness_of_the_running_one() {
    let mut running = Running::start(&["--shutdown-min-delay-ms", "5000"]);
    let port = running.port.to_string();
    let ready = output(&["health", "--port", &port]);
    assert_eq!(ready.status.code(), Some(0));
    assert_eq!(
        String::from_utf8(ready.stdout).unwrap(),
        "{\"status\":\"ready\"}\n"
    );
    running.signal(Signal::TERM);
    running.line(r#""message":"stopping""#);
    let draining = output(&["health", "--port", &port]);
    assert_eq!(draining.status.code(), Some(1));
    assert!(
        String::from_utf8(draining.stderr)
            .unwrap()
            .contains("draining")
    );
    running.signal(Signal::TERM);
    running.ended();
    let gone = output(&["health", "--port", &port]);
    assert_eq!(gone.status.code(), Some(1));
    assert!(
        String::from_utf8(gone.stderr)
            .unwrap()
            .contains("no answer from 127.0.0.1")
    );
}

#[test]
fn a_bad_configuration_exits_with_78_and_nothing_on_stdout() {
    let bad = output(&["--port", "none"]);
    assert_eq!(bad.status.code(), Some(78));
    assert!(bad.stdout.is_empty());
    assert!(
        String::from_utf8(bad.stderr)
            .unwrap()
            .contains("MCP_PORT = `none`")
    );
    let checked = output(&["--check-config", "--transport", "http"]);
    assert_eq!(checked.status.code(), Some(0));
}

#[test]
fn a_taken_port_exits_with_one_and_says_so() {
    let running = Running::start(&[]);
    let second = output(&["--transport", "http", "--port", &running.port.to_string()]);
    assert_eq!(second.status.code(), Some(1));
    assert!(
        String::from_utf8(second.stderr)
            .unwrap()
            .contains("another process listens there")
    );
}

#[test]
fn metrics_may_have_a_port_of_their_own() {
    let directory = tempfile::tempdir().unwrap();
    // The admin listener is bound after the public one and logged the same way.
    let mut child = command(
        &directory,
        &[
            "--port=0",
            "--metrics-port=0",
            "--transport=http",
            "--log-format=json",
        ],
    )
    .spawn()
    .unwrap();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let line = stderr
        .lines()
        .map_while(Result::ok)
        .find(|line| line.contains(r#""listener":"admin""#))
        .unwrap();
    let port: u16 = line
        .split("127.0.0.1:")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(
        stream,
        "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    assert!(answer(stream).contains("mcp_build_info{"));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn rust_log_wins_over_the_level_and_the_format_is_as_asked() {
    // The public port is bound and logged, then the taken one ends the start.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().port().to_string();
    let directory = tempfile::tempdir().unwrap();
    let started = |format: &str, filter: Option<(&str, &str)>| {
        let arguments = [
            "--port=0",
            "--transport=http",
            "--log-format",
            format,
            "--metrics-port",
            &taken,
        ];
        let mut command = command(&directory, &arguments);
        let output = command
            .env("LOG_LEVEL", "error")
            .envs(filter)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let quiet = started("json", None);
    assert_eq!(quiet.lines().count(), 1, "{quiet}");
    assert!(quiet.contains(r#""level":"ERROR""#), "{quiet}");
    let json = started("json", Some(("RUST_LOG", "info")));
    assert!(
        json.starts_with('{') && json.contains(r#""message":"listening""#),
        "{json}"
    );
    let text = started("text", Some(("RUST_LOG", "info")));
    assert!(
        !text.contains(['{', '\u{1b}']) && text.contains(" INFO "),
        "{text}"
    );
    // Even with the log off, the reason is said.
    let off = started("json", Some(("RUST_LOG", "off")));
    assert!(off.contains("another process listens there"), "{off}");
}
