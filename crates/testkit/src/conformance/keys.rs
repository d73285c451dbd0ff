//! The suite of the port [`Keys`].
//!
//! A crate runs it with one line, which makes a test of every case:
//! `testkit::keys_conformance!(World);` where `World` implements [`KeyPorts`].

#![allow(
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "the cases are tests: a panic is how they fail"
)]

mod feed;
mod life;

use std::any::Any;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use domain::keys::{KeyDigest, KeyPrefix, Keys, NewKey, Rotation};
use domain::{CallContext, ErrorCode, Principal, RequestId, Result, Scope, TenantId};

pub use self::feed::*;
pub use self::life::*;

/// How many keys a tenant and all may have that work, and how many ended ones are kept of a tenant.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Of one tenant.
    pub own: u32,
    /// Of all.
    pub everybodys: u32,
    /// Ended ones of one tenant.
    pub ended: u32,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            own: 1_000,
            everybodys: 100_000,
            ended: 1_000,
        }
    }
}

/// Keys under test.
pub struct Subject {
    /// The port.
    pub keys: Arc<dyn Keys>,
    /// Another way to the same keys: a second replica, or the same one again.
    pub other: Arc<dyn Keys>,
    /// What has to live as long: directories, servers.
    pub keep: Box<dyn Any + Send + Sync>,
}

/// Makes stores of keys.
#[async_trait]
pub trait KeyPorts: Send + Sync {
    /// A new empty one.
    async fn make(&self, bounds: Bounds) -> Subject;
}

/// Makes one `#[tokio::test]` of each case, in the module where it stands.
#[macro_export]
macro_rules! keys_conformance {
    ($ports:expr) => {
        $crate::keys_conformance! { @each $ports;
            a_key_is_kept_and_listed,
            what_a_key_may_not_say_is_refused,
            a_prefix_is_taken_once_by_any_tenant,
            a_revoked_key_stays_revoked,
            a_rotated_key_hands_on_what_it_is,
            a_key_is_rotated_once_and_only_while_it_works,
            of_many_rotations_at_once_one_is_made,
            tenants_do_not_reach_each_others_keys,
            every_method_needs_its_right,
            the_bounds_hold,
            the_last_use_only_goes_forward,
            the_feed_starts_with_every_tenants_keys,
            the_feed_goes_on_with_every_change,
            the_feed_starts_again_for_a_foreign_version,
            the_feed_starts_again_after_keys_were_forgotten,
            uses_are_no_changes,
        }
    };
    (@each $ports:expr; $($case:ident,)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                $crate::conformance::keys::$case(&$ports).await;
            }
        )+
    };
}

const BUDGET: Duration = Duration::from_secs(60);

/// A caller of a tenant with exactly these scopes.
fn caller(tenant: &str, scopes: &[Scope]) -> CallContext {
    let principal = Principal {
        tenant: TenantId::parse(tenant).unwrap(),
        subject: "conformance".to_owned(),
        client_id: None,
        scopes: scopes.iter().map(|of| of.as_str().to_owned()).collect(),
        tier: None,
    };
    CallContext::new(Arc::new(principal), RequestId::random(), BUDGET)
}

fn admin() -> CallContext {
    caller("default", &[Scope::Admin])
}

fn service() -> CallContext {
    CallContext::service("gateway", BUDGET)
}

/// A prefix that no other test of this process has.
fn prefix() -> KeyPrefix {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    KeyPrefix::of(NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes())
}

fn new_key(name: &str) -> NewKey {
    let prefix = prefix();
    let mut digest = [7; 32];
    for (at, byte) in prefix.to_string().bytes().enumerate() {
        digest[at] = byte;
    }
    NewKey {
        prefix,
        digest: KeyDigest::of(digest),
        name: name.to_owned(),
        subject: None,
        scopes: BTreeSet::from(["mcp:invoke".to_owned()]),
        role: None,
        tier: None,
        expires_at: None,
    }
}

fn rotation() -> Rotation {
    let NewKey { prefix, digest, .. } = new_key("rotation");
    Rotation {
        prefix,
        digest,
        overlap_seconds: 3_600,
        expires_at: None,
    }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T>, code: ErrorCode) -> domain::Error {
    let error = result.unwrap_err();
    assert_eq!(error.code(), code, "{error}");
    error
}
