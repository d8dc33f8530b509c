//! `/test/*`: what no API server has, but tests of a proxy need.
//!
//! - `GET /test/bytes?n=N` streams N bytes, then the trailer `x-test-trailer: done`
//! - `POST /test/sink` reads an upload to its end; answers its size, SHA-256 and trailers
//! - `GET /test/echo` answers the request line and headers as they arrived

use bytes::Bytes;
use futures_util::stream;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::answer::{self, Answer, Refusal};
use super::target::Query;
use crate::body::{Body, BoxError};

/// One piece of the stream; every piece is the same static memory.
static PIECE: [u8; 64 * 1024] = [b'k'; 64 * 1024];

/// `None` if the path is none of ours.
pub(super) async fn answer(parts: &Parts, body: &mut Option<Incoming>) -> Option<Result<Answer, Refusal>> {
    match (&parts.method, parts.uri.path()) {
        (&Method::GET, "/test/bytes") => Some(Ok(bytes(parts))),
        (_, "/test/echo") => Some(Ok(echo(parts))),
        (&Method::POST | &Method::PUT, "/test/sink") => Some(sink(body.take()?).await),
        _ => None,
    }
}

fn bytes(parts: &Parts) -> Answer {
    let n = Query::parse(parts.uri.query()).number("n").unwrap_or(0);
    let frames = stream::unfold(Some(n), |left| async move {
        let left = left?;
        if left == 0 {
            let mut trailers = HeaderMap::new();
            trailers.insert("x-test-trailer", HeaderValue::from_static("done"));
            return Some((Ok::<_, BoxError>(Frame::trailers(trailers)), None));
        }
        let size = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE.len());
        let piece = Bytes::from_static(&PIECE[..size]);
        Some((Ok(Frame::data(piece)), Some(left - size as u64)))
    });
    let body: Body = StreamBody::new(frames).boxed_unsync();
    let mut answer = answer::streaming(StatusCode::OK, "application/octet-stream", body);
    answer
        .headers_mut()
        .insert(HeaderName::from_static("trailer"), HeaderValue::from_static("x-test-trailer"));
    answer
}

async fn sink(mut body: Incoming) -> Result<Answer, Refusal> {
    let (mut size, mut hash, mut trailers) = (0_u64, Sha256::new(), json!([]));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Refusal::bad_request(format!("the upload broke off: {error}")))?;
        match frame.into_data() {
            Ok(data) => {
                size += data.len() as u64;
                hash.update(&data);
            }
            Err(other) => trailers = other.trailers_ref().map_or(json!([]), pairs),
        }
    }
    let hex: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(answer::json(StatusCode::OK, &json!({ "bytes": size, "sha256": hex, "trailers": trailers })))
}

fn echo(parts: &Parts) -> Answer {
    answer::json(
        StatusCode::OK,
        &json!({
            "method": parts.method.as_str(),
            "target": super::target::target_bytes(&parts.uri),
            "authority": super::target::authority(parts),
            "version": format!("{:?}", parts.version),
            "headers": pairs(&parts.headers),
        }),
    )
}

fn pairs(headers: &HeaderMap) -> Value {
    let pair = |(name, value): (&HeaderName, &HeaderValue)| {
        json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())])
    };
    headers.iter().map(pair).collect()
}
