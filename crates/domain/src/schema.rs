//! JSON Schemas of tools: compiled once per revision, with bounds, and nothing fetched ever.

use jsonschema::error::ValidationErrorKind as Kind;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::error::{Error, Result};
use crate::limits;

/// Deepest nesting of a schema.
pub const MAX_DEPTH: usize = 48;
/// Most objects and arrays in a schema: bounds the work of compiling and of every check.
pub const MAX_NODES: usize = 2_048;
/// Largest compiled regular expression, in bytes.
const MAX_REGEX_BYTES: usize = 1 << 20;
/// Room for all compiled regular expressions of a schema, in bytes: each gets its share. Without it
/// a schema of 64 KiB could ask for a gigabyte.
const MAX_PATTERN_BYTES: usize = 4 << 20;

/// What a schema is for: the rules for its root differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Arguments: the root has `type: "object"`, and `x-mcp-header` is allowed.
    Input,
    /// A result: any root.
    Output,
}

impl Role {
    fn field(self) -> &'static str {
        match self {
            Role::Input => "inputSchema",
            Role::Output => "outputSchema",
        }
    }
}

/// A compiled schema. Expensive to make, cheap to use: keep it.
#[derive(Debug, Clone)]
pub struct Schema {
    validator: jsonschema::Validator,
}

/// Why a value does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// JSON pointer to the value at fault; empty for the root.
    pub path: String,
    /// The keyword that it breaks, for example `minLength`.
    pub rule: String,
    /// A sentence without the value itself, at most 300 characters.
    pub message: String,
    /// The bound that it breaks, when the keyword is one: `1000 or more`, `at most 120 characters`.
    pub limit: Option<String>,
}

impl Schema {
    /// Compiles a tool's schema within the bounds.
    ///
    /// Dialects: 2020-12 (the default), 2019-09 and draft-07. `format` is asserted. Patterns run on
    /// an engine of linear time, so look-around and back-references are refused.
    ///
    /// # Errors
    /// `invalid_argument` naming `inputSchema` or `outputSchema` with the place at fault.
    pub fn compile(role: Role, text: &RawValue) -> Result<Self> {
        let field = role.field();
        if text.get().len() > limits::SCHEMA_BYTES {
            return Err(Error::invalid(field, "is too large")
                .with_limit(format!("{} bytes", limits::SCHEMA_BYTES)));
        }
        let value: Value = serde_json::from_str(text.get())
            .map_err(|error| Error::invalid(field, format!("is not JSON: {error}")))?;
        check_root(role, &value)?;
        let mut bounds = Bounds {
            role,
            nodes: 0,
            patterns: 0,
            headers: Vec::new(),
        };
        bounds.walk(&value, &mut Vec::new(), true)?;
        check_reference_loops(field, &value)?;
        let share = (MAX_PATTERN_BYTES / bounds.patterns.max(1)).min(MAX_REGEX_BYTES);
        let patterns = jsonschema::PatternOptions::regex()
            .size_limit(share)
            .dfa_size_limit(share);
        let validator = jsonschema::options()
            .with_draft(dialect(field, &value)?)
            .with_pattern_options(patterns)
            .should_validate_formats(true)
            .should_ignore_unknown_formats(true)
            .offline()
            .build(&value)
            .map_err(|error| {
                // What is checked here is the schema, so this is a place in it.
                let at = error.instance_path().to_string();
                Error::invalid(format!("{field}{at}"), shorten(&error.masked().to_string()))
                    .with_fix(match error.kind() {
                        Kind::Referencing(_) => {
                            "put what $ref names under $defs: nothing is ever fetched"
                        }
                        Kind::Format { .. } => {
                            "patterns have no look-around, and share 4 MiB once compiled: write fewer \
                             or with smaller repeats"
                        }
                        _ => "keep to the keywords of the dialect",
                    })
            })?;
        Ok(Self { validator })
    }

    /// Checks a value; the first fault is told.
    ///
    /// # Errors
    /// The fault with its path and rule.
    pub fn check(&self, value: &Value) -> std::result::Result<(), Violation> {
        self.validator.validate(value).map_err(|error| Violation {
            path: error.instance_path().to_string(),
            rule: error.kind().keyword().to_owned(),
            message: shorten(&error.masked().to_string()),
            limit: limit(error.kind()),
        })
    }
}

fn limit(kind: &Kind) -> Option<String> {
    Some(match kind {
        Kind::Minimum { limit } => format!("{limit} or more"),
        Kind::Maximum { limit } => format!("{limit} or less"),
        Kind::ExclusiveMinimum { limit } => format!("more than {limit}"),
        Kind::ExclusiveMaximum { limit } => format!("less than {limit}"),
        Kind::MinLength { limit } => format!("at least {limit} characters"),
        Kind::MaxLength { limit } => format!("at most {limit} characters"),
        Kind::MinItems { limit } => format!("at least {limit} items"),
        Kind::MaxItems { limit } => format!("at most {limit} items"),
        Kind::MinProperties { limit } => format!("at least {limit} properties"),
        Kind::MaxProperties { limit } => format!("at most {limit} properties"),
        Kind::Pattern { pattern } => shorten(pattern),
        _ => return None,
    })
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(300) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

fn check_root(role: Role, value: &Value) -> Result<()> {
    let field = role.field();
    let Some(root) = value.as_object() else {
        return Err(Error::invalid(field, "has to be a JSON object"));
    };
    if role == Role::Input && root.get("type").and_then(Value::as_str) != Some("object") {
        return Err(Error::invalid(
            format!("{field}/type"),
            "has to be \"object\" at the root",
        ));
    }
    Ok(())
}

fn dialect(field: &str, value: &Value) -> Result<jsonschema::Draft> {
    use jsonschema::Draft;
    let Some(uri) = value.get("$schema") else {
        return Ok(Draft::Draft202012);
    };
    let uri = uri.as_str().unwrap_or_default().trim_end_matches('#');
    match uri {
        "https://json-schema.org/draft/2020-12/schema" => Ok(Draft::Draft202012),
        "https://json-schema.org/draft/2019-09/schema" => Ok(Draft::Draft201909),
        "http://json-schema.org/draft-07/schema" => Ok(Draft::Draft7),
        _ => Err(
            Error::invalid(format!("{field}/$schema"), "is not a dialect that is known")
                .with_limit("2020-12, 2019-09 or draft-07"),
        ),
    }
}

struct Bounds {
    role: Role,
    nodes: usize,
    /// Regular expressions so far.
    patterns: usize,
    headers: Vec<String>,
}

impl Bounds {
    /// Walks every node. `plain` says that the path leads through `properties` only, where
    /// `x-mcp-header` may stand (MCP 2026-07-28, custom headers).
    fn walk(&mut self, value: &Value, path: &mut Vec<String>, plain: bool) -> Result<()> {
        let children: Vec<(String, &Value)> = match value {
            Value::Object(map) => map
                .iter()
                .map(|(key, child)| (key.clone(), child))
                .collect(),
            Value::Array(list) => list
                .iter()
                .enumerate()
                .map(|(at, child)| (at.to_string(), child))
                .collect(),
            _ => return Ok(()),
        };
        self.nodes += 1;
        if path.len() > MAX_DEPTH || self.nodes > MAX_NODES {
            return Err(
                Error::invalid(self.role.field(), "is too deep or has too many parts")
                    .with_limit(format!("depth {MAX_DEPTH}, {MAX_NODES} objects and arrays")),
            );
        }
        let named = value.get("patternProperties").and_then(Value::as_object);
        self.patterns += named.map_or(0, serde_json::Map::len);
        self.patterns += usize::from(value.get("pattern").is_some_and(Value::is_string));
        if value.get("x-mcp-header").is_some() && self.role == Role::Input {
            self.header(value, path, plain)?;
        }
        let named = path.last().is_some_and(|key| key == "properties") && plain;
        for (key, child) in children {
            let child_plain = plain && (named || key == "properties");
            path.push(key);
            self.walk(child, path, child_plain)?;
            path.pop();
        }
        Ok(())
    }

    fn header(&mut self, schema: &Value, path: &[String], plain: bool) -> Result<()> {
        let fault = |message: &str| {
            let pointer: String = path.iter().map(|part| format!("/{part}")).collect();
            Err(Error::invalid(
                format!("inputSchema{pointer}/x-mcp-header"),
                message,
            ))
        };
        // A property that is called `x-mcp-header` is not the keyword.
        if path.last().is_some_and(|key| key == "properties") && plain {
            return Ok(());
        }
        let Some(name) = schema.get("x-mcp-header").and_then(Value::as_str) else {
            return fault("has to be a string");
        };
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if name.is_empty() || name.len() > 64 || !name.bytes().all(token) {
            return fault("has to be an HTTP token of 1-64 characters");
        }
        if !plain || path.len() < 2 {
            return fault("may stand only on properties reached through `properties` alone");
        }
        let kind = schema.get("type").and_then(Value::as_str);
        if !matches!(kind, Some("string" | "integer" | "boolean")) {
            return fault("needs type string, integer or boolean beside it");
        }
        let lower = name.to_ascii_lowercase();
        if self.headers.contains(&lower) {
            return fault("is used twice (case does not matter)");
        }
        self.headers.push(lower);
        Ok(())
    }
}

/// Refuses a `$ref` that leads back to itself without taking a step into the value: a validator
/// would run on it for ever.
fn check_reference_loops(field: &str, root: &Value) -> Result<()> {
    const IN_PLACE: &[&str] = &[
        "allOf",
        "anyOf",
        "oneOf",
        "not",
        "if",
        "then",
        "else",
        "dependentSchemas",
    ];
    fn visit<'a>(
        root: &'a Value,
        node: &'a Value,
        trail: &mut Vec<*const Value>,
        done: &mut std::collections::HashSet<*const Value>,
    ) -> bool {
        let id = std::ptr::from_ref(node);
        if trail.contains(&id) {
            return false;
        }
        if !done.insert(id) {
            return true;
        }
        let Some(map) = node.as_object() else {
            return true;
        };
        trail.push(id);
        let mut fine = true;
        for key in ["$ref", "$dynamicRef"] {
            let Some(target) = map.get(key).and_then(Value::as_str) else {
                continue;
            };
            if let Some(next) = target.strip_prefix('#').and_then(|at| root.pointer(at)) {
                fine &= visit(root, next, trail, done);
            }
        }
        for key in IN_PLACE {
            match map.get(*key) {
                Some(Value::Array(list)) => {
                    fine &= list.iter().all(|child| visit(root, child, trail, done));
                }
                Some(Value::Object(named)) if *key == "dependentSchemas" => {
                    fine &= named.values().all(|child| visit(root, child, trail, done));
                }
                Some(child) => fine &= visit(root, child, trail, done),
                None => {}
            }
        }
        trail.pop();
        fine
    }
    fn every<'a>(
        root: &'a Value,
        node: &'a Value,
        seen: &mut std::collections::HashSet<*const Value>,
    ) -> bool {
        let here = visit(root, node, &mut Vec::new(), seen);
        here && match node {
            Value::Object(map) => map.values().all(|child| every(root, child, seen)),
            Value::Array(list) => list.iter().all(|child| every(root, child, seen)),
            _ => true,
        }
    }
    if every(root, root, &mut std::collections::HashSet::new()) {
        Ok(())
    } else {
        Err(Error::invalid(
            field,
            "has a $ref that leads back to itself",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn compile(role: Role, schema: &Value) -> Result<Schema> {
        Schema::compile(role, &serde_json::value::to_raw_value(schema).unwrap())
    }

    #[test]
    fn names_path_and_rule() {
        let schema = compile(
            Role::Input,
            &json!({"type":"object","properties":{"a":{"type":"array","items":{"type":"string","maxLength":2}}},"required":["a"]}),
        )
        .unwrap();
        assert!(schema.check(&json!({"a":["xy"]})).is_ok());
        let fault = schema.check(&json!({"a":["xy","secret"]})).unwrap_err();
        assert_eq!(
            (fault.path.as_str(), fault.rule.as_str()),
            ("/a/1", "maxLength")
        );
        assert!(!fault.message.contains("secret"), "{}", fault.message);
        assert_eq!(fault.limit.as_deref(), Some("at most 2 characters"));
        let missing = schema.check(&json!({})).unwrap_err();
        assert_eq!((missing.rule.as_str(), missing.limit), ("required", None));
    }

    #[test]
    fn a_schema_that_cannot_be_used_is_refused_where_it_is_wrong() {
        let refused = |of: Value| {
            let schema = json!({"type": "object", "properties": {"a": of}});
            let error = compile(Role::Input, &schema).unwrap_err();
            (
                error.field().unwrap().to_owned(),
                error.fix().unwrap().to_owned(),
            )
        };
        let (field, fix) = refused(json!({"type": "nonsense"}));
        assert_eq!(field, "inputSchema/properties/a/type");
        assert!(
            !fix.contains("$ref") && !fix.contains("look-around"),
            "{fix}"
        );
        assert!(
            refused(json!({"$ref": "https://example.org/x"}))
                .1
                .contains("$ref")
        );
        assert!(
            refused(json!({"pattern": "(?=x)y"}))
                .1
                .contains("look-around")
        );
    }

    #[test]
    fn formats_are_asserted() {
        let schema = compile(Role::Output, &json!({"type":"string","format":"email"})).unwrap();
        assert!(schema.check(&json!("a@example.org")).is_ok());
        assert_eq!(schema.check(&json!("nobody")).unwrap_err().rule, "format");
    }

    #[test]
    fn refused_schemas() {
        let many: Vec<Value> = (0..1 << 14).map(|at| json!({"const": at})).collect();
        let mut deep = json!({});
        for _ in 0..60 {
            deep = json!({"not": deep});
        }
        let object = |more: Value| {
            let mut schema = json!({"type":"object"});
            schema
                .as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            schema
        };
        for bad in [
            json!([]),
            json!(true),
            json!({"type":"string"}),
            json!({"type":"object","$schema":"https://example.org/mine"}),
            object(json!({"properties":{"a":{"$ref":"https://example.org/x.json"}}})),
            object(json!({"properties":{"a":{"$ref":"file:///etc/passwd"}}})),
            object(json!({"properties":{"a":{"$ref":"#/$defs/none"}}})),
            object(json!({"$ref":"#"})),
            object(
                json!({"$defs":{"a":{"$ref":"#/$defs/b"},"b":{"allOf":[{"$ref":"#/$defs/a"}]}}}),
            ),
            object(json!({"properties":{"a":{"pattern":"(?=x)y"}}})),
            object(json!({"properties":{"a":{"pattern":"("}}})),
            object(json!({"properties":{"a":{"type":"nonsense"}}})),
            object(json!({"anyOf": many})),
            object(json!({"properties":{"a":deep}})),
            object(json!({"properties":{"a":{"type":"string","x-mcp-header":"A\r\nB"}}})),
            object(json!({"properties":{"a":{"type":"string","x-mcp-header":""}}})),
            object(json!({"properties":{"a":{"type":"number","x-mcp-header":"A"}}})),
            object(json!({"properties":{"a":{"items":{"type":"string","x-mcp-header":"A"}}}})),
            object(
                json!({"properties":{"a":{"type":"string","x-mcp-header":"A"},"b":{"type":"string","x-mcp-header":"a"}}}),
            ),
        ] {
            let error = compile(Role::Input, &bad).err();
            let text = bad.to_string();
            let error = error.unwrap_or_else(|| panic!("taken: {}", &text[..text.len().min(200)]));
            assert!(error.field().unwrap().starts_with("inputSchema"), "{error}");
        }
    }

    #[test]
    fn accepted_schemas() {
        for good in [
            json!({"type":"object"}),
            json!({"type":"object","$schema":"http://json-schema.org/draft-07/schema#"}),
            json!({"type":"object","$defs":{"node":{"type":"object","properties":{"next":{"$ref":"#/$defs/node"}}}},"properties":{"head":{"$ref":"#/$defs/node"}}}),
            json!({"type":"object","properties":{"a":{"type":"string","x-mcp-header":"Region"},"x-mcp-header":{"type":"string"}}}),
            json!({"type":"object","properties":{"a":{"$anchor":"here","type":"string"},"b":{"$ref":"#here"}}}),
        ] {
            compile(Role::Input, &good).unwrap_or_else(|error| panic!("{good}: {error}"));
        }
    }

    #[test]
    fn threat_52_patterns_share_their_room_however_many_there_are() {
        let schema = |pattern: &str, count: usize| {
            let of = (0..count).map(|at| (format!("p{at}"), json!({"pattern": pattern})));
            let named: serde_json::Map<_, _> = of.collect();
            json!({"type": "object", "properties": named})
        };
        let large = r"^\p{L}{10}$";
        compile(Role::Input, &schema(large, 1)).unwrap();
        for count in [200, 1_000] {
            let error = compile(Role::Input, &schema(large, count)).unwrap_err();
            assert!(error.fix().unwrap().contains("4 MiB"), "{error}");
        }
        let keys = (0..200).map(|at| (format!("{large}{at}"), json!({})));
        let keys: serde_json::Map<_, _> = keys.collect();
        let error = compile(
            Role::Input,
            &json!({"type": "object", "patternProperties": keys}),
        );
        assert!(error.is_err(), "names are patterns too");
        // What people write.
        compile(Role::Input, &schema(r"^[a-z0-9][a-z0-9_.-]{0,62}$", 100)).unwrap();
    }

    #[test]
    fn a_hostile_pattern_is_matched_in_linear_time() {
        let schema = compile(Role::Output, &json!({"pattern":"^(a+)+$"})).unwrap();
        assert!(schema.check(&json!("a".repeat(50_000) + "b")).is_err());
    }
}
