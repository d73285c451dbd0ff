//! The handles of sessions: made and checked here, and nowhere else.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use domain::error::{Error, Result};
use domain::principal::Principal;
use domain::session::{self, SessionId};

/// Bytes that tell one life of an executor from another.
const EPOCH: usize = 8;
/// Bytes that tell one session from another.
const NUMBER: usize = 16;
/// Bytes of the signature: HMAC-SHA256, cut to 128 bits.
const TAG: usize = 16;

/// What names a session within one life of an executor; random.
pub(super) type Number = [u8; NUMBER];

/// Makes handles and knows its own again. The key lives as long as this value, so that no handle
/// outlives the sessions that it could mean.
pub(super) struct Handles {
    executor: String,
    epoch: [u8; EPOCH],
    key: hmac::Key,
    random: SystemRandom,
}

impl Handles {
    /// Handles of the executor of this name, for one life of it.
    ///
    /// # Errors
    /// `internal` when the machine has no random numbers.
    pub(super) fn new(executor: &str) -> Result<Self> {
        let random = SystemRandom::new();
        let mut epoch = [0; EPOCH];
        random.fill(&mut epoch).map_err(no_random)?;
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &random).map_err(no_random)?;
        Ok(Self {
            executor: executor.to_owned(),
            epoch,
            key,
            random,
        })
    }

    /// A new number and the handle that says it, good for this caller only.
    ///
    /// # Errors
    /// `internal` when the machine has no random numbers.
    pub(super) fn make(&self, owner: &Principal) -> Result<(Number, SessionId)> {
        let mut number = [0; NUMBER];
        self.random.fill(&mut number).map_err(no_random)?;
        let tag = self.sign(&number, owner);
        let own = [&self.epoch[..], &number, &tag.as_ref()[..TAG]].concat();
        Ok((number, SessionId::new(&self.executor, &own)?))
    }

    /// The number that a handle says, when it was made here and for this caller.
    ///
    /// # Errors
    /// `not_found`: not a handle of this caller's. Of an earlier life of this executor it says so.
    pub(super) fn check(&self, handle: &SessionId, caller: &Principal) -> Result<Number> {
        let own = handle.sealed();
        let (Some((epoch, rest)), true) = (
            own.split_first_chunk::<EPOCH>(),
            own.len() == EPOCH + NUMBER + TAG,
        ) else {
            return Err(session::unknown());
        };
        if handle.executor() != self.executor || *epoch != self.epoch {
            return Err(if same_place(&handle.executor(), &self.executor) {
                lost()
            } else {
                session::unknown()
            });
        }
        let Some((number, tag)) = rest.split_first_chunk::<NUMBER>() else {
            return Err(session::unknown());
        };
        let expected = self.sign(number, caller);
        verify_slices_are_equal(tag, &expected.as_ref()[..TAG]).map_err(|_| session::unknown())?;
        Ok(*number)
    }

    /// Every field with its length, so that no two callers come to the same bytes.
    fn sign(&self, number: &Number, owner: &Principal) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.key);
        for field in [
            self.executor.as_bytes(),
            &self.epoch,
            number,
            owner.tenant.as_str().as_bytes(),
            owner.subject.as_bytes(),
        ] {
            context.update(&u64::try_from(field.len()).unwrap_or(u64::MAX).to_be_bytes());
            context.update(field);
        }
        context.sign()
    }
}

/// Whether two names are those of two lives of one executor: a name ends with what tells the lives
/// apart.
fn same_place(one: &str, other: &str) -> bool {
    let place = |name: &str| name.rsplit_once('-').map(|(place, _)| place.to_owned());
    one == other || place(one).is_some_and(|place_of_one| place(other) == Some(place_of_one))
}

/// The answer to a handle of an earlier life of this executor: nothing of that life is left.
fn lost() -> Error {
    Error::not_found(
        "the executor of this sandbox session has restarted; the session and its files are gone",
    )
    .with_fix("make a new one with sandbox.initialize")
}

fn no_random(_: aws_lc_rs::error::Unspecified) -> Error {
    Error::internal("the machine gives no random numbers")
}

#[cfg(test)]
mod tests {
    use domain::error::ErrorCode;
    use domain::{Scope, TenantId};

    use super::*;

    fn caller(tenant: &str, subject: &str) -> Principal {
        let mut principal = Principal::anonymous(&[Scope::Sandbox]);
        principal.tenant = TenantId::parse(tenant).unwrap();
        principal.subject = subject.to_owned();
        principal
    }

    fn refusal(handles: &Handles, handle: &SessionId, caller: &Principal) -> String {
        let refused = handles.check(handle, caller).unwrap_err();
        assert_eq!(refused.code(), ErrorCode::NotFound);
        refused.message().to_owned()
    }

    #[test]
    fn a_handle_is_good_for_its_owner_alone() {
        let handles = Handles::new("executor-a-1").unwrap();
        let jane = caller("one", "jane");
        let (number, handle) = handles.make(&jane).unwrap();
        assert_eq!(handle.executor(), "executor-a-1");
        let again = SessionId::parse(handle.as_str()).unwrap();
        assert_eq!(handles.check(&again, &jane).unwrap(), number);
        // An administrator's scope makes nobody another.
        let mut elevated = jane.clone();
        elevated.scopes.insert("mcp:admin".to_owned());
        assert_eq!(handles.check(&handle, &elevated).unwrap(), number);
        let plain = session::unknown().message().to_owned();
        for other in [
            caller("one", "june"),
            caller("two", "jane"),
            caller("onej", "ane"),
            caller("one", ""),
        ] {
            assert_eq!(refusal(&handles, &handle, &other), plain, "{other:?}");
        }
    }

    #[test]
    fn a_changed_bit_is_a_forgery_and_says_no_more_than_a_foreign_handle() {
        let handles = Handles::new("executor-a-1").unwrap();
        let jane = caller("one", "jane");
        let (_, handle) = handles.make(&jane).unwrap();
        let own = handle.sealed();
        let plain = session::unknown().message().to_owned();
        for bit in EPOCH * 8..own.len() * 8 {
            let mut changed = own.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let changed = SessionId::new("executor-a-1", &changed).unwrap();
            assert_eq!(refusal(&handles, &changed, &jane), plain, "bit {bit}");
        }
        for cut in 0..own.len() {
            let Ok(changed) = SessionId::new("executor-a-1", &own[..cut]) else {
                continue;
            };
            assert_eq!(refusal(&handles, &changed, &jane), plain, "{cut} bytes");
        }
        let renamed = SessionId::new("executor-b-2", &own).unwrap();
        assert_eq!(refusal(&handles, &renamed, &jane), plain);
        let other = Handles::new("executor-a-1").unwrap().make(&jane).unwrap().1;
        assert_ne!(other, handle);
    }

    #[test]
    fn an_earlier_life_is_told_apart() {
        let jane = caller("one", "jane");
        let lost = lost().message().to_owned();
        // The name changes with each life, or stays.
        for (before, after) in [("executor-a-1", "executor-a-2"), ("local", "local")] {
            let (_, handle) = Handles::new(before).unwrap().make(&jane).unwrap();
            let handles = Handles::new(after).unwrap();
            assert_eq!(refusal(&handles, &handle, &jane), lost);
        }
        let (_, elsewhere) = Handles::new("executor-b-1").unwrap().make(&jane).unwrap();
        let handles = Handles::new("executor-a-1").unwrap();
        assert_ne!(refusal(&handles, &elsewhere, &jane), lost);
    }

    #[test]
    fn no_two_handles_are_alike() {
        let handles = Handles::new("local").unwrap();
        let jane = caller("one", "jane");
        let made: std::collections::BTreeSet<String> = (0..1_000)
            .map(|_| handles.make(&jane).unwrap().1.as_str().to_owned())
            .collect();
        assert_eq!(made.len(), 1_000);
    }
}
