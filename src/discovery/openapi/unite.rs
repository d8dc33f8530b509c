//! Several servers' OpenAPI documents as one.
//!
//! What has a name of its own (a path, a schema, a parameter) is in the united document if any server has it; the
//! first server in the order of names has its way with it. Only where the same path has different methods those are
//! united too. Nothing is read deeper than that, so whatever a newer server writes below passes as it is.

mod json;
mod protobuf;
#[cfg(test)]
mod tests;

/// A generation of OpenAPI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Generation {
    /// Swagger 2.0, one document for everything.
    V2,
    /// OpenAPI 3.0, one document for each group-version.
    V3,
}

/// How a document is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// `application/json`
    Json,
    /// The messages of gnostic: `OpenAPIv2.proto`, `OpenAPIv3.proto` in `github.com/google/gnostic-models`.
    Protobuf,
}

/// Why something is no OpenAPI document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no OpenAPI document: {0}")]
pub struct Rubbish(String);

// === impl Generation ===

impl Generation {
    /// Unites documents, the first one first.
    ///
    /// # Errors
    /// If one of them is rubbish. [`Self::check`] finds that out before.
    pub fn unite(self, encoding: Encoding, documents: &[&[u8]]) -> Result<Vec<u8>, Rubbish> {
        match encoding {
            Encoding::Json => json::unite(self, documents),
            Encoding::Protobuf => protobuf::unite(self, documents),
        }
    }

    /// Whether a document could be united with others.
    ///
    /// # Errors
    /// If it is rubbish.
    pub fn check(self, encoding: Encoding, document: &[u8]) -> Result<(), Rubbish> {
        match encoding {
            Encoding::Json => json::check(self, document),
            Encoding::Protobuf => protobuf::check(self, document),
        }
    }
}

// === impl Rubbish ===

impl From<serde_json::Error> for Rubbish {
    fn from(error: serde_json::Error) -> Self {
        Self(error.to_string())
    }
}

// === impl Encoding ===

impl Encoding {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Json, Self::Protobuf];

    /// The content type of such a document.
    pub fn media_type(self, generation: Generation) -> &'static str {
        match (self, generation) {
            (Self::Json, _) => "application/json",
            (Self::Protobuf, Generation::V2) => "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
            (Self::Protobuf, Generation::V3) => "application/com.github.proto-openapi.spec.v3.v1.0+protobuf",
        }
    }

    /// What a server is asked for. Older ones know protobuf only by a name that is no well-formed media type.
    pub fn accept(self, generation: Generation) -> &'static str {
        match (self, generation) {
            (Self::Json, _) => "application/json",
            (Self::Protobuf, Generation::V2) => {
                "application/com.github.proto-openapi.spec.v2.v1.0+protobuf, \
                 application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
            }
            (Self::Protobuf, Generation::V3) => {
                "application/com.github.proto-openapi.spec.v3.v1.0+protobuf, \
                 application/com.github.proto-openapi.spec.v3@v1.0+protobuf"
            }
        }
    }
}
