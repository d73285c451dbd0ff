//! `isolation: tool`: containers that serve call after call of one revision of one tool of one tenant.
//!
//! A realm of its own for each call is no wall, so an administrator has to name the tool. A container
//! serves one call at a time; one in which anything was out of order, or that does not say at once
//! that the world in it is as it was, is destroyed. Calls that overlap have a container each, up to a
//! bound, and beyond it one that serves nobody else.

mod homes;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use domain::error::{Error, ErrorCode, Result};
use domain::runner::Call;
use domain::tool::Isolation;
use futures::FutureExt;
use parking_lot::Mutex;
use telemetry::Metrics;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout, timeout_at};

pub(super) use self::homes::Home;
use self::homes::{Homes, Idle};
use super::deps::Lease;
use super::frames::Piece;
use super::sandbox::{MAX_WAIT, Sandbox};
use crate::Job;
use crate::wire::{FromChild, NO_CALL, Nonce};

/// The setting that names the tools.
const SETTING: &str = "MCP_SANDBOX_SHARED_TOOLS";

/// How long an agent may take until it is ready for the next call.
const AGAIN: Duration = Duration::from_millis(500);

/// How long a call waits for a container that is being made ready, before it takes a new one, whose
/// making takes about as long.
const NEARLY: Duration = Duration::from_millis(250);

/// Most calls of one container.
const MAX_CALLS: u32 = 10_000;

/// How long a container may wait for the next call.
const MAX_IDLE: Duration = Duration::from_secs(60);

/// Largest frame of an agent between two calls.
const MAX_PAYLOAD: usize = 1_024;

/// The containers, and who may share them. Cheap to clone.
#[derive(Clone)]
pub(super) struct Shared(Arc<Inner>);

struct Inner {
    allowed: HashSet<String>,
    homes: Mutex<Homes>,
    /// Told whenever a container became ready, or did not.
    changed: Notify,
    metrics: Arc<Metrics>,
}

/// A call's place in the home of its tool: given back by [`keep`](Tenancy::keep), or when it is
/// dropped.
pub(super) struct Tenancy {
    shared: Shared,
    home: Home,
    packages: Option<Lease>,
    served: u32,
    is_ending: bool,
}

impl Shared {
    /// None yet, for these tools.
    pub(super) fn new(allowed: Vec<String>, metrics: Arc<Metrics>) -> Self {
        Self(Arc::new(Inner {
            allowed: allowed.into_iter().collect(),
            homes: Mutex::default(),
            changed: Notify::new(),
            metrics,
        }))
    }

    /// Whether the tool may be what it wants to be.
    ///
    /// # Errors
    /// `policy_denied` with the setting that an administrator has to change.
    pub(super) fn check(&self, call: &Call) -> Result<()> {
        if call.isolation == Isolation::Call || self.0.allowed.contains(&call.tool) {
            return Ok(());
        }
        let message = "an administrator has not allowed that calls of this tool share a sandbox";
        Err(Error::new(ErrorCode::PolicyDenied, message)
            .with_field("isolation")
            .with_fix(format!(
                "use the isolation `call`, or have `{}` added to {SETTING}",
                call.tool
            )))
    }

    /// A place for this call, and the container that waits there. Nothing for a call that shares with
    /// nobody: it is not of a stored tool, or too many of the tool run already.
    pub(super) async fn enter(
        &self,
        home: Home,
        packages: &mut Option<Lease>,
        deadline: Instant,
    ) -> (Option<Tenancy>, Option<Sandbox>) {
        let soon = deadline.min(Instant::now() + NEARLY);
        let found = loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let (found, gone, nearly) = {
                let mut homes = self.0.homes.lock();
                let mut gone = Vec::new();
                let found = loop {
                    let Some(mut idle) = homes.take(&home) else {
                        break None;
                    };
                    if is_fit(&mut idle) {
                        break Some(idle);
                    }
                    gone.push(idle);
                };
                (found, gone, homes.is_ending(&home))
            };
            drop(gone);
            let wait = found.is_none() && nearly;
            if !wait || timeout_at(soon, changed).await.is_err() {
                break found;
            }
        };
        let kind = if found.is_some() { "kept" } else { "fresh" };
        self.0.metrics.shared_calls.with_label_values(&[kind]).inc();
        let is_there = found.is_some();
        if !self.0.homes.lock().begin(&home, is_there) {
            return (None, None);
        }
        let (sandbox, served) = found.map_or((None, 0), |idle| (Some(idle.sandbox), idle.served));
        let tenancy = Tenancy {
            shared: self.clone(),
            home,
            packages: packages.take(),
            served,
            is_ending: false,
        };
        (Some(tenancy), sandbox)
    }

    /// Destroys what has waited too long.
    pub(super) fn tend(&self) {
        let gone = self.0.homes.lock().expire(Instant::now(), MAX_IDLE);
        drop(gone);
    }

    /// Destroys what waits, and keeps nothing more.
    pub(super) fn close(&self) {
        let gone = self.0.homes.lock().close();
        drop(gone);
    }
}

/// Whether it waits silently still, and for not too long.
fn is_fit(idle: &mut Idle) -> bool {
    let is_young = idle.sandbox.age() < MAX_WAIT;
    let said = idle.sandbox.frames.next(&NO_CALL, MAX_PAYLOAD);
    is_young && said.now_or_never().is_none()
}

impl Tenancy {
    /// The answer is known: what comes now is the making ready for the next call, for which it is worth
    /// to wait.
    pub(super) fn ending(&mut self) {
        self.is_ending = true;
        self.shared.0.homes.lock().ending(&self.home);
    }

    /// Keeps the container for the next call once it says that it is ready; gives it back when it is to
    /// be destroyed.
    pub(super) async fn keep(mut self, mut sandbox: Sandbox, nonce: &Nonce) -> Option<Sandbox> {
        let served = self.served.saturating_add(1);
        let is_ready = matches!(timeout(AGAIN, ready(&mut sandbox, nonce)).await, Ok(true));
        if !is_ready || served >= MAX_CALLS || sandbox.age() >= MAX_WAIT {
            tracing::debug!(container = %sandbox.id(), is_ready, served, "a shared sandbox is done");
            return Some(sandbox);
        }
        sandbox.is_kept = true;
        let idle = Idle {
            home: self.home.clone(),
            sandbox,
            _packages: self.packages.take(),
            served,
            since: Instant::now(),
        };
        let gone = self.shared.0.homes.lock().put(idle);
        drop(gone);
        None
    }
}

impl Drop for Tenancy {
    fn drop(&mut self) {
        let inner = &self.shared.0;
        inner.homes.lock().end(&self.home, self.is_ending);
        inner.changed.notify_waiters();
    }
}

/// Waits for the word of the agent, under the call's own nonce, which nobody else knows.
async fn ready(sandbox: &mut Sandbox, nonce: &Nonce) -> bool {
    loop {
        match sandbox.frames.next(nonce, MAX_PAYLOAD).await {
            Ok(Some(Piece::Frame(FromChild::Ready, _))) => return true,
            // What children wrote last.
            Ok(Some(Piece::Text(..))) => {}
            Ok(Some(Piece::Frame(..)) | None) | Err(_) => return false,
        }
    }
}

/// The home of a call, if it has one.
pub(super) fn home_of(job: &Job, key: &super::pool::Key) -> Option<Home> {
    let call = &job.call;
    let revision = call
        .revision
        .filter(|_| call.isolation == Isolation::Tool)?;
    Some(Home {
        tenant: job.tenant.clone(),
        tool: call.tool.clone(),
        revision,
        code: call.code_digest,
        key: key.clone(),
    })
}
