//! Prints `docs/reference/metrics.md`.

use std::io::Write as _;

fn main() -> std::io::Result<()> {
    std::io::stdout().write_all(telemetry::reference_markdown().as_bytes())
}
