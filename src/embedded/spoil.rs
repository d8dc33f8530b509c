//! Documents that go wrong as a [`DiscoveryFault`] has it: discovery and OpenAPI alike.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use serde_json::{Value, json};

use super::answer::{self, Answer, Refusal};
use super::faults::{DiscoveryFault, ListFault};
use crate::body::{Body, BoxError};

/// Size of the pieces of a slow document.
const PIECE: usize = 1024;
/// How long an aborted document rests before it is reset.
pub(super) const ABORT_PAUSE: Duration = Duration::from_millis(50);
/// Size of the pieces of an endless or oversized one.
const FILLING: &[u8] = &[b' '; 16 * 1024];

/// The good answer's head with a body that has the fault. An answer without a document (304, 404) stays good.
pub(super) async fn spoil(fault: DiscoveryFault, good: Answer) -> Result<Answer, Refusal> {
    if let DiscoveryFault::Status(code) = fault {
        return Err(Refusal::new(code, "InternalError", "the document fails because it was told to"));
    }
    let (mut parts, body) = good.into_parts();
    if parts.status != StatusCode::OK {
        return Ok(Answer::from_parts(parts, body));
    }
    let whole = body.collect().await.map_err(|error| Refusal::bad_request(error.to_string()))?.to_bytes();
    let half = whole.slice(..whole.len() / 2);
    // Nothing that the head says of the length may contradict what comes.
    parts.headers.remove(header::CONTENT_LENGTH);
    let body = match fault {
        DiscoveryFault::Status(_) | DiscoveryFault::Garbage => {
            return Ok(answer::with_type(StatusCode::OK, "application/json", "<html>\0\u{1}no json"));
        }
        DiscoveryFault::Truncated => once(half),
        DiscoveryFault::Aborted => {
            let broken = stream::once(async {
                // A reset overtakes what is still to be sent; this lets the half go out first.
                tokio::time::sleep(ABORT_PAUSE).await;
                Err(BoxError::from("the document breaks off because it was told to"))
            });
            from_stream(stream::iter([Ok(half)]).chain(broken))
        }
        DiscoveryFault::Endless => from_stream(stream::repeat_with(|| Ok(Bytes::from_static(FILLING)))),
        DiscoveryFault::Oversized(size) => {
            let blanks = size.saturating_sub(whole.len());
            let pieces = std::iter::repeat_n(FILLING, blanks / FILLING.len());
            let rest = &FILLING[..blanks % FILLING.len()];
            let blanks = pieces.chain([rest]).map(Bytes::from_static);
            from_stream(stream::iter(blanks.chain([whole]).map(Ok)))
        }
        DiscoveryFault::Slow(pause) => slow(whole, pause),
        DiscoveryFault::Changing => once(whole),
    };
    Ok(Answer::from_parts(parts, body))
}

/// The good list with the fault.
pub(super) async fn spoil_list(fault: ListFault, good: Answer) -> Result<Answer, Refusal> {
    match fault {
        ListFault::Document(fault) => spoil(fault, good).await,
        ListFault::Expired => {
            let message = "the version is too old because the server was told so";
            Err(Refusal::new(StatusCode::GONE, "Expired", message).details(Value::Null))
        }
        ListFault::Rubbish => {
            let (parts, body) = good.into_parts();
            let read = body.collect().await.map_err(|error| Refusal::bad_request(error.to_string()))?;
            let mut list: Value = serde_json::from_slice(&read.to_bytes()).unwrap_or_default();
            let rubbish = [
                json!(7),
                Value::Null,
                json!({}),
                json!({ "metadata": "text" }),
                json!({ "metadata": { "name": 7, "labels": [] } }),
            ];
            if let Some(items) = list["items"].as_array_mut() {
                items.extend(rubbish);
            }
            Ok(answer::json(parts.status, &list))
        }
    }
}

fn slow(whole: Bytes, pause: Duration) -> Body {
    from_stream(stream::unfold(whole, move |mut rest| async move {
        if rest.is_empty() {
            return None;
        }
        tokio::time::sleep(pause).await;
        let piece = rest.split_to(PIECE.min(rest.len()));
        Some((Ok(piece), rest))
    }))
}

fn once(bytes: Bytes) -> Body {
    from_stream(stream::iter([Ok(bytes)]))
}

fn from_stream(pieces: impl stream::Stream<Item = Result<Bytes, BoxError>> + Send + 'static) -> Body {
    StreamBody::new(pieces.map(|piece| piece.map(Frame::data))).boxed_unsync()
}
