//! Tokens that were verified before: a caller sends the same one with every request.

use std::time::Duration;

use aws_lc_rs::digest;
use moka::sync::Cache;

use super::Accepted;

/// Most memory for tokens that were seen, in bytes.
const BYTES: u64 = 8 << 20;
/// After this time a token is verified anew, whatever it says.
const LONGEST: Duration = Duration::from_secs(3600);

/// The SHA-256 of a token: the token itself is not kept.
pub(crate) type Fingerprint = [u8; 32];

/// Verified tokens by their SHA-256; the least recently used go first.
pub(crate) struct Seen(Cache<Fingerprint, Entry>);

#[derive(Clone)]
struct Entry {
    accepted: Accepted,
    /// Of the key set that it was verified with.
    generation: u64,
}

impl Seen {
    pub(crate) fn new() -> Self {
        let weigh = |_: &Fingerprint, entry: &Entry| {
            let principal = &entry.accepted.principal;
            let scopes: usize = principal.scopes.iter().map(|scope| scope.len() + 64).sum();
            u32::try_from(512 + principal.subject.len() + scopes).unwrap_or(u32::MAX)
        };
        let cache = Cache::builder()
            .weigher(weigh)
            .max_capacity(BYTES)
            .time_to_live(LONGEST);
        Self(cache.build())
    }

    pub(crate) fn fingerprint(token: &str) -> Fingerprint {
        let digest = digest::digest(&digest::SHA256, token.as_bytes());
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(digest.as_ref());
        fingerprint
    }

    /// What a token is good for, if it was verified with the keys that are in force now and has not
    /// expired since.
    pub(crate) fn get(&self, of: &Fingerprint, generation: u64, now: f64) -> Option<Accepted> {
        let entry = self.0.get(of)?;
        if entry.generation == generation && entry.accepted.expires > now {
            return Some(entry.accepted);
        }
        self.0.invalidate(of);
        None
    }

    pub(crate) fn put(&self, of: Fingerprint, generation: u64, accepted: Accepted) {
        let entry = Entry {
            accepted,
            generation,
        };
        self.0.insert(of, entry);
    }
}
