//! What the daemon is able to do, looked at once before anything runs on it. The profile asks for all
//! of it; a daemon that would leave a part out is refused, one that could be better is told of.

use domain::error::{Error, ErrorCode, Result};

use super::{Daemon, Facts};
use crate::WallStatus;

/// The oldest runc of each line without known ways out of a container (CVE-2025-31133,
/// CVE-2025-52565, CVE-2025-52881): 1.2.8, 1.3.3, and all of 1.4 and later.
const SAFE_RUNC: [(u64, u64, u64); 2] = [(1, 2, 8), (1, 3, 3)];

/// The name of that wall.
const RUNC: &str = "runc";

impl Daemon {
    /// Looks whether the daemon can build every wall of the profile, and has the runtime; with
    /// `patched_runc` also whether its runc is without known ways out.
    ///
    /// # Errors
    /// `unavailable` that names what is missing; `policy_denied` about runc.
    pub(crate) async fn check(
        &self,
        runtime: Option<&str>,
        patched_runc: bool,
    ) -> Result<Vec<WallStatus>> {
        let facts = self.facts().await.map_err(|fault| fault.of("info"))?;
        if patched_runc {
            require_patched(&facts.runc, &self.address())?;
        }
        let walls = walls(&facts);
        for wall in walls.iter().filter(|wall| !wall.held && !wall.required) {
            let detail = &wall.detail;
            if wall.name == RUNC {
                tracing::warn!(detail, "the Docker daemon's runc should be updated");
            } else {
                tracing::info!(wall = wall.name, detail, "the sandbox could be stronger");
            }
        }
        let missing = walls.iter().filter(|wall| !wall.held && wall.required);
        let missing: Vec<&str> = missing.map(|wall| wall.name).collect();
        let address = self.address();
        if !missing.is_empty() {
            let message = format!(
                "the Docker daemon at {address} cannot build the sandbox: it has no {}",
                missing.join(", no ")
            );
            return Err(Error::new(ErrorCode::Unavailable, message)
                .with_fix("`docker info` says what the kernel lacks; swap limits may need `swapaccount=1` on its command line"));
        }
        let Some(runtime) = runtime.filter(|name| !facts.runtimes.iter().any(|it| it == name))
        else {
            return Ok(walls);
        };
        let mut known = facts.runtimes;
        known.sort();
        let message = format!("the Docker daemon at {address} has no runtime `{runtime}`");
        Err(Error::new(ErrorCode::Unavailable, message)
            .with_field("MCP_SANDBOX_RUNTIME")
            .with_limit(known.join(", ")))
    }
}

fn walls(facts: &Facts) -> Vec<WallStatus> {
    let must = |name, held| WallStatus {
        name,
        held,
        required: true,
        detail: format!("Docker {}", facts.version),
    };
    let mut walls: Vec<WallStatus> = facts
        .walls
        .iter()
        .map(|&(name, held)| must(name, held))
        .collect();
    walls.push(WallStatus {
        name: "user namespace",
        held: facts.rootless,
        required: false,
        detail: if facts.rootless {
            "root of a container is nobody outside".to_owned()
        } else {
            "rootless Docker or userns-remap would make a way out of a container worth less"
                .to_owned()
        },
    });
    let safe = is_safe_runc(&facts.runc);
    walls.push(WallStatus {
        name: RUNC,
        // One that does not say its version may be any other runtime, or a newer one.
        held: safe != Some(false),
        required: false,
        detail: match safe {
            Some(false) => format!(
                "{} has known ways out; 1.2.8, 1.3.3 or newer has not",
                facts.runc
            ),
            _ => facts.runc.clone(),
        },
    });
    walls
}

/// Refuses a runc that is not known to be without known faults.
fn require_patched(runc: &str, address: &str) -> Result<()> {
    let what = match is_safe_runc(runc) {
        Some(true) => return Ok(()),
        Some(false) => format!("runc {runc}, which has known ways out of a container"),
        None => format!("a runc that does not tell its version (`{runc}`)"),
    };
    let message = format!("the Docker daemon at {address} has {what}");
    Err(Error::new(ErrorCode::PolicyDenied, message)
        .with_field("MCP_SANDBOX_REQUIRE_PATCHED_RUNC")
        .with_fix("update runc to 1.2.8, 1.3.3 or newer"))
}

/// Whether this version (`1.1.5+ds1-1`, `v1.2.8-0-g…`) is without known faults; nothing when it is no
/// version.
pub(crate) fn is_safe_runc(text: &str) -> Option<bool> {
    let mut numbers = text.trim_start_matches('v').splitn(3, '.');
    let (major, minor) = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
    let patch = numbers.next()?;
    let digits = patch
        .find(|it: char| !it.is_ascii_digit())
        .unwrap_or(patch.len());
    let found = (major, minor, patch[..digits].parse().ok()?);
    let line = SAFE_RUNC
        .iter()
        .find(|safe| (safe.0, safe.1) == (major, minor));
    Some(match line {
        Some(oldest) => found >= *oldest,
        None => found > SAFE_RUNC[SAFE_RUNC.len() - 1],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docker::daemon::tests::shared;

    #[test]
    fn fault_56_versions_of_runc_are_told_apart() {
        for (text, safe) in [
            ("1.1.5+ds1-1+deb12u1", Some(false)),
            ("v1.2.7-0-gabc", Some(false)),
            ("v1.2.8-0-gabc", Some(true)),
            ("1.3.2", Some(false)),
            ("1.3.3", Some(true)),
            ("1.4.0", Some(true)),
            ("2.0.0-rc.1", Some(true)),
            ("51d5e946", None),
            ("", None),
        ] {
            assert_eq!(is_safe_runc(text), safe, "{text}");
        }
    }

    #[test]
    fn fault_56_where_it_must_be_patched_runc_has_to_say_that_it_is() {
        assert!(require_patched("1.3.3", "here").is_ok());
        for runc in ["1.1.5+ds1-1+deb12u1", "1.3.2", "51d5e946", ""] {
            let error = require_patched(runc, "here").unwrap_err();
            assert_eq!(error.code(), ErrorCode::PolicyDenied, "{runc}");
            assert_eq!(error.field(), Some("MCP_SANDBOX_REQUIRE_PATCHED_RUNC"));
            assert!(error.to_string().contains(runc), "{error}");
        }
    }

    #[test]
    fn a_daemon_that_lacks_a_wall_is_told_from_one_that_could_be_better() {
        let facts = Facts {
            walls: vec![("seccomp", false), ("memory limits", true)],
            runc: "1.1.5".to_owned(),
            ..Facts::default()
        };
        let found = walls(&facts);
        let missing = |required| -> Vec<&str> {
            let missing = found
                .iter()
                .filter(|it| !it.held && it.required == required);
            missing.map(|it| it.name).collect()
        };
        assert_eq!(missing(true), ["seccomp"]);
        assert_eq!(missing(false), ["user namespace", "runc"]);
    }

    #[tokio::test]
    async fn the_daemon_of_the_tests_builds_every_wall_and_has_its_own_runtimes_only() {
        let daemon = shared().await;
        let walls = daemon.check(None, false).await.unwrap();
        assert!(
            walls.iter().all(|wall| wall.held || !wall.required),
            "{walls:?}"
        );
        assert_eq!(walls.iter().filter(|wall| wall.required).count(), 6);
        daemon.check(Some("runc"), false).await.unwrap();
        let error = daemon
            .check(Some("no-such-runtime"), false)
            .await
            .unwrap_err();
        assert_eq!(error.field(), Some("MCP_SANDBOX_RUNTIME"));
        assert!(
            error.limit().is_some_and(|known| known.contains("runc")),
            "{error}"
        );
    }
}
