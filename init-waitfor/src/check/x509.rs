//! The end of a certificate's validity: RFC 5280, section 4.1, and no more of X.509 than that.

use jiff::Timestamp;
use jiff::civil::date;
use jiff::tz::TimeZone;

/// `Certificate → TBSCertificate → Validity → notAfter`; `None` when the bytes are not that.
pub(super) fn not_after(der: &[u8]) -> Option<Timestamp> {
    let (0x30, certificate, _) = element(der)? else { return None };
    let (0x30, mut tbs, _) = element(certificate)? else { return None };
    // version [0] is optional; then serialNumber, signature, issuer, validity.
    let (tag, _, after_version) = element(tbs)?;
    if tag == 0xa0 {
        tbs = after_version;
    }
    for _ in 0..3 {
        (_, _, tbs) = element(tbs)?;
    }
    let (0x30, validity, _) = element(tbs)? else { return None };
    let (_, _, rest) = element(validity)?;
    let (tag, text, _) = element(rest)?;
    time(tag, text)
}

/// `UTCTime` (two-digit years: 1950 to 2049) or `GeneralizedTime`, both in `Z`.
fn time(tag: u8, text: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let (year, rest) = match tag {
        0x17 => {
            let year: i16 = text.get(..2)?.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, text.get(2..)?)
        }
        0x18 => (text.get(..4)?.parse().ok()?, text.get(4..)?),
        _ => return None,
    };
    let two = |at: usize| rest.get(at..at + 2)?.parse::<i8>().ok();
    let (month, day) = (two(0)?, two(2)?);
    let civil = jiff::civil::Date::new(year, month, day).ok()?;
    let time = jiff::civil::Time::new(two(4)?, two(6)?, two(8)?, 0).ok()?;
    // "No end" is written as the last second of 9999, which is past the last timestamp there is.
    let at = if year == 9999 { date(9999, 12, 29).to_datetime(time) } else { civil.to_datetime(time) };
    at.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

/// Tag, content, and what follows.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let count = usize::from(first & 0x7f);
        if count == 0 || count > 4 {
            return None;
        }
        let bytes = rest.get(..count)?;
        (bytes.iter().fold(0, |sum, byte| (sum << 8) | usize::from(*byte)), &rest[count..])
    };
    Some((tag, rest.get(..length)?, &rest[length..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_time() {
        assert_eq!(time(0x17, b"491231235959Z").unwrap().to_string(), "2049-12-31T23:59:59Z");
        assert_eq!(time(0x17, b"500101000000Z").unwrap().to_string(), "1950-01-01T00:00:00Z");
        assert_eq!(time(0x18, b"20510102030405Z").unwrap().to_string(), "2051-01-02T03:04:05Z");
        assert!(time(0x18, b"99991231235959Z").is_some());
        assert_eq!(time(0x17, b"4912"), None);
    }

    #[test]
    fn nonsense_is_none() {
        for bytes in [&b""[..], b"\x30", b"\x30\x84\xff\xff\xff\xff", b"\x30\x80", &[0x30, 2, 0x30, 0]] {
            assert_eq!(not_after(bytes), None);
        }
    }
}
