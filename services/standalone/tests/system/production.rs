//! Three processes over Postgres, with containers and tokens: what happens there when something goes
//! wrong.

mod database;
mod hostile;
mod replicas;

/// Whether the full counts were asked for.
#[allow(
    clippy::disallowed_methods,
    reason = "a test has no configuration of its own"
)]
pub(crate) fn soak() -> bool {
    std::env::var("MCP_TEST_SOAK").is_ok_and(|value| value == "1")
}
