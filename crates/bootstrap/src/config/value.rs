//! How the text of a setting becomes a typed value.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use domain::DataMount;
use ipnet::IpNet;
use serde_json::Value as Json;

use super::key::{Key, Kind};
use crate::address::{ListenAddress, ServiceUrl};
use crate::secret::Secret;
use crate::units::{ByteSize, DurationUnit, parse_duration};

/// A value as it was found: text, or the array of a configuration file.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Raw {
    Text(String),
    List(Vec<String>),
    /// The content of the file that `<NAME>_FILE` names.
    OfFile {
        text: String,
        path: PathBuf,
    },
}

/// It may be a secret's.
impl fmt::Debug for Raw {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Raw(***)")
    }
}

impl Raw {
    /// Set to nothing, which for everything but a list means not set.
    pub(crate) fn is_blank(&self) -> bool {
        matches!(self, Self::Text(text) | Self::OfFile { text, .. } if text.trim().is_empty())
    }

    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Text(text) | Self::OfFile { text, .. } => text.clone(),
            Self::List(items) => items.join(","),
        }
    }

    fn text(&self) -> Result<&str, String> {
        match self {
            Self::Text(text) | Self::OfFile { text, .. } => Ok(text.trim()),
            Self::List(_) => Err(String::from("must be one value, not a list")),
        }
    }
}

/// A type that a key can have. The error of `parse` is a clause without the key's name; the allowed
/// values are added from the key when it is empty.
pub(crate) trait Value: Sized {
    fn parse(raw: &Raw, key: &Key) -> Result<Self, String>;

    /// The value of a key that is neither set nor has a default.
    fn absent() -> Option<Self> {
        None
    }

    /// For `--print-config` and `system.runtime_config`; `Null` when there is none.
    fn json(&self, key: &Key) -> Json;
}

/// Stands for "not one of the allowed values", which the key describes best.
fn not_allowed<T>(_: T) -> String {
    String::new()
}

fn in_range<T: PartialOrd>(value: T, min: T, max: T) -> Result<T, String> {
    if value < min || value > max {
        Err(String::new())
    } else {
        Ok(value)
    }
}

impl Value for String {
    fn parse(raw: &Raw, _: &Key) -> Result<Self, String> {
        raw.text().map(str::to_owned)
    }

    fn json(&self, _: &Key) -> Json {
        Json::from(self.as_str())
    }
}

impl Value for bool {
    fn parse(raw: &Raw, _: &Key) -> Result<Self, String> {
        match raw.text()?.to_ascii_lowercase().as_str() {
            "1" | "true" | "yes" | "on" => Ok(true),
            "0" | "false" | "no" | "off" => Ok(false),
            _ => Err(String::new()),
        }
    }

    fn json(&self, _: &Key) -> Json {
        Json::from(*self)
    }
}

macro_rules! integer {
    ($($type:ty),*) => {$(
        impl Value for $type {
            fn parse(raw: &Raw, key: &Key) -> Result<Self, String> {
                let number: u64 = raw.text()?.parse().map_err(not_allowed)?;
                let (min, max) = match key.kind {
                    Kind::Integer(min, max) => (min, max),
                    _ => (0, u64::MAX),
                };
                <$type>::try_from(in_range(number, min, max)?).map_err(not_allowed)
            }

            fn json(&self, _: &Key) -> Json {
                Json::from(*self)
            }
        }
    )*};
}

integer!(u16, u32, u64, usize);

impl Value for f64 {
    fn parse(raw: &Raw, key: &Key) -> Result<Self, String> {
        let number: f64 = raw.text()?.parse().map_err(not_allowed)?;
        let (min, max) = match key.kind {
            Kind::Decimal(min, max) => (min, max),
            _ => (f64::MIN, f64::MAX),
        };
        if number.is_nan() {
            return Err(String::new());
        }
        in_range(number, min, max)
    }

    fn json(&self, _: &Key) -> Json {
        Json::from(*self)
    }
}

impl Value for ByteSize {
    fn parse(raw: &Raw, key: &Key) -> Result<Self, String> {
        let size = Self::parse(raw.text()?)?;
        match key.kind {
            Kind::Size(min, max) => in_range(size, Self(min), Self(max)),
            _ => Ok(size),
        }
    }

    fn json(&self, key: &Key) -> Json {
        // A key whose default is written with a unit is shown with one, as the Node server did.
        let with_unit = key.default.ends_with(|c: char| c.is_ascii_alphabetic());
        if with_unit {
            Json::from(self.to_string())
        } else {
            Json::from(self.0)
        }
    }
}

fn unit_of(key: &Key) -> (DurationUnit, u64, u64) {
    match key.kind {
        Kind::Duration(unit, min, max) => (unit, min, max),
        _ => (DurationUnit::Milliseconds, 0, u64::MAX),
    }
}

impl Value for Duration {
    fn parse(raw: &Raw, key: &Key) -> Result<Self, String> {
        let (unit, min, max) = unit_of(key);
        let duration = parse_duration(raw.text()?, unit)?;
        in_range(unit.count(duration), min, max)?;
        Ok(duration)
    }

    fn json(&self, key: &Key) -> Json {
        Json::from(unit_of(key).0.count(*self))
    }
}

impl Value for Vec<String> {
    fn parse(raw: &Raw, _: &Key) -> Result<Self, String> {
        let items: Vec<&str> = match raw {
            Raw::Text(text) | Raw::OfFile { text, .. } => text.split(',').collect(),
            Raw::List(items) => items.iter().map(String::as_str).collect(),
        };
        Ok(items
            .into_iter()
            .map(str::trim)
            .filter(|i| !i.is_empty())
            .map(str::to_owned)
            .collect())
    }

    fn absent() -> Option<Self> {
        Some(Vec::new())
    }

    fn json(&self, _: &Key) -> Json {
        Json::from(self.as_slice())
    }
}

impl Value for Vec<ServiceUrl> {
    fn parse(raw: &Raw, key: &Key) -> Result<Self, String> {
        let items = <Vec<String> as Value>::parse(raw, key)?;
        let read = |item: &String| ServiceUrl::parse(item).map_err(|why| format!("`{item}` {why}"));
        items.iter().map(read).collect()
    }

    fn absent() -> Option<Self> {
        Some(Vec::new())
    }

    fn json(&self, _: &Key) -> Json {
        self.iter().map(ToString::to_string).collect()
    }
}

impl Value for Vec<DataMount> {
    fn parse(raw: &Raw, key: &Key) -> Result<Self, String> {
        let items = <Vec<String> as Value>::parse(raw, key)?;
        DataMount::parse_all(items.iter().map(String::as_str)).map_err(|error| {
            match error.limit() {
                Some(limit) => format!("{}: {limit}", error.message()),
                None => error.message().to_owned(),
            }
        })
    }

    fn absent() -> Option<Self> {
        Some(Vec::new())
    }

    fn json(&self, _: &Key) -> Json {
        self.iter().map(ToString::to_string).collect()
    }
}

impl Value for Vec<IpNet> {
    fn parse(raw: &Raw, key: &Key) -> Result<Self, String> {
        let items = <Vec<String> as Value>::parse(raw, key)?;
        items.iter().map(|item| network(item)).collect()
    }

    fn absent() -> Option<Self> {
        Some(Vec::new())
    }

    fn json(&self, _: &Key) -> Json {
        self.iter().map(ToString::to_string).collect()
    }
}

/// An address or a network; one of IPv4 in IPv6 form is taken for what it means.
fn network(text: &str) -> Result<IpNet, String> {
    let net = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => text.parse::<IpNet>().map_err(|_| {
            format!("`{text}` is no address and no network like 10.0.0.0/8 or 2001:db8::/32")
        })?,
    };
    if net.trunc() != net {
        let meant = net.trunc();
        return Err(format!(
            "`{text}` names an address within a network; did you mean {meant}?"
        ));
    }
    Ok(match net.addr().to_canonical() {
        IpAddr::V4(address) if net.prefix_len() >= 96 => {
            IpNet::new(IpAddr::V4(address), net.prefix_len() - 96).unwrap_or(net)
        }
        _ => net,
    })
}

impl Value for PathBuf {
    fn parse(raw: &Raw, _: &Key) -> Result<Self, String> {
        raw.text().map(Self::from)
    }

    fn json(&self, _: &Key) -> Json {
        Json::from(self.to_string_lossy().into_owned())
    }
}

impl Value for ListenAddress {
    fn parse(raw: &Raw, _: &Key) -> Result<Self, String> {
        Self::parse(raw.text()?)
    }

    fn json(&self, _: &Key) -> Json {
        Json::from(self.to_string())
    }
}

impl Value for ServiceUrl {
    fn parse(raw: &Raw, _: &Key) -> Result<Self, String> {
        Self::parse_one(raw.text()?)
    }

    fn json(&self, _: &Key) -> Json {
        Json::from(self.to_string())
    }
}

impl Value for Secret {
    fn parse(raw: &Raw, key: &Key) -> Result<Self, String> {
        let text = raw.text()?;
        if key.kind == Kind::Pem {
            return pem(text).map(Self::new);
        }
        Ok(Self::new(text.to_owned()))
    }

    fn json(&self, _: &Key) -> Json {
        Json::from("***")
    }
}

/// A PEM text that any loader can read; for keys that are no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pem(pub String);

impl Value for Pem {
    fn parse(raw: &Raw, _: &Key) -> Result<Self, String> {
        pem(raw.text()?).map(Self)
    }

    fn json(&self, _: &Key) -> Json {
        let count = self.0.matches("-----BEGIN ").count();
        Json::from(format!(
            "{count} PEM block{}",
            if count == 1 { "" } else { "s" }
        ))
    }
}

/// One-line variables often hold `\n` for the line ends of a PEM.
fn pem(text: &str) -> Result<String, String> {
    let text = if text.contains('\n') {
        text.to_owned()
    } else {
        text.replace("\\n", "\n")
    };
    if text.contains("-----BEGIN ") && text.contains("-----END ") {
        Ok(text)
    } else {
        Err(String::from(
            "is not PEM text (`-----BEGIN …-----` to `-----END …-----`)",
        ))
    }
}

impl<T: Value> Value for Option<T> {
    fn parse(raw: &Raw, key: &Key) -> Result<Self, String> {
        T::parse(raw, key).map(Some)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }

    fn json(&self, key: &Key) -> Json {
        self.as_ref().map_or(Json::Null, |value| value.json(key))
    }
}
