//! The known name that a mistyped one probably means.

use super::key::{Key, flags_of};
use super::later::LATER;
use super::sections::keys;

/// Least likeness (0 to 1, Jaro-Winkler) that is worth a suggestion.
const MIN_LIKENESS: f64 = 0.8;

pub(crate) fn nearest(given: &str, known: impl Iterator<Item = String>) -> Option<String> {
    known
        .map(|name| (strsim::jaro_winkler(given, &name), name))
        .filter(|(likeness, _)| *likeness >= MIN_LIKENESS)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, name)| name)
}

/// Every environment variable that means something, `_FILE` forms included.
pub(crate) fn variables() -> impl Iterator<Item = String> {
    let of_key = |key: &'static Key| {
        let file = key.from_file.then(|| format!("{}_FILE", key.name));
        key.variables().map(str::to_owned).chain(file)
    };
    keys()
        .flat_map(of_key)
        .chain(LATER.iter().flat_map(|later| later.variables()))
}

/// Every flag that means something, without dashes.
pub(crate) fn flags() -> impl Iterator<Item = String> {
    let of_key = |key: &'static Key| {
        key.flags().into_iter().flat_map(move |flag| {
            let file = key.from_file.then(|| format!("{flag}-file"));
            std::iter::once(flag).chain(file)
        })
    };
    let later = LATER.iter().flat_map(|later| flags_of(later.name));
    let commands = ["help", "version", "check-config", "print-config"].map(str::to_owned);
    keys().flat_map(of_key).chain(later).chain(commands)
}

/// Every key of a configuration file.
pub(crate) fn file_keys() -> impl Iterator<Item = String> {
    keys()
        .filter(|key| !key.file.is_empty())
        .map(|key| key.file.to_owned())
}
