//! `gateway`: the stateless MCP endpoint.

fn main() -> std::process::ExitCode {
    bootstrap::run(gateway::service::start)
}
