//! Durations and sizes as Kubernetes' own flags write them: `1m30s`, `64Mi`.

use std::time::Duration;

/// The least that a setting may ask for where zero would mean never or always.
pub(super) const SHORT: Duration = Duration::from_millis(10);
pub(super) const MINUTE: Duration = Duration::from_secs(60);
pub(super) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Units in nanoseconds, the longest first; `us` has two spellings.
const UNITS: [(&str, u64); 7] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("µs", 1_000),
    ("ns", 1),
];

const SIZES: [(&str, usize); 4] = [("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10), ("", 1)];

/// Reads a duration as Go's `time.ParseDuration` does, but refuses signs: one or more decimal numbers, each with
/// a unit (`h`, `m`, `s`, `ms`, `us`, `ns`), or a plain `0`.
///
/// # Errors
/// Text that is none, in a sentence.
pub fn parse(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let fault = || {
        let hint = if text.parse::<f64>().is_ok_and(f64::is_finite) {
            format!(": it has no unit; {text} seconds are {text}s")
        } else if text.ends_with(['d', 'w', 'y']) {
            ": the longest unit is h, and a day has 24h".to_owned()
        } else {
            "; units are h, m, s, ms, us and ns".to_owned()
        };
        format!("{text:?} is no duration such as 30s, 1m30s or 500ms{hint}")
    };
    let mut rest = text;
    let mut nanos = 0_u64;
    while !rest.is_empty() {
        let number = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
        let (number, after) = rest.split_at(number);
        let unit = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let (_, scale) = UNITS.into_iter().find(|(name, _)| *name == unit).ok_or_else(fault)?;
        nanos = scaled(number, scale).and_then(|part| nanos.checked_add(part)).ok_or_else(fault)?;
        rest = after;
    }
    if text.is_empty() { Err(fault()) } else { Ok(Duration::from_nanos(nanos)) }
}

/// A decimal number times `scale`; what is smaller than one is cut off.
fn scaled(number: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let mut value = if whole.is_empty() { 0 } else { whole.parse::<u64>().ok()?.checked_mul(scale)? };
    let mut digit_scale = scale;
    for digit in fraction.bytes() {
        digit_scale /= 10;
        value = value.checked_add(u64::from(digit - b'0') * digit_scale)?;
    }
    Some(value)
}

/// Writes a duration so that [`parse`] reads the same one.
pub(super) fn format(duration: Duration) -> String {
    let mut nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    if nanos == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, scale) in UNITS.into_iter().filter(|(unit, _)| *unit != "µs") {
        if nanos / scale > 0 {
            text += &format!("{}{unit}", nanos / scale);
            nanos %= scale;
        }
    }
    text
}

/// Reads a number of bytes, with `Ki`, `Mi` or `Gi` behind it or without.
pub(super) fn parse_bytes(text: &str) -> Result<usize, String> {
    let fault = || format!("{text:?} is no number of bytes such as 512Ki, 64Mi or 1048576");
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let (_, scale) = SIZES.into_iter().find(|(name, _)| *name == unit).ok_or_else(fault)?;
    number.parse::<usize>().ok().and_then(|number| number.checked_mul(scale)).ok_or_else(fault)
}

/// Writes a number of bytes so that [`parse_bytes`] reads the same one.
pub(super) fn format_bytes(bytes: usize) -> String {
    let (unit, scale) =
        SIZES.into_iter().find(|(_, scale)| bytes > 0 && bytes.is_multiple_of(*scale)).unwrap_or(("", 1));
    format!("{}{unit}", bytes / scale)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_go_reads() {
        for (text, nanos) in [
            ("0", 0),
            ("0s", 0),
            ("30s", 30_000_000_000),
            ("1m30s", 90_000_000_000),
            ("500ms", 500_000_000),
            ("1.5h", 5_400_000_000_000),
            (".5s", 500_000_000),
            ("2us", 2_000),
            ("2µs", 2_000),
            ("24h0m0s", 86_400_000_000_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_nanos(nanos)), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_duration() {
        for text in ["", "30", "s", "-1s", "1d", "1 s", "1..5s", ".s", "1s1", "99999999999h", "1M", "١s"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_read_and_refused() {
        assert_eq!(parse_bytes("64Mi"), Ok(64 << 20));
        assert_eq!(parse_bytes("1048576"), Ok(1 << 20));
        for text in ["", "Mi", "64M", "1.5Gi", "-1", "99999999999999Gi"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(nanos: u64, bytes: usize) {
            prop_assert_eq!(parse(&format(Duration::from_nanos(nanos))), Ok(Duration::from_nanos(nanos)));
            prop_assert_eq!(parse_bytes(&format_bytes(bytes)), Ok(bytes));
        }

        #[test]
        fn no_text_makes_it_panic(text in "[0-9.hmsnuµ]{0,24}") {
            let _ = parse(&text);
        }
    }
}
