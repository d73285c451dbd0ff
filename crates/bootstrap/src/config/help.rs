//! `--help`.

use super::key::{Key, Service};
use super::load::has_sandboxes;
use super::sections::TABLE;
use crate::version::version_line;

/// Width of the text.
const WIDTH: usize = 100;
const INDENT: &str = "      ";
const WORDS: &str = "  dynamic-mcp keys|certs|audit WORDS... [--KEY VALUE]...\n";
/// The commands of `dynamic-mcp` that have words of their own; each has a `--help`.
const COMMANDS: &str = "\x20 keys              make, list, revoke and rotate API keys (`keys --help`)\n\
\x20 certs             make certificates and keys for the channels between services (`certs --help`)\n\
\x20 audit             verify audit logs, and search what the registry keeps (`audit --help`)\n";

pub(super) fn help(service: Service) -> String {
    let name = service.name();
    let what = match service {
        Service::Standalone => {
            "Serves MCP with tools that are made at run time and run in a sandbox. Everything in one \
             process: over HTTP on 127.0.0.1:8788, or over stdio for an MCP client that starts it."
        }
        Service::Gateway => {
            "The stateless MCP endpoint. Needs a registry and at least one executor."
        }
        Service::Registry => "Keeps tools and every revision of them, for gateways and executors.",
        Service::Executor => "Runs calls in sandboxes, for gateways.",
    };
    let mut text = version_line(service);
    text.push_str(&wrap(what, ""));
    let (usage, command) = match has_sandboxes(service) {
        true => (
            format!("  {name} doctor [--json] [--attack] [--KEY VALUE]...\n"),
            "\x20 doctor            look whether this host can hold sandboxes, and how well: exit code 0\n\
             \x20                   when all is well, 1 when a wall is weak, 2 when nothing would run\n\
             \x20   --json          answer in JSON\n\
             \x20   --attack        attack real sandboxes on this host, and say what held\n",
        ),
        false => (String::new(), ""),
    };
    let (words, commands) = match service {
        Service::Standalone => (WORDS, COMMANDS),
        _ => ("", ""),
    };
    text.push_str(&format!(
        "\nUsage:\n  {name} [--KEY VALUE | --KEY=VALUE]...\n  {name} health [--KEY VALUE]...\n{usage}{words}\n\
         Commands:\n\
         \x20 health            ask the running {name} for its readiness; exit code 0 when it is ready\n\
         {command}{commands}\
         \x20 --check-config    validate the configuration and exit: 0, or 78 with every problem named\n\
         \x20 --print-config    print the effective configuration and exit; secrets show as ***\n\
         \x20 --version, -V     print the version\n\
         \x20 --help, -h        print this\n\n\
         Every key is a flag, an environment variable and a key of the configuration file; flags win\n\
         over the environment, the environment over the file, the file over the default.\n"
    ));
    for (title, keys) in TABLE {
        let mut mine = keys
            .iter()
            .filter(|key| key.services.contains(service))
            .peekable();
        if mine.peek().is_none() {
            continue;
        }
        text.push_str(&format!("\n{title}:\n"));
        mine.for_each(|key| text.push_str(&entry(key)));
    }
    text
}

fn entry(key: &Key) -> String {
    let flag = key.flags().into_iter().next().unwrap_or_default();
    let also = if key.aliases.is_empty() {
        String::new()
    } else {
        format!(" ({})", key.aliases.join(", "))
    };
    let file = if key.from_file {
        format!(" or {}_FILE", key.name)
    } else {
        String::new()
    };
    let default = match (key.default, key.default_note) {
        ("", "") => String::new(),
        ("", note) => format!(" Default: {}.", note.replace('`', "")),
        (default, _) => format!(" Default: {default}."),
    };
    let range = match key.kind {
        super::key::Kind::Text | super::key::Kind::Path => String::new(),
        _ => format!(" Allowed: {}.", key.allowed().replace('`', "")),
    };
    let doc = format!("{}{range}{default}", key.doc.replace('`', ""));
    format!(
        "  --{flag}   {}{also}{file}\n{}",
        key.name,
        wrap(&doc, INDENT)
    )
}

/// Breaks text at blanks.
fn wrap(text: &str, indent: &str) -> String {
    let mut wrapped = String::new();
    let mut line = String::from(indent);
    for word in text.split_whitespace() {
        let empty = line.len() == indent.len();
        if !empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            wrapped.push_str(&line);
            wrapped.push('\n');
            line = String::from(indent);
        } else if !empty {
            line.push(' ');
        }
        line.push_str(word);
    }
    wrapped.push_str(&line);
    wrapped.push('\n');
    wrapped
}
