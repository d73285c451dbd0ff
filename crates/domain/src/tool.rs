//! The tool: what an author writes ([`ToolDraft`], [`ToolPatch`]) and what the registry keeps
//! ([`ToolRecord`]).

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::dependency::Dependency;
use crate::id::{CatalogVersion, CodeDigest, Revision, TenantId};
use crate::limits;
use crate::lockfile::Lockfile;
use crate::name::ToolName;

/// The language of a tool's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Runtime {
    /// JavaScript: the body of `async function run(args, ctx)`.
    #[default]
    Node,
    /// Python: the body of `async def run(args, ctx)`.
    Python,
}

/// Which engine may run a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineChoice {
    /// Whatever engine the executor has.
    #[default]
    Any,
    /// Only a container: the code uses Node's modules, the file system or dependencies.
    Docker,
}

/// How calls of a tool are kept apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// A fresh sandbox for each call.
    #[default]
    Call,
    /// One sandbox for one revision of one tenant, a fresh realm for each call. No wall between
    /// the calls; an administrator has to allow it.
    Tool,
}

/// A tool's own rate limit, beside the guard's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RateLimit {
    /// Most calls in a window: 1 to 1,000,000.
    pub max_calls: u32,
    /// Length of the window in milliseconds: 1,000 to 86,400,000.
    pub window_ms: u32,
}

/// Whom a cached result may be served to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CacheScope {
    /// The caller whose call made it, and nobody else.
    #[default]
    Caller,
    /// Every caller of the tenant who may use the tool.
    Tenant,
}

/// A tool's opt-in to the response cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CachePolicy {
    /// How long a result may be served again, in seconds: 1 to 86,400.
    pub ttl_seconds: u32,
    /// To whom.
    #[serde(default, skip_serializing_if = "is_default")]
    pub scope: CacheScope,
}

/// JSON kept as text: cheap to hold by the thousand and sent out without being parsed.
pub type JsonText = Arc<RawValue>;

/// Everything that defines a tool except its name and its code.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ToolSpec {
    /// Title for people, 1-120 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What the tool does, 1-4000 characters.
    pub description: String,
    /// The image its container is made of (Docker engine only).
    #[serde(default = "default_image")]
    pub image: String,
    /// Wall time of one call in milliseconds, 1,000-120,000.
    #[serde(default = "default_timeout")]
    pub timeout_ms: u32,
    /// Packages that are installed beforehand.
    #[serde(default)]
    pub dependencies: Vec<Dependency>,
    /// Whether the tool is listed and can be called.
    #[serde(default = "default_enabled")]
    pub enabled: bool,
    /// JSON Schema 2020-12 of the arguments; without it `run` gets the property `args`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_schema: Option<JsonText>,
    /// JSON Schema 2020-12 of the result, which then is the `structuredContent` itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<JsonText>,
    /// MCP tool annotations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<JsonText>,
    /// Language of the code.
    #[serde(default, skip_serializing_if = "is_default")]
    pub runtime: Runtime,
    /// Which engine may run it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub engine: EngineChoice,
    /// How its calls are kept apart.
    #[serde(default, skip_serializing_if = "is_default")]
    pub isolation: Isolation,
    /// Words to find it by.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tags: BTreeSet<String>,
    /// Its own rate limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// Its opt-in to the response cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<CachePolicy>,
    /// Scopes a caller needs besides `mcp:invoke`; without them the tool does not exist for it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub required_scopes: BTreeSet<String>,
}

impl ToolSpec {
    /// Whether the isolate engine cannot run it: its calls are `policy_denied` there.
    #[must_use]
    pub fn needs_docker(&self) -> bool {
        self.engine == EngineChoice::Docker
            || self.runtime == Runtime::Python
            || !self.dependencies.is_empty()
    }
}

impl PartialEq for ToolSpec {
    /// Two specs are equal when their JSON is: schemas are compared as text.
    fn eq(&self, other: &Self) -> bool {
        let text = |json: &Option<JsonText>| json.as_ref().map(|json| json.get().to_owned());
        (
            &self.title,
            &self.description,
            &self.image,
            self.timeout_ms,
            &self.dependencies,
        ) == (
            &other.title,
            &other.description,
            &other.image,
            other.timeout_ms,
            &other.dependencies,
        ) && (self.enabled, self.runtime, self.engine, self.isolation)
            == (other.enabled, other.runtime, other.engine, other.isolation)
            && (
                &self.tags,
                self.rate_limit,
                self.cache,
                &self.required_scopes,
            ) == (
                &other.tags,
                other.rate_limit,
                other.cache,
                &other.required_scopes,
            )
            && text(&self.input_schema) == text(&other.input_schema)
            && text(&self.output_schema) == text(&other.output_schema)
            && text(&self.annotations) == text(&other.annotations)
    }
}

fn default_image() -> String {
    limits::DEFAULT_IMAGE.to_owned()
}

fn default_timeout() -> u32 {
    limits::DEFAULT_TIMEOUT_MS
}

fn default_enabled() -> bool {
    true
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A new tool as its author writes it. Shape only: [`crate::validate::draft`] checks it.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolDraft {
    /// The name, already of the grammar.
    pub name: ToolName,
    /// Its definition.
    pub spec: ToolSpec,
    /// The body of `async function run(args, ctx)`.
    pub code: Arc<str>,
    /// What its dependencies resolved to, where somebody did resolve them.
    pub lock: Option<Lockfile>,
}

/// What a patch does to one field that may be absent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Change<T> {
    /// Leave it as it is.
    #[default]
    Keep,
    /// Take it away (JSON `null` in the patch).
    Clear,
    /// Put this there.
    Set(T),
}

impl<T> Change<T> {
    /// Applies the change.
    pub fn apply(self, field: &mut Option<T>) {
        match self {
            Self::Keep => {}
            Self::Clear => *field = None,
            Self::Set(value) => *field = Some(value),
        }
    }
}

impl<T> Change<T> {
    fn is_keep(&self) -> bool {
        matches!(self, Self::Keep)
    }
}

impl<T: Serialize> Serialize for Change<T> {
    /// `Keep` is no JSON: a field that stays is left out.
    fn serialize<S: serde::Serializer>(&self, into: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Keep | Self::Clear => into.serialize_none(),
            Self::Set(value) => value.serialize(into),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Change<T> {
    fn deserialize<D: serde::Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        Ok(Option::<T>::deserialize(source)?.map_or(Self::Clear, Self::Set))
    }
}

/// A change of a tool: any field but the name. Absent fields stay; `null` clears an optional one.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(
    missing_docs,
    reason = "each field is the field of ToolSpec that has its name"
)]
pub struct ToolPatch {
    #[serde(default, skip_serializing_if = "Change::is_keep")]
    pub title: Change<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dependencies: Option<Vec<Dependency>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    #[serde(default, skip_serializing_if = "Change::is_keep")]
    pub input_schema: Change<JsonText>,
    #[serde(default, skip_serializing_if = "Change::is_keep")]
    pub output_schema: Change<JsonText>,
    #[serde(default, skip_serializing_if = "Change::is_keep")]
    pub annotations: Change<JsonText>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime: Option<Runtime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineChoice>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub isolation: Option<Isolation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<BTreeSet<String>>,
    #[serde(default, skip_serializing_if = "Change::is_keep")]
    pub rate_limit: Change<RateLimit>,
    #[serde(default, skip_serializing_if = "Change::is_keep")]
    pub cache: Change<CachePolicy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub required_scopes: Option<BTreeSet<String>>,
    /// What the dependencies resolved to; never of an author.
    #[serde(skip)]
    pub lock: Option<Lockfile>,
}

impl ToolPatch {
    /// The draft that results when this patch is laid over a stored tool.
    #[must_use]
    pub fn apply(self, name: ToolName, mut spec: ToolSpec, code: Arc<str>) -> ToolDraft {
        fn set<T>(field: &mut T, value: Option<T>) {
            if let Some(value) = value {
                *field = value;
            }
        }
        self.title.apply(&mut spec.title);
        set(&mut spec.description, self.description);
        set(&mut spec.image, self.image);
        set(&mut spec.timeout_ms, self.timeout_ms);
        set(&mut spec.dependencies, self.dependencies);
        set(&mut spec.enabled, self.enabled);
        self.input_schema.apply(&mut spec.input_schema);
        self.output_schema.apply(&mut spec.output_schema);
        self.annotations.apply(&mut spec.annotations);
        set(&mut spec.runtime, self.runtime);
        set(&mut spec.engine, self.engine);
        set(&mut spec.isolation, self.isolation);
        set(&mut spec.tags, self.tags);
        self.rate_limit.apply(&mut spec.rate_limit);
        self.cache.apply(&mut spec.cache);
        set(&mut spec.required_scopes, self.required_scopes);
        ToolDraft {
            name,
            spec,
            code: self.code.unwrap_or(code),
            lock: self.lock,
        }
    }
}

/// A stored tool without its code: what the gateway keeps of every tool.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolRecord {
    /// Who owns it.
    pub tenant: TenantId,
    /// Its name.
    pub name: ToolName,
    /// Its definition.
    pub spec: ToolSpec,
    /// SHA-256 of its code.
    pub code_digest: CodeDigest,
    /// Length of its code in bytes of UTF-8.
    pub code_size_bytes: u64,
    /// The revision this is.
    pub revision: Revision,
    /// The catalogue's version at the change that made this revision.
    pub version: CatalogVersion,
    /// When the name was first created.
    pub created_at: Timestamp,
    /// When this revision was made.
    pub updated_at: Timestamp,
}

/// A stored tool with its code.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolWithCode {
    /// The record.
    pub record: ToolRecord,
    /// The code.
    pub code: Arc<str>,
}

/// A moment as the Node server wrote it: RFC 3339 in UTC with milliseconds.
#[must_use]
pub fn iso_millis(moment: Timestamp) -> String {
    format!("{moment:.3}")
}
