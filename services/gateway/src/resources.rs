//! The resources and the prompt of the enterprise profile (contract section 3).

use std::sync::Arc;

use domain::principal::{Action, authorize};
use domain::{CallContext, Error, Principal, RawValue, Result};
use serde::Serialize;
use serde_json::value::to_raw_value;
use serde_json::{Map, Value, json};

use crate::gateway::Gateway;
use crate::mcp::{CompletionReference, CompletionRequest, Page, PromptResult};
use crate::operations::{Features, ProtocolError};
use crate::settings::{Profile, Settings};
use crate::{error, json_text};

const META: &str = "dynamic://service/meta";
const RUNTIME_CONFIG: &str = "dynamic://service/runtime-config";
const GUARD: &str = "dynamic://metrics/guard";
const PROMPT: &str = "tool-call-checklist";
const JSON: &str = "application/json";

/// Lists that never change, as they are sent.
pub(crate) struct Resources {
    list: Arc<RawValue>,
    templates: Arc<RawValue>,
    prompts: Arc<RawValue>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    uri: &'static str,
    name: &'static str,
    title: &'static str,
    description: &'static str,
    mime_type: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Contents<'a> {
    uri: &'a str,
    mime_type: &'static str,
    text: String,
}

impl Resources {
    pub(crate) fn new(settings: &Settings) -> Result<Self> {
        let json = |value: &serde_json::Value| -> Result<Arc<RawValue>> {
            Ok(to_raw_value(value).map_err(Error::internal)?.into())
        };
        let enterprise = settings.profile == Profile::Enterprise;
        let listed: &[Listed] = if enterprise { LISTED } else { &[] };
        let list = to_raw_value(listed).map_err(Error::internal)?.into();
        let prompts = if enterprise { prompts() } else { json!([]) };
        Ok(Self {
            list,
            templates: json(&json!([]))?,
            prompts: json(&prompts)?,
        })
    }
}

const LISTED: &[Listed] = &[
    Listed {
        uri: META,
        name: "service.meta",
        title: "Service Metadata",
        description: "Basic metadata for this MCP server",
        mime_type: JSON,
    },
    Listed {
        uri: RUNTIME_CONFIG,
        name: "service.runtime_config",
        title: "Runtime Config Snapshot",
        description: "Sanitized runtime config snapshot for operations and debugging",
        mime_type: JSON,
    },
    Listed {
        uri: GUARD,
        name: "guard.metrics",
        title: "Guard Metrics",
        description: "Runtime metrics for global tool execution guard",
        mime_type: JSON,
    },
];

fn prompts() -> serde_json::Value {
    json!([{
        "name": PROMPT,
        "title": "Tool Call Checklist",
        "description": "Reusable checklist before invoking an MCP tool",
        "arguments": [
            {"name": "toolName", "description": "Tool name to review", "required": true}
        ]
    }])
}

impl Gateway {
    /// What of MCP there is besides tools.
    #[must_use]
    pub fn features(&self) -> Features {
        let enterprise = self.settings().profile == Profile::Enterprise;
        Features {
            resources: enterprise,
            prompts: enterprise,
        }
    }

    /// `resources` of `resources/list`: a JSON array, all on one page.
    ///
    /// # Errors
    /// -32602 for any cursor: there is no second page.
    pub fn list_resources(
        &self,
        principal: &Principal,
        cursor: Option<&str>,
    ) -> Result<Page, ProtocolError> {
        self.one_page(principal, cursor, &self.resources().list)
    }

    /// `resourceTemplates` of `resources/templates/list`: an empty JSON array.
    ///
    /// # Errors
    /// As [`Gateway::list_resources`].
    pub fn list_resource_templates(
        &self,
        principal: &Principal,
        cursor: Option<&str>,
    ) -> Result<Page, ProtocolError> {
        self.one_page(principal, cursor, &self.resources().templates)
    }

    /// `contents` of `resources/read`: a JSON array.
    ///
    /// # Errors
    /// -32602 for an unknown resource, or one that this caller may not read.
    pub fn read_resource(
        &self,
        context: &CallContext,
        uri: &str,
    ) -> Result<Box<RawValue>, ProtocolError> {
        let principal = &context.principal;
        let unknown = || {
            let shown: String = uri.chars().take(256).collect();
            let mut error = ProtocolError::invalid_params(format!("Resource {shown} not found"));
            error.data = Some(json!({ "uri": shown }));
            error
        };
        if !self.features().resources || authorize(principal, Action::Operate).is_err() {
            return Err(unknown());
        }
        let settings = self.settings();
        let value = match uri {
            META => to_raw_value(&Meta {
                name: "dynamic-mcp",
                version: settings.version,
                transports: ["stdio", "http"],
                protocol: "Model Context Protocol",
            }),
            RUNTIME_CONFIG => to_raw_value(&settings.runtime_config),
            GUARD => to_raw_value(&self.guard().report(&principal.tenant)),
            _ => return Err(unknown()),
        };
        let contents = value.and_then(|value| {
            let text = json_text::pretty(&value, usize::MAX / 2);
            to_raw_value(&[Contents {
                uri,
                mime_type: JSON,
                text,
            }])
        });
        contents.map_err(|cause| error::unwritable(&context.request_id, &cause))
    }

    /// `prompts` of `prompts/list`: a JSON array, all on one page.
    ///
    /// # Errors
    /// As [`Gateway::list_resources`].
    pub fn list_prompts(
        &self,
        principal: &Principal,
        cursor: Option<&str>,
    ) -> Result<Page, ProtocolError> {
        self.one_page(principal, cursor, &self.resources().prompts)
    }

    /// The result of `prompts/get`.
    ///
    /// # Errors
    /// -32602 for an unknown prompt or arguments that it does not take.
    pub fn get_prompt(
        &self,
        context: &CallContext,
        name: &str,
        arguments: Map<String, Value>,
    ) -> Result<PromptResult, ProtocolError> {
        self.prompt_exists(&context.principal, name)?;
        let invalid = |why: &str| {
            ProtocolError::invalid_params(format!("Invalid arguments for prompt {PROMPT}: {why}"))
        };
        if let Some(unknown) = arguments.keys().find(|argument| *argument != "toolName") {
            let shown: String = unknown.chars().take(64).collect();
            return Err(invalid(&format!("{shown} is not an argument")));
        }
        let tool = match arguments.get("toolName") {
            Some(Value::String(tool)) if !tool.is_empty() => tool,
            Some(_) => return Err(invalid("toolName is not a string with text")),
            None => return Err(invalid("toolName is missing")),
        };
        let text = format!(
            "Before calling {tool}, verify input schema, expected output schema, and failure \
             handling."
        );
        let messages = json!([{"role": "user", "content": {"type": "text", "text": text}}]);
        let messages = to_raw_value(&messages)
            .map_err(|cause| error::unwritable(&context.request_id, &cause))?;
        let description = Some("Reusable checklist before invoking an MCP tool".to_owned());
        Ok(PromptResult {
            description,
            messages,
        })
    }

    /// `values` of `completion/complete`: none, as in the Node server.
    ///
    /// # Errors
    /// -32602 for an unknown prompt or resource.
    pub fn complete(
        &self,
        context: &CallContext,
        request: &CompletionRequest,
    ) -> Result<Vec<String>, ProtocolError> {
        match &request.reference {
            CompletionReference::Prompt(name) => self.prompt_exists(&context.principal, name)?,
            CompletionReference::Resource(uri) => {
                self.read_resource(context, uri)?;
            }
        }
        // Nothing to suggest: the one argument there is takes any tool's name.
        Ok(Vec::new())
    }

    fn prompt_exists(&self, principal: &Principal, name: &str) -> Result<(), ProtocolError> {
        let may = authorize(principal, Action::UseBuiltIn).is_ok();
        if name == PROMPT && self.features().prompts && may {
            return Ok(());
        }
        let shown: String = name.chars().take(128).collect();
        Err(ProtocolError::invalid_params(format!(
            "Prompt {shown} not found"
        )))
    }

    fn one_page(
        &self,
        principal: &Principal,
        cursor: Option<&str>,
        page: &Arc<RawValue>,
    ) -> Result<Page, ProtocolError> {
        authorize(principal, Action::UseBuiltIn)
            .map_err(|error| ProtocolError::invalid_params(error.to_string()))?;
        match cursor {
            None => Ok(Page {
                items: Arc::clone(page),
                next_cursor: None,
            }),
            Some(_) => Err(ProtocolError::invalid_params(
                "Invalid params: unknown cursor",
            )),
        }
    }
}

/// `dynamic://service/meta`.
#[derive(Serialize)]
struct Meta {
    name: &'static str,
    version: &'static str,
    transports: [&'static str; 2],
    protocol: &'static str,
}
