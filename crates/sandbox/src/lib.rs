//! The [`Engine`] trait and the engines that run untrusted code.
//!
//! An engine takes one [`Job`], runs it behind walls of its own kind and gives its events back as
//! an [`Execution`]. Dropping the execution stops the code and destroys its sandbox. The engine
//! that needs nothing but the kernel is [`isolate`].

pub mod docker;
pub mod doctor;
mod engine;
mod execution;
mod failpoint;
pub mod fair;
pub mod isolate;
mod output;
mod session;
mod stages;
mod verdict;
mod wire;

pub use engine::{Engine, EngineStatus, Job, KindStatus, PoolStatus, Slot, WallStatus};
pub use execution::{Execution, ExecutionSink, execution};
pub use session::{OpenSession, Session, SessionEnd};
pub use stages::{Miss, Stage};
