//! `dynamic.tool.get`.

use domain::{Error, Result, Revision, ToolName};
use serde::Deserialize;
use serde_json::value::to_raw_value;

use super::view::{OneTool, View, admin_property, name_property, one_tool_schema, view_schema};
use super::{Answer, Definition, Hints, Invocation, Kind};
use crate::json_text;
use crate::settings::Profile;

pub(super) const DEFINITION: Definition = Definition {
    kind: Kind::ToolGet,
    name: "dynamic.tool.get",
    title: "Get Dynamic Tool",
    description: "Get one dynamic tool definition by name",
    input: concat!(
        r#"{"type":"object","properties":{"#,
        name_property!(),
        r#","revision":{"type":"integer","minimum":1,
        "description":"An older revision instead of the current one"},"#,
        admin_property!(),
        r#"},"required":["name"],"additionalProperties":false}"#
    ),
    output: one_tool_schema!(),
    hints: Hints::READS,
    profile: Profile::Mvp,
};

#[derive(Deserialize)]
struct Arguments {
    name: ToolName,
    revision: Option<Revision>,
}

pub(super) async fn run(invocation: &Invocation<'_>) -> Result<Answer> {
    invocation.need_admin()?;
    let Arguments { name, revision } = invocation.parse()?;
    let found = invocation
        .gateway
        .catalog()
        .get(invocation.context, &name, revision);
    let found = invocation.read(found).await?;
    let record = &found.record;
    let lock = if record.spec.dependencies.is_empty() {
        None
    } else {
        let catalog = invocation.gateway.catalog();
        let lock = catalog.lock(invocation.context, &name, record.revision);
        invocation.read(lock).await?
    };
    let view = View::of(record, Some(&found.code)).with_lock(lock.as_ref());
    let text = to_raw_value(&view).map_err(Error::internal)?;
    Answer::with_text(
        json_text::pretty(&text, usize::MAX / 2),
        &OneTool { tool: view },
    )
}
