//! JSON as text: laid out anew without being parsed into values, so that the order of keys and the
//! digits of numbers stay as their author wrote them.

use std::borrow::Cow;

use domain::RawValue;

/// Text of `json` without line breaks, for transports that end a message at one. Line breaks are
/// only ever white space between tokens: inside strings JSON escapes them.
pub(crate) fn one_line(json: &RawValue) -> Cow<'_, str> {
    let text = json.get();
    if !text.bytes().any(|byte| byte == b'\n' || byte == b'\r') {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().filter(|c| !matches!(c, '\n' | '\r')).collect())
}

/// [`one_line`] as JSON again.
pub(crate) fn on_one_line(json: Box<RawValue>) -> Box<RawValue> {
    match one_line(&json) {
        Cow::Borrowed(_) => json,
        // Taking white space out of JSON leaves JSON.
        Cow::Owned(text) => RawValue::from_string(text).unwrap_or(json),
    }
}

/// The layout of `JSON.stringify(value, null, 2)`, cut after about `max_bytes`.
pub(crate) fn pretty(json: &RawValue, max_bytes: usize) -> String {
    let text = json.get();
    let mut out = String::with_capacity((text.len() + text.len() / 4).min(max_bytes + 64));
    let mut depth = 0usize;
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let token = match first {
            '"' => &rest[..string_end(rest)],
            '{' | '[' | '}' | ']' | ',' | ':' => &rest[..1],
            _ => &rest[..rest.find(is_break).unwrap_or(rest.len())],
        };
        rest = rest[token.len()..].trim_start();
        match first {
            '{' | '[' if rest.starts_with(['}', ']']) => {
                out.push_str(token);
                out.push_str(&rest[..1]);
                rest = rest[1..].trim_start();
            }
            '{' | '[' => {
                out.push_str(token);
                depth += 1;
                line_break(&mut out, depth);
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line_break(&mut out, depth);
                out.push_str(token);
            }
            ',' => {
                out.push_str(token);
                line_break(&mut out, depth);
            }
            ':' => out.push_str(": "),
            _ => out.push_str(token),
        }
        if out.len() > max_bytes {
            let end = (0..=max_bytes)
                .rev()
                .find(|at| out.is_char_boundary(*at))
                .unwrap_or(0);
            out.truncate(end);
            out.push_str("\n...<truncated>");
            return out;
        }
    }
    out
}

fn is_break(c: char) -> bool {
    c.is_ascii_whitespace() || matches!(c, '{' | '[' | '}' | ']' | ',' | ':' | '"')
}

/// Where the string that `text` opens with ends, quotes included.
fn string_end(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn line_break(out: &mut String, depth: usize) {
    out.push('\n');
    // A result nested by the thousand must not make megabytes of indentation.
    for _ in 0..depth.min(64) {
        out.push_str("  ");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn layout_is_that_of_json_stringify() {
        let json = raw(r#" {"b":[1,2.50, {"x":null}],"a":{},"e":[ ],"s":"q\"{,}:\\","n":-1e9} "#);
        let expected = "{\n  \"b\": [\n    1,\n    2.50,\n    {\n      \"x\": null\n    }\n  ],\n  \
                        \"a\": {},\n  \"e\": [],\n  \"s\": \"q\\\"{,}:\\\\\",\n  \"n\": -1e9\n}";
        assert_eq!(pretty(&json, 10_000), expected);
        assert_eq!(pretty(&raw("42"), 10), "42");
        assert_eq!(pretty(&raw("\"\""), 10), "\"\"");
    }

    #[test]
    fn long_text_is_cut_at_a_character() {
        let cut = pretty(&raw(&format!("\"{}\"", "ü".repeat(100))), 10);
        assert_eq!(cut, "\"üüüü\n...<truncated>");
    }

    #[test]
    fn line_breaks_go_and_nothing_else() {
        let json = raw("{\n \"a\" : \"x\\ny\",\r\n\"b\":1}");
        let line = one_line(&json);
        assert_eq!(line, "{ \"a\" : \"x\\ny\",\"b\":1}");
        assert_eq!(
            on_one_line(json).get(),
            line_of("{ \"a\" : \"x\\ny\",\"b\":1}")
        );
        assert!(matches!(one_line(&raw("[1]")), Cow::Borrowed(_)));
    }

    fn line_of(text: &str) -> &str {
        text
    }

    proptest::proptest! {
        #[test]
        fn pretty_text_is_the_same_value(value in any_json()) {
            let json = raw(&value.to_string());
            let back: serde_json::Value = serde_json::from_str(&pretty(&json, 1 << 20)).unwrap();
            proptest::prop_assert_eq!(&back, &value);
            proptest::prop_assert_eq!(
                pretty(&json, 1 << 20),
                serde_json::to_string_pretty(&value).unwrap()
            );
        }
    }

    fn any_json() -> impl proptest::strategy::Strategy<Value = serde_json::Value> {
        use proptest::prelude::*;
        use serde_json::{Value, json};
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".*".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(|items| json!(items)),
                prop::collection::btree_map(".*", inner, 0..5).prop_map(|map| json!(map)),
            ]
        })
    }
}
