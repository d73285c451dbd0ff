//! What npm takes for a name and a range of versions, and for nothing else.

/// Longest range.
const RANGE: usize = 128;
/// Digits of a number: more, and npm takes the text for a tag.
const DIGITS: usize = 15;
/// A range that ends like this would be read as the name of a file.
const FILES: [&str; 3] = [".tgz", ".tar", ".tar.gz"];

/// A name that can be published today: lower case.
pub(crate) fn is_name(name: &str) -> bool {
    is_old_name(name) && !name.bytes().any(|b| b.is_ascii_uppercase())
}

/// A name that a package of any age can have: some old ones have capitals.
pub(crate) fn is_old_name(name: &str) -> bool {
    let part = |text: &str| {
        let mut bytes = text.bytes();
        let first = |b: u8| b.is_ascii_alphanumeric() || b == b'~';
        let rest = |b: u8| first(b) || b"._-".contains(&b);
        bytes.next().is_some_and(first) && bytes.all(rest) && text != "node_modules"
    };
    name.len() <= 214
        && match name.strip_prefix('@') {
            Some(scoped) => scoped
                .split_once('/')
                .is_some_and(|(scope, id)| part(scope) && part(id)),
            None => part(name),
        }
}

/// A range of node-semver: alternatives by `||`, comparators by spaces, `1.2 - 2.3`, `x` parts.
pub(crate) fn is_range(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    (1..=RANGE).contains(&text.len())
        && text.trim() == text
        && text.bytes().all(|b| b == b' ' || b.is_ascii_graphic())
        && !FILES.iter().any(|end| lower.ends_with(end))
        && text.split("||").all(|alternative| {
            let alternative = alternative.trim_matches(' ');
            match alternative.split_once(" - ") {
                Some((low, high)) => {
                    is_partial(low.trim_matches(' ')) && is_partial(high.trim_matches(' '))
                }
                None => {
                    !alternative.is_empty()
                        && alternative
                            .split(' ')
                            .filter(|it| !it.is_empty())
                            .all(is_comparator)
                }
            }
        })
}

/// One exact version.
pub(crate) fn is_version(text: &str) -> bool {
    let core = text.split(['-', '+']).next().unwrap_or_default();
    text.len() <= RANGE
        && core.split('.').count() == 3
        && core.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        && is_partial(text)
}

/// What a published package may say that it needs, as far as it comes from the registry: a range, a
/// tag, or another package's name in front of one (`npm:name@range`).
pub(crate) fn is_registry_spec(spec: &str) -> bool {
    let range = match spec.strip_prefix("npm:") {
        None => spec,
        Some(alias) => match alias.char_indices().skip(1).find(|(_, c)| *c == '@') {
            Some((at, _)) if is_old_name(&alias[..at]) => &alias[at + 1..],
            None if is_old_name(alias) => "",
            _ => return false,
        },
    };
    let lower = range.trim().to_ascii_lowercase();
    range.len() <= 4 * RANGE
        && !range.contains(['/', '\\', ':', '#', '@'])
        && !range.chars().any(char::is_control)
        && !lower.starts_with('.')
        && !FILES.iter().any(|end| lower.ends_with(end))
}

fn is_comparator(text: &str) -> bool {
    let version = ["<=", ">=", "<", ">", "=", "^", "~"]
        .iter()
        .find_map(|operator| text.strip_prefix(operator))
        .unwrap_or(text);
    is_partial(version.strip_prefix('v').unwrap_or(version))
}

fn is_partial(text: &str) -> bool {
    let (core, build) = text
        .split_once('+')
        .map_or((text, None), |(c, b)| (c, Some(b)));
    let (core, pre) = core
        .split_once('-')
        .map_or((core, None), |(c, p)| (c, Some(p)));
    let part = |p: &str| {
        matches!(p, "x" | "X" | "*")
            || (1..=DIGITS).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_digit())
    };
    let tail = |t: &str| {
        t.split('.')
            .all(|id| !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
    };
    let parts: Vec<&str> = core.split('.').collect();
    parts.len() <= 3
        && parts.iter().all(|p| part(p))
        && pre.is_none_or(tail)
        && build.is_none_or(tail)
        && (pre.is_none() || parts.len() == 3)
}
