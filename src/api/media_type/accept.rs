//! The grammar of `Accept`: munnerz/goautoneg's, and what RFC 9110 has beyond it.

use std::borrow::Cow;

/// Up to so many clauses Go's `sort.Sort` is an insertion sort, which tells how its comparator, no strict order,
/// comes out.
const INSERTION_SORT_MAX: usize = 12;

/// One media range with its parameters.
#[derive(Debug)]
pub(super) struct Clause<'a> {
    pub(super) main_type: &'a str,
    pub(super) subtype: &'a str,
    /// `q=0`, as RFC 9110 (12.4.2) writes it: what this names is not acceptable.
    pub(super) is_refusal: bool,
    /// 1 if missing, 0 if it is no number.
    quality: f32,
    parameters: Vec<(&'a str, Cow<'a, str>)>,
}

// === impl Clause ===

impl<'a> Clause<'a> {
    /// The value of a parameter; the last one counts. Never empty unless it was only spaces, or quotes.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().rev().find(|(key, _)| *key == name).map(|(_, value)| &**value)
    }

    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = split_unquoted(text, b';');
        let (main_type, subtype) = split(parts.next()?, '/');
        let main_type = trim(main_type);
        let subtype = match subtype {
            "" if main_type == "*" => "*",
            "" => return None,
            _ => match split(subtype, '/') {
                (subtype, "") => trim(subtype),
                _ => return None,
            },
        };

        let mut clause = Self { main_type, subtype, is_refusal: false, quality: 1.0, parameters: Vec::new() };
        for parameter in parts {
            let (key, value) = split(parameter, '=');
            // No value: as if it were not there.
            if value.is_empty() {
                continue;
            }
            if let Some(unquoted) = unquote(trim(value)) {
                clause.parameters.push((trim(key), unquoted));
                continue;
            }
            // So is one with more behind a second `=`.
            let (value, "") = split(value, '=') else { continue };
            match trim(key) {
                "q" => {
                    clause.quality = value.parse().unwrap_or(0.0);
                    clause.is_refusal = is_zero(value);
                }
                key => clause.parameters.push((key, trim(value).into())),
            }
        }
        Some(clause)
    }

    /// How closely it names what it matches: `*/*`, `type/*`, `type/subtype`.
    pub(super) fn specificity(&self) -> u8 {
        u8::from(self.main_type != "*") + u8::from(self.subtype != "*")
    }

    /// goautoneg's comparator. Two clauses can each come before the other.
    fn comes_before(&self, other: &Self) -> bool {
        self.quality > other.quality
            || (self.main_type != "*" && other.main_type == "*")
            || (self.subtype != "*" && other.subtype == "*")
    }

    /// A strict order near that of [`Self::comes_before`]: smaller comes first.
    fn rank(&self) -> (std::cmp::Reverse<u32>, bool, bool) {
        // Non-negative floats compare like their bits; everything else ranks as 0.
        let quality = if self.quality > 0.0 { self.quality.to_bits() } else { 0 };
        (std::cmp::Reverse(quality), self.main_type == "*", self.subtype == "*")
    }
}

/// The clauses of a header, the preferred one first. What can't be read is left out.
///
/// Differs from upstream in quoted strings (upstream knows none), and beyond [`INSERTION_SORT_MAX`] clauses, where
/// upstream's result depends on the inside of Go's sort: there, higher `q` first, specific before wildcard, else as
/// they came.
pub(super) fn parse(header: &str) -> Vec<Clause<'_>> {
    let mut clauses: Vec<Clause<'_>> =
        split_unquoted(header, b',').map(trim).filter_map(Clause::parse).collect();
    if clauses.len() > INSERTION_SORT_MAX {
        clauses.sort_by_key(Clause::rank);
        return clauses;
    }
    for sorted in 1..clauses.len() {
        let mut at = sorted;
        while at > 0 && clauses[at].comes_before(&clauses[at - 1]) {
            clauses.swap(at, at - 1);
            at -= 1;
        }
    }
    clauses
}

/// The parts between separators that stand outside of quoted parameter values.
fn split_unquoted(text: &str, separator: u8) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let bytes = text.as_bytes();
        let mut at = 0;
        // The last byte that was no space.
        let mut before = 0;
        while let Some(byte) = bytes.get(at) {
            match byte {
                _ if *byte == separator => {
                    rest = Some(&text[at + 1..]);
                    return Some(&text[..at]);
                }
                // A quote that nobody closes is a letter like any other.
                b'"' if before == b'=' => at += quoted_length(&bytes[at..]).unwrap_or(1),
                _ => at += 1,
            }
            if *byte != b' ' {
                before = *byte;
            }
        }
        rest = None;
        Some(text)
    })
}

/// The length of the quoted string (RFC 9110, 5.6.4) that begins here, quotes included.
fn quoted_length(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// What a quoted string says; `None` if it is none, or more than one.
fn unquote(text: &str) -> Option<Cow<'_, str>> {
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    if quoted_length(text.as_bytes()) != Some(text.len()) {
        return None;
    }
    if !inner.contains('\\') {
        return Some(inner.into());
    }
    let mut plain = String::with_capacity(inner.len());
    let mut letters = inner.chars();
    while let Some(letter) = letters.next() {
        plain.extend(if letter == '\\' { letters.next() } else { Some(letter) });
    }
    Some(plain.into())
}

/// A weight of zero, to the letter: `0`, or that with up to three more.
fn is_zero(value: &str) -> bool {
    let decimals = match value.strip_prefix('0') {
        Some("") => return true,
        Some(rest) => rest.strip_prefix('.'),
        None => None,
    };
    decimals.is_some_and(|digits| digits.len() <= 3 && digits.bytes().all(|digit| digit == b'0'))
}

/// Before and behind the first separator; nothing behind it is the same as no separator.
fn split(text: &str, separator: char) -> (&str, &str) {
    text.split_once(separator).unwrap_or((text, ""))
}

/// Spaces only: a tab stays.
fn trim(text: &str) -> &str {
    text.trim_matches(' ')
}
