//! `registry`: tools with every revision, the change feed, the directory of executors.

fn main() -> std::process::ExitCode {
    bootstrap::run(registry::service::start)
}
