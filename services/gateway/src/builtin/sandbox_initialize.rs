//! `sandbox.initialize`.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::dependency::Dependency;
use domain::session::{Network, SessionSpec};
use domain::tool::Runtime;
use domain::{Error, Result, validate};
use serde::{Deserialize, Serialize};

use super::sandbox::{check_dependencies, dependencies_property};
use super::view::admin_property;
use super::{Answer, Definition, Hints, Invocation, Kind};
use crate::settings::Profile;

pub(super) const DEFINITION: Definition = Definition {
    kind: Kind::SandboxInitialize,
    name: "sandbox.initialize",
    title: "Initialize Sandbox Session",
    description: "Create a reusable container session for iterative commands and scripts",
    input: concat!(
        r#"{"type":"object","properties":{
        "image":{"type":"string","minLength":1,"maxLength":200},
        "timeoutMs":{"type":"integer","minimum":1000,"maximum":172800000,
        "description":"The session ends after so long without use; at most the server's own limit"},
        "runtime":{"enum":["node","python"],
        "description":"Language of the dependencies, and of the image when none is named"},
        "network":{"enum":["none","bridge"],"default":"none"},
        "env":{"type":"object","maxProperties":64,
        "propertyNames":{"pattern":"^[A-Za-z_][A-Za-z0-9_]{0,127}$"},
        "additionalProperties":{"type":"string","maxLength":4096},
        "description":"Variables of everything that runs in the session"},"#,
        dependencies_property!(""),
        ",",
        admin_property!(),
        r#"},"additionalProperties":false}"#
    ),
    output: r#"{"type":"object","properties":{
        "sessionId":{"type":"string"},
        "image":{"type":"string"},
        "timeoutMs":{"type":"integer","description":"It ends after so long without use"},
        "network":{"enum":["none","bridge"]}},
        "required":["sessionId","image","timeoutMs","network"],"additionalProperties":false}"#,
    hints: Hints::ADDS,
    profile: Profile::Enterprise,
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Arguments {
    image: Option<String>,
    timeout_ms: Option<u64>,
    runtime: Option<Runtime>,
    network: Option<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default)]
    dependencies: Vec<Dependency>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Ready<'a> {
    session_id: &'a str,
    image: &'a str,
    timeout_ms: u128,
    network: &'static str,
}

pub(super) async fn run(invocation: &Invocation<'_>) -> Result<Answer> {
    invocation.need_admin()?;
    let arguments: Arguments = invocation.parse()?;
    let settings = invocation.gateway.settings();
    let runtime = arguments.runtime.unwrap_or_default();
    let image = match arguments.image {
        Some(image) => {
            validate::image_allowed("/image", &image, &settings.policy)?;
            image
        }
        None => settings.policy.image_for(runtime).to_owned(),
    };
    check_dependencies(settings, &arguments.dependencies, runtime)?;
    let network = match arguments.network.as_deref() {
        None => Network::None,
        Some(text) => Network::parse(text)
            .ok_or_else(|| Error::invalid("/network", "is none").with_limit("none, bridge"))?,
    };
    let spec = SessionSpec {
        image: Some(image),
        runtime: Some(runtime),
        idle: arguments.timeout_ms.map(Duration::from_millis),
        network: Some(network),
        env: arguments.env,
        dependencies: arguments.dependencies,
    };
    let context = invocation.context_now();
    let opening = invocation.gateway.sessions().open(&context, spec);
    let info = invocation.operated(opening).await?;
    Ok(Answer::with_text(
        format!("Sandbox session ready: {}", info.id.as_str()),
        &Ready {
            session_id: info.id.as_str(),
            image: &info.image,
            timeout_ms: info.idle.as_millis(),
            network: network.as_str(),
        },
    )?
    .about("session", info.id.fingerprint()))
}
