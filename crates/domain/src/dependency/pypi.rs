//! What pip takes for a name and for versions (PEP 508 names, PEP 440 versions), and for nothing else.

/// Longest specifier.
const SPECIFIER: usize = 128;
/// Digits of a number.
const DIGITS: usize = 15;

pub(crate) fn is_name(name: &str) -> bool {
    let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    name.len() <= 128
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(b))
}

/// PEP 503: lower case, and one dash for any run of `-`, `_` and `.`.
pub(crate) fn canonical(name: &str) -> String {
    let parts = name.split(['-', '_', '.']).filter(|part| !part.is_empty());
    let parts: Vec<String> = parts.map(str::to_ascii_lowercase).collect();
    parts.join("-")
}

/// Clauses by commas; a version without an operator is that version.
pub(crate) fn is_specifier(text: &str) -> bool {
    (1..=SPECIFIER).contains(&text.len())
        && text.trim() == text
        && text.bytes().all(|b| b == b' ' || b.is_ascii_graphic())
        && text.split(',').all(is_clause)
}

/// The clauses as pip takes them: each with its operator, without spaces.
pub(crate) fn requirement(text: &str) -> String {
    let clauses = text.split(',').map(|clause| {
        let clause = clause.replace(' ', "");
        let bare = clause.starts_with(|c: char| c.is_ascii_digit() || c == 'v');
        if bare { format!("=={clause}") } else { clause }
    });
    clauses.collect::<Vec<_>>().join(",")
}

fn is_clause(clause: &str) -> bool {
    let clause = clause.trim_matches(' ');
    let found = ["==", ">=", "<=", "~=", "!=", "<", ">"]
        .iter()
        .find_map(|operator| Some((*operator, clause.strip_prefix(operator)?)));
    let (operator, version) = found.unwrap_or(("==", clause));
    let version = version.trim_matches(' ');
    match (operator, version.strip_suffix(".*")) {
        ("==" | "!=", Some(prefix)) => is_version(prefix) && !prefix.contains('+'),
        (_, Some(_)) => false,
        // A release of one number is compatible with nothing in particular.
        ("~=", None) => is_version(version) && version.contains('.') && !version.contains('+'),
        (_, None) => is_version(version),
    }
}

/// `[N!]N(.N)*[{a|b|rc}N][.postN][.devN][+local]`, also in the spellings that PEP 440 takes for it.
pub(crate) fn is_version(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let text = lower.strip_prefix('v').unwrap_or(&lower);
    let (public, local) = text
        .split_once('+')
        .map_or((text, None), |(public, local)| (public, Some(local)));
    let word = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    if text.len() > SPECIFIER || !local.is_none_or(|it| it.split(['.', '-', '_']).all(word)) {
        return false;
    }
    let rest = match public.split_once('!') {
        Some((epoch, rest)) if number(epoch) == Some("") => rest,
        Some(_) => return false,
        None => public,
    };
    let Some(mut rest) = number(rest) else {
        return false;
    };
    while let Some(next) = rest.strip_prefix('.').and_then(number) {
        rest = next;
    }
    for words in [
        &["alpha", "beta", "preview", "pre", "rc", "a", "b", "c"][..],
        &["post", "rev", "r"][..],
        &["dev"][..],
    ] {
        rest = tagged(rest, words);
    }
    // `1.0-1` is a post-release.
    rest.is_empty() || rest.strip_prefix('-').and_then(number) == Some("")
}

/// What follows a number, if one is there.
fn number(text: &str) -> Option<&str> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    (1..=DIGITS).contains(&digits).then(|| &text[digits..])
}

/// What follows a word and its number, with separators; all of it when the word is not there.
fn tagged<'a>(text: &'a str, words: &[&str]) -> &'a str {
    let separator = ['.', '-', '_'];
    let open = text.strip_prefix(separator).unwrap_or(text);
    let Some(after) = words.iter().find_map(|word| open.strip_prefix(word)) else {
        return text;
    };
    let counted = after.strip_prefix(separator).unwrap_or(after);
    number(counted).unwrap_or(after)
}
