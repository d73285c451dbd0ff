//! `dynamic.tool.enable`.

use domain::{Result, Revision, ToolName, ToolPatch};
use serde::Deserialize;

use super::view::{
    OneTool, View, admin_property, expected_property, name_property, one_tool_schema, view_schema,
};
use super::{Answer, Definition, Hints, Invocation, Kind};
use crate::settings::Profile;

pub(super) const DEFINITION: Definition = Definition {
    kind: Kind::ToolEnable,
    name: "dynamic.tool.enable",
    title: "Enable Or Disable Dynamic Tool",
    description: "Enable or disable a dynamic tool at runtime",
    input: concat!(
        r#"{"type":"object","properties":{"#,
        name_property!(),
        r#","enabled":{"type":"boolean"},"#,
        expected_property!(),
        ",",
        admin_property!(),
        r#"},"required":["name","enabled"],"additionalProperties":false}"#
    ),
    output: one_tool_schema!(),
    hints: Hints::SETS,
    profile: Profile::Mvp,
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Arguments {
    name: ToolName,
    enabled: bool,
    expected_revision: Option<Revision>,
}

pub(super) async fn run(invocation: &Invocation<'_>) -> Result<Answer> {
    invocation.need_admin()?;
    let Arguments {
        name,
        enabled,
        expected_revision,
    } = invocation.parse()?;
    let gateway = invocation.gateway;
    let patch = ToolPatch {
        enabled: Some(enabled),
        ..ToolPatch::default()
    };
    let updated = gateway
        .catalog()
        .update(invocation.context, &name, patch, expected_revision);
    let record = invocation.written(updated).await?;
    gateway.learn(&record, None).await?;
    let done = if enabled { "Enabled" } else { "Disabled" };
    Answer::with_text(
        format!("{done} dynamic tool: {name}"),
        &OneTool {
            tool: View::of(&record, None),
        },
    )
}
