//! Whose a container is. It is written on the container itself, so that nothing has to be remembered
//! anywhere else: what was made and not recorded is found all the same.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::time::Duration;

use uuid::Uuid;

const SANDBOX: &str = "dynamic-mcp.sandbox";
const OWNER: &str = "dynamic-mcp.owner";
const EPOCH: &str = "dynamic-mcp.epoch";
const MAX_AGE: &str = "dynamic-mcp.max-age-seconds";

/// How all our containers are named. An image can bring labels along, a name it cannot: only what
/// has both is ours.
const PREFIX: &str = "dynamic-mcp-sandbox-";

/// A name that no container has.
pub(crate) fn new_name() -> String {
    format!("{PREFIX}{}", Uuid::new_v4().simple())
}

/// What is written on a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Labels {
    /// The executor: the same after a restart, another one on another machine or in another pod.
    pub(crate) owner: String,
    /// The life of the executor that made it.
    pub(crate) epoch: Epoch,
    /// After what time nobody can need it any more, whoever made it.
    pub(crate) max_age: Duration,
}

impl Labels {
    /// What the daemon is asked for to list them.
    pub(crate) const FILTER: &str = "dynamic-mcp.sandbox=1";

    /// The same for those of one executor; both have to be asked for.
    pub(crate) fn filter_of(owner: &str) -> String {
        format!("{OWNER}={owner}")
    }

    /// As Docker takes them.
    pub(crate) fn map(&self) -> HashMap<String, String> {
        let max_age = self.max_age.as_secs().to_string();
        [
            (SANDBOX, "1"),
            (OWNER, &self.owner),
            (EPOCH, &self.epoch.0),
            (MAX_AGE, &max_age),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
    }

    /// Of a container of ours; nothing when it is not one: then it is left alone for ever.
    pub(crate) fn read(name: &str, labels: &HashMap<String, String>) -> Option<Self> {
        let unique = name.strip_prefix(PREFIX)?;
        Uuid::try_parse(unique).ok()?;
        if labels.get(SANDBOX)? != "1" {
            return None;
        }
        Some(Self {
            owner: labels.get(OWNER)?.clone(),
            epoch: Epoch(labels.get(EPOCH)?.clone()),
            max_age: Duration::from_secs(labels.get(MAX_AGE)?.parse().ok()?),
        })
    }
}

/// One life of an executor: `boot-pid-start-number`. From the first three it can be told whether that
/// process lives, also when its id was given to another one since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Epoch(String);

impl Epoch {
    /// Of this process, and of this one of its reapers.
    pub(crate) fn new() -> Self {
        Self::of(std::process::id())
    }

    /// Of a process of this machine.
    pub(crate) fn of(pid: u32) -> Self {
        let start = started(pid).unwrap_or_default();
        let number = Uuid::new_v4().simple().to_string();
        Self(format!("{}-{pid}-{start}-{}", boot(), &number[..12]))
    }

    /// Whether the process that it names runs on this machine now.
    pub(crate) fn lives(&self) -> bool {
        let mut parts = self.0.split('-');
        let (Some(its_boot), Some(pid), Some(start)) = (parts.next(), parts.next(), parts.next())
        else {
            return false;
        };
        let (Ok(pid), Ok(start)) = (pid.parse(), start.parse::<u64>()) else {
            return false;
        };
        its_boot == boot() && started(pid) == Some(start)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// The kernel's id of this boot, without dashes; empty where there is none, which makes no epoch of
/// another life look alive.
fn boot() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.chars().filter(char::is_ascii_hexdigit).collect()
}

/// When a process started, in the kernel's ticks since boot; nothing when there is none.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program is in parentheses and may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn labels() -> Labels {
        Labels {
            owner: "an executor".into(),
            epoch: Epoch::new(),
            max_age: Duration::from_secs(77),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let written = labels();
        assert_eq!(Labels::read(&new_name(), &written.map()), Some(written));
    }

    #[test]
    fn what_is_not_wholly_ours_is_not_ours() {
        let whole = labels().map();
        for missing in whole.keys() {
            let mut part = whole.clone();
            part.remove(missing);
            assert_eq!(Labels::read(&new_name(), &part), None, "without {missing}");
        }
        for name in ["dynamic-mcp-sandbox-1", "dynamic-mcp-gateway", "", "node"] {
            assert_eq!(Labels::read(name, &whole), None, "{name}");
        }
        let mut other = whole;
        other.insert(MAX_AGE.into(), "never".into());
        assert_eq!(Labels::read(&new_name(), &other), None);
    }

    #[test]
    fn an_epoch_lives_as_long_as_its_process() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let epoch = Epoch::of(child.id());
        assert!(epoch.lives());
        child.kill().unwrap();
        // Not yet waited for: a zombie does not live either.
        let gone = |epoch: &Epoch| {
            (0..500).any(|_| {
                std::thread::sleep(Duration::from_millis(2));
                !epoch.lives()
            })
        };
        assert!(gone(&epoch));
        child.wait().unwrap();
        assert!(!epoch.lives());
        assert!(Epoch::new().lives());
    }

    #[test]
    fn fault_25_a_process_id_that_was_given_out_again_does_not_keep_an_epoch_alive() {
        let now = Epoch::new();
        let parts: Vec<&str> = now.0.split('-').collect();
        let earlier = |start: &str| Epoch([parts[0], parts[1], start, parts[3]].join("-"));
        assert!(earlier(parts[2]).lives());
        assert!(!earlier("12").lives());
        let other_boot = Epoch(
            [
                "00000000000000000000000000000000",
                parts[1],
                parts[2],
                parts[3],
            ]
            .join("-"),
        );
        assert!(!other_boot.lives());
        for odd in ["", "-", "a-b-c-d", "1"] {
            assert!(!Epoch(odd.to_owned()).lives(), "{odd}");
        }
    }
}
