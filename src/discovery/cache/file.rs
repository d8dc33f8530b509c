//! What is in a file: one line that says what it is, and the document behind it.
//!
//! ```text
//! kube-peer-proxy-discovery {"format":1,"sha256":"…","server":"a","authority":"10.0.0.1:6443","written":"…"}
//! {"api":…}
//! ```

use std::{fmt::Write as _, io, time::SystemTime};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::wire;
use crate::{
    discovery::catalog::{Document, ghosts::Remembered},
    limits,
};

/// The first word.
const MAGIC: &str = "kube-peer-proxy-discovery ";
/// What is written, and all that is read.
const FORMAT: u64 = 1;

/// A file that is as it should be.
#[derive(Debug)]
pub struct File {
    /// What the server said.
    pub document: Document,
    /// What else was known of it.
    pub remembered: Remembered,
    /// When that was written down; for people.
    pub written: String,
}

/// Why a file is not used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's message says it")]
pub enum Fault {
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("it is no regular file")]
    NoFile,
    #[error("it is larger than {limit} bytes")]
    TooLarge { limit: u64 },
    #[error("it does not begin as a file of this cache does")]
    Foreign,
    #[error("its first line is damaged: {0}")]
    Header(serde_json::Error),
    #[error("its format is {found}; this version reads {FORMAT}")]
    Format { found: u64 },
    #[error("it is of API server {found:?}")]
    OtherServer { found: String },
    #[error("it is of an API server at {found}, and now that is at {now}")]
    OtherAuthority { found: String, now: String },
    #[error("it is damaged or cut off: its checksum is another")]
    Checksum,
    #[error("its document cannot be read: {0}")]
    Document(#[from] wire::Rubbish),
}

/// All that is read before the format is known to be ours.
#[derive(Deserialize)]
struct AnyFormat {
    format: u64,
}

#[derive(Serialize, Deserialize)]
struct Header {
    format: u64,
    /// Of everything behind this line.
    sha256: String,
    server: String,
    /// Host and port.
    authority: String,
    written: String,
}

// === impl File ===

impl File {
    /// The bytes of a file.
    ///
    /// # Errors
    /// If the document can't be written as JSON, which no document is known to bring about.
    pub(super) fn write(
        document: &Document,
        remembered: &Remembered,
        server: &str,
        authority: &str,
        now: SystemTime,
    ) -> io::Result<Vec<u8>> {
        let payload = wire::write(document, remembered)?;
        let header = Header {
            format: FORMAT,
            sha256: hex(&Sha256::digest(&payload)),
            server: server.to_owned(),
            authority: authority.to_owned(),
            written: OffsetDateTime::from(now).format(&Rfc3339).unwrap_or_default(),
        };
        let mut bytes = MAGIC.as_bytes().to_vec();
        serde_json::to_writer(&mut bytes, &header)?;
        bytes.push(b'\n');
        bytes.extend_from_slice(&payload);
        Ok(bytes)
    }

    /// Reads a file of a server at this address.
    ///
    /// # Errors
    /// Why it must not be used.
    pub fn parse(bytes: &[u8], server: &str, authority: &str) -> Result<Self, Fault> {
        let rest = bytes.strip_prefix(MAGIC.as_bytes()).ok_or(Fault::Foreign)?;
        let line = rest.iter().take(limits::MAX_CACHE_HEADER_BYTES).position(|byte| *byte == b'\n');
        let (line, payload) = rest.split_at(line.ok_or(Fault::Foreign)?);
        let AnyFormat { format } = serde_json::from_slice(line).map_err(Fault::Header)?;
        if format != FORMAT {
            return Err(Fault::Format { found: format });
        }
        let header: Header = serde_json::from_slice(line).map_err(Fault::Header)?;
        if header.server != server {
            return Err(Fault::OtherServer { found: header.server });
        }
        if header.authority != authority {
            return Err(Fault::OtherAuthority { found: header.authority, now: authority.to_owned() });
        }
        let payload = &payload[1..];
        if hex(&Sha256::digest(payload)) != header.sha256 {
            return Err(Fault::Checksum);
        }
        let (document, remembered) = wire::read(payload)?;
        Ok(Self { document, remembered, written: header.written })
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string doesn't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
