//! The grammar of `Accept` as munnerz/goautoneg has it.

/// Up to so many clauses Go's `sort.Sort` is an insertion sort, which tells how its comparator, no strict order,
/// comes out.
const INSERTION_SORT_MAX: usize = 12;

/// One media range with its parameters.
#[derive(Debug)]
pub(super) struct Clause<'a> {
    pub(super) main_type: &'a str,
    pub(super) subtype: &'a str,
    /// 1 if missing, 0 if it is no number.
    quality: f32,
    parameters: Vec<(&'a str, &'a str)>,
}

// === impl Clause ===

impl<'a> Clause<'a> {
    /// The value of a parameter; the last one counts. Never empty unless it was only spaces.
    pub(super) fn parameter(&self, name: &str) -> Option<&'a str> {
        self.parameters.iter().rev().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }

    fn parse(text: &'a str) -> Option<Self> {
        let (range, mut rest) = split(text, ';');
        let (main_type, subtype) = split(range, '/');
        let main_type = trim(main_type);
        let subtype = match subtype {
            "" if main_type == "*" => "*",
            "" => return None,
            _ => match split(subtype, '/') {
                (subtype, "") => trim(subtype),
                _ => return None,
            },
        };

        let mut clause = Self { main_type, subtype, quality: 1.0, parameters: Vec::new() };
        while !rest.is_empty() {
            let (parameter, remaining) = split(rest, ';');
            rest = remaining;
            let (key, value) = split(parameter, '=');
            // No value, or more behind a second `=`: as if it were not there.
            if value.is_empty() {
                continue;
            }
            let (value, "") = split(value, '=') else { continue };
            match trim(key) {
                "q" => clause.quality = value.parse().unwrap_or(0.0),
                key => clause.parameters.push((key, trim(value))),
            }
        }
        Some(clause)
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

/// The clauses of a header line, the preferred one first. What can't be read is left out.
///
/// Differs from upstream only beyond [`INSERTION_SORT_MAX`] clauses, where upstream's result depends on the inside
/// of Go's sort: there, higher `q` first, specific before wildcard, else as they came.
pub(super) fn parse(header: &str) -> Vec<Clause<'_>> {
    let mut clauses: Vec<Clause<'_>> = header.split(',').map(trim).filter_map(Clause::parse).collect();
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

/// Before and behind the first separator; nothing behind it is the same as no separator.
fn split(text: &str, separator: char) -> (&str, &str) {
    text.split_once(separator).unwrap_or((text, ""))
}

/// Spaces only: a tab stays.
fn trim(text: &str) -> &str {
    text.trim_matches(' ')
}
