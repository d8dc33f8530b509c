//! The name of a server's file.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use super::file::hex;

/// What every file of the cache ends with.
pub(super) const ENDING: &str = ".discovery";
/// What is longer is cut, for file systems take 255 bytes.
const LONGEST: usize = 200;
/// So much of a long name is left, for people.
const SHOWN: usize = 100;

/// One path segment, another one for each server: letters, digits, `-`, `_` and `.` stay, the rest is escaped, and a
/// dot at the beginning too. What is too long ends in a hash behind `~`, which is in no other name.
pub(super) fn of(server: &str) -> String {
    let mut name = String::new();
    for (at, byte) in server.bytes().enumerate() {
        match byte {
            b'.' if at == 0 => name.push_str("%2E"),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => name.push(char::from(byte)),
            _ => {
                // Writing to a string doesn't fail.
                let _ = write!(name, "%{byte:02X}");
            }
        }
    }
    if name.len() > LONGEST {
        name.truncate(SHOWN);
        name.push('~');
        name.push_str(&hex(&Sha256::digest(server)));
    }
    name + ENDING
}

#[cfg(test)]
mod tests {
    use std::path::{Component, Path};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_ordinary_name_is_the_name_of_its_file() {
        assert_eq!(of("cp-1.zone_a"), "cp-1.zone_a.discovery");
    }

    #[test]
    fn long_names_stay_apart() {
        let (one, other) = ("a".repeat(252) + "b", "a".repeat(252) + "c");
        assert_ne!(of(&one), of(&other));
        assert!(of(&one).len() < 255);
    }

    proptest! {
        #[test]
        fn every_name_is_one_segment_of_a_path(server in ".{0,300}") {
            let name = of(&server);
            let parts: Vec<_> = Path::new(&name).components().collect();
            prop_assert!(matches!(parts[..], [Component::Normal(_)]), "{name}");
            prop_assert!(name.len() <= 255 && name.is_ascii());
            prop_assert!(server.is_empty() || !name.starts_with('.'));
        }

        #[test]
        fn no_two_servers_share_a_file(one in "[a%.~/2E]{0,6}", other in "[a%.~/2E]{0,6}") {
            prop_assert_eq!(one == other, of(&one) == of(&other));
        }
    }
}
