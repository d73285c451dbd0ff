//! Rates: so many in a stretch of time, for all or by name.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde_json::Value as Json;

use super::file::{Entry, normalised};
use super::key::Key;
use super::value::{Raw, Value};
use crate::units::{DurationUnit, parse_duration};

/// Most that a rate can allow, and its longest window in milliseconds.
const LARGEST: (u64, u64) = (1_000_000_000, 86_400_000);
/// Most names that one key can hold.
const MAX_NAMES: usize = 1_000;
/// Longest name, in bytes: that of a tenant.
const MAX_NAME_BYTES: usize = 64;

/// At most so many in any stretch of time of this length. Written `300/60000` (milliseconds),
/// `300/1m`, or in a file as a table of `maxRequests` and `window`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many; 1-1,000,000,000.
    pub max_requests: u32,
    /// The length of the window; 1 ms to a day.
    pub window: Duration,
}

/// A rate for everything, and others for what has a name. Written `300/1m,free=60/1m`, or in a file
/// as a table of tables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rates {
    /// For what has none of its own.
    pub any: Option<Rate>,
    /// By name.
    pub named: BTreeMap<String, Rate>,
}

impl Rates {
    /// The rate of this name: its own, else that of all.
    #[must_use]
    pub fn of(&self, name: &str) -> Option<Rate> {
        self.named.get(name).copied().or(self.any)
    }

    /// Whether nothing is limited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.any.is_none() && self.named.is_empty()
    }
}

impl Rate {
    fn parse_text(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a rate: write it as `300/1m`");
        let (max, window) = text.split_once('/').ok_or_else(wrong)?;
        let max: u64 = max.trim().parse().map_err(|_| wrong())?;
        let window = parse_duration(window, DurationUnit::Milliseconds)
            .map_err(|why| format!("`{text}`: its window {why}"))?;
        let millis = DurationUnit::Milliseconds.count(window);
        if max == 0 || max > LARGEST.0 || millis == 0 || millis > LARGEST.1 {
            return Err(format!(
                "`{text}`: a rate allows 1 to {} in a window of 1 to {} milliseconds",
                LARGEST.0, LARGEST.1
            ));
        }
        Ok(Self {
            max_requests: u32::try_from(max).map_err(|_| wrong())?,
            window,
        })
    }
}

impl fmt::Display for Rate {
    /// The form in which it can be written again: `300/60000`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.max_requests, self.window.as_millis())
    }
}

impl Value for Rate {
    fn parse(raw: &Raw, key: &Key) -> Result<Self, String> {
        Self::parse_text(&<String as Value>::parse(raw, key)?)
    }

    fn json(&self, _: &Key) -> Json {
        Json::from(self.to_string())
    }
}

impl Value for Rates {
    fn parse(raw: &Raw, key: &Key) -> Result<Self, String> {
        let mut rates = Self::default();
        for item in <Vec<String> as Value>::parse(raw, key)? {
            let (name, rate) = match item.split_once('=') {
                Some((name, rate)) => (Some(name.trim()), rate.trim()),
                None => (None, item.as_str()),
            };
            let rate = Rate::parse_text(rate)?;
            let twice = match name {
                None => rates.any.replace(rate).is_some(),
                Some(name) => {
                    is_name(name)?;
                    rates.named.insert(name.to_owned(), rate).is_some()
                }
            };
            if twice {
                return Err(format!("has two rates for {}", name.unwrap_or("all")));
            }
        }
        if rates.named.len() > MAX_NAMES {
            return Err(format!("has more than {MAX_NAMES} names"));
        }
        Ok(rates)
    }

    fn absent() -> Option<Self> {
        Some(Self::default())
    }

    fn json(&self, _: &Key) -> Json {
        let any = self.any.iter().map(ToString::to_string);
        let named = self
            .named
            .iter()
            .map(|(name, rate)| format!("{name}={rate}"));
        any.chain(named).collect()
    }
}

pub(crate) fn is_name(name: &str) -> Result<(), String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.bytes().all(plain) {
        return Err(format!(
            "`{name}` is not a name of 1-{MAX_NAME_BYTES} letters, digits, `-`, `_`, `.` and `:`"
        ));
    }
    Ok(())
}

/// The tables of a configuration file under `prefix` in the form of a variable; `None` when there
/// are none. `named`: whether they may have names.
pub(crate) fn of_file(prefix: &str, named: bool, file: &[Entry]) -> Option<Result<Raw, String>> {
    let depth = prefix.split('.').count() + 1;
    let under = format!("{}.", normalised(prefix));
    let mut tables: BTreeMap<String, [Option<String>; 2]> = BTreeMap::new();
    for entry in file {
        if !normalised(&entry.path).starts_with(&under) {
            continue;
        }
        let rest = entry.path.splitn(depth, '.').last().unwrap_or_default();
        let (name, field) = rest.rsplit_once('.').unwrap_or(("", rest));
        let at = match normalised(field).as_str() {
            "maxrequests" => 0,
            "window" => 1,
            _ => {
                return Some(Err(format!(
                    "`{}` is neither maxRequests nor window",
                    entry.path
                )));
            }
        };
        if !named && !name.is_empty() {
            return Some(Err(format!("`{}`: it has no names", entry.path)));
        }
        let Some(Raw::Text(text)) = &entry.raw else {
            return Some(Err(format!("`{}` must be a plain value", entry.path)));
        };
        if let Some(slot) = tables.entry(name.to_owned()).or_default().get_mut(at) {
            *slot = Some(text.clone());
        }
    }
    if tables.is_empty() {
        return None;
    }
    let mut items = Vec::new();
    for (name, fields) in tables {
        let [Some(max), Some(window)] = fields else {
            let which = if name.is_empty() { prefix } else { &name };
            return Some(Err(format!("`{which}` needs both maxRequests and window")));
        };
        items.push(match name.as_str() {
            "" => format!("{max}/{window}"),
            name => format!("{name}={max}/{window}"),
        });
    }
    Some(Ok(match named {
        true => Raw::List(items),
        false => Raw::Text(items.concat()),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(text: &str) -> Result<Rates, String> {
        let key = Key::added("X", "x.y");
        <Rates as Value>::parse(&Raw::Text(text.to_owned()), &key)
    }

    #[test]
    fn a_rate_is_written_and_read_the_same_way() {
        let read = rates("300/1m, free=60/60000,pro=6000/1h").unwrap();
        assert_eq!(read.of("free").unwrap().to_string(), "60/60000");
        assert_eq!(read.of("pro").unwrap().window, Duration::from_secs(3_600));
        assert_eq!(read.of("other").unwrap().max_requests, 300);
        let shown = read.json(&Key::added("X", "x.y"));
        let items: Vec<&str> = shown
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Json::as_str)
            .collect();
        assert_eq!(rates(&items.join(",")), Ok(read));
        for wrong in [
            "300",
            "0/1m",
            "300/0",
            "300/2d",
            "/1m",
            "a=1",
            "=1/1m",
            "a b=1/1m",
            "1/1m,2/1m",
            "a=1/1m,a=2/1m",
            "2000000000/1m",
            "1/25h",
        ] {
            rates(wrong).expect_err(wrong);
        }
    }
}
