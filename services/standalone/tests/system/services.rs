//! What runs services on one machine: the nginx site and the units of systemd, both as they are shipped.

mod installer;
mod public;
pub(crate) mod site;
mod units;
