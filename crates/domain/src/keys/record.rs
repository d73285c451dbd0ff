//! A key as it is kept, without what it is recognised by.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::{KeyPrefix, NewKey, Rotation};
use crate::error::{Error, ErrorCode, Result};
use crate::id::{CatalogVersion, TenantId};
use crate::principal::Principal;

/// What is known of a key. Times are in whole milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKeyRecord {
    /// Its public part, unique among all tenants' keys.
    pub prefix: KeyPrefix,
    /// Whose it is: its holder acts within this tenant.
    pub tenant: TenantId,
    /// What people call it.
    pub name: String,
    /// As whom its holder acts.
    pub subject: String,
    /// What it opens.
    pub scopes: BTreeSet<String>,
    /// The role that the scopes were taken from when it was made. A role that changes later changes
    /// no key.
    pub role: Option<String>,
    /// The tier of limits that it belongs to.
    pub tier: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Subject of who made it.
    pub created_by: String,
    /// When it stops working.
    pub expires_at: Option<Timestamp>,
    /// When it was last used, as far as gateways have told.
    pub last_used_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// The key that takes its place.
    pub replaced_by: Option<KeyPrefix>,
    /// When its overlap with that key ends.
    pub overlap_until: Option<Timestamp>,
    /// Version of its last change; zero before the store has given it one.
    pub version: CatalogVersion,
}

/// Whether a key works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// It works.
    Active,
    /// It works until its overlap ends.
    Rotated,
    /// It has expired, or its overlap has ended.
    Expired,
    /// It was revoked.
    Revoked,
}

impl KeyState {
    /// The word for people and programs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            KeyState::Active => "active",
            KeyState::Rotated => "rotated",
            KeyState::Expired => "expired",
            KeyState::Revoked => "revoked",
        }
    }

    /// Whether the key lets its holder in.
    #[must_use]
    pub const fn works(self) -> bool {
        matches!(self, KeyState::Active | KeyState::Rotated)
    }
}

impl ApiKeyRecord {
    /// How the subject of a key begins that names none.
    pub const SUBJECT: &'static str = "key:";

    /// A key that is made now.
    #[must_use]
    pub fn made(key: NewKey, tenant: TenantId, by: &str, now: Timestamp) -> Self {
        let own = || format!("{}{}", Self::SUBJECT, key.prefix);
        Self {
            prefix: key.prefix,
            tenant,
            subject: key.subject.clone().unwrap_or_else(own),
            name: key.name,
            scopes: key.scopes,
            role: key.role,
            tier: key.tier,
            created_at: millis(now),
            created_by: by.to_owned(),
            expires_at: key.expires_at.map(millis),
            last_used_at: None,
            revoked_at: None,
            replaced_by: None,
            overlap_until: None,
            version: CatalogVersion::default(),
        }
    }

    /// The key that takes this one's place, and this one with its end noted.
    ///
    /// # Errors
    /// `policy_denied` when it does not work any more or was rotated before.
    pub fn rotated(self, rotation: &Rotation, by: &str, now: Timestamp) -> Result<(Self, Self)> {
        let state = self.state(now);
        if state != KeyState::Active {
            let what = format!("the key {} is {}", self.prefix, state.as_str());
            return Err(Error::new(ErrorCode::PolicyDenied, what)
                .with_field("prefix")
                .with_fix("make a new key, or rotate the one that took its place"));
        }
        let new = Self {
            prefix: rotation.prefix,
            created_at: millis(now),
            created_by: by.to_owned(),
            expires_at: rotation.expires_at.map(millis),
            last_used_at: None,
            ..self.clone()
        };
        let overlap = SignedDuration::from_secs(rotation.overlap_seconds);
        let end = now.checked_add(overlap).map_err(Error::internal)?;
        let old = Self {
            replaced_by: Some(rotation.prefix),
            overlap_until: Some(millis(end)),
            ..self
        };
        Ok((old, new))
    }

    /// Whether it works at this moment.
    #[must_use]
    pub fn state(&self, now: Timestamp) -> KeyState {
        if self.revoked_at.is_some() {
            KeyState::Revoked
        } else if self.ends_at().is_some_and(|end| end <= now) {
            KeyState::Expired
        } else if self.replaced_by.is_some() {
            KeyState::Rotated
        } else {
            KeyState::Active
        }
    }

    /// When it stops working by itself.
    #[must_use]
    pub fn ends_at(&self) -> Option<Timestamp> {
        match (self.expires_at, self.overlap_until) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (end, None) | (None, end) => end,
        }
    }

    /// Whoever shows it.
    #[must_use]
    pub fn principal(&self) -> Principal {
        Principal {
            tenant: self.tenant.clone(),
            subject: self.subject.clone(),
            client_id: Some(format!("{}{}", Self::SUBJECT, self.prefix)),
            scopes: self.scopes.clone(),
            tier: self.tier.clone(),
        }
    }
}

/// The moment in whole milliseconds, as stores keep it.
fn millis(moment: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(moment.as_millisecond()).unwrap_or(moment)
}
