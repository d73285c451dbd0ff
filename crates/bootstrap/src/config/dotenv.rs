//! A `.env` file: `NAME=value` lines, as the Node server's `dotenv` read them.

use std::collections::BTreeMap;

/// Reads the text. Quotes may span lines; `\n` counts as a line end in double quotes; an unquoted
/// value ends at ` #`. The error says which line is wrong.
pub(crate) fn parse(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut variables = BTreeMap::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let wrong = |what: &str| format!("line {}: {what}", number + 1);
        let (name, value) = line
            .split_once('=')
            .ok_or_else(|| wrong("there is no `=`"))?;
        let name = name.trim();
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(wrong("the name is not letters, digits and `_`"));
        }
        let value = value.trim_start();
        let quote = value
            .chars()
            .next()
            .filter(|first| matches!(first, '"' | '\'' | '`'));
        let value = match quote {
            None => unquoted(value),
            Some(quote) => {
                let mut body = value.get(1..).unwrap_or_default().to_owned();
                while !body.contains(quote) {
                    let (_, next) = lines
                        .next()
                        .ok_or_else(|| wrong("the quote is not closed"))?;
                    body.push('\n');
                    body.push_str(next);
                }
                let inner = body.split(quote).next().unwrap_or_default();
                if quote == '"' {
                    inner.replace("\\n", "\n")
                } else {
                    inner.to_owned()
                }
            }
        };
        variables.insert(name.to_owned(), value);
    }
    Ok(variables)
}

fn unquoted(value: &str) -> String {
    let end = value.match_indices('#').map(|(at, _)| at).find(|at| {
        *at == 0
            || value
                .get(..*at)
                .is_some_and(|before| before.ends_with([' ', '\t']))
    });
    value
        .get(..end.unwrap_or(value.len()))
        .unwrap_or(value)
        .trim_end()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_as_people_write_them() {
        let text = "# comment\n\nA=1\nexport B = two words  # why\nC=\"x # y\"\nD='a\\nb'\nE=\"a\\nb\"\n\
                    F=\"first\nsecond\"\nG=\nH=a#b\nI=#only a comment\r\n";
        let read = parse(text).unwrap();
        let expected = [
            ("A", "1"),
            ("B", "two words"),
            ("C", "x # y"),
            ("D", "a\\nb"),
            ("E", "a\nb"),
            ("F", "first\nsecond"),
            ("G", ""),
            ("H", "a#b"),
            ("I", ""),
        ];
        let read: Vec<(&str, &str)> = read.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(read, expected);
    }

    #[test]
    fn mistakes_name_their_line() {
        assert_eq!(
            parse("A=1\nnonsense").unwrap_err(),
            "line 2: there is no `=`"
        );
        assert_eq!(
            parse("A B=1").unwrap_err(),
            "line 1: the name is not letters, digits and `_`"
        );
        assert_eq!(
            parse("A=\"x\ny").unwrap_err(),
            "line 1: the quote is not closed"
        );
    }
}
