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

/// A free text, such as a shell command, with what looks like a secret replaced: what follows a word
/// that [`is_sensitive`] after `=`, `:` or, behind an option, a space; what follows `Bearer` or `Basic`; and
/// user and password of a URL. What has no such form stays: this is a help, no guarantee.
#[must_use]
pub fn redact_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let gap = rest.find(is_word).unwrap_or(rest.len());
        out.push_str(&rest[..gap]);
        rest = &rest[gap..];
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        out.push_str(word);
        rest = after;
        if let Some(credentials) = credentials_of_a_url(after) {
            out.push_str("://");
            out.push_str(REDACTED);
            rest = &after["://".len() + credentials..];
        } else if let Some((separator, value)) = secret_after(word, after) {
            out.push_str(&after[..separator]);
            out.push_str(REDACTED);
            rest = &after[separator + value..];
        }
    }
    out
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

/// How long user and password of a URL are whose scheme stands before.
fn credentials_of_a_url(after: &str) -> Option<usize> {
    let rest = after.strip_prefix("://")?;
    let end = rest
        .find(|c: char| c.is_whitespace() || "/?#'\"".contains(c))
        .unwrap_or(rest.len());
    rest[..end].rfind('@')
}

/// Where a secret begins behind `word`, and how long it is.
fn secret_after(word: &str, after: &str) -> Option<(usize, usize)> {
    let scheme = ["bearer", "basic"]
        .iter()
        .any(|scheme| word.eq_ignore_ascii_case(scheme));
    if !scheme && !is_sensitive(word) {
        return None;
    }
    let option = scheme || word.starts_with('-');
    let allowed = |c: char| "=:'\"".contains(c) || c == ' ' || c == '\t';
    let separator = after.find(|c| !allowed(c)).unwrap_or(after.len());
    let joins = after[..separator].contains(['=', ':']) || (option && separator > 0);
    if !joins {
        return None;
    }
    // A header's value may begin with its scheme, which hides nothing.
    let value = &after[separator..];
    let quoted = after[..separator]
        .chars()
        .next_back()
        .filter(|c| "'\"".contains(*c));
    let end = match quoted {
        Some(quote) => value.find(quote),
        None => value.find(|c: char| c.is_whitespace() || "'\";&|".contains(c)),
    };
    let mut length = end.unwrap_or(value.len());
    for scheme in ["bearer ", "basic "] {
        let starts = value.get(..scheme.len());
        if quoted.is_none() && starts.is_some_and(|start| start.eq_ignore_ascii_case(scheme)) {
            let token = &value[scheme.len()..];
            let end = token.find(|c: char| c.is_whitespace() || "'\";&|".contains(c));
            length = scheme.len() + end.unwrap_or(token.len());
        }
    }
    (length > 0).then_some((separator, length))
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

    #[test]
    fn secrets_in_commands() {
        for (text, shown) in [
            ("npm test", "npm test"),
            ("export API_KEY=abc123", "export API_KEY=[REDACTED]"),
            (
                "export API_KEY='a b c' && x",
                "export API_KEY='[REDACTED]' && x",
            ),
            ("PASSWORD=x;ls", "PASSWORD=[REDACTED];ls"),
            ("tool --token abc run", "tool --token [REDACTED] run"),
            ("tool --token=abc run", "tool --token=[REDACTED] run"),
            (
                "curl -H 'Authorization: Bearer abc' http://x",
                "curl -H 'Authorization: [REDACTED]' http://x",
            ),
            ("echo Bearer abc def", "echo Bearer [REDACTED] def"),
            (
                "git clone https://me:pw@host/x.git",
                "git clone https://[REDACTED]@host/x.git",
            ),
            ("curl https://host/a@b", "curl https://host/a@b"),
            (
                r#"echo '{"secret": "s3", "a": 1}'"#,
                r#"echo '{"secret": "[REDACTED]", "a": 1}'"#,
            ),
            ("the token is here", "the token is here"),
            ("cat secrets.txt", "cat secrets.txt"),
            ("straße TOKEN=ß", "straße TOKEN=[REDACTED]"),
            ("TOKEN=", "TOKEN="),
        ] {
            assert_eq!(redact_text(text), shown);
        }
    }
}
