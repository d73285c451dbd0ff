//! Which containers wait for which tool: the state, without its clock and its waiting.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use domain::CodeDigest;
use domain::id::{Revision, TenantId};
use tokio::time::Instant;

use crate::docker::deps::Lease;
use crate::docker::pool::Key;
use crate::docker::sandbox::Sandbox;

/// Most containers that wait, of all tools together.
const MAX_WAITING: usize = 16;

/// Most containers of one tool at the same time.
const MAX_OF_ONE: usize = 4;

/// What calls have to have in common to share a container.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::docker) struct Home {
    /// Whose calls.
    pub(super) tenant: TenantId,
    /// The tool's name.
    pub(super) tool: String,
    /// Its revision.
    pub(super) revision: Revision,
    /// SHA-256 of the code.
    pub(super) code: CodeDigest,
    /// The container: image, language, limits, dependencies.
    pub(super) key: Key,
}

/// A container that waits for the next call.
#[derive(Debug)]
pub(super) struct Idle<S = Sandbox, P = Lease> {
    pub(super) home: Home,
    pub(super) sandbox: S,
    /// What it has mounted, so that it is not removed.
    pub(super) _packages: Option<P>,
    /// Calls that it has served.
    pub(super) served: u32,
    pub(super) since: Instant,
}

/// How many of a tool's containers are in use.
#[derive(Debug, Default, Clone, Copy)]
struct Used {
    /// With a call.
    busy: usize,
    /// Those of them whose call has its answer.
    ending: usize,
}

/// Every home.
#[derive(Debug)]
pub(super) struct Homes<S = Sandbox, P = Lease> {
    /// The one that waits longest is the first.
    idle: VecDeque<Idle<S, P>>,
    used: HashMap<Home, Used>,
    closed: bool,
}

impl<S, P> Default for Homes<S, P> {
    fn default() -> Self {
        Self {
            idle: VecDeque::new(),
            used: HashMap::new(),
            closed: false,
        }
    }
}

impl<S, P> Homes<S, P> {
    /// The container that was used last: the others may then go.
    pub(super) fn take(&mut self, home: &Home) -> Option<Idle<S, P>> {
        let at = self.idle.iter().rposition(|idle| idle.home == *home)?;
        self.idle.remove(at)
    }

    /// Whether a container is about to become free.
    pub(super) fn is_ending(&self, home: &Home) -> bool {
        self.used.get(home).is_some_and(|used| used.ending > 0)
    }

    /// Counts a call in; false when there are too many for one more container.
    pub(super) fn begin(&mut self, home: &Home, is_there: bool) -> bool {
        let waiting = self.idle.iter().filter(|idle| idle.home == *home).count();
        let busy = self.used.get(home).map_or(0, |used| used.busy);
        if self.closed || (!is_there && waiting + busy >= MAX_OF_ONE) {
            return false;
        }
        self.used.entry(home.clone()).or_default().busy += 1;
        true
    }

    /// A call has its answer.
    pub(super) fn ending(&mut self, home: &Home) {
        if let Some(used) = self.used.get_mut(home) {
            used.ending += 1;
        }
    }

    /// Counts a call out.
    pub(super) fn end(&mut self, home: &Home, was_ending: bool) {
        if let Some(used) = self.used.get_mut(home) {
            used.busy = used.busy.saturating_sub(1);
            used.ending = used.ending.saturating_sub(usize::from(was_ending));
            if used.busy == 0 {
                self.used.remove(home);
            }
        }
    }

    /// Keeps a container; gives back what is to be destroyed for it.
    pub(super) fn put(&mut self, idle: Idle<S, P>) -> Option<Idle<S, P>> {
        if self.closed {
            return Some(idle);
        }
        self.idle.push_back(idle);
        if self.idle.len() > MAX_WAITING {
            return self.idle.pop_front();
        }
        None
    }

    /// Takes out what has waited for longer than this.
    pub(super) fn expire(&mut self, now: Instant, longest: Duration) -> Vec<Idle<S, P>> {
        let is_old = |idle: &Idle<S, P>| now.saturating_duration_since(idle.since) > longest;
        let old = self.idle.iter().take_while(|idle| is_old(idle)).count();
        self.idle.drain(..old).collect()
    }

    /// Takes out everything, for good.
    pub(super) fn close(&mut self) -> Vec<Idle<S, P>> {
        self.closed = true;
        self.idle.drain(..).collect()
    }
}

#[cfg(test)]
mod tests;
