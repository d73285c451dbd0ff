//! Records of the Node server, as it writes them, and what becomes of them.

use std::collections::BTreeSet;

use domain::dependency::Dependency;
use domain::tool::{EngineChoice, Isolation, Runtime, ToolSpec};
use domain::validate::{self, Policy};
use domain::{CodeDigest, RawValue, Revision, TenantId, ToolDraft, ToolName, limits};
use jiff::Timestamp;
use serde::Deserialize;

use super::InvalidRecord;
use crate::store::{Import, NewRevision};

/// Largest revision that JSON of every client can hold.
const MAX_REVISION: u64 = (1 << 53) - 1;

#[derive(Deserialize)]
struct File<'a> {
    version: u64,
    #[serde(borrow)]
    tools: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct NameOnly {
    name: String,
}

/// A record as the Node server writes it; like there, unknown fields do not matter.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    name: String,
    title: Option<String>,
    description: String,
    #[serde(default = "default_image")]
    image: String,
    #[serde(default = "default_timeout")]
    timeout_ms: u32,
    #[serde(default)]
    dependencies: Vec<Dependency>,
    code: String,
    #[serde(default = "enabled")]
    enabled: bool,
    created_at: String,
    updated_at: String,
    revision: u64,
}

fn default_image() -> String {
    limits::DEFAULT_IMAGE.to_owned()
}

fn default_timeout() -> u32 {
    limits::DEFAULT_TIMEOUT_MS
}

fn enabled() -> bool {
    true
}

/// The records of a JSON store.
///
/// # Errors
/// Why the text is none.
pub(super) fn records(text: &[u8]) -> Result<Vec<&RawValue>, String> {
    let file: File<'_> = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    if file.version != 1 {
        return Err(format!("its version is {} and not 1", file.version));
    }
    Ok(file.tools)
}

/// Takes the records that keep the rules, and names the others.
pub(super) fn sort<'a>(
    records: impl IntoIterator<Item = &'a str>,
) -> (Vec<Import>, Vec<InvalidRecord>) {
    let (mut tools, mut invalid) = (Vec::new(), Vec::new());
    let mut names = BTreeSet::new();
    for (position, record) in records.into_iter().enumerate() {
        let checked = check(record).and_then(|tool| {
            if names.insert(tool.tool.name.clone()) {
                Ok(tool)
            } else {
                Err("an earlier record has the same name".to_owned())
            }
        });
        match checked {
            Ok(tool) => tools.push(tool),
            Err(reason) => {
                let name = serde_json::from_str(record)
                    .ok()
                    .map(|NameOnly { name }| name.chars().take(64).collect());
                invalid.push(InvalidRecord {
                    position,
                    name,
                    reason,
                });
            }
        }
    }
    (tools, invalid)
}

fn check(record: &str) -> Result<Import, String> {
    let record: Record = serde_json::from_str(record).map_err(|error| error.to_string())?;
    if !(1..=MAX_REVISION).contains(&record.revision) {
        return Err(format!(
            "revision: is {} (allowed: 1-{MAX_REVISION})",
            record.revision
        ));
    }
    let created_at = moment("createdAt", &record.created_at)?;
    let made_at = moment("updatedAt", &record.updated_at)?;
    let draft = ToolDraft {
        name: ToolName::parse(&record.name).map_err(|error| error.to_string())?,
        spec: ToolSpec {
            title: record.title,
            description: record.description,
            image: record.image,
            timeout_ms: record.timeout_ms,
            dependencies: record.dependencies,
            enabled: record.enabled,
            input_schema: None,
            output_schema: None,
            annotations: None,
            runtime: Runtime::Node,
            engine: EngineChoice::Any,
            isolation: Isolation::Call,
            tags: BTreeSet::new(),
            rate_limit: None,
            cache: None,
            required_scopes: BTreeSet::new(),
        },
        code: record.code.into(),
        lock: None,
    };
    let open = Policy {
        allowed_images: Vec::new(),
        blocked_packages: Vec::new(),
        max_dependencies: limits::DEPENDENCIES,
        max_timeout_ms: *limits::TIMEOUT_MS.end(),
        shared_tools: Vec::new(),
    };
    validate::draft(&draft, &open).map_err(|error| error.to_string())?;
    Ok(Import {
        tool: NewRevision {
            tenant: TenantId::default(),
            name: draft.name,
            spec: draft.spec,
            code_digest: CodeDigest::of(&draft.code),
            code: draft.code,
            made_at,
            made_by: "import".to_owned(),
            changed: Vec::new(),
            lock: None,
            lock_of: None,
            once: None,
            declared: false,
        },
        revision: Revision(record.revision),
        created_at,
    })
}

fn moment(field: &str, text: &str) -> Result<Timestamp, String> {
    text.parse()
        .map_err(|_| format!("{field}: is not a time in UTC such as 2026-01-31T12:00:00.000Z"))
}
