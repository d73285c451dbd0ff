//! What a container is for, and how much of everything it gets for that.

use std::fmt;
use std::sync::Arc;

/// What a container is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) enum Purpose {
    /// One call of a tool.
    #[default]
    Call,
    /// A session of many commands.
    Session,
    /// The install of dependencies into a volume. None of them waits in the pool.
    Install,
}

/// The network of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) enum Network {
    /// Nothing but a loopback interface of its own.
    #[default]
    None,
    /// The daemon's default bridge: configuration has to allow it.
    Bridge,
}

/// A volume on the daemon, by name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct VolumeName(Arc<str>);

impl VolumeName {
    /// As the daemon knows it.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for VolumeName {
    fn from(name: String) -> Self {
        Self(name.into())
    }
}

impl fmt::Display for VolumeName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// A volume in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mounted {
    /// Which one.
    pub(crate) volume: VolumeName,
    /// Where; it takes the place of the writable place that is there otherwise.
    pub(crate) target: &'static str,
    /// Whether it can be written to, which is for installs only. A new one takes over what the image
    /// has at that place, its owner and mode too.
    pub(crate) writable: bool,
}

/// How much a container gets, besides memory and CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Processes and threads; node alone has about a dozen threads.
    pub(crate) pids: i64,
    /// Largest size of each writable place; it counts as memory of the container, and never more than
    /// half of that.
    pub(crate) tmpfs_bytes: u64,
    /// Files in each writable place.
    pub(crate) tmpfs_inodes: u32,
    /// Largest file.
    pub(crate) file_bytes: u64,
    /// Open files of a process.
    pub(crate) open_files: i64,
}

impl Purpose {
    /// The bounds of its containers.
    pub(crate) const fn bounds(self) -> Bounds {
        match self {
            Self::Call => Bounds {
                pids: 64,
                tmpfs_bytes: 64 << 20,
                tmpfs_inodes: 8_192,
                file_bytes: 64 << 20,
                open_files: 256,
            },
            Self::Session => Bounds {
                pids: 128,
                tmpfs_bytes: 512 << 20,
                tmpfs_inodes: 65_536,
                file_bytes: 512 << 20,
                open_files: 1_024,
            },
            // Package managers keep many files open, and unpack large ones. Its volume is not bounded by
            // the kernel: whoever runs it watches its size.
            Self::Install => Bounds {
                pids: 256,
                tmpfs_bytes: 256 << 20,
                tmpfs_inodes: 65_536,
                file_bytes: 1 << 30,
                open_files: 4_096,
            },
        }
    }
}
