//! The real nginx with the site of `deploy/nginx`, with other places and ports.

use std::path::{Path, PathBuf};
use std::time::Duration;

use testkit::process::Program;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

const PROGRAM: &str = "/usr/sbin/nginx";

/// A file of the repository.
pub(crate) fn shipped(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A port that is free now, for programs that have to know it before.
pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// The shipped site; what it is changed by has to be in it.
pub(crate) struct Site(String);

impl Site {
    pub(crate) fn new() -> Self {
        Self(shipped("deploy/nginx/dynamic-mcp.conf"))
    }

    /// The same with `to` wherever it says `from`.
    #[track_caller]
    pub(crate) fn with(self, from: &str, to: &str) -> Self {
        assert!(self.0.contains(from), "the site says no {from:?}");
        Self(self.0.replace(from, to))
    }

    /// In front of these gateways.
    #[track_caller]
    pub(crate) fn before(self, gateways: &[u16]) -> Self {
        let servers = gateways
            .iter()
            .map(|port| format!("server 127.0.0.1:{port} max_fails=0;"));
        let servers: Vec<String> = servers.collect();
        self.with(
            "server 127.0.0.1:8788 max_fails=0;",
            &servers.join("\n    "),
        )
    }

    /// Listening on loopback ports, for plain HTTP and for TLS, and on nothing else.
    #[track_caller]
    pub(crate) fn on(self, http: u16, https: u16) -> Self {
        self.with("    listen [::]:80;\n", "")
            .with("    listen [::]:443 ssl http2;\n", "")
            .with("listen 80;", &format!("listen 127.0.0.1:{http};"))
            .with("listen 443 ", &format!("listen 127.0.0.1:{https} "))
    }
}

/// A running nginx.
pub(crate) struct Nginx {
    program: Program,
    _folder: tempfile::TempDir,
}

impl Nginx {
    /// Starts it with this site, and waits until it listens on `port`.
    pub(crate) async fn start(site: &Site, port: u16) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let place = |name: &str| path.join(name).display().to_string();
        std::fs::write(path.join("site.conf"), &site.0).unwrap();
        // As root its workers would be somebody who cannot see this folder.
        let user = if is_root() { "user root;" } else { "" };
        let text = format!(
            "{user}\ndaemon off;\nworker_processes 2;\npid {pid};\nerror_log stderr info;\n\
             events {{ worker_connections 1024; }}\n\
             http {{\n  access_log off;\n  client_body_temp_path {body};\n  proxy_temp_path {proxy};\n  \
             fastcgi_temp_path {other};\n  uwsgi_temp_path {other};\n  scgi_temp_path {other};\n  \
             include {site};\n}}\n",
            pid = place("pid"),
            body = place("body"),
            proxy = place("proxy"),
            other = place("other"),
            site = place("site.conf"),
        );
        let main = path.join("nginx.conf");
        std::fs::write(&main, text).unwrap();
        let main = main.display().to_string();
        let mut program = Program::start(&nginx(), path, &["-c", &main, "-p", &place("")], &[]);
        let end = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            let ended = program.has_ended();
            let log = program.log().join("\n");
            assert!(!ended, "nginx does not start: {log}");
            assert!(Instant::now() < end, "nginx does not listen: {log}");
            sleep(Duration::from_millis(10)).await;
        }
        Self {
            program,
            _folder: folder,
        }
    }

    /// What it has complained about.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let bad = |line: &String| {
            ["[warn]", "[error]", "[crit]", "[alert]"]
                .iter()
                .any(|it| line.contains(it))
        };
        self.program.log().into_iter().filter(bad).collect()
    }

    /// Ends it when its requests have ended.
    pub(crate) async fn stop(mut self) {
        self.program.signal("QUIT").await;
        self.program.ended(Duration::from_secs(20)).await;
    }
}

fn nginx() -> PathBuf {
    let path = PathBuf::from(PROGRAM);
    assert!(
        path.exists(),
        "{PROGRAM} is missing: `bash .ci/nginx` installs it"
    );
    path
}

fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    line.is_some_and(|ids| ids.split_whitespace().nth(1) == Some("0"))
}
