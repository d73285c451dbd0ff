//! `dynamic.tool.delete`.

use domain::{Result, Revision, ToolName};
use serde::{Deserialize, Serialize};

use super::view::{admin_property, expected_property, name_property};
use super::{Answer, Definition, Hints, Invocation, Kind};
use crate::settings::Profile;

pub(super) const DEFINITION: Definition = Definition {
    kind: Kind::ToolDelete,
    name: "dynamic.tool.delete",
    title: "Delete Dynamic Tool",
    description: "Delete a dynamic tool and unregister it from MCP",
    input: concat!(
        r#"{"type":"object","properties":{"#,
        name_property!(),
        ",",
        expected_property!(),
        ",",
        admin_property!(),
        r#"},"required":["name"],"additionalProperties":false}"#
    ),
    output: r#"{"type":"object","properties":{
        "name":{"type":"string"},"deleted":{"type":"boolean"}},
        "required":["name","deleted"],"additionalProperties":false}"#,
    hints: Hints::DESTROYS,
    profile: Profile::Mvp,
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Arguments {
    name: ToolName,
    expected_revision: Option<Revision>,
}

#[derive(Serialize)]
struct Deleted<'a> {
    name: &'a str,
    deleted: bool,
}

pub(super) async fn run(invocation: &Invocation<'_>) -> Result<Answer> {
    invocation.need_admin()?;
    let Arguments {
        name,
        expected_revision,
    } = invocation.parse()?;
    let gateway = invocation.gateway;
    let deleted = gateway
        .catalog()
        .delete(invocation.context, &name, expected_revision);
    let deleted = invocation.written(deleted).await?;
    let tenant = &invocation.context.principal.tenant;
    gateway
        .catalogue()
        .learn_removal(tenant, &name, deleted.version);
    Answer::with_text(
        format!("Deleted dynamic tool: {name}"),
        &Deleted {
            name: name.as_str(),
            deleted: true,
        },
    )
}
