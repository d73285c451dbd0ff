//! Sizes and durations as people write them: `512m`, `30s`.

use std::fmt;
use std::time::Duration;

/// A number of bytes. Written as a plain number or with `b`, `k`, `m`, `g` (powers of 1,024, as
/// Docker reads them; `kb`, `kib` and so on mean the same).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// Reads `text`; the error says what is accepted.
    ///
    /// # Errors
    /// When it is not a whole number with one of the units, or is too large for 64 bits.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (number, unit) = split(text)?;
        let factor = match unit.as_str() {
            "" | "b" => 1,
            "k" | "kb" | "kib" => 1 << 10,
            "m" | "mb" | "mib" => 1 << 20,
            "g" | "gb" | "gib" => 1 << 30,
            _ => {
                return Err(String::from(
                    "is not a size: use bytes, or a number with k, m or g",
                ));
            }
        };
        number
            .checked_mul(factor)
            .map(Self)
            .ok_or_else(|| String::from("is too large"))
    }
}

impl fmt::Display for ByteSize {
    /// The shortest exact form: `512m`, `1g`, `100`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shift, unit) in [(30, "g"), (20, "m"), (10, "k")] {
            if self.0 != 0 && self.0.is_multiple_of(1 << shift) {
                return write!(f, "{}{unit}", self.0 >> shift);
            }
        }
        write!(f, "{}", self.0)
    }
}

/// The unit of a plain number without one, given by the name of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DurationUnit {
    /// For keys that end in `_MS`.
    Milliseconds,
    /// For keys that end in `_SECONDS`.
    Seconds,
}

impl DurationUnit {
    /// The whole units in `duration`.
    #[must_use]
    pub fn count(self, duration: Duration) -> u64 {
        let count = match self {
            Self::Milliseconds => duration.as_millis(),
            Self::Seconds => u128::from(duration.as_secs()),
        };
        u64::try_from(count).unwrap_or(u64::MAX)
    }

    /// `ms` or `s`.
    #[must_use]
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Milliseconds => "ms",
            Self::Seconds => "s",
        }
    }
}

/// Reads a duration: a plain number counts in `unit`; `ms`, `s`, `m`, `h` say it themselves.
///
/// # Errors
/// When it is not a whole number with one of the units, or is too large.
pub fn parse_duration(text: &str, unit: DurationUnit) -> Result<Duration, String> {
    let (number, suffix) = split(text)?;
    let millis_each = match (suffix.as_str(), unit) {
        ("ms", _) | ("", DurationUnit::Milliseconds) => 1,
        ("s", _) | ("", DurationUnit::Seconds) => 1_000,
        ("m", _) => 60_000,
        ("h", _) => 3_600_000,
        _ => {
            return Err(String::from(
                "is not a duration: use a number, or one with ms, s, m or h",
            ));
        }
    };
    number
        .checked_mul(millis_each)
        .map(Duration::from_millis)
        .ok_or_else(|| String::from("is too large"))
}

fn split(text: &str) -> Result<(u64, String), String> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let number = digits.parse().map_err(|_| {
        if digits.is_empty() {
            String::from("does not start with a whole number")
        } else {
            String::from("is too large")
        }
    })?;
    Ok((number, unit.trim().to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("100", 100),
            ("512m", 512 << 20),
            ("512M", 512 << 20),
            ("1 GiB", 1 << 30),
            ("16kb", 16 << 10),
        ] {
            assert_eq!(ByteSize::parse(text), Ok(ByteSize(bytes)), "{text}");
        }
        for bad in [
            "",
            "m",
            "-1",
            "1.5g",
            "10t",
            "99999999999999999999",
            "18446744073709551615k",
        ] {
            assert!(ByteSize::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_size_prints_in_its_shortest_exact_form() {
        for text in ["0", "100", "1k", "512m", "1g", "1025"] {
            assert_eq!(ByteSize::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(ByteSize(1 << 21).to_string(), "2m");
    }

    #[test]
    fn durations_count_in_the_unit_of_their_key() {
        let ms = |text| parse_duration(text, DurationUnit::Milliseconds);
        let s = |text| parse_duration(text, DurationUnit::Seconds);
        assert_eq!(ms("250"), Ok(Duration::from_millis(250)));
        assert_eq!(s("250"), Ok(Duration::from_secs(250)));
        assert_eq!(ms("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(s("30ms"), Ok(Duration::from_millis(30)));
        assert_eq!(s("2h"), Ok(Duration::from_secs(7_200)));
        for bad in ["", "s", "1.5s", "-3", "3d", "18446744073709551615h"] {
            assert!(ms(bad).is_err(), "{bad}");
        }
    }
}
