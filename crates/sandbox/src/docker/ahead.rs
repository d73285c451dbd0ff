//! Packages that a waiting container has loaded before its call comes.
//!
//! Code that begins with `require('lodash')` would have that done first of all, whatever its arguments
//! are: so it can as well be done while nobody waits. What code begins with is read from its text,
//! and only what it begins with: with anything else before it the package might find another world.
//! Containers in which it is done are a kind of their own, which serves such code only.
//!
//! Python's classes are often what makes a package work: `pydantic` loads most of itself for the first
//! model. So the code of a stored tool that has classes begins for real, in containers of its own, and
//! waits where it needs its call; how far that is its agent sees (`guest/python/11-same.py`).
//!
//! See `docs/dependencies.md` for what is checked and what ends it.

mod javascript;
mod loading;
mod python;
mod rest;

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use domain::CodeDigest;
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

/// Longest code that begins before its call, in bytes.
const LONGEST_CODE: usize = 16 << 10;

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
pub(super) struct Ahead(Option<Arc<Plan>>);

/// What the agent is told.
#[derive(Debug, PartialEq, Eq, Hash, Serialize)]
struct Plan {
    loads: Vec<Load>,
    /// All of the code, which is to begin, and not only what it loads.
    code: Option<Code>,
}

/// Code that is compared by its digest.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Code {
    text: Arc<str>,
    #[serde(skip)]
    digest: CodeDigest,
}

impl PartialEq for Code {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Code {}

impl Hash for Code {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digest.hash(state);
    }
}

impl Ahead {
    /// What the code of this call begins with, as far as it comes from the packages of the call.
    fn of(call: &Call) -> Self {
        if call.dependencies.is_empty() {
            return Self::default();
        }
        let (mut loads, begins) = match call.runtime {
            Runtime::Node => {
                let is_named = |name: &str| call.dependencies.iter().any(|it| it.name == name);
                (javascript::begins_with(&call.code, is_named), false)
            }
            Runtime::Python => python::begins_with(&call.code),
        };
        if loads.is_empty() {
            return Self::default();
        }
        loads.truncate(MOST);
        // One-off code does not come again.
        let begins = begins && call.revision.is_some() && call.code.len() <= LONGEST_CODE;
        let code = begins.then(|| Code {
            text: Arc::clone(&call.code),
            digest: call.code_digest,
        });
        Self(Some(Arc::new(Plan { loads, code })))
    }

    /// Whether there is nothing to be loaded.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// As the agent is told.
    fn json(&self) -> Vec<u8> {
        serde_json::to_vec(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for Ahead {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(plan) = self.0.as_deref() else {
            return Ok(());
        };
        for (at, load) in plan.loads.iter().enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            write!(out, "{comma}{}", load.1)?;
        }
        if let Some(code) = &plan.code {
            out.write_str("; begins ")?;
            for byte in &code.digest.as_bytes()[..6] {
                write!(out, "{byte:02x}")?;
            }
        }
        Ok(())
    }
}
