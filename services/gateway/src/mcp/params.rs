//! `Mcp-Param-*` headers: arguments that a client repeats in headers so that proxies can route on
//! them without reading the body (SEP-2243).

use std::sync::Arc;

use http::{HeaderMap, HeaderName};
use serde_json::Value;

use super::headers::{decode, single};
use super::refusal::Refusal;

/// Deepest `properties` chain that is searched.
const MAX_DEPTH: usize = 16;

/// An argument with an `x-mcp-header` annotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParamHeader {
    path: Vec<String>,
    header: HeaderName,
    /// The header as the specification writes it, for messages.
    label: String,
}

impl ParamHeader {
    /// Every annotation of a tool's `inputSchema` that is a header name; done once per revision.
    #[must_use]
    pub fn of_schema(schema: &Value) -> Arc<[ParamHeader]> {
        let mut found = Vec::new();
        collect(schema, &mut Vec::new(), &mut found);
        found.into()
    }
}

fn collect(schema: &Value, path: &mut Vec<String>, found: &mut Vec<ParamHeader>) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return;
    };
    if path.len() >= MAX_DEPTH {
        return;
    }
    for (name, property) in properties {
        path.push(name.clone());
        let label = property
            .get("x-mcp-header")
            .and_then(Value::as_str)
            .map(|header| format!("Mcp-Param-{header}"));
        if let Some(label) = label
            && let Ok(header) = HeaderName::from_bytes(label.as_bytes())
        {
            found.push(ParamHeader {
                path: path.clone(),
                header,
                label,
            });
        }
        collect(property, path, found);
        path.pop();
    }
}

/// Checks the headers of a call against its arguments. Headers that no annotation names are not
/// looked at.
pub(crate) fn check(
    expected: &[ParamHeader],
    headers: &HeaderMap,
    arguments: Option<&domain::RawValue>,
) -> Result<(), Refusal> {
    if expected.is_empty() {
        return Ok(());
    }
    let arguments = arguments
        .map(|raw| serde_json::from_str::<Value>(raw.get()))
        .transpose()
        .map_err(|_| Refusal::invalid_params("params.arguments cannot be read"))?
        .unwrap_or_default();
    for ParamHeader {
        path,
        header,
        label,
    } in expected
    {
        let argument = path
            .iter()
            .try_fold(&arguments, |value, key| value.get(key.as_str()));
        let said = single(headers, header)?;
        let said = said
            .map(|text| {
                decode(text)
                    .ok_or_else(|| Refusal::header_mismatch(format!("{label} is not valid base64")))
            })
            .transpose()?;
        let equal = match (argument, said.as_deref()) {
            (None | Some(Value::Null), None) => true,
            (Some(Value::String(value)), Some(said)) => value == said,
            (Some(Value::Bool(value)), Some(said)) => said == if *value { "true" } else { "false" },
            (Some(Value::Number(value)), Some(said)) => equal_numbers(value, said),
            // An object or an array cannot travel in a header.
            (Some(Value::Object(_) | Value::Array(_)), None) => true,
            _ => false,
        };
        if !equal {
            let argument = path.join(".");
            return Err(Refusal::header_mismatch(match said {
                None => {
                    format!("the header {label} is missing: it repeats params.arguments.{argument}")
                }
                Some(_) => {
                    format!("{label} does not say the same as params.arguments.{argument}")
                }
            }));
        }
    }
    Ok(())
}

/// Numbers are compared as numbers: `1` and `1.0` are the same.
fn equal_numbers(value: &serde_json::Number, said: &str) -> bool {
    if value.to_string() == said {
        return true;
    }
    match (value.as_i64(), said.parse::<i64>()) {
        (Some(value), Ok(said)) => value == said,
        _ => match (value.as_f64(), said.parse::<f64>()) {
            (Some(value), Ok(said)) => value == said,
            _ => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn verdict(headers: &[(&'static str, &str)], arguments: &Value) -> Result<(), String> {
        let schema = json!({"properties": {
            "region": {"type": "string", "x-mcp-header": "Region"},
            "deep": {"properties": {"n": {"type": "integer", "x-mcp-header": "N"}}},
        }});
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(
                *name,
                http::HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            );
        }
        let raw = serde_json::value::to_raw_value(arguments).unwrap();
        check(&ParamHeader::of_schema(&schema), &map, Some(&raw)).map_err(|r| {
            assert_eq!(r.code, -32020);
            r.message.into_owned()
        })
    }

    #[test]
    fn headers_have_to_say_what_the_arguments_say() {
        let arguments = json!({"region": "Österreich", "deep": {"n": 7}});
        let base64 = "=?base64?w5ZzdGVycmVpY2g=?=";
        assert_eq!(
            verdict(
                &[("mcp-param-region", base64), ("mcp-param-n", "7.0")],
                &arguments
            ),
            Ok(())
        );
        for headers in [
            &[("mcp-param-region", base64)][..],
            &[("mcp-param-region", base64), ("mcp-param-n", "8")],
            &[
                ("mcp-param-region", "=?base64?w5Zz!?="),
                ("mcp-param-n", "7"),
            ],
            &[
                ("mcp-param-region", base64),
                ("mcp-param-n", "7"),
                ("mcp-param-n", "7"),
            ],
            &[
                ("mcp-param-region", "\u{d6}sterreich"),
                ("mcp-param-n", "7"),
            ],
        ] {
            assert!(verdict(headers, &arguments).is_err(), "{headers:?}");
        }
        let missing = verdict(&[], &json!({"region": "eu"})).unwrap_err();
        assert!(
            missing.contains("the header Mcp-Param-Region is missing"),
            "{missing}"
        );
        assert_eq!(verdict(&[], &json!({"region": null})), Ok(()));
        assert!(verdict(&[("mcp-param-region", "x")], &json!({})).is_err());
        assert_eq!(verdict(&[("mcp-param-other", "x")], &json!({})), Ok(()));
    }
}
