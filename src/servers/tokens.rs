//! Which bearer tokens a server lately accepted, known by a keyed hash and never by themselves (I12).

use moka::sync::Cache;
use sha2::{Digest as _, Sha256};

use crate::limits;

/// Stands for a token; worthless outside of this process.
pub type TokenHash = [u8; 32];

/// Hashes credentials with a key that lives as long as the process.
#[derive(Clone)]
pub struct TokenHasher {
    keyed: Sha256,
}

/// Remembers accepted tokens for [`limits::PROVEN_TOKEN_TTL`].
#[derive(Clone)]
pub(super) struct ProvenTokens(Cache<TokenHash, ()>);

// === impl TokenHasher ===

impl Default for TokenHasher {
    fn default() -> Self {
        let key: [u8; 32] = rand::random();
        Self { keyed: Sha256::new_with_prefix(key) }
    }
}

impl TokenHasher {
    /// One hash over all parts; where one part ends counts.
    pub fn hash<'a>(&self, parts: impl IntoIterator<Item = &'a [u8]>) -> TokenHash {
        let mut hasher = self.keyed.clone();
        for part in parts {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        hasher.finalize().into()
    }
}

impl std::fmt::Debug for TokenHasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenHasher")
    }
}

// === impl ProvenTokens ===

impl Default for ProvenTokens {
    fn default() -> Self {
        Self(
            Cache::builder()
                .max_capacity(limits::MAX_PROVEN_TOKENS)
                .time_to_live(limits::PROVEN_TOKEN_TTL)
                .build(),
        )
    }
}

impl ProvenTokens {
    pub(super) fn contains(&self, token: &TokenHash) -> bool {
        self.0.contains_key(token)
    }

    /// A token that is known needs no writing; it is proven anew when it was forgotten.
    pub(super) fn insert(&self, token: TokenHash) {
        if !self.contains(&token) {
            self.0.insert(token, ());
        }
    }

    pub(super) fn remove(&self, token: &TokenHash) {
        self.0.invalidate(token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_part_ends_changes_the_hash() {
        let hasher = TokenHasher::default();
        assert_ne!(hasher.hash([b"ab".as_slice(), b"c"]), hasher.hash([b"a".as_slice(), b"bc"]));
        assert_eq!(hasher.hash([b"ab".as_slice()]), hasher.hash([b"ab".as_slice()]));
        assert_ne!(hasher.hash([b"ab".as_slice()]), TokenHasher::default().hash([b"ab".as_slice()]));
    }
}
