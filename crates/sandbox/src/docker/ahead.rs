//! Packages that a waiting container has loaded before its call comes.
//!
//! Code that begins with `require('lodash')` would have that done first of all, whatever its arguments
//! are: so it can as well be done while nobody waits. What code begins with is read from its text,
//! and only what it begins with: with anything else before it the package might find another world.
//! Containers in which it is done are a kind of their own, which serves such code only.
//!
//! See `docs/dependencies.md` for what is checked and what ends it.

mod javascript;
mod loading;
mod python;
mod rest;

use std::fmt;
use std::sync::Arc;

use domain::runner::Call;
use domain::tool::Runtime;
use serde::Serialize;

pub(super) use self::loading::{Loader, Loading};
pub(super) use self::rest::watch;

/// Most packages that are loaded for one kind of container.
const MOST: usize = 16;

/// Most names that are taken from one module, of Python's `from … import …`.
const MOST_NAMES: usize = 32;

/// Longest name, in bytes.
const LONGEST: usize = 214;

/// One statement that loads something. To the agent it is an array of three.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
struct Load(How, String, Vec<String>);

/// How something is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
enum How {
    /// `require('x')`
    Require,
    /// `await import('x')`, or Python's `import x`
    Import,
    /// `from x import y`
    From,
}

/// What is loaded in a container before it is handed out; nothing in most. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Ahead(Option<Arc<[Load]>>);

impl Ahead {
    /// What the code of this call begins with, as far as it comes from the packages of the call.
    fn of(call: &Call) -> Self {
        if call.dependencies.is_empty() {
            return Self::default();
        }
        let mut loads = match call.runtime {
            Runtime::Node => {
                let is_named = |name: &str| call.dependencies.iter().any(|it| it.name == name);
                javascript::begins_with(&call.code, is_named)
            }
            Runtime::Python => python::begins_with(&call.code),
        };
        loads.truncate(MOST);
        Self((!loads.is_empty()).then(|| loads.into()))
    }

    /// Whether there is nothing to be loaded.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// As the agent is told.
    fn json(&self) -> Vec<u8> {
        let loads = self.0.as_deref().unwrap_or_default();
        serde_json::to_vec(loads).unwrap_or_default()
    }
}

impl fmt::Display for Ahead {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let loads = self.0.as_deref().unwrap_or_default();
        for (at, load) in loads.iter().enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            write!(out, "{comma}{}", load.1)?;
        }
        Ok(())
    }
}
