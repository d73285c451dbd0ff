//! Who else may talk to the daemon.

use super::daemon::of;
use crate::doctor::facts::{Clear, Facts};
use crate::doctor::finding::{State, Verdict};

pub(super) fn access(facts: &Facts) -> Vec<Verdict> {
    of(facts, |daemon| {
        let at = &daemon.address;
        let host = at.strip_prefix("tcp://");
        match (host, facts.host.socket_for_all) {
            (None, Some(true)) => Verdict::bad(
                State::Weak,
                format!("{at} is open to every user of this machine"),
                "chmod 660 the socket and give it to a group",
            ),
            (None, _) => Verdict::ok(at.clone()),
            (Some(host), _) if host.ends_with(" with TLS") => Verdict::ok(at.clone()),
            (Some(host), _) if is_loopback(host) => Verdict::bad(
                State::Weak,
                format!("{at} is open to every user of this machine"),
                "use the Unix socket, or TLS with client certificates",
            ),
            (Some(_), _) => in_the_clear(at, daemon.clear.as_ref()),
        }
    })
}

/// Whether a `host:port` is this machine's own.
pub(in crate::doctor) fn is_loopback(host: &str) -> bool {
    let local = ["127.0.0.1", "localhost", "[::1]"];
    local.iter().any(|it| host.starts_with(it))
}

/// Without TLS whoever is in between gets what the executor may ask for: the machine, or behind a filter
/// sandboxes.
fn in_the_clear(at: &str, clear: Option<&Clear>) -> Verdict {
    let tls = "set DOCKER_TLS_VERIFY and DOCKER_CERT_PATH, and the daemon's --tlsverify";
    let open = format!("{at} is spoken to without TLS");
    let Some(Clear { private, filter }) = clear else {
        return Verdict::bad(
            State::Fail,
            format!(
                "{open}, and it could not be found out whether a filter stands there: without one whoever is in \
                 between is root there"
            ),
            tls,
        );
    };
    let asked = filter.refused.len() + filter.passed.len();
    let (found, fix) = match (filter.refused.as_slice(), filter.passed.as_slice()) {
        ([], _) => (format!("{open}: whoever is in between is root there"), tls),
        (_, []) if !filter.sandboxes => (
            format!("{open}, and a filter there refuses sandboxes too"),
            "let the filter pass what deploy/compose/docker-filter passes",
        ),
        (_, []) if *private => {
            return Verdict::bad(
                State::Advice,
                format!(
                    "{open}, on a private network and through a filter: it refused all {asked} things \
                     that would give the machine away, so whoever is in between gets sandboxes"
                ),
                "see that only executors and the filter are in that network; on the way to another \
                 machine TLS",
            );
        }
        (_, []) => (
            format!(
                "{open} at public addresses: a filter keeps the machine, but whoever is in between \
                 reads and changes what runs in sandboxes"
            ),
            tls,
        ),
        (_, passed) => (
            format!(
                "{open}, and the filter there lets through: {}",
                passed.join(", ")
            ),
            "let the filter refuse what deploy/compose/docker-filter refuses, or speak TLS to a daemon \
             that has nothing else",
        ),
    };
    Verdict::bad(State::Fail, found, fix)
}
