//! Another executor on the same daemon, which has nothing to do with what happens to the first.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;
use testkit::docker::{BARE_IMAGE, Docker, PrivateDaemon};
use testkit::process::Program;
use tokio::time::{Instant, sleep};

use crate::deployment::binary;
use crate::leaks::POOL;

/// After this time a container that waits is replaced by its own executor.
const AGES: Duration = Duration::from_secs(590);

pub(crate) struct Bystander {
    program: Program,
    folder: TempDir,
    /// Its containers, and since when each is known.
    known: BTreeMap<String, Instant>,
}

impl Bystander {
    pub(crate) async fn start(daemon: &PrivateDaemon) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| format!("unix:{}", folder.path().join(name).display());
        let keys = testkit::keys::write_pair(folder.path());
        let pool = POOL.to_string();
        let env = [
            ("MCP_EXECUTOR_LISTEN", place("executor.sock")),
            ("MCP_ADMIN_LISTEN", place("admin.sock")),
            ("MCP_INTERNAL_VERIFY_KEYS_FILE", keys.public.clone()),
            ("DOCKER_HOST", daemon.host()),
            ("MCP_EXECUTION_ENGINE", "docker".to_owned()),
            ("MCP_SANDBOX_ALLOWED_IMAGES", BARE_IMAGE.to_owned()),
            ("MCP_SANDBOX_POOL_SIZE", pool),
            // Nothing is made once its pool is full.
            ("MCP_SANDBOX_MAX_SESSIONS", "0".to_owned()),
        ];
        let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (*name, &**value)).collect();
        let executable: PathBuf = binary("executor");
        let program = Program::start(&executable, folder.path(), &[], &env);
        let docker = daemon.docker();
        let end = Instant::now() + Duration::from_secs(30);
        let running = ["ps", "--quiet"];
        while docker.run(&running).await.lines().count() < POOL {
            assert!(Instant::now() < end, "{}", program.log().join("\n"));
            sleep(Duration::from_millis(100)).await;
        }
        let mut this = Self {
            program,
            folder,
            known: BTreeMap::new(),
        };
        this.known = this.containers(&docker).await;
        this
    }

    /// Whether this is the owner on its labels.
    pub(crate) fn is_owner(&self, owner: &str) -> bool {
        owner.contains(&*self.folder.path().to_string_lossy())
    }

    async fn containers(&self, docker: &Docker) -> BTreeMap<String, Instant> {
        let format = "{{.Names}} {{.State}} {{.Label \"dynamic-mcp.owner\"}}";
        let listed = docker.run(&["ps", "--all", "--format", format]).await;
        let own = listed.lines().filter(|line| self.is_owner(line));
        own.filter_map(|line| {
            let mut words = line.split(' ');
            let (name, state) = (words.next()?, words.next()?);
            assert_eq!(state, "running", "{line}");
            let since = self.known.get(name).copied();
            Some((name.to_owned(), since.unwrap_or_else(Instant::now)))
        })
        .collect()
    }

    /// Its containers run and are the same as before.
    pub(crate) async fn assert_untouched(&mut self, docker: &Docker) {
        let now = self.containers(docker).await;
        let gone: BTreeSet<&String> = self
            .known
            .iter()
            .filter(|(name, since)| !now.contains_key(*name) && since.elapsed() < AGES)
            .map(|(name, _)| name)
            .collect();
        assert!(
            gone.is_empty(),
            "somebody removed what is not his: {gone:?}"
        );
        self.known = now;
    }

    pub(crate) async fn stop(self) {
        self.program.stop().await;
    }
}
