//! The effective configuration: for `--print-config` and for `system.runtime_config`.

use serde_json::{Map, Value as Json, json};

use super::key::Service;
use super::settings::Effective;

/// By section, camelCase, without secrets: one shows as `adminTokenSet: true`.
pub(super) fn view(lines: &[Effective]) -> Json {
    let mut root = Map::new();
    for line in lines.iter().filter(|line| !line.key.file.is_empty()) {
        let path = line.key.file;
        let (sections, name) = path.rsplit_once('.').unwrap_or(("", path));
        let (name, value) = if line.key.secret {
            (format!("{name}Set"), Json::from(!line.value.is_null()))
        } else {
            (name.to_owned(), line.value.clone())
        };
        let mut fields = Some(&mut root);
        for section in sections.split('.').filter(|section| !section.is_empty()) {
            let inner = fields.map(|fields| fields.entry(section).or_insert_with(|| json!({})));
            fields = inner.and_then(Json::as_object_mut);
        }
        if let Some(fields) = fields {
            fields.insert(name, value);
        }
    }
    Json::Object(root)
}

/// As a TOML file that could be loaded again, with where each value came from.
pub(super) fn toml(service: Service, lines: &[Effective]) -> String {
    let mut text = format!("# Effective configuration of {}\n", service.name());
    let mut sections: Vec<&str> = lines.iter().map(|line| split(line.key.file).0).collect();
    sections.sort_unstable();
    sections.dedup();
    for section in sections {
        if !section.is_empty() {
            text.push_str(&format!("\n[{section}]\n"));
        }
        for line in lines.iter().filter(|l| split(l.key.file).0 == section) {
            text.push_str(&entry(line));
        }
    }
    text
}

fn entry(line: &Effective) -> String {
    let key = line.key;
    if key.file.is_empty() {
        // Where the file itself is cannot stand in the file.
        let shown = if line.value.is_null() {
            "not set"
        } else {
            &line.value.to_string()
        };
        return format!("# {}: {shown}\n", key.name);
    }
    let (_, name) = split(key.file);
    if line.value.is_null() {
        let note = if key.default_note.is_empty() {
            "not set"
        } else {
            key.default_note
        };
        return format!("# {name} =  # {}: {note}\n", key.name);
    }
    // TOML and JSON write these values alike: text with escapes, numbers, booleans, flat lists.
    format!("{name} = {}  # {}: {}\n", line.value, key.name, line.source)
}

fn split(file: &'static str) -> (&'static str, &'static str) {
    file.split_once('.').unwrap_or(("", file))
}
