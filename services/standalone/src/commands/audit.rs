//! `dynamic-mcp audit`: verifies and searches audit logs.

mod archive;
mod query;
mod verify;

use std::path::PathBuf;

use bootstrap::Diagnosis;
use bootstrap::config::{ConfigError, StandaloneConfig};
use clap::{Args, Parser, Subcommand};
use domain::audit::{Head, LogName};

/// Exit code of a log that is not whole.
const NOT_WHOLE: u8 = 1;
/// Exit code of a command that could not be carried out: wrong words, a file that cannot be read, a
/// registry that does not answer.
const NOT_DONE: u8 = 2;

/// Verifies and searches audit logs.
#[derive(Debug, Parser)]
#[command(
    name = "dynamic-mcp audit",
    no_binary_name = true,
    disable_help_subcommand = true
)]
struct Words {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Finds the first line of a log that was changed, removed, moved or cut. Exit code 0: the log is
    /// whole, 1: it is not, 2: it could not be looked at.
    Verify(Verify),
    /// Searches the records that the registry keeps, the newest first.
    Query(Box<Query>),
    /// Prints how far each log has come at the registry, as `verify --heads FILE` reads it.
    Heads(Heads),
}

#[derive(Debug, Args)]
struct Verify {
    /// The files of one log, rotated ones (`audit.log.1`) with it, in any order. Without any: that of
    /// MCP_AUDIT_FILE with all its rotated files.
    files: Vec<PathBuf>,
    /// Where the heads are kept that the end of the log is compared with: `registry`, or a file that
    /// `audit heads` has printed.
    #[arg(long, value_name = "registry|FILE")]
    heads: Option<String>,
    /// One head to compare with, as `/health` shows it at `checks.audit.head`.
    #[arg(long, value_name = "SEQ:HASH", conflicts_with = "heads")]
    head: Option<Head>,
    /// The log's name, when the file of its name (`audit.log.id`) is not beside it.
    #[arg(long, value_name = "NAME")]
    log: Option<String>,
}

#[derive(Debug, Args)]
struct Query {
    /// Not before: 2026-11-21T06:00:00Z, or how long ago: 30m, 12h, 7d.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Before: as --since.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// The subject of the caller, exactly.
    #[arg(long, value_name = "SUBJECT")]
    actor: Option<String>,
    /// The action, for example dynamic.tool.create.
    #[arg(long, value_name = "ACTION")]
    action: Option<String>,
    /// The caller's tenant.
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
    /// The tool, or whatever else is the target.
    #[arg(long, value_name = "NAME")]
    tool: Option<String>,
    /// begun, success, error or denied.
    #[arg(long, value_name = "OUTCOME")]
    outcome: Option<String>,
    /// Most records, 1 to 1,000.
    #[arg(long, value_name = "COUNT", default_value_t = 50)]
    limit: u32,
    /// Goes on after a page: the number that stood at its end.
    #[arg(long, value_name = "NUMBER")]
    before: Option<u64>,
    /// One JSON object: `records`, each with its `record`, and `next` for --before.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Heads {
    /// Of this log only.
    #[arg(long, value_name = "NAME")]
    log: Option<String>,
}

pub(super) async fn run(
    words: &[String],
    config: Result<StandaloneConfig, ConfigError>,
) -> Diagnosis {
    let words = match Words::try_parse_from(words) {
        Ok(words) => words,
        Err(error) if error.use_stderr() => return not_done(error.render()),
        Err(help) => return said(help.render().to_string()),
    };
    let answer = match words.command {
        Command::Verify(wanted) => verify::run(wanted, config).await,
        Command::Query(wanted) => query::run(*wanted, config).await,
        Command::Heads(wanted) => archive::print_heads(wanted.log, config).await,
    };
    answer.unwrap_or_else(not_done)
}

fn said(text: String) -> Diagnosis {
    Diagnosis {
        text,
        ..Diagnosis::default()
    }
}

fn not_done(why: impl std::fmt::Display) -> Diagnosis {
    Diagnosis {
        complaint: Some(why.to_string().trim_end().to_owned()),
        exit_code: NOT_DONE,
        ..Diagnosis::default()
    }
}

fn log_name(text: Option<String>) -> Result<Option<LogName>, String> {
    let name = text.as_deref().map(LogName::parse).transpose();
    name.map_err(|error| format!("--log: {error}"))
}
