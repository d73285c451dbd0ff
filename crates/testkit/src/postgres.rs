//! A private Postgres cluster for one test: real, started in a fraction of a second, and gone with
//! the test however it ends.

mod server;
mod template;

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

use self::server::Server;
pub use self::server::Stop;

/// How long a server may take to come up, recovery after a crash included.
const START: Duration = Duration::from_secs(30);
/// How long a server may take to end.
const END: Duration = Duration::from_secs(20);
/// A server that was paused goes on by itself after this long, so that a test which is killed
/// meanwhile leaves nothing behind.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Whether a cluster keeps what it acknowledged when the machine loses power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Every commit reaches the disk: for what measures writes or crashes the server.
    Synced,
    /// Nothing is waited for: for everything else. What was committed survives every end of the
    /// server all the same.
    Relaxed,
}

/// A Postgres server on a port and in a directory of its own, with the superuser `postgres` and no
/// passwords. Ended and removed when dropped.
pub struct Cluster {
    // Before the directory: fields are dropped in this order.
    server: Option<Server>,
    directory: TempDir,
    port: u16,
    settings: Vec<String>,
}

impl Cluster {
    /// A new cluster that runs, with the one database `postgres`.
    ///
    /// # Panics
    /// When Postgres is not installed or does not start; the message says what to do.
    pub async fn start(durability: Durability) -> Self {
        Self::start_with(durability, &[]).await
    }

    /// Like [`Cluster::start`] with settings of the server, each as `name=value`.
    ///
    /// # Panics
    /// See [`Cluster::start`].
    pub async fn start_with(durability: Durability, settings: &[&str]) -> Self {
        let directory = tokio::task::spawn_blocking(template::copy)
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        let fsync = match durability {
            Durability::Synced => "fsync=on",
            Durability::Relaxed => "fsync=off",
        };
        let mut all = vec![fsync.to_owned()];
        all.extend(settings.iter().map(|&setting| setting.to_owned()));
        let mut cluster = Self {
            server: None,
            directory,
            port: 0,
            settings: all,
        };
        for _ in 0..20 {
            cluster.port = server::free_port();
            if cluster.try_resume().await {
                return cluster;
            }
        }
        panic!("Postgres found no free port:\n{}", cluster.log());
    }

    /// URL of a database, over TCP.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// URL of a database, over the Unix socket.
    #[must_use]
    pub fn socket_url(&self, database: &str) -> String {
        let folder = self.socket_folder().display().to_string();
        let folder = folder.replace('/', "%2F");
        format!("postgres://postgres@{folder}:{}/{database}", self.port)
    }

    /// The TCP port on 127.0.0.1; the same for the cluster's whole life.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends the server; clients see what the way of stopping does to them.
    ///
    /// # Panics
    /// When it does not run, or does not end.
    pub async fn stop(&mut self, way: Stop) {
        let Some(server) = self.server.take() else {
            panic!("the Postgres cluster does not run");
        };
        server.signal(way.signal());
        if timeout(END, server.ended()).await.is_err() {
            panic!("Postgres did not end:\n{}", self.log());
        }
    }

    /// Starts the server again after [`Cluster::stop`], on the same port.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn resume(&mut self) {
        assert!(self.server.is_none(), "the Postgres cluster runs");
        let end = Instant::now() + START;
        // Children of a killed server may hold its memory for a moment.
        while !self.try_resume().await {
            assert!(
                Instant::now() < end,
                "Postgres does not start:\n{}",
                self.log()
            );
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Stops and starts the server.
    ///
    /// # Panics
    /// See [`Cluster::stop`] and [`Cluster::resume`].
    pub async fn restart(&mut self, way: Stop) {
        self.stop(way).await;
        self.resume().await;
    }

    /// Freezes every process of the server: connections stay open and nothing answers, until
    /// [`Cluster::unpause`] or a minute has passed.
    ///
    /// # Panics
    /// When it does not run.
    pub fn pause(&self) {
        self.running().pause(LONGEST_PAUSE);
    }

    /// Lets a paused server go on.
    ///
    /// # Panics
    /// When it does not run.
    pub fn unpause(&self) {
        self.running().unpause();
    }

    /// Makes a database.
    ///
    /// # Panics
    /// When Postgres refuses.
    pub async fn create_database(&self, name: &str) {
        self.sql("postgres", &format!("CREATE DATABASE \"{name}\""))
            .await;
    }

    /// Ends the connections of an application (`application_name`, where `%` stands for anything)
    /// and returns how many there were.
    ///
    /// # Panics
    /// When Postgres refuses.
    pub async fn terminate(&self, application: &str) -> usize {
        let sql = format!(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
             WHERE application_name LIKE '{application}' AND pid <> pg_backend_pid()
               AND backend_type = 'client backend'"
        );
        let count = self.sql("postgres", &sql).await;
        count
            .parse()
            .unwrap_or_else(|_| panic!("psql answered {count:?}"))
    }

    /// Runs statements with `psql` as superuser and returns what they answer: a line for each row,
    /// columns separated by tabs.
    ///
    /// # Panics
    /// When one fails.
    pub async fn sql(&self, database: &str, sql: &str) -> String {
        match self.try_sql(database, sql).await {
            Ok(answer) => answer,
            Err(error) => panic!("{sql}: {error}"),
        }
    }

    /// Like [`Cluster::sql`] for statements that may fail.
    ///
    /// # Errors
    /// What `psql` said.
    ///
    /// # Panics
    /// When `psql` is missing.
    pub async fn try_sql(&self, database: &str, sql: &str) -> Result<String, String> {
        let output = Command::new("psql")
            .args(["--no-psqlrc", "--quiet", "--no-align", "--tuples-only"])
            .args(["--field-separator=\t", "--set=ON_ERROR_STOP=1"])
            .args(["--dbname", &self.url(database), "--command", sql])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .unwrap_or_else(|error| panic!("psql: {error}; {}", template::INSTALL));
        if output.status.success() {
            let answer = String::from_utf8_lossy(&output.stdout);
            Ok(answer.trim_end_matches('\n').to_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// The last lines of the server's log.
    #[must_use]
    pub fn log(&self) -> String {
        let log = std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    fn socket_folder(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn running(&self) -> &Server {
        match &self.server {
            Some(server) => server,
            None => panic!("the Postgres cluster does not run"),
        }
    }

    /// False when the server ended instead of coming up.
    async fn try_resume(&mut self) -> bool {
        let mut server = Server::spawn(self.directory.path(), self.port, &self.settings);
        let end = Instant::now() + START;
        while !server.is_ready() {
            if server.has_ended() {
                return false;
            }
            assert!(
                Instant::now() < end,
                "Postgres does not come up:\n{}",
                self.log()
            );
            sleep(Duration::from_millis(4)).await;
        }
        self.server = Some(server);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_cluster_starts_ends_and_comes_back_with_what_it_had() {
        let mut cluster = Cluster::start(Durability::Relaxed).await;
        cluster.create_database("other").await;
        cluster
            .sql("other", "CREATE TABLE t AS SELECT 7 AS n")
            .await;
        for way in [Stop::Fast, Stop::Immediate, Stop::Kill] {
            cluster.restart(way).await;
            assert_eq!(cluster.sql("other", "SELECT n, n FROM t").await, "7\t7");
        }
        assert!(cluster.try_sql("other", "SELECT nothing").await.is_err());
        cluster.pause();
        let patience = Duration::from_millis(300);
        let answer = timeout(patience, cluster.sql("other", "SELECT 1")).await;
        assert!(answer.is_err(), "a paused server answered");
        cluster.unpause();
        cluster.sql("other", "SELECT 1").await;
    }
}
