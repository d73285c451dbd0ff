//! `dynamic.tool.list`: from the snapshot, so it works while the registry is away.

use std::sync::Arc;

use domain::principal::{Action, authorize};
use domain::{Error, ErrorCode, Result};
use futures::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use serde_json::value::to_raw_value;

use super::view::{View, admin_property, view_schema};
use super::{Answer, Definition, Hints, Invocation, Kind};
use crate::catalog::entry::Entry;
use crate::settings::Profile;
use crate::{cursor, json_text};

pub(super) const DEFINITION: Definition = Definition {
    kind: Kind::ToolList,
    name: "dynamic.tool.list",
    title: "List Dynamic Tools",
    description: "List all dynamic tools that are stored, also those that are disabled",
    input: concat!(
        r#"{"type":"object","properties":{
        "includeCode":{"type":"boolean","default":false},
        "tag":{"type":"string","maxLength":64,"description":"Only tools with this tag"},
        "query":{"type":"string","maxLength":200,
        "description":"Only tools with this text in name, title or description"},
        "limit":{"type":"integer","minimum":1,"maximum":1000,
        "description":"Answer in pages of this many"},
        "cursor":{"type":"string","maxLength":512,"description":"nextCursor of the page before"},"#,
        admin_property!(),
        r#"},"additionalProperties":false}"#
    ),
    output: concat!(
        r#"{"type":"object","properties":{"tools":{"type":"array","items":"#,
        view_schema!(),
        r#"},"nextCursor":{"type":"string"}},"required":["tools"],"additionalProperties":false}"#
    ),
    hints: Hints::READS,
    profile: Profile::Mvp,
};

/// Most lookups of code at the same time.
const FETCHES: usize = 16;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Arguments {
    #[serde(default)]
    include_code: bool,
    tag: Option<String>,
    query: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Page<'a> {
    tools: Vec<View<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

pub(super) async fn run(invocation: &Invocation<'_>) -> Result<Answer> {
    invocation.need_admin()?;
    let arguments: Arguments = invocation.parse()?;
    let after = arguments.cursor.as_deref().map(cursor::read).transpose()?;
    let gateway = invocation.gateway;
    if !gateway.catalogue().has_synced() {
        return Err(Error::unavailable("registry"));
    }
    let tools = gateway
        .catalogue()
        .tools(&invocation.context.principal.tenant);
    let query = arguments.query.as_ref().map(|query| query.to_lowercase());
    let principal = &invocation.context.principal;
    let wanted = |entry: &&Arc<Entry>| {
        let action = Action::ReadTool(&entry.record.spec.required_scopes);
        authorize(principal, action).is_ok()
            && arguments
                .tag
                .as_ref()
                .is_none_or(|tag| entry.record.spec.tags.contains(tag))
            && query.as_ref().is_none_or(|query| mentions(entry, query))
    };
    let limit = arguments.limit.unwrap_or(usize::MAX);
    let mut found = tools
        .after(after.as_ref().map(|name| name.as_str()))
        .iter()
        .filter(wanted);
    let page: Vec<&Arc<Entry>> = found.by_ref().take(limit).collect();
    let more = found.next().is_some();
    let codes = if arguments.include_code {
        codes(invocation, &page).await?
    } else {
        Vec::new()
    };
    let mut shown = Vec::with_capacity(page.len());
    for (at, entry) in page.iter().enumerate() {
        match codes.get(at) {
            None => shown.push(View::of(&entry.record, None)),
            Some(Some(code)) => shown.push(View::of(&entry.record, Some(code))),
            // Deleted while its code was fetched.
            Some(None) => {}
        }
    }
    let last = page.last().filter(|_| more);
    let next_cursor = last.map(|entry| cursor::after(&entry.record.name));
    let text = to_raw_value(&shown).map_err(Error::internal)?;
    let text = json_text::pretty(&text, usize::MAX / 2);
    Answer::with_text(
        text,
        &Page {
            tools: shown,
            next_cursor,
        },
    )
}

fn mentions(entry: &Entry, query: &str) -> bool {
    let record = &entry.record;
    [
        record.name.as_str(),
        record.spec.title.as_deref().unwrap_or(""),
        &record.spec.description,
    ]
    .iter()
    .any(|text| text.to_lowercase().contains(query))
}

/// The code of each entry; `None` for one that does not exist any more.
async fn codes(invocation: &Invocation<'_>, page: &[&Arc<Entry>]) -> Result<Vec<Option<Arc<str>>>> {
    let fetches = page.iter().map(|entry| code(invocation, entry));
    let fetches: Vec<_> = fetches.collect();
    futures::stream::iter(fetches)
        .buffered(FETCHES)
        .try_collect()
        .await
}

async fn code(invocation: &Invocation<'_>, entry: &Entry) -> Result<Option<Arc<str>>> {
    let gateway = invocation.gateway;
    let record = &entry.record;
    if let Some(code) = gateway.codes().peek(record).await? {
        return Ok(Some(code));
    }
    let found = gateway
        .catalog()
        .get(invocation.context, &record.name, Some(record.revision));
    match invocation.read(found).await {
        Ok(found) => Ok(Some(found.code)),
        Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
