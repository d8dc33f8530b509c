//! Discovery documents and versions, recorded from real kube-apiservers with their default API sets.

use serde_json::Value;

/// Which kube-apiserver an embedded one looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// Kubernetes 1.32.
    V1_32,
    /// Kubernetes 1.35.
    V1_35,
    /// Kubernetes 1.36.
    V1_36,
}

// === impl Recorded ===

impl Recorded {
    /// All of them, oldest first.
    pub const ALL: [Self; 3] = [Self::V1_32, Self::V1_35, Self::V1_36];

    /// The minor version.
    pub fn minor(self) -> u32 {
        match self {
            Self::V1_32 => 32,
            Self::V1_35 => 35,
            Self::V1_36 => 36,
        }
    }

    /// The recorded `/api` (aggregated, v2).
    pub fn api(self) -> Value {
        parse(match self {
            Self::V1_32 => include_bytes!("recorded/1.32/api.json"),
            Self::V1_35 => include_bytes!("recorded/1.35/api.json"),
            Self::V1_36 => include_bytes!("recorded/1.36/api.json"),
        })
    }

    /// The recorded `/apis` (aggregated, v2).
    pub fn apis(self) -> Value {
        parse(match self {
            Self::V1_32 => include_bytes!("recorded/1.32/apis.json"),
            Self::V1_35 => include_bytes!("recorded/1.35/apis.json"),
            Self::V1_36 => include_bytes!("recorded/1.36/apis.json"),
        })
    }

    /// The recorded `/version`.
    pub fn version(self) -> Value {
        parse(match self {
            Self::V1_32 => include_bytes!("recorded/1.32/version.json"),
            Self::V1_35 => include_bytes!("recorded/1.35/version.json"),
            Self::V1_36 => include_bytes!("recorded/1.36/version.json"),
        })
    }
}

fn parse(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).expect("the recorded files are JSON, a test parses them all")
}
