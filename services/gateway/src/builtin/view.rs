//! A stored tool as the management tools show it: the Node server's members first, then the new.

use std::collections::BTreeSet;

use domain::dependency::Dependency;
use domain::tool::{
    CachePolicy, EngineChoice, Isolation, RateLimit, Runtime, ToolRecord, iso_millis,
};
use domain::{Lockfile, RawValue};
use serde::Serialize;

/// JSON Schema of a tool as [`View`] writes it, without the surrounding braces.
macro_rules! view_schema {
    () => {
        r#"{"type":"object","properties":{
        "name":{"type":"string"},
        "title":{"type":"string"},
        "description":{"type":"string"},
        "image":{"type":"string"},
        "timeoutMs":{"type":"integer"},
        "dependencies":{"type":"array","items":{"type":"object"}},
        "enabled":{"type":"boolean"},
        "createdAt":{"type":"string","format":"date-time"},
        "updatedAt":{"type":"string","format":"date-time"},
        "revision":{"type":"integer","minimum":1},
        "codeSizeBytes":{"type":"integer","minimum":0},
        "code":{"type":"string"},
        "shadowed":{"type":"boolean",
        "description":"The name now belongs to the server: the tool is kept but not served"},
        "lockfile":{"type":"object","description":"What the dependencies were resolved to",
        "properties":{"digest":{"type":"string"},"packages":{"type":"array","items":{
        "type":"object","properties":{"name":{"type":"string"},"version":{"type":"string"},
        "integrity":{"type":"array","items":{"type":"string"}}},
        "required":["name","version","integrity"]}}},"required":["digest","packages"]}},
        "required":["name","description","image","timeoutMs","dependencies","enabled",
        "createdAt","updatedAt","revision","codeSizeBytes"]}"#
    };
}
/// JSON Schema of `{tool: …}`.
macro_rules! one_tool_schema {
    () => {
        concat!(
            r#"{"type":"object","properties":{"tool":"#,
            view_schema!(),
            r#"},"required":["tool"],"additionalProperties":false}"#
        )
    };
}
/// Properties of a tool's definition: of a new tool with the defaults, of a patch with `null` for
/// fields that can be taken away.
macro_rules! spec_properties {
    (new) => {
        spec_properties!(
            r#""object""#,
            r#","default":"node:lts-slim""#,
            r#","default":30000"#,
            r#","default":[]"#,
            r#","default":true"#
        )
    };
    (patch) => {
        spec_properties!(r#"["object","null"]"#, "", "", "", "")
    };
    ($object:literal, $image:literal, $timeout:literal, $dependencies:literal, $on:literal) => {
        concat!(
            r#""title":{"type":"string","minLength":1,"maxLength":120},
            "description":{"type":"string","minLength":1,"maxLength":4000},
            "code":{"type":"string","minLength":1,"maxLength":200000,
            "description":"Body of async function run(args, ctx)"},
            "image":{"type":"string","minLength":1,"maxLength":200,
            "description":"Container image"#,
            "\"",
            $image,
            r#"},
            "timeoutMs":{"type":"integer","minimum":1000,"maximum":120000,
            "description":"Wall time of one call in milliseconds"#,
            "\"",
            $timeout,
            r#"},
            "dependencies":{"type":"array","maxItems":64"#,
            $dependencies,
            r#","items":{"type":"object","properties":{
            "name":{"type":"string","minLength":1,"maxLength":214,
            "description":"A package of npm, or of PyPI when runtime is python"},
            "version":{"type":"string","minLength":1,"maxLength":128}},
            "required":["name","version"],"additionalProperties":false}},
            "enabled":{"type":"boolean"#,
            "\"",
            $on,
            r#"},
            "inputSchema":{"type":"#,
            $object,
            r#","description":"JSON Schema 2020-12 of the arguments"},
            "outputSchema":{"type":"#,
            $object,
            r#","description":"JSON Schema 2020-12 of the result"},
            "annotations":{"type":"#,
            $object,
            r#","description":"MCP tool annotations"},
            "runtime":{"type":"string","enum":["node","python"]},
            "engine":{"type":"string","enum":["any","docker"]},
            "isolation":{"type":"string","enum":["call","tool"]},
            "tags":{"type":"array","items":{"type":"string"}},
            "rateLimit":{"type":"#,
            $object,
            r#","properties":{
            "maxCalls":{"type":"integer","minimum":1,"maximum":1000000},
            "windowMs":{"type":"integer","minimum":1000,"maximum":86400000}},
            "required":["maxCalls","windowMs"],"additionalProperties":false},
            "cache":{"type":"#,
            $object,
            r#","properties":{
            "ttlSeconds":{"type":"integer","minimum":1,"maximum":86400},
            "scope":{"type":"string","enum":["caller","tenant"]}},
            "required":["ttlSeconds"],"additionalProperties":false},
            "requiredScopes":{"type":"array","items":{"type":"string"}}"#
        )
    };
}
/// The property `name` of a stored tool.
macro_rules! name_property {
    () => {
        r#""name":{"type":"string","pattern":"^[a-zA-Z][a-zA-Z0-9._:-]{2,63}$"}"#
    };
}
/// The properties `adminToken` and `expectedRevision`.
macro_rules! admin_property {
    () => {
        r#""adminToken":{"type":"string","description":"Or the header x-mcp-admin-token"}"#
    };
}
macro_rules! expected_property {
    () => {
        r#""expectedRevision":{"type":"integer","exclusiveMinimum":0,
        "maximum":9007199254740991,
        "description":"Only if this is the current revision"}"#
    };
}
pub(super) use {
    admin_property, expected_property, name_property, one_tool_schema, spec_properties, view_schema,
};

/// `{tool: …}`.
#[derive(Serialize)]
pub(super) struct OneTool<'a> {
    pub(super) tool: View<'a>,
}

/// One tool.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct View<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'a str>,
    description: &'a str,
    image: &'a str,
    timeout_ms: u32,
    dependencies: &'a [Dependency],
    enabled: bool,
    created_at: String,
    updated_at: String,
    revision: u64,
    code_size_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_schema: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_schema: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "is_default")]
    runtime: Runtime,
    #[serde(skip_serializing_if = "is_default")]
    engine: EngineChoice,
    #[serde(skip_serializing_if = "is_default")]
    isolation: Isolation,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    tags: &'a BTreeSet<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_limit: Option<RateLimit>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache: Option<CachePolicy>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    required_scopes: &'a BTreeSet<String>,
    #[serde(skip_serializing_if = "is_default")]
    shadowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    lockfile: Option<Locked<'a>>,
}

/// What the dependencies came to.
#[derive(Serialize)]
struct Locked<'a> {
    digest: &'a str,
    packages: Vec<LockedPackage<'a>>,
}

#[derive(Serialize)]
struct LockedPackage<'a> {
    name: &'a str,
    version: &'a str,
    integrity: &'a [String],
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl<'a> View<'a> {
    /// The view of a record, with its code when it is to be shown.
    pub(super) fn of(record: &'a ToolRecord, code: Option<&'a str>) -> Self {
        let spec = &record.spec;
        Self {
            name: record.name.as_str(),
            title: spec.title.as_deref(),
            description: &spec.description,
            image: &spec.image,
            timeout_ms: spec.timeout_ms,
            dependencies: &spec.dependencies,
            enabled: spec.enabled,
            created_at: iso_millis(record.created_at),
            updated_at: iso_millis(record.updated_at),
            revision: record.revision.0,
            code_size_bytes: record.code_size_bytes,
            code,
            input_schema: spec.input_schema.as_deref(),
            output_schema: spec.output_schema.as_deref(),
            annotations: spec.annotations.as_deref(),
            runtime: spec.runtime,
            engine: spec.engine,
            isolation: spec.isolation,
            tags: &spec.tags,
            rate_limit: spec.rate_limit,
            cache: spec.cache,
            required_scopes: &spec.required_scopes,
            shadowed: record.name.is_reserved(),
            lockfile: None,
        }
    }

    /// The same with what the dependencies came to.
    pub(super) fn with_lock(mut self, lock: Option<&'a Lockfile>) -> Self {
        self.lockfile = lock.map(|lock| Locked {
            digest: lock.digest(),
            packages: lock
                .packages()
                .map(|package| LockedPackage {
                    name: &package.name,
                    version: &package.version,
                    integrity: &package.integrity,
                })
                .collect(),
        });
        self
    }
}
