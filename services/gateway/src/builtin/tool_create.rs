//! `dynamic.tool.create`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use domain::validate::Policy;
use domain::{Error, RawValue, Result, ToolDraft, ToolName, ToolSpec};
use serde::Deserialize;

use super::view::{
    OneTool, View, admin_property, name_property, one_tool_schema, spec_properties, view_schema,
};
use super::{Answer, Definition, Hints, Invocation, Kind};
use crate::settings::Profile;

pub(super) const DEFINITION: Definition = Definition {
    kind: Kind::ToolCreate,
    name: "dynamic.tool.create",
    title: "Create Dynamic Tool",
    description: "Create and register a new dynamic tool",
    input: concat!(
        r#"{"type":"object","properties":{"tool":{"type":"object","properties":{"#,
        name_property!(),
        ",",
        spec_properties!(new),
        r#"},"required":["name","description","code"],"additionalProperties":false},"#,
        admin_property!(),
        r#"},"required":["tool"],"additionalProperties":false}"#
    ),
    output: one_tool_schema!(),
    hints: Hints::ADDS,
    profile: Profile::Mvp,
};

#[derive(Deserialize)]
struct Arguments<'a> {
    #[serde(borrow)]
    tool: BTreeMap<Cow<'a, str>, &'a RawValue>,
}

pub(super) async fn run(invocation: &Invocation<'_>) -> Result<Answer> {
    invocation.need_admin()?;
    let settings = invocation.gateway.settings();
    let mut draft = draft(invocation.text, &settings.policy)?;
    let code = Arc::clone(&draft.code);
    let gateway = invocation.gateway;
    let (context, deadline) = (invocation.context, invocation.deadline);
    gateway.lock_draft(context, &mut draft, deadline).await?;
    let created = gateway.catalog().create(invocation.context, draft);
    let record = invocation.written(created).await?;
    gateway.learn(&record, Some(&code)).await?;
    Answer::with_text(
        format!("Created dynamic tool: {}", record.name),
        &OneTool {
            tool: View::of(&record, None),
        },
    )
}

/// The draft that the arguments describe. What they leave out is as policy allows it: the image is
/// that of the runtime, and the time the usual one or the longest there may be. Schemas stay the text
/// that their author wrote.
fn draft(text: &str, policy: &Policy) -> Result<ToolDraft> {
    let Arguments { mut tool } = serde_json::from_str(text).map_err(unreadable)?;
    let name: ToolName = take(&mut tool, "name")?;
    let code: Arc<str> = take(&mut tool, "code")?;
    let rest = serde_json::to_string(&tool).map_err(Error::internal)?;
    let mut spec: ToolSpec = serde_json::from_str(&rest).map_err(unreadable)?;
    if !tool.contains_key("image") {
        policy.image_for(spec.runtime).clone_into(&mut spec.image);
    }
    if !tool.contains_key("timeoutMs") {
        spec.timeout_ms = spec.timeout_ms.min(policy.max_timeout_ms);
    }
    Ok(ToolDraft {
        name,
        spec,
        code,
        lock: None,
    })
}

fn take<T: serde::de::DeserializeOwned>(
    tool: &mut BTreeMap<Cow<'_, str>, &RawValue>,
    member: &str,
) -> Result<T> {
    let raw = tool
        .remove(member)
        .ok_or_else(|| Error::invalid(format!("/tool/{member}"), "is missing"))?;
    serde_json::from_str(raw.get())
        .map_err(|error| Error::invalid(format!("/tool/{member}"), error.to_string()))
}

fn unreadable(error: serde_json::Error) -> Error {
    Error::invalid("/tool", error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        Policy {
            allowed_images: vec!["node:22".to_owned()],
            ..Policy::default()
        }
    }

    #[test]
    fn a_draft_keeps_the_authors_text() {
        let text = r#"{"tool":{"code":"return \"é\";","name":"a.b","description":"d",
            "inputSchema":{"type":"object","properties":{"z":{},"a":{}}}}}"#;
        let draft = draft(text, &policy()).unwrap();
        assert_eq!(
            (draft.name.as_str(), &*draft.code),
            ("a.b", "return \"é\";")
        );
        let schema = draft.spec.input_schema.unwrap();
        assert_eq!(
            schema.get(),
            r#"{"type":"object","properties":{"z":{},"a":{}}}"#
        );
        assert_eq!(draft.spec.timeout_ms, 30_000);
    }

    #[test]
    fn only_a_tool_without_an_image_gets_the_default() {
        let image_of = |more: &str| {
            let text = format!(
                r#"{{"tool":{{"name":"a.b","description":"d","code":"return 1;"{more}}}}}"#
            );
            draft(&text, &policy()).unwrap().spec.image
        };
        assert_eq!(image_of(""), "node:22");
        assert_eq!(image_of(r#","image":"node:lts-slim""#), "node:lts-slim");
    }
}
