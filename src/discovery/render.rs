//! A discovery document as bytes: written once, shared by every response.

#[cfg(test)]
mod tests;

use std::io::Write;
use std::sync::OnceLock;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha512};

use crate::api::discovery::{GroupDiscoveryList, to_go_json, to_go_json_pretty};

/// kube-apiserver compresses only what is longer, in bytes (upstream: `responsewriters`,
/// `defaultGzipThresholdBytes`).
pub const GZIP_THRESHOLD: usize = 128 * 1024;

/// kube-apiserver's level: least work, nearly as small (kubernetes/kubernetes#112296).
const GZIP_LEVEL: u32 = 1;

/// What a document with its type starts with; what follows is the list of which the ETag is a hash.
const TYPED_START: &[u8] = br#"{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v2","#;

/// A document in the encodings in which it is served. All share one ETag, as upstream's do; `Vary: Accept` keeps
/// them apart in caches.
#[derive(Debug)]
pub struct Rendered {
    /// 128 upper-case hex digits, without quotes.
    etag: String,
    json: Encoded,
    /// Indented JSON; few ask for it.
    pretty: OnceLock<Encoded>,
}

/// One encoding of a document.
#[derive(Debug)]
pub struct Encoded {
    body: Bytes,
    /// Made when first asked for.
    gzip: OnceLock<Bytes>,
}

// === impl Rendered ===

impl Rendered {
    /// Writes a document as JSON and computes its ETag: SHA-512 over Go's JSON of the list without `kind` and
    /// `apiVersion` (upstream: `k8s.io/apiserver/pkg/endpoints/discovery/aggregated/etag.go`).
    pub fn new(document: &GroupDiscoveryList) -> Self {
        let mut body = to_go_json(document);
        let mut hash = Sha512::new();
        hash.update(b"{");
        hash.update(body.get(TYPED_START.len()..).expect("a document starts with its type"));
        let etag = hash.finalize().iter().map(|byte| format!("{byte:02X}")).collect();
        body.push(b'\n');
        Self { etag, json: Encoded::new(body.into()), pretty: OnceLock::new() }
    }

    /// 128 upper-case hex digits, without the quotes that the header has.
    pub fn etag(&self) -> &str {
        &self.etag
    }

    /// JSON as kube-apiserver writes it, with a newline at its end.
    pub fn json(&self) -> &Encoded {
        &self.json
    }

    /// JSON for people, without a newline at its end (as kube-apiserver's). The first call does the work, about
    /// 20 ms per MiB.
    pub fn pretty(&self) -> &Encoded {
        self.pretty.get_or_init(|| {
            let document =
                GroupDiscoveryList::parse(&self.json.body).expect("we wrote this document ourselves");
            Encoded::new(to_go_json_pretty(&document).into())
        })
    }
}

// === impl Encoded ===

impl Encoded {
    fn new(body: Bytes) -> Self {
        Self { body, gzip: OnceLock::new() }
    }

    /// The bytes, uncompressed.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The bytes, compressed; none up to [`GZIP_THRESHOLD`]. The first call does the work, about 1 ms per MiB;
    /// concurrent first calls wait for it.
    pub fn gzip(&self) -> Option<&Bytes> {
        (self.body.len() > GZIP_THRESHOLD).then(|| self.gzip.get_or_init(|| compress(&self.body)))
    }
}

fn compress(bytes: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 8), Compression::new(GZIP_LEVEL));
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("writing to memory can't fail").into()
}
