//! Who holds how much of something scarce.

use std::collections::HashMap;
use std::time::Duration;

use domain::id::TenantId;
use tokio::time::Instant;

/// How long a tenant that holds nothing counts as being there after it was seen.
const PRESENT: Duration = Duration::from_secs(30);

/// Of how many one is kept for tenants that hold little.
const PART: usize = 8;

/// Holdings by tenant. Tenants that hold nothing and were not seen for half a minute are forgotten.
#[derive(Debug, Default)]
pub struct Shares {
    tenants: HashMap<TenantId, Share>,
    held: usize,
}

#[derive(Debug)]
struct Share {
    held: usize,
    seen: Instant,
}

impl Shares {
    /// How many of `size` are kept, while several tenants are there, for those that hold little: an
    /// eighth, at least one; none where there is only one.
    #[must_use]
    pub fn reserve(size: usize) -> usize {
        if size < 2 { 0 } else { (size / PART).max(1) }
    }

    /// A tenant wants something.
    pub fn arrived(&mut self, tenant: &TenantId, now: Instant) {
        let present = |share: &Share| share.held > 0 || now - share.seen < PRESENT;
        self.tenants.retain(|_, share| present(share));
        self.tenants
            .entry(tenant.clone())
            .or_insert(Share { held: 0, seen: now })
            .seen = now;
    }

    /// It got one.
    pub fn took(&mut self, tenant: &TenantId, now: Instant) {
        let share = self.tenants.entry(tenant.clone());
        share.or_insert(Share { held: 0, seen: now }).held += 1;
        self.held += 1;
    }

    /// It has one less.
    pub fn gave_back(&mut self, tenant: &TenantId) {
        if let Some(share) = self.tenants.get_mut(tenant)
            && share.held > 0
        {
            share.held -= 1;
            self.held -= 1;
        }
    }

    /// How many are held by all.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held
    }

    /// Whether several tenants are there.
    #[must_use]
    pub fn are_several(&self, now: Instant) -> bool {
        self.present(now) > 1
    }

    /// Whether it holds no more than the average of those that are there; so for a tenant alone.
    #[must_use]
    pub fn is_light(&self, tenant: &TenantId, now: Instant) -> bool {
        let own = self.tenants.get(tenant).map_or(0, |share| share.held);
        own * self.present(now).max(1) <= self.held
    }

    fn present(&self, now: Instant) -> usize {
        let all = self.tenants.values();
        all.filter(|share| share.held > 0 || now - share.seen < PRESENT)
            .count()
    }
}
