//! Kinds of sandboxes.

use std::fmt;

use domain::tool::Runtime;

use crate::docker::ahead::Ahead;
use crate::docker::images::ImageId;
use crate::docker::profile::{Network, Purpose, VolumeName};

/// What a waiting sandbox was made for. It serves a call or a session only when all of this is the
/// same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::docker) struct Key {
    /// Its image, by ID: a tag that moved is another image.
    pub(in crate::docker) image: ImageId,
    /// The language that the agent in it speaks.
    pub(in crate::docker) runtime: Runtime,
    /// What it is for, which decides its bounds and its agent.
    pub(in crate::docker) purpose: Purpose,
    /// Memory, in bytes.
    pub(in crate::docker) memory_bytes: u64,
    /// CPU, in thousandths of a core.
    pub(in crate::docker) cpu_millis: u32,
    /// Its network.
    pub(in crate::docker) network: Network,
    /// The volume of its dependencies, mounted so that it cannot be written to.
    pub(in crate::docker) deps: Option<VolumeName>,
    /// What of them is loaded while it waits.
    pub(in crate::docker) ahead: Ahead,
}

impl Key {
    /// Its language, as metrics name it.
    pub(in crate::docker) const fn language(&self) -> &'static str {
        match self.runtime {
            Runtime::Node => "node",
            Runtime::Python => "python",
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let runtime = self.language();
        let purpose = match self.purpose {
            Purpose::Call => "call",
            Purpose::Session => "session",
            Purpose::Install => "install",
        };
        let image = self.image.as_str();
        // As `docker images` shows it.
        let image = image.get(..19).unwrap_or(image);
        let (memory, cpu) = (self.memory_bytes >> 20, self.cpu_millis);
        write!(out, "{runtime} {purpose} {image} {memory}m {cpu}")?;
        if self.network == Network::Bridge {
            out.write_str(" bridge")?;
        }
        if let Some(volume) = &self.deps {
            write!(out, " {volume}")?;
        }
        if self.ahead.is_empty() {
            return Ok(());
        }
        write!(out, " ({})", self.ahead)
    }
}
