//! The connection pool against small servers: many streams, few, hostile, hung, gone.

mod bodies;
mod h1;
mod h2;
mod life;
mod rekey;
mod server;
mod storm;
mod streams;

use std::convert::Infallible;
use std::future::{pending, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use http::{Method, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use kube_peer_proxy::body::{self, Body};

fn get(path: &str) -> Request<Body> {
    Request::get(path).body(body::empty()).unwrap()
}

fn post(path: &str, body: Body) -> Request<Body> {
    Request::builder().method(Method::POST).uri(path).body(body).unwrap()
}

/// What a test waits for has to come soon, or the test fails.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("came too late")
}

async fn text(response: Response<Body>) -> String {
    String::from_utf8(soon(response.into_body().collect()).await.unwrap().to_bytes().to_vec()).unwrap()
}

/// A body that says one thing and then nothing for ever.
fn watch(first: &'static str) -> Body {
    let first = stream::once(ready(Ok::<_, Infallible>(Frame::data(Bytes::from_static(first.as_bytes())))));
    StreamBody::new(first.chain(stream::once(pending()))).map_err(|never| match never {}).boxed_unsync()
}

/// Several chunks of one size.
fn chunks(count: usize, size: usize) -> Body {
    let chunk = Bytes::from(vec![7; size]);
    let frames = stream::iter((0..count).map(move |_| Ok::<_, Infallible>(Frame::data(chunk.clone()))));
    StreamBody::new(frames).map_err(|never| match never {}).boxed_unsync()
}
