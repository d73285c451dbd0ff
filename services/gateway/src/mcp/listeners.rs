//! How many open subscriptions one caller may have.

use std::collections::HashMap;
use std::sync::Arc;

use domain::TenantId;
use domain::principal::Principal;
use parking_lot::Mutex;

type Caller = (TenantId, String);

/// Counts open subscriptions by caller. Its size is bounded by the connections of the server.
#[derive(Debug, Clone, Default)]
pub(crate) struct Listeners(Arc<Mutex<HashMap<Caller, usize>>>);

/// One open subscription; gives its place back when it is dropped.
#[derive(Debug)]
pub(crate) struct Listening {
    listeners: Listeners,
    caller: Caller,
}

impl Listeners {
    /// Most open subscriptions of one caller.
    pub(crate) const MAX_PER_CALLER: usize = 100;

    /// A place for one more, unless the caller has as many as it may.
    pub(crate) fn admit(&self, principal: &Principal) -> Option<Listening> {
        let caller = (principal.tenant.clone(), principal.subject.clone());
        let mut open = self.0.lock();
        let count = open.entry(caller.clone()).or_default();
        if *count >= Self::MAX_PER_CALLER {
            return None;
        }
        *count += 1;
        Some(Listening {
            listeners: self.clone(),
            caller,
        })
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut open = self.listeners.0.lock();
        if let Some(count) = open.get_mut(&self.caller) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_by_caller_and_given_back() {
        let listeners = Listeners::default();
        let caller = Principal::anonymous(&[]);
        let mut held: Vec<_> = (0..Listeners::MAX_PER_CALLER)
            .map(|_| listeners.admit(&caller).unwrap())
            .collect();
        assert!(listeners.admit(&caller).is_none());
        assert!(listeners.admit(&Principal::service("other")).is_some());
        held.pop();
        assert!(listeners.admit(&caller).is_some());
        drop(held);
        assert!(listeners.0.lock().is_empty());
    }
}
