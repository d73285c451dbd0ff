//! Times to live by name.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value as Json;

use super::file::{Entry, normalised};
use super::key::Key;
use super::rate::is_name;
use super::value::{Raw, Value};
use crate::units::{DurationUnit, parse_duration};

/// Longest time, in seconds: a day.
const LONGEST: u64 = 86_400;
/// Most names.
const MAX_NAMES: usize = 1_000;

/// How long something with a name is good for, 0 to a day; 0 for not at all. Written
/// `weather=60,news=5m`, or in a file as a table by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ttls(pub BTreeMap<String, Duration>);

impl Value for Ttls {
    fn parse(raw: &Raw, key: &Key) -> Result<Self, String> {
        let mut ttls = BTreeMap::new();
        for item in <Vec<String> as Value>::parse(raw, key)? {
            let (name, ttl) = item
                .split_once('=')
                .ok_or_else(|| format!("`{item}` is not `name=seconds`"))?;
            let name = name.trim();
            is_name(name)?;
            let ttl = parse_duration(ttl, DurationUnit::Seconds)
                .map_err(|why| format!("`{item}`: {why}"))?;
            if ttl > Duration::from_secs(LONGEST) {
                return Err(format!("`{item}`: is more than {LONGEST} seconds"));
            }
            if ttls.insert(name.to_owned(), ttl).is_some() {
                return Err(format!("has two times for {name}"));
            }
        }
        if ttls.len() > MAX_NAMES {
            return Err(format!("has more than {MAX_NAMES} names"));
        }
        Ok(Self(ttls))
    }

    fn absent() -> Option<Self> {
        Some(Self::default())
    }

    fn json(&self, _: &Key) -> Json {
        let shown = |(name, ttl): (&String, &Duration)| {
            format!("{name}={}", DurationUnit::Seconds.count(*ttl))
        };
        self.0.iter().map(shown).collect()
    }
}

/// The table of a configuration file under `prefix` in the form of a variable; `None` when there is
/// none.
pub(crate) fn of_file(prefix: &str, file: &[Entry]) -> Option<Result<Raw, String>> {
    let depth = prefix.split('.').count() + 1;
    let under = format!("{}.", normalised(prefix));
    let mut items = Vec::new();
    for entry in file {
        if !normalised(&entry.path).starts_with(&under) {
            continue;
        }
        // A name may have points of its own.
        let name = entry.path.splitn(depth, '.').last().unwrap_or_default();
        let Some(Raw::Text(ttl)) = &entry.raw else {
            return Some(Err(format!("`{}` must be a plain value", entry.path)));
        };
        items.push(format!("{name}={ttl}"));
    }
    (!items.is_empty()).then_some(Ok(Raw::List(items)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_and_read_the_same_way() {
        let key = Key::added("X", "x.y");
        let ttls = |text: &str| <Ttls as Value>::parse(&Raw::Text(text.to_owned()), &key);
        let read = ttls("weather.now=60, news=5m,off=0").unwrap();
        assert_eq!(read.0["news"], Duration::from_secs(300));
        assert_eq!(read.0["off"], Duration::ZERO);
        let shown = read.json(&key);
        let items: Vec<&str> = shown
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Json::as_str)
            .collect();
        assert_eq!(items, ["news=300", "off=0", "weather.now=60"]);
        assert_eq!(ttls(&items.join(",")), Ok(read));
        for wrong in [
            "60", "a=", "=1", "a b=1", "a=1,a=2", "a=86401", "a=-1", "a=2d",
        ] {
            ttls(wrong).expect_err(wrong);
        }
    }
}
