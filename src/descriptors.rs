//! File descriptors: how many there are, and a few that are kept back, so that a flood of clients leaves the way
//! to the API servers and to the admin pages open.

use std::{io, os::fd::AsRawFd, sync::OnceLock};

/// The kernel's word, read once; [`raise`] comes before.
static LIMIT: OnceLock<u64> = OnceLock::new();

/// Raises the soft limit to the hard one, as Go's runtime does, and returns it.
///
/// # Errors
/// If the kernel refuses; the soft limit stays then.
pub fn raise() -> io::Result<u64> {
    rlimit::increase_nofile_limit(u64::MAX)
}

/// Whether this descriptor is one of the last `kept` ones. The kernel hands out the lowest number that is free,
/// so a high one says how many are in use.
pub fn is_kept_back(open: &impl AsRawFd, kept: u64) -> bool {
    let limit = *LIMIT.get_or_init(|| {
        // Without an answer nothing is kept back.
        rlimit::getrlimit(rlimit::Resource::NOFILE).map_or(u64::MAX, |(soft, _)| soft)
    });
    u64::try_from(open.as_raw_fd()).is_ok_and(|number| number >= limit.saturating_sub(kept))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_ones_are_kept_back() {
        let open = std::fs::File::open("/dev/null").unwrap();
        assert!(!is_kept_back(&open, 1));
        assert!(is_kept_back(&open, u64::MAX));
    }
}
