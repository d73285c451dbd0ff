//! The patch of a tool.

use std::sync::Arc;

use domain::tool::{Change, EngineChoice, Isolation, Runtime};
use domain::{Error, Result, ToolPatch};

use super::call::{dependencies_from, dependencies_to, locked_from, locked_to};
use super::catalog::{cache_from, cache_to, rate_limit_from, rate_limit_to, shared_json, text_of};
use super::words::Word;
use crate::pb;
use crate::pb::ClearableField as Field;

pub(crate) fn patch_to(patch: ToolPatch) -> pb::ToolPatch {
    let mut clear = Vec::new();
    let set = |values: std::collections::BTreeSet<String>| pb::StringSet {
        values: values.into_iter().collect(),
    };
    pb::ToolPatch {
        title: optional(patch.title, Field::Title, &mut clear),
        description: patch.description,
        code: patch.code.map(|code| code.as_ref().to_owned()),
        image: patch.image,
        timeout_ms: patch.timeout_ms,
        dependencies: patch.dependencies.map(|values| pb::DependencyList {
            values: dependencies_to(values),
        }),
        enabled: patch.enabled,
        input_schema_json: optional(patch.input_schema, Field::InputSchema, &mut clear)
            .map(|json| text_of(&json)),
        output_schema_json: optional(patch.output_schema, Field::OutputSchema, &mut clear)
            .map(|json| text_of(&json)),
        annotations_json: optional(patch.annotations, Field::Annotations, &mut clear)
            .map(|json| text_of(&json)),
        runtime: patch.runtime.map(Word::wire),
        engine: patch.engine.map(Word::wire),
        isolation: patch.isolation.map(Word::wire),
        tags: patch.tags.map(set),
        rate_limit: optional(patch.rate_limit, Field::RateLimit, &mut clear).map(rate_limit_to),
        cache: optional(patch.cache, Field::Cache, &mut clear).map(cache_to),
        required_scopes: patch.required_scopes.map(set),
        clear,
        lock: patch.lock.as_ref().map(locked_to),
    }
}

pub(crate) fn patch_from(patch: pb::ToolPatch) -> Result<ToolPatch> {
    let clear = patch
        .clear
        .into_iter()
        .map(|field| match Field::try_from(field) {
            Ok(Field::Unspecified) | Err(_) => {
                Err(Error::invalid("patch.clear", "is not a known field"))
            }
            Ok(field) => Ok(field),
        })
        .collect::<Result<Vec<_>>>()?;
    let json = |field, text: Option<String>| text.map(|text| shared_json(field, text)).transpose();
    let set = |values: pb::StringSet| values.values.into_iter().collect();
    Ok(ToolPatch {
        title: change(patch.title, Field::Title, &clear),
        description: patch.description,
        code: patch.code.map(Arc::from),
        image: patch.image,
        timeout_ms: patch.timeout_ms,
        dependencies: patch
            .dependencies
            .map(|list| dependencies_from(list.values)),
        enabled: patch.enabled,
        input_schema: change(
            json("patch.input_schema_json", patch.input_schema_json)?,
            Field::InputSchema,
            &clear,
        ),
        output_schema: change(
            json("patch.output_schema_json", patch.output_schema_json)?,
            Field::OutputSchema,
            &clear,
        ),
        annotations: change(
            json("patch.annotations_json", patch.annotations_json)?,
            Field::Annotations,
            &clear,
        ),
        runtime: word::<Runtime>("patch.runtime", patch.runtime)?,
        engine: word::<EngineChoice>("patch.engine", patch.engine)?,
        isolation: word::<Isolation>("patch.isolation", patch.isolation)?,
        tags: patch.tags.map(set),
        rate_limit: change(
            patch.rate_limit.map(rate_limit_from),
            Field::RateLimit,
            &clear,
        ),
        cache: change(
            patch.cache.map(cache_from).transpose()?,
            Field::Cache,
            &clear,
        ),
        required_scopes: patch.required_scopes.map(set),
        lock: patch.lock.map(locked_from).transpose()?,
    })
}

fn word<W: Word>(field: &str, wire: Option<i32>) -> Result<Option<W>> {
    wire.map(|wire| W::of_wire(field, wire)).transpose()
}

fn optional<T>(change: Change<T>, field: Field, clear: &mut Vec<i32>) -> Option<T> {
    match change {
        Change::Keep => None,
        Change::Clear => {
            clear.push(field.into());
            None
        }
        Change::Set(value) => Some(value),
    }
}

fn change<T>(value: Option<T>, field: Field, clear: &[Field]) -> Change<T> {
    match value {
        Some(value) => Change::Set(value),
        None if clear.contains(&field) => Change::Clear,
        None => Change::Keep,
    }
}
