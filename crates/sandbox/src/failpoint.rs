//! Named moments in the life of a container at which a test can have this process killed, as by
//! `kill -9`: [`CREATE`], [`START`], [`RUN`], [`RESULT`] and [`REMOVE`].
//!
//! They exist with the feature `fail-points`, which only development dependencies ask for, and only
//! in builds with debug assertions: a release build has none, whatever it was built with. They are
//! armed by the variable of the library behind them, for example `FAILPOINTS=run=4*off->return`:
//! the fifth time that a call runs is the end.

/// A container is made, and nobody here knows of it yet.
pub(crate) const CREATE: &str = "create";
/// A container was started.
pub(crate) const START: &str = "start";
/// The code of a call runs.
pub(crate) const RUN: &str = "run";
/// The result of a call is there, and nobody was told.
pub(crate) const RESULT: &str = "result";
/// A container is about to be removed.
pub(crate) const REMOVE: &str = "remove";

/// Arms what the environment of a test says. To be called once, before the first moment.
pub(crate) fn arm() {
    #[cfg(all(feature = "fail-points", debug_assertions))]
    armed::arm();
}

/// This moment has come.
#[cfg_attr(
    not(all(feature = "fail-points", debug_assertions)),
    expect(unused_variables, reason = "there are no fail points in this build")
)]
pub(crate) fn reached(moment: &'static str) {
    #[cfg(all(feature = "fail-points", debug_assertions))]
    armed::reached(moment);
}

#[cfg(all(feature = "fail-points", debug_assertions))]
mod armed {
    use std::sync::Once;

    use rustix::process::{Signal, getpid, kill_process};

    static ARMED: Once = Once::new();

    pub(super) fn arm() {
        // For as long as the process lives: nothing disarms them.
        ARMED.call_once(|| std::mem::forget(fail::FailScenario::setup()));
    }

    pub(super) fn reached(moment: &'static str) {
        fail::fail_point!(moment, |_| {
            tracing::warn!(moment, "a fail point was reached");
            let _gone = kill_process(getpid(), Signal::KILL).is_ok();
        });
    }
}
