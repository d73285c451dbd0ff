//! Which executors there are: those that configuration names, and those that join by themselves.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bootstrap::ServiceUrl;
use domain::CallContext;
use domain::fleet::{ExecutorInfo, Fleet};
use futures::StreamExt as _;
use tokio::time::{Instant, sleep, timeout};

use crate::placement::Placement;

/// How often names are resolved again.
const RESOLVE_EVERY: Duration = Duration::from_secs(10);
/// How long a name may take to resolve.
const RESOLVE_WITHIN: Duration = Duration::from_secs(5);
/// The directory repeats itself at least every five seconds; silence for longer is a broken feed.
const SILENCE: Duration = Duration::from_secs(15);
/// Pause before the directory is asked again.
const RETRY: Duration = Duration::from_secs(1);
const MAX_RETRY: Duration = Duration::from_secs(15);

/// Keeps a [`Placement`] up to date.
pub(crate) struct Follow {
    pub(crate) fixed: Vec<ServiceUrl>,
    pub(crate) fleet: Arc<dyn Fleet>,
    pub(crate) placement: Arc<Placement>,
}

impl Follow {
    /// Runs until it is dropped. While the registry is away, the executors that were known stay.
    pub(crate) async fn run(self) -> Result<(), Infallible> {
        let mut joined: Vec<ExecutorInfo> = Vec::new();
        let mut named = resolve(&self.fixed, Vec::new()).await;
        self.publish(&named, &joined);
        let mut pause = RETRY;
        loop {
            let context = CallContext::service("gateway", SILENCE);
            match self.fleet.watch(&context).await {
                Ok(mut stream) => {
                    let mut resolved_at = Instant::now();
                    while let Ok(Some(Ok(list))) = timeout(SILENCE, stream.next()).await {
                        pause = RETRY;
                        if forget_those_that_left(&mut named, &joined, &list) {
                            // Their names may lead to them for a moment yet.
                            resolved_at = Instant::now();
                        }
                        joined = list;
                        // Before names are looked up, which may take its time: one that is about to end
                        // is told of a moment before.
                        self.publish(&named, &joined);
                        self.placement.directory_read();
                        if resolved_at.elapsed() >= RESOLVE_EVERY {
                            named = resolve(&self.fixed, named).await;
                            resolved_at = Instant::now();
                            self.publish(&named, &joined);
                        }
                    }
                    tracing::debug!("the directory of executors ended; asking again");
                }
                Err(error) => {
                    tracing::debug!(%error, "the directory of executors cannot be read");
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(MAX_RETRY);
            named = resolve(&self.fixed, named).await;
            self.publish(&named, &joined);
        }
    }

    fn publish(&self, named: &[ExecutorInfo], joined: &[ExecutorInfo]) {
        let mut all = joined.to_vec();
        let unknown = |one: &&ExecutorInfo| joined.iter().all(|other| other.address != one.address);
        all.extend(named.iter().filter(unknown).cloned());
        self.placement.set_executors(&all);
    }
}

/// What a name resolved to a while ago is forgotten with the executor that has just left the directory: it
/// ends now, and no call is to find that out. A directory that has lost them all, as one does that was away
/// for longer than their leases, says nothing of them. Says whether there were any.
fn forget_those_that_left(
    named: &mut Vec<ExecutorInfo>,
    before: &[ExecutorInfo],
    now: &[ExecutorInfo],
) -> bool {
    let is_in = |list: &[ExecutorInfo], address: &str| list.iter().any(|it| it.address == address);
    if now.is_empty() {
        return false;
    }
    let count = named.len();
    named.retain(|known| {
        // A setting that is an address means that one, whatever the directory says.
        let is_resolved = known.id != known.address;
        let left = is_in(before, &known.address) && !is_in(now, &known.address);
        !(is_resolved && left)
    });
    named.len() < count
}

/// The executors that configuration names; a name that does not resolve now keeps what it had.
async fn resolve(fixed: &[ServiceUrl], before: Vec<ExecutorInfo>) -> Vec<ExecutorInfo> {
    let mut found = Vec::new();
    for url in fixed {
        let ServiceUrl::Dns { host, port, tls } = url else {
            found.push(named(url.to_string(), url.to_string()));
            continue;
        };
        let origin = url.to_string();
        let lookup = tokio::net::lookup_host((host.as_str(), *port));
        match timeout(RESOLVE_WITHIN, lookup).await {
            Ok(Ok(addresses)) => {
                let scheme = if *tls { "https" } else { "http" };
                let urls = addresses.map(|address| format!("{scheme}://{address}"));
                found.extend(urls.map(|address| named(origin.clone(), address)));
            }
            failed => {
                let reason = match failed {
                    Ok(Err(error)) => error.to_string(),
                    _ => "no answer in time".to_owned(),
                };
                tracing::warn!(url = %origin, reason, "the name of executors does not resolve");
                found.extend(before.iter().filter(|known| known.id == origin).cloned());
            }
        }
    }
    found
}

/// An executor of which only the address is known. Its id is the setting it came from.
fn named(id: String, address: String) -> ExecutorInfo {
    ExecutorInfo {
        id,
        address,
        labels: BTreeMap::new(),
        engines: Vec::new(),
        capacity: 0,
        draining: false,
        version: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_executor_that_leaves_is_forgotten_by_its_name_too() {
        let name = "dns+https://executors:50052";
        let at = |address: &str| named(name.to_owned(), address.to_owned());
        let (one, two) = ("https://10.0.0.1:50052", "https://10.0.0.2:50052");
        let fixed = named(two.to_owned(), two.to_owned());
        let all = vec![at(one), at(two), fixed.clone()];
        // One that only the name knows has not left.
        for (before, now, kept) in [
            (vec![at(one), at(two)], vec![at(one)], vec![at(one), fixed]),
            (vec![at(two)], vec![at(two)], all.clone()),
            (vec![], vec![], all.clone()),
            (vec![at(one), at(two)], vec![], all.clone()),
            (vec![], vec![at(one)], all.clone()),
        ] {
            let mut found = all.clone();
            let forgot = forget_those_that_left(&mut found, &before, &now);
            assert_eq!(forgot, kept.len() < all.len());
            assert_eq!(found, kept);
        }
    }
}
