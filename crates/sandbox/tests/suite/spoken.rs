//! One suite for every language: what a case says in each, and whom it says it to.

use std::time::Duration;

use domain::runner::Call;
use domain::tool::Runtime;

use super::run::{Ended, Subject, call, run_call};

/// The same in JavaScript and in Python.
pub(crate) type Both<'a> = (&'a str, &'a str);

/// The image of the tests for Python, for an engine that has images: `.ci/docker` makes it.
pub(crate) const PYTHON_IMAGE: &str = "dynamic-mcp-test/python:1";

/// An engine under test in one of its languages.
pub(crate) struct Spoken {
    /// The engine.
    pub(crate) engine: Subject,
    /// The language.
    pub(crate) runtime: Runtime,
}

impl Spoken {
    /// Whether the language is Python.
    pub(crate) fn is_python(&self) -> bool {
        self.runtime == Runtime::Python
    }

    /// What is said in this language.
    pub(crate) fn say<'a, T: ?Sized>(&self, (javascript, python): (&'a T, &'a T)) -> &'a T {
        if self.is_python() { python } else { javascript }
    }

    /// A call of this code with every default of the test kit.
    pub(crate) fn call(&self, both: Both<'_>) -> Call {
        let call = call(self.say(both));
        match self.runtime {
            Runtime::Node => call,
            Runtime::Python => Call {
                runtime: Runtime::Python,
                image: PYTHON_IMAGE.to_owned(),
                ..call
            },
        }
    }

    /// The same with this time.
    pub(crate) fn brief(&self, both: Both<'_>, millis: u64) -> Call {
        let mut call = self.call(both);
        call.limits.timeout = Duration::from_millis(millis);
        call
    }

    /// The same with these arguments.
    pub(crate) fn with_args(&self, both: Both<'_>, args: &str) -> Call {
        Call {
            args: testkit::raw(args),
            ..self.call(both)
        }
    }

    /// Runs code to its end.
    pub(crate) async fn run(&self, both: Both<'_>) -> Ended {
        self.run_call(self.call(both)).await
    }

    /// Runs a call to its end.
    pub(crate) async fn run_call(&self, call: Call) -> Ended {
        run_call(&self.engine, call).await
    }
}
