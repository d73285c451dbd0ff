//! `audit query`: searches the copy that the registry keeps.

use bootstrap::Diagnosis;
use bootstrap::config::{ConfigError, StandaloneConfig};
use domain::TenantId;
use domain::audit::archive::{Archive as _, Found, Page, Search};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{Query, archive, said};

pub(super) async fn run(
    wanted: Query,
    config: Result<StandaloneConfig, ConfigError>,
) -> Result<Diagnosis, String> {
    let now = Timestamp::now();
    let at = |flag: &str, text: Option<String>| match text {
        Some(text) => moment(&text, now).map(Some).ok_or_else(|| {
            format!(
                "--{flag}: `{text}` is no time; write 2026-11-21T06:00:00Z, or 30m, 12h, 7d ago"
            )
        }),
        None => Ok(None),
    };
    let tenant = wanted.tenant.as_deref().map(TenantId::parse).transpose();
    let search = Search {
        since: at("since", wanted.since)?,
        until: at("until", wanted.until)?,
        actor: wanted.actor,
        action: wanted.action,
        tenant: tenant.map_err(|error| format!("--tenant: {error}"))?,
        target: wanted.tool,
        outcome: wanted.outcome,
        before: wanted.before,
        limit: wanted.limit,
    };
    let registry = archive::open(config).await?;
    let page = registry.search(&archive::context(), search).await;
    registry.close().await;
    let page = page.map_err(|error| error.to_string())?;
    let text = if wanted.json {
        format!("{}\n", as_json(&page))
    } else {
        as_text(&page)
    };
    Ok(said(text))
}

/// A moment, or how long ago.
fn moment(text: &str, now: Timestamp) -> Option<Timestamp> {
    if let Ok(moment) = text.parse() {
        return Some(moment);
    }
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    let ago = number.parse::<u32>().ok()?;
    let ago = SignedDuration::from_secs(i64::from(ago) * seconds);
    now.checked_sub(ago).ok()
}

fn as_json(page: &Page) -> Value {
    let record = |found: &Found| {
        let record: Value = serde_json::from_str(&found.line).unwrap_or_default();
        json!({"id": found.id, "log": found.log, "segment": found.segment, "record": record})
    };
    let records: Vec<Value> = page.records.iter().map(record).collect();
    json!({"records": records, "next": page.next})
}

fn as_text(page: &Page) -> String {
    let mut text = String::new();
    for found in &page.records {
        let record: Value = serde_json::from_str(&found.line).unwrap_or_default();
        let member = |value: &Value| value.as_str().map_or_else(|| "-".to_owned(), shown);
        let subject = member(&record["actor"]["subject"]);
        let who = match record["actor"]["tenant"].as_str() {
            Some(tenant) => format!("{subject}@{}", shown(tenant)),
            None => subject,
        };
        let columns = [
            member(&record["timestamp"]),
            member(&record["result"]),
            member(&record["action"]),
            member(&record["target"]),
            who,
            member(&record["code"]),
            member(&record["requestId"]),
        ];
        text.push_str(&columns.join("  "));
        text.push('\n');
    }
    match page.next {
        Some(next) => text.push_str(&format!("there are more: --before {next}\n")),
        None if page.records.is_empty() => text.push_str("no records\n"),
        None => {}
    }
    text
}

/// What a terminal shows of a text that somebody else has chosen: no control characters, none that
/// turn it around, no spaces that would make another column.
fn shown(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if c.is_ascii_graphic() || c.is_alphanumeric() {
            out.push(c);
        } else {
            out.extend(c.escape_unicode());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_moment_or_how_long_ago() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        let at = |text: &str| moment(text, now).map(|at| at.to_string());
        assert_eq!(at("2026-01-02T03:04:05Z").unwrap(), "2026-01-02T03:04:05Z");
        assert_eq!(at("30m").unwrap(), "2026-11-21T11:30:00Z");
        assert_eq!(at("7d").unwrap(), "2026-11-14T12:00:00Z");
        for bad in ["", "d", "yesterday", "-1h", "1w", "ü"] {
            assert_eq!(at(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_somebody_else_has_chosen_stays_in_its_column() {
        let nasty = "a b\n\u{1b}[2J\u{202e}é\"";
        assert_eq!(shown(nasty), "a\\u{20}b\\u{a}\\u{1b}[2J\\u{202e}é\"");
    }
}
