//! Arguments of a call: their shape, and whether they fit the tool's schema.

use std::borrow::Cow;
use std::collections::BTreeMap;

use domain::schema::{Schema, Violation};
use domain::{Error, ErrorCode, RawValue, Result};
use serde::Deserialize;
use serde_json::Value;

use crate::operations::ProtocolError;

const EMPTY: &str = "{}";

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

/// Parses the arguments once, for checking.
///
/// # Errors
/// `invalid_argument` when they nest too deeply.
pub(crate) fn parse(text: &str) -> Result<Value> {
    serde_json::from_str(text).map_err(|error| {
        Error::invalid("arguments", format!("cannot be read: {error}"))
            .with_limit("128 levels of nesting")
    })
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
        } = violation;
        // Of what is missing or too much the pointer names only the place where it was looked for.
        let field = if path.is_empty() {
            "arguments".to_owned()
        } else {
            path
        };
        Error::new(ErrorCode::InvalidArgument, format!("{message} [{rule}]")).with_field(field)
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
        assert_eq!(parse(&deep).unwrap_err().code(), ErrorCode::InvalidArgument);
    }
}
