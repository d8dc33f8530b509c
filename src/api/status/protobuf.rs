//! `Status` in Kubernetes' protobuf encoding.

use prost::Message;

use super::Status;
use crate::api::encoding::protobuf::{meta::ListMeta, open, seal};

/// What tells a missing route from a missing object in a server's `Status`.
pub(super) struct Seen {
    pub(super) message: String,
    /// `details` carries a name or a kind.
    pub(super) names_an_object: bool,
}

#[derive(Clone, PartialEq, Message)]
struct Wire {
    #[prost(message, required, tag = "1")]
    metadata: ListMeta,
    #[prost(string, required, tag = "2")]
    status: String,
    #[prost(string, required, tag = "3")]
    message: String,
    #[prost(string, required, tag = "4")]
    reason: String,
    #[prost(message, optional, tag = "5")]
    details: Option<Details>,
    #[prost(int32, required, tag = "6")]
    code: i32,
}

/// As far as we fill it; `causes` (4) are passed over.
#[derive(Clone, PartialEq, Message)]
struct Details {
    #[prost(string, required, tag = "1")]
    name: String,
    #[prost(string, required, tag = "2")]
    group: String,
    #[prost(string, required, tag = "3")]
    kind: String,
    #[prost(int32, required, tag = "5")]
    retry_after_seconds: i32,
    #[prost(string, required, tag = "6")]
    uid: String,
}

/// Byte for byte what kube-apiserver makes of the same `Status`.
pub(super) fn encode(status: &Status) -> Vec<u8> {
    let seconds = status.retry_after.unwrap_or_default();
    let details =
        Details { retry_after_seconds: i32::try_from(seconds).unwrap_or(i32::MAX), ..Details::default() };
    let wire = Wire {
        metadata: ListMeta::default(),
        status: "Failure".to_owned(),
        message: status.message.clone(),
        reason: status.reason.to_owned(),
        details: Some(details),
        code: i32::from(status.code.as_u16()),
    };
    seal("v1", "Status", wire.encode_to_vec())
}

/// Reads a server's `Status`; `None` if it is none.
pub(super) fn decode(document: &[u8]) -> Option<Seen> {
    let wire: Wire = open(document, "Status")?;
    let details = wire.details.unwrap_or_default();
    let names_an_object = !details.name.is_empty() || !details.kind.is_empty();
    Some(Seen { message: wire.message, names_an_object })
}
