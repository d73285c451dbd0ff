//! The page `docs/configuration.md`, made from the table.

use super::key::Key;
use super::later::{Effect, LATER, LATER_SECTIONS};
use super::sections::TABLE;

/// The whole page. A test keeps `docs/configuration.md` equal to it; regenerate with
/// `cargo run -p bootstrap --example reference > docs/configuration.md`.
#[must_use]
pub fn reference_markdown() -> String {
    let mut page = String::from(
        "# Configuration\n\n\
         Generated from the table in `crates/bootstrap`; do not edit. Regenerate with\n\
         `cargo run -p bootstrap --example reference > docs/configuration.md`.\n\n\
         Every key can be given as a flag (`--key value` or `--key=value`), as an environment variable, or in\n\
         a configuration file (`--config FILE`: TOML, JSON or YAML by its extension; `section.key` in camelCase\n\
         or snake_case). Flags win over the environment, the environment over the file, the file over the\n\
         default. `dynamic-mcp` also reads a `.env` file in its working directory, which never overrides a real\n\
         environment variable. A variable set to nothing counts as not set, but for a list, which is then empty.\n\
         A secret can also come from a file named by `<NAME>_FILE`.\n\n\
         A value that is out of range, an unknown flag or file key, a contradiction, or a key of another\n\
         program stops the start with exit code 78 and names every problem at once. An unknown `MCP_*` variable\n\
         is a warning that names the nearest known one. `--check-config` only validates, `--print-config` shows\n\
         what is in effect. Sizes take `k`, `m`, `g`; durations take `ms`, `s`, `m`, `h`.\n",
    );
    for (title, keys) in TABLE {
        page.push_str(&format!(
            "\n## {title}\n\n\
             | variable | flag | file key | default | allowed | programs | since |\n\
             | --- | --- | --- | --- | --- | --- | --- |\n"
        ));
        keys.iter().for_each(|key| page.push_str(&row(key)));
        page.push('\n');
        keys.iter()
            .for_each(|key| page.push_str(&format!("- `{}`: {}\n", key.name, key.doc)));
    }
    page.push_str(
        "\n## Other variables\n\n\
         - `RUST_LOG`: a filter as in `LOG_LEVEL`, which it overrides.\n\
         - `OTEL_*`: OpenTelemetry's own, read by its library when `OTEL_EXPORTER_OTLP_ENDPOINT` is set.\n\n\
         ## Keys of later versions\n\n\
         Known by name and never silently ignored.\n\n\
         | key | programs | part | when it is set |\n| --- | --- | --- | --- |\n",
    );
    for later in LATER {
        let effect = match later.effect {
            Effect::RefusedUnless(value) => format!("the start is refused, but for `{value}`"),
            Effect::Unused => String::from("a warning: it is not used"),
        };
        let part = later.part.trim_end_matches(',');
        page.push_str(&format!(
            "| `{}` | {} | {part} | {effect} |\n",
            later.name, later.services
        ));
    }
    for (section, part) in LATER_SECTIONS {
        page.push_str(&format!(
            "| `{section}` in a file | all | {part} | the start is refused |\n"
        ));
    }
    page
}

fn row(key: &Key) -> String {
    let mut variable = format!("`{}`", key.name);
    for alias in key.aliases {
        variable.push_str(&format!(", `{alias}`"));
    }
    if key.from_file {
        variable.push_str(&format!(", `{}_FILE`", key.name));
    }
    let flags: Vec<String> = key
        .flags()
        .iter()
        .map(|flag| format!("`--{flag}`"))
        .collect();
    let file = if key.file.is_empty() {
        String::from("-")
    } else {
        format!("`{}`", key.file)
    };
    let default = match (key.default, key.default_note) {
        ("", "") => String::from("-"),
        ("", note) => note.to_owned(),
        (default, _) => format!("`{default}`"),
    };
    format!(
        "| {variable} | {} | {file} | {default} | {} | {} | {} |\n",
        flags.join(", "),
        key.allowed(),
        key.services,
        key.since
    )
}
