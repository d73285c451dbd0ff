//! What never stands in the log: values whose key says that they are secret.

use serde_json::{Map, Value};

/// What stands in place of a secret.
pub const REDACTED: &str = "[REDACTED]";

/// A key that holds one of these, in whatever case, holds a secret.
const SENSITIVE: &[&str] = &[
    "token",
    "password",
    "secret",
    "authorization",
    "cookie",
    "api_key",
    "apikey",
    "api-key",
    "bearer",
    "credential",
];

/// Whether a key's value is a secret.
#[must_use]
pub fn is_sensitive(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    SENSITIVE.iter().any(|word| key.contains(word))
}

/// Replaces every value of a sensitive key with [`REDACTED`], at any depth.
pub fn redact(members: &mut Map<String, Value>) {
    for (key, value) in members {
        if is_sensitive(key) {
            *value = Value::String(REDACTED.to_owned());
        } else {
            redact_within(value);
        }
    }
}

fn redact_within(value: &mut Value) {
    match value {
        Value::Object(members) => redact(members),
        Value::Array(items) => items.iter_mut().for_each(redact_within),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn redacted(value: Value) -> Value {
        let Value::Object(mut members) = value else {
            panic!("not an object");
        };
        redact(&mut members);
        Value::Object(members)
    }

    #[test]
    fn every_word_in_every_case_and_place() {
        for key in [
            "token",
            "accessToken",
            "PASSWORD",
            "db_password",
            "secret",
            "Authorization",
            "set-cookie",
            "api_key",
            "apiKey",
            "X-Api-Key",
            "bearer",
            "credentials",
        ] {
            assert!(is_sensitive(key), "{key}");
            assert_eq!(redacted(json!({key: "v"})), json!({key: REDACTED}));
            assert_eq!(redacted(json!({key: {"a": 1}})), json!({key: REDACTED}));
        }
        for key in ["name", "key", "api", "reason", "to_ken"] {
            assert!(!is_sensitive(key), "{key}");
        }
    }

    #[test]
    fn at_any_depth() {
        let mut value = json!({"password": "hidden", "shown": 1});
        for _ in 0..50 {
            value = json!({"in": [0, value]});
        }
        let text = redacted(value).to_string();
        assert!(!text.contains("hidden") && text.contains("\"shown\":1"));
    }

    #[test]
    fn a_value_that_looks_like_a_key_stays() {
        let plain = json!({"reason": "missing bearer", "list": ["token"]});
        assert_eq!(redacted(plain.clone()), plain);
    }
}
