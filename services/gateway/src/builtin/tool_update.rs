//! `dynamic.tool.update`.

use domain::{Result, Revision, ToolName, ToolPatch};
use serde::Deserialize;

use super::view::{
    OneTool, View, admin_property, expected_property, name_property, one_tool_schema,
    spec_properties, view_schema,
};
use super::{Answer, Definition, Hints, Invocation, Kind};
use crate::settings::Profile;

pub(super) const DEFINITION: Definition = Definition {
    kind: Kind::ToolUpdate,
    name: "dynamic.tool.update",
    title: "Update Dynamic Tool",
    description: "Update an existing dynamic tool definition",
    input: concat!(
        r#"{"type":"object","properties":{"#,
        name_property!(),
        r#","patch":{"type":"object","properties":{"#,
        spec_properties!(patch),
        r#"},"additionalProperties":false},"#,
        expected_property!(),
        ",",
        admin_property!(),
        r#"},"required":["name","patch"],"additionalProperties":false}"#
    ),
    output: one_tool_schema!(),
    hints: Hints::DESTROYS,
    profile: Profile::Mvp,
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Arguments {
    name: ToolName,
    patch: ToolPatch,
    expected_revision: Option<Revision>,
}

pub(super) async fn run(invocation: &Invocation<'_>) -> Result<Answer> {
    invocation.need_admin()?;
    let Arguments {
        name,
        mut patch,
        expected_revision,
    } = invocation.parse()?;
    let gateway = invocation.gateway;
    let (context, deadline) = (invocation.context, invocation.deadline);
    gateway
        .lock_patch(context, &name, &mut patch, deadline)
        .await?;
    let code = patch.code.clone();
    let updated = gateway
        .catalog()
        .update(invocation.context, &name, patch, expected_revision);
    let record = invocation.written(updated).await?;
    gateway.learn(&record, code.as_deref()).await?;
    Answer::with_text(
        format!("Updated dynamic tool: {name}"),
        &OneTool {
            tool: View::of(&record, None),
        },
    )
}
