//! What is printed: the key itself on standard output, everything about it on standard error.

use auth::MadeKey;
use bootstrap::Diagnosis;
use domain::keys::{ApiKeyRecord, NewKey, Rotated};
use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

/// A key that was made.
pub(super) fn made(
    made: &MadeKey,
    record: &ApiKeyRecord,
    as_json: bool,
) -> Result<Diagnosis, String> {
    if as_json {
        return printed(&json!({"key": made.text.expose_secret(), "record": of(record)}));
    }
    let prefix = record.prefix;
    Ok(Diagnosis {
        text: format!("{}\n", made.text.expose_secret()),
        complaint: Some(format!(
            "The key {prefix} ({}) of tenant {} acts as {}. It is shown this once: only its hash is kept.",
            record.name, record.tenant, record.subject
        )),
        exit_code: 0,
    })
}

pub(super) fn rotated(
    made: &MadeKey,
    rotated: &Rotated,
    as_json: bool,
) -> Result<Diagnosis, String> {
    if as_json {
        return printed(&json!({
            "key": made.text.expose_secret(), "record": of(&rotated.new), "old": of(&rotated.old),
        }));
    }
    let end = rotated.old.ends_at().map(|end| end.to_string());
    Ok(Diagnosis {
        text: format!("{}\n", made.text.expose_secret()),
        complaint: Some(format!(
            "The key {} ({}) takes the place of {}, which works until {}. It is shown this once: only \
             its hash is kept.",
            rotated.new.prefix,
            rotated.new.name,
            rotated.old.prefix,
            end.unwrap_or_default()
        )),
        exit_code: 0,
    })
}

pub(super) fn revoked(record: &ApiKeyRecord, as_json: bool) -> Result<Diagnosis, String> {
    if as_json {
        return printed(&json!({"record": of(record)}));
    }
    Ok(Diagnosis {
        text: format!("revoked {} ({})\n", record.prefix, record.name),
        ..Diagnosis::default()
    })
}

/// A key and its entry of a configuration file.
pub(super) fn for_file(made: &MadeKey, key: &NewKey, tenant: &str) -> Diagnosis {
    let mut lines = vec![
        "[[security.apiKeys]]".to_owned(),
        format!("name = {}", json!(key.name)),
        format!("prefix = \"{}\"", made.prefix),
        format!("sha256 = \"{}\"", made.digest.to_hex()),
        format!("tenant = {}", json!(tenant)),
    ];
    // A role is looked up where the file is read; scopes beside it are its own.
    match &key.role {
        Some(role) => lines.push(format!("role = {}", json!(role))),
        None => lines.push(format!("scopes = {}", json!(key.scopes))),
    }
    let more = [
        ("subject", key.subject.clone()),
        ("tier", key.tier.clone()),
        ("expires", key.expires_at.map(|end| end.to_string())),
    ];
    for (name, value) in more {
        lines.extend(value.map(|value| format!("{name} = {}", json!(value))));
    }
    Diagnosis {
        text: format!("{}\n", made.text.expose_secret()),
        complaint: Some(format!(
            "The key is shown this once and stored nowhere. For a configuration file:\n\n{}",
            lines.join("\n")
        )),
        exit_code: 0,
    }
}

pub(super) fn list(records: &[ApiKeyRecord], as_json: bool) -> Result<Diagnosis, String> {
    if as_json {
        let keys: Vec<Value> = records.iter().map(of).collect();
        return printed(&json!({ "keys": keys }));
    }
    let head = [
        "PREFIX",
        "STATE",
        "NAME",
        "SUBJECT",
        "OPENS",
        "TIER",
        "CREATED",
        "ENDS",
        "LAST USED",
    ];
    let mut rows = vec![head.map(str::to_owned)];
    rows.extend(records.iter().map(row));
    let widths: Vec<usize> = (0..head.len())
        .map(|at| {
            rows.iter()
                .map(|row| row[at].chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths);
        let line: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    Ok(Diagnosis {
        text,
        ..Diagnosis::default()
    })
}

fn row(record: &ApiKeyRecord) -> [String; 9] {
    let none = || "-".to_owned();
    let moment = |at: Option<Timestamp>| at.map_or_else(none, |at| format!("{at:.0}"));
    let scopes = || {
        record
            .scopes
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(",")
    };
    [
        record.prefix.to_string(),
        record.state(Timestamp::now()).as_str().to_owned(),
        shown(&record.name),
        shown(&record.subject),
        record.role.clone().unwrap_or_else(scopes),
        record.tier.clone().unwrap_or_else(none),
        moment(Some(record.created_at)),
        moment(record.revoked_at.or(record.ends_at())),
        moment(record.last_used_at),
    ]
}

/// Text that somebody chose, on one line and without what a terminal would obey.
fn shown(text: &str) -> String {
    let plain = |c: char| !c.is_control() && !('\u{200b}'..='\u{206f}').contains(&c);
    text.chars()
        .map(|c| if plain(c) { c } else { '\u{fffd}' })
        .collect()
}

/// A record in JSON.
fn of(record: &ApiKeyRecord) -> Value {
    json!({
        "prefix": record.prefix,
        "tenant": record.tenant,
        "name": record.name,
        "subject": record.subject,
        "scopes": record.scopes,
        "role": record.role,
        "tier": record.tier,
        "state": record.state(Timestamp::now()).as_str(),
        "createdAt": record.created_at,
        "createdBy": record.created_by,
        "expiresAt": record.expires_at,
        "lastUsedAt": record.last_used_at,
        "revokedAt": record.revoked_at,
        "replacedBy": record.replaced_by,
        "overlapUntil": record.overlap_until,
    })
}

fn printed(value: &Value) -> Result<Diagnosis, String> {
    let text = serde_json::to_string_pretty(value).map_err(|error| error.to_string())?;
    Ok(Diagnosis {
        text: format!("{text}\n"),
        ..Diagnosis::default()
    })
}
