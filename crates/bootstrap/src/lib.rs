//! Configuration, secrets, listeners, tracked tasks, drain and the admin endpoints: what every
//! program needs before it can do its work, so that a `main` is one call of [`run`].

mod address;
pub mod admin;
pub mod config;
mod connection;
mod environment;
mod gate;
mod health;
mod listener;
mod notify;
mod observe;
mod panics;
mod probe;
mod profiles;
mod reload;
mod run;
mod secret;
mod signals;
mod tasks;
pub mod tls;
mod units;
mod version;

pub use address::{ListenAddress, ServiceUrl, authority, is_loopback};
pub use connection::{Connection, Peer};
pub use environment::Environment;
pub use gate::{Gate, Guard, Holder};
pub use health::{CheckReport, Health, Readiness};
pub use listener::{BindError, BoundListener, Socket, SocketFile};
pub use profiles::{ProfileRecords, ProfileRequest};
pub use reload::{Reload, ReloadRequests};
pub use run::{
    App, Diagnosis, EXIT_CONFIG, StartError, run, run_with_check, run_with_commands,
    run_with_doctor,
};
pub use secret::Secret;
pub use tasks::{OnFailure, StopReason, Tasks};
pub use units::{ByteSize, DurationUnit, parse_duration};
pub use version::{COMMIT, VERSION, build_info};
