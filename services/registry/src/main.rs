//! `registry`: tools with every revision, the change feed, the directory of executors.

fn main() -> std::process::ExitCode {
    bootstrap::run_with_check(registry::service::start, registry::service::check_config)
}
