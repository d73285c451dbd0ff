//! When a certificate ends: the one field of X.509 that is needed and that webpki does not tell.

/// Seconds since 1970 of `notAfter`. `None` for what is no certificate.
pub(crate) fn not_after(certificate: &[u8]) -> Option<i64> {
    // Certificate ::= SEQUENCE { tbsCertificate SEQUENCE { [0] version?, serial, signature, issuer,
    // validity SEQUENCE { notBefore, notAfter }, … (RFC 5280, section 4.1).
    let (_, certificate, _) = element(certificate)?;
    let (_, mut rest, _) = element(certificate)?;
    if rest.first() == Some(&0xa0) {
        rest = element(rest)?.2;
    }
    for _ in ["serial", "signature", "issuer"] {
        rest = element(rest)?.2;
    }
    let (_, validity, _) = element(rest)?;
    let (_, _, rest) = element(validity)?;
    let (tag, time, _) = element(rest)?;
    let text = std::str::from_utf8(time).ok()?.strip_suffix('Z')?;
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    match tag {
        // UTCTime: two digits of the year, from 1950 to 2049.
        0x17 if text.len() == 12 => {
            let year = number(0, 2)?;
            let year = if year < 50 { 2000 + year } else { 1900 + year };
            Some(day(year, number(2, 4)?, number(4, 6)?)? * 86_400 + clock(text, 6)?)
        }
        // GeneralizedTime.
        0x18 if text.len() == 14 => {
            Some(day(number(0, 4)?, number(4, 6)?, number(6, 8)?)? * 86_400 + clock(text, 8)?)
        }
        _ => None,
    }
}

/// Tag, content and what follows, of the first element. DER knows no indefinite lengths, and nothing
/// in a certificate is longer than four bytes of length can say.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match usize::from(first) {
        short if short < 0x80 => (short, rest),
        long => {
            let count = long - 0x80;
            if !(1..=4).contains(&count) {
                return None;
            }
            let (digits, rest) = rest.split_at_checked(count)?;
            let length = digits
                .iter()
                .fold(0, |sum, digit| sum << 8 | usize::from(*digit));
            (length, rest)
        }
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// Seconds of the day of `hhmmss` at `at`.
fn clock(text: &str, at: usize) -> Option<i64> {
    let number = |from: usize| text.get(from..from + 2)?.parse::<i64>().ok();
    Some(number(at)? * 3_600 + number(at + 2)? * 60 + number(at + 4)?)
}

/// Days since 1970 of a date of the Gregorian calendar (Howard Hinnant, `days_from_civil`).
fn day(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_from_1970() {
        assert_eq!(day(1970, 1, 1), Some(0));
        assert_eq!(day(2000, 2, 29), Some(11_016));
        assert_eq!(day(2026, 11, 21), Some(20_778));
        assert_eq!(day(2026, 13, 1), None);
    }

    #[test]
    fn what_is_no_certificate_has_no_end() {
        for bytes in [
            &b""[..],
            b"x",
            &[0x30, 0x82, 0xff, 0xff],
            &[0x30, 0x80],
            &[0x30; 64],
        ] {
            assert_eq!(not_after(bytes), None, "{bytes:?}");
        }
    }
}
