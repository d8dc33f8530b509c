//! Discovery documents as bytes: each written once, when first asked for, and shared by every response.

#[cfg(test)]
mod tests;

use std::io::Write;
use std::sync::OnceLock;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::HeaderValue;
use sha2::{Digest, Sha512};

use crate::api::media_type::Media;

/// kube-apiserver compresses only what is longer, in bytes (upstream: `responsewriters`,
/// `defaultGzipThresholdBytes`).
pub const GZIP_THRESHOLD: usize = 128 * 1024;

/// kube-apiserver's level: least work, nearly as small (kubernetes/kubernetes#112296).
const GZIP_LEVEL: u32 = 1;

/// What a v2 document with its type starts with; what follows is the list of which the ETag is a hash.
const TYPED_START: &[u8] = br#"{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v2","#;

/// How a document is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoding {
    media: Media,
    pretty: bool,
}

/// One document in every encoding that was asked for so far.
#[derive(Debug, Default)]
pub struct Encodings([OnceLock<Box<Encoded>>; 5]);

/// A document in one encoding.
#[derive(Debug)]
pub struct Encoded {
    plain: Bytes,
    /// Made when first asked for.
    gzip: OnceLock<Bytes>,
}

/// The tag of a merged document: the same for all its encodings, as upstream's; `Vary: Accept` keeps them apart in
/// caches.
#[derive(Debug)]
pub struct Etag {
    /// 128 upper-case hex digits.
    digits: String,
    header: HeaderValue,
}

// === impl Encoding ===

impl Encoding {
    /// Only JSON can be indented.
    pub fn new(media: Media, pretty: bool) -> Self {
        Self { media, pretty: pretty && media == Media::Json }
    }

    /// The media type.
    pub fn media(self) -> Media {
        self.media
    }

    /// Whether it is indented for people.
    pub fn pretty(self) -> bool {
        self.pretty
    }

    fn place(self) -> usize {
        match self.media {
            Media::Json => usize::from(self.pretty),
            Media::Yaml => 2,
            Media::Protobuf => 3,
            Media::Cbor => 4,
        }
    }
}

// === impl Encodings ===

impl Encodings {
    /// What was written before, if it was.
    pub fn get(&self, encoding: Encoding) -> Option<&Encoded> {
        self.0[encoding.place()].get().map(|encoded| &**encoded)
    }

    /// What `write` makes of the document; only the first call does, and concurrent ones wait for it.
    pub fn get_or_write(&self, encoding: Encoding, write: impl FnOnce() -> Vec<u8>) -> &Encoded {
        self.0[encoding.place()].get_or_init(|| Box::new(Encoded::new(write().into())))
    }
}

// === impl Encoded ===

impl Encoded {
    fn new(plain: Bytes) -> Self {
        Self { plain, gzip: OnceLock::new() }
    }

    /// The bytes, uncompressed.
    pub fn body(&self) -> &Bytes {
        &self.plain
    }

    /// The bytes, compressed; none up to [`GZIP_THRESHOLD`]. The first call does the work, some milliseconds for
    /// each MiB; concurrent first calls wait for it.
    pub fn gzip(&self) -> Option<&Bytes> {
        (self.plain.len() > GZIP_THRESHOLD).then(|| self.gzip.get_or_init(|| compress(&self.plain)))
    }

    /// Whether [`Self::gzip`] has nothing to do any more.
    pub fn is_compressed(&self) -> bool {
        self.plain.len() <= GZIP_THRESHOLD || self.gzip.get().is_some()
    }
}

// === impl Etag ===

impl Etag {
    /// The tag of what was written as JSON of version v2: SHA-512 over Go's JSON of the list without `kind` and
    /// `apiVersion` (upstream: `k8s.io/apiserver/pkg/endpoints/discovery/aggregated/etag.go`).
    pub fn of(json: &[u8]) -> Self {
        let body = json.strip_suffix(b"\n").unwrap_or(json);
        let mut hash = Sha512::new();
        hash.update(b"{");
        hash.update(body.strip_prefix(TYPED_START).expect("a document starts with its type"));
        let digits: String = hash.finalize().iter().map(|byte| format!("{byte:02X}")).collect();
        let header =
            HeaderValue::try_from(format!("\"{digits}\"")).expect("hex digits are valid in a header");
        Self { digits, header }
    }

    /// 128 upper-case hex digits, without the quotes that the header has.
    pub fn digits(&self) -> &str {
        &self.digits
    }

    /// As it is sent.
    pub fn header(&self) -> &HeaderValue {
        &self.header
    }
}

fn compress(bytes: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 8), Compression::new(GZIP_LEVEL));
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("writing to memory can't fail").into()
}
