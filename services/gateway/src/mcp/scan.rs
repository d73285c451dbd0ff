//! Bounds on JSON that have to hold before anything recursive reads it. serde_json skips a raw
//! value without a depth limit and takes lone surrogates for text; both would fail later, in places
//! that answer less clearly.

/// Deepest nesting of objects and arrays. Below serde_json's own limit of 128, so that whatever
/// passes here can be parsed everywhere.
pub(crate) const MAX_DEPTH: usize = 100;
/// Most digits, signs and dots of one number.
pub(crate) const MAX_NUMBER_BYTES: usize = 320;

/// Whether clients can read `json`, which came from a tool: most of their parsers stop at a depth
/// not much beyond ours, and then lose the whole answer or the connection.
pub(crate) fn readable(json: &domain::RawValue) -> Result<(), &'static str> {
    check(json.get())
}

/// Walks over `text` once. Not a parser: what is no JSON is found by the parser.
pub(crate) fn check(text: &str) -> Result<(), &'static str> {
    let bytes = text.as_bytes();
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at = string(bytes, at + 1)?;
                continue;
            }
            b'{' | b'[' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err("JSON is nested deeper than 100 levels");
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'-' | b'0'..=b'9' => {
                let length = bytes[at..]
                    .iter()
                    .take(MAX_NUMBER_BYTES + 1)
                    .take_while(|byte| {
                        matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')
                    })
                    .count();
                if length > MAX_NUMBER_BYTES {
                    return Err("a number in the JSON is longer than 320 characters");
                }
                at += length;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    Ok(())
}

/// The place after the string that began before `at`.
fn string(bytes: &[u8], mut at: usize) -> Result<usize, &'static str> {
    while let Some(offset) = bytes[at..]
        .iter()
        .position(|byte| matches!(byte, b'"' | b'\\'))
    {
        at += offset;
        if bytes[at] == b'"' {
            return Ok(at + 1);
        }
        match (bytes.get(at + 1), escape(bytes, at)) {
            (Some(b'u'), Some(0xD800..=0xDBFF)) => match escape(bytes, at + 6) {
                Some(0xDC00..=0xDFFF) => at += 12,
                _ => return Err(LONE_SURROGATE),
            },
            (Some(b'u'), Some(0xDC00..=0xDFFF)) => return Err(LONE_SURROGATE),
            _ => at += 2,
        }
        if at >= bytes.len() {
            break;
        }
    }
    Ok(bytes.len())
}

const LONE_SURROGATE: &str = "a string in the JSON has half of a surrogate pair";

/// The code unit of a `\uXXXX` at `at`.
fn escape(bytes: &[u8], at: usize) -> Option<u32> {
    let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
    digits.iter().try_fold(0, |unit, digit| {
        Some(unit * 16 + char::from(*digit).to_digit(16)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_json_passes() {
        for good in [
            "{}",
            r#"{"a":[1,-2.5e10,"x\"y\\",{"b":null}],"c":"\ud83d\ude00 é \u00e9"}"#,
            r#"["[[[[{{{{","\\"]"#,
            "",
            "\"",
            "\"\\",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn depth_is_bounded_and_brackets_in_strings_do_not_count() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(check(&nested(MAX_DEPTH)), Ok(()));
        assert!(check(&nested(MAX_DEPTH + 1)).is_err());
        assert!(check(&"[".repeat(40_000)).is_err());
        assert_eq!(check(&format!("\"{}\"", "[".repeat(40_000))), Ok(()));
    }

    #[test]
    fn numbers_are_bounded() {
        assert_eq!(check(&"9".repeat(MAX_NUMBER_BYTES)), Ok(()));
        assert!(check(&"9".repeat(100_000)).is_err());
        assert_eq!(check(&format!("\"{}\"", "9".repeat(100_000))), Ok(()));
    }

    #[test]
    fn half_a_surrogate_pair_is_refused() {
        for bad in [
            r#""\ud800""#,
            r#""\udc00""#,
            r#""\ud800\n""#,
            r#""\ud800\u0041""#,
            r#""a\ud83d"#,
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
