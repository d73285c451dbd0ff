//! Arguments of a call: their shape, and whether they fit the tool's schema.

use std::borrow::Cow;
use std::collections::BTreeMap;

use domain::schema::{Schema, Violation};
use domain::{Error, ErrorCode, RawValue, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::Segment;

use crate::operations::ProtocolError;

const EMPTY: &str = "{}";
/// Most members that the place of an error names, and most characters of each.
const SHOWN_SEGMENTS: usize = 8;
const SHOWN_CHARACTERS: usize = 64;

/// The arguments as text, checked to be a JSON object; absent counts as `{}`.
///
/// # Errors
/// -32602 when they are anything else: the call itself is malformed.
pub(crate) fn object(arguments: Option<&RawValue>) -> Result<&str, ProtocolError> {
    let text = arguments.map_or(EMPTY, |raw| raw.get().trim());
    match text {
        "null" => Ok(EMPTY),
        text if text.starts_with('{') => Ok(text),
        _ => Err(ProtocolError::invalid_params(
            "Invalid params: arguments must be an object",
        )),
    }
}

/// Parses the arguments: once as a [`Value`] for checking, and what is checked as its type.
///
/// # Errors
/// `invalid_argument` that names the member: it nests too deeply, a number is beyond what can be
/// held, or its type is another.
pub(crate) fn parse<T: DeserializeOwned>(text: &str) -> Result<T> {
    // Where it went wrong is looked for only when it did.
    serde_json::from_str(text).map_err(|error| unreadable::<T>(text, &error))
}

fn unreadable<T: DeserializeOwned>(text: &str, error: &serde_json::Error) -> Error {
    let reader = &mut serde_json::Deserializer::from_str(text);
    let Err(traced) = serde_path_to_error::deserialize::<_, T>(reader) else {
        return Error::invalid("arguments", format!("cannot be read: {error}"));
    };
    let mut field = String::new();
    // A path may be as deep as the parser goes; the first members say where.
    for segment in traced.path().iter().take(SHOWN_SEGMENTS) {
        match segment {
            Segment::Seq { index } => field.push_str(&format!("/{index}")),
            Segment::Map { key } => {
                field.push('/');
                field.extend(key.chars().take(SHOWN_CHARACTERS));
            }
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    if field.is_empty() {
        field.push_str("arguments");
    }
    Error::invalid(field, format!("cannot be read: {}", traced.inner()))
}

/// Checks arguments against a compiled schema.
///
/// # Errors
/// `invalid_argument` with the JSON pointer to what is wrong and the rule that it breaks.
pub(crate) fn check(schema: &Schema, arguments: &Value) -> Result<()> {
    schema.check(arguments).map_err(|violation| {
        let Violation {
            path,
            rule,
            message,
            limit,
        } = violation;
        // Of what is missing or too much the pointer names only the place where it was looked for.
        let field = if path.is_empty() {
            "arguments".to_owned()
        } else {
            path
        };
        let error =
            Error::new(ErrorCode::InvalidArgument, format!("{message} [{rule}]")).with_field(field);
        match limit {
            Some(limit) => error.with_limit(limit),
            None => error,
        }
    })
}

/// What a tool without `inputSchema` takes: its property `args`, an object.
///
/// # Errors
/// `invalid_argument` naming the property that is wrong or unknown.
pub(crate) fn args_property(text: &str) -> Result<&str> {
    #[derive(Deserialize)]
    struct Properties<'a>(#[serde(borrow)] BTreeMap<Cow<'a, str>, &'a RawValue>);
    let Properties(properties) = serde_json::from_str(text)
        .map_err(|error| Error::invalid("arguments", error.to_string()))?;
    if let Some(unknown) = properties.keys().find(|name| *name != "args") {
        let shown: String = unknown.chars().take(64).collect();
        return Err(
            Error::invalid(format!("/{shown}"), "is not a property of this tool")
                .with_fix("put the arguments of the tool's code into the property args"),
        );
    }
    match properties.get("args").map(|args| args.get()) {
        None => Ok(EMPTY),
        Some(args) if args.starts_with('{') => Ok(args),
        Some(_) => Err(Error::invalid("/args", "is not an object").with_limit("an object")),
    }
}

/// JSON text as a [`RawValue`].
///
/// # Errors
/// `invalid_argument`: it was checked before, so it does not happen.
pub(crate) fn raw(text: &str) -> Result<Box<RawValue>> {
    RawValue::from_string(text.to_owned())
        .map_err(|error| Error::invalid("arguments", error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::schema::Role;

    fn raw_value(text: &str) -> Box<RawValue> {
        raw(text).unwrap()
    }

    #[test]
    fn only_objects_are_arguments() {
        assert_eq!(object(None).unwrap(), "{}");
        assert_eq!(object(Some(&raw_value("null"))).unwrap(), "{}");
        assert_eq!(
            object(Some(&raw_value(r#"{"a":1}"#))).unwrap(),
            r#"{"a":1}"#
        );
        for bad in ["[]", "1", "\"x\"", "true"] {
            assert_eq!(
                object(Some(&raw_value(bad))).unwrap_err().code,
                -32602,
                "{bad}"
            );
        }
    }

    #[test]
    fn the_args_property_is_taken_as_it_is() {
        assert_eq!(args_property("{}").unwrap(), "{}");
        assert_eq!(
            args_property(r#"{"args":{"b":1.0,"a":[]}}"#).unwrap(),
            r#"{"b":1.0,"a":[]}"#
        );
        for (bad, field) in [
            (r#"{"args":[1]}"#, "/args"),
            (r#"{"args":null}"#, "/args"),
            (r#"{"args":"x"}"#, "/args"),
            (r#"{"a":2}"#, "/a"),
            (r#"{"args":{},"\u0061b":2}"#, "/ab"),
        ] {
            let error = args_property(bad).unwrap_err();
            assert_eq!(
                (error.code(), error.field()),
                (ErrorCode::InvalidArgument, Some(field))
            );
        }
    }

    #[test]
    fn a_violation_names_path_and_rule() {
        let text = r#"{"type":"object","properties":{"a":{"type":"array","items":{"minimum":3}}},
            "required":["a"],"additionalProperties":false}"#;
        let schema = Schema::compile(Role::Input, &raw_value(text)).unwrap();
        let refused = |value: Value| check(&schema, &value).unwrap_err();
        let error = refused(serde_json::json!({"a": [5, 1]}));
        assert_eq!(error.field(), Some("/a/1"));
        assert!(error.message().contains("[minimum]"), "{error}");
        assert_eq!(error.limit(), Some("3 or more"));
        assert!(refused(serde_json::json!({})).to_string().contains("\"a\""));
        assert!(
            refused(serde_json::json!({"a": [], "zz": 1}))
                .to_string()
                .contains("zz")
        );
    }

    #[test]
    fn nesting_has_an_end() {
        let deep = format!("{}1{}", "{\"a\":".repeat(200), "}".repeat(200));
        let error = parse::<Value>(&deep).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidArgument);
        assert_eq!(error.field(), Some("/a/a/a/a/a/a/a/a"));
        assert!(error.message().contains("recursion"), "{error}");
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let field = |error: Error| error.field().map(str::to_owned);
        let huge = r#"{"tool":{"tags":["a"],"timeoutMs":1e400}}"#;
        let error = parse::<Value>(huge).unwrap_err();
        assert!(error.message().contains("out of range"), "{error}");
        assert_eq!(field(error).as_deref(), Some("/tool/timeoutMs"));
        type Numbers = BTreeMap<String, Vec<u8>>;
        let error = parse::<Numbers>(r#"{"a":[1],"b":[2,300]}"#).unwrap_err();
        assert_eq!(field(error).as_deref(), Some("/b/1"));
        let error = parse::<Numbers>("7").unwrap_err();
        assert_eq!(field(error).as_deref(), Some("arguments"));
    }
}
