//! One verdict.

use serde::Serialize;

/// How good what was found is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Ok,
    /// Not looked at, because it does not matter here or something else is missing.
    Skipped,
    /// It could be better and does no harm.
    Advice,
    /// A wall is weaker than advised; the executor runs.
    Weak,
    /// The executor will not run what it is configured to run.
    Fail,
}

impl State {
    /// As the report writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Skipped => "skipped",
            State::Advice => "advice",
            State::Weak => "weak",
            State::Fail => "fail",
        }
    }
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The check, for example `runc`; see `docs/doctor.md`.
    pub check: &'static str,
    /// What of several things was looked at, for example the name of an image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// How good it is.
    pub state: State,
    /// What is there.
    pub found: String,
    /// Why it matters.
    pub why: &'static str,
    /// What to do; none where nothing is to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

/// What a check says of one thing; its name and its reason are the check's.
#[derive(Debug, Clone)]
pub(super) struct Verdict {
    pub(super) subject: Option<String>,
    pub(super) state: State,
    pub(super) found: String,
    pub(super) fix: Option<String>,
}

impl Verdict {
    pub(super) fn ok(found: impl Into<String>) -> Self {
        Self {
            subject: None,
            state: State::Ok,
            found: found.into(),
            fix: None,
        }
    }

    pub(super) fn skipped(found: impl Into<String>) -> Self {
        Self {
            state: State::Skipped,
            ..Self::ok(found)
        }
    }

    pub(super) fn bad(state: State, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            state,
            fix: Some(fix.into()),
            ..Self::ok(found)
        }
    }

    pub(super) fn about(self, subject: impl Into<String>) -> Self {
        Self {
            subject: Some(subject.into()),
            ..self
        }
    }
}
