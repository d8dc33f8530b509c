//! A watch that is ended looks complete, so it must not end in the midst of an event.

use bytes::Bytes;
use http::{Method, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use kube_peer_proxy::body::BoxError;
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::timeout;

use super::{Leaving, WATCH, leave};
use crate::kit::{As, DEADLINE, PKI, ProxyBuilder, Stub, until};

const JSON: &str = "application/json";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf;stream=watch";

/// What a watch is sent, and what of it came.
struct Watch {
    server: UnboundedSender<Bytes>,
    client: hyper::body::Incoming,
    leaving: Leaving,
    _stub: Stub,
}

impl Watch {
    /// A watch of this type that has seen `begin`; the proxy leaves as soon as that is through.
    async fn start(content_type: &'static str, begin: &[u8], end: &str) -> Self {
        let (server, events) = unbounded_channel::<Bytes>();
        let events = std::sync::Mutex::new(Some(events));
        let stub = Stub::start(move |request| {
            let answer = Stub::as_136(request.uri().path());
            let answer = answer.unwrap_or_else(|| {
                let mut events = events.lock().unwrap().take().expect("one watch");
                let frames = futures_util::stream::poll_fn(move |cx| events.poll_recv(cx));
                let frames =
                    futures_util::StreamExt::map(frames, |data| Ok::<_, BoxError>(Frame::data(data)));
                let body = StreamBody::new(frames).boxed_unsync();
                Response::builder().header("content-type", content_type).body(body).unwrap()
            });
            async move { answer }
        })
        .await;
        let proxy = ProxyBuilder::new().server("stub", stub.address).home("stub").flags(|args| {
            args.shutdown_delay_duration = Some("0".into());
            args.shutdown_timeout = Some(end.into());
        });
        let proxy = proxy.start().await;
        server.send(Bytes::copy_from_slice(begin)).unwrap();
        let asking = proxy.h2(As::Certificate(&PKI.admin)).await;
        let mut client = asking.ask(Method::GET, WATCH).begin().await.into_body();
        let seen = timeout(DEADLINE, client.frame()).await.unwrap().unwrap().unwrap().into_data().unwrap();
        assert_eq!(seen, begin);
        Self { server, client, leaving: leave(proxy), _stub: stub }
    }

    /// What comes from now on, and whether it ended as if that were all.
    async fn rest(mut self) -> (Vec<u8>, bool) {
        let mut rest = Vec::new();
        let cleanly = loop {
            match timeout(DEADLINE, self.client.frame()).await.expect("an end") {
                Some(Ok(frame)) => rest.extend(frame.into_data().unwrap_or_default()),
                Some(Err(_)) => break false,
                None => break true,
            }
        };
        self.leaving.left().await;
        (rest, cleanly)
    }
}

#[tokio::test]
async fn between_two_events_a_watch_ends_as_if_it_were_complete() {
    let watch = Watch::start(JSON, b"{\"type\":\"ADDED\"}\n", "0").await;
    assert_eq!(watch.rest().await, (vec![], true));
    let watch = Watch::start(PROTOBUF, b"\0\0\0\x03abc\0\0\0\0", "0").await;
    assert_eq!(watch.rest().await, (vec![], true));
}

#[tokio::test]
async fn in_the_midst_of_an_event_a_watch_is_seen_to_break() {
    for (content_type, begin) in [
        (JSON, &b"{\"type\":\"ADDED\"}\n{\"type\""[..]),
        (PROTOBUF, b"\0\0\0\x03ab"),
        (PROTOBUF, b"\0\0\0\x03abc\0\0"),
    ] {
        let watch = Watch::start(content_type, begin, "0").await;
        assert_eq!(watch.rest().await, (vec![], false), "{content_type}");
    }
}

#[tokio::test]
async fn the_rest_of_an_event_is_waited_for() {
    for (content_type, begin, rest) in [
        (JSON, &b"{\"type\""[..], &b":\"ADDED\"}\n"[..]),
        (PROTOBUF, b"\0\0\0\x03ab", b"c"),
        (PROTOBUF, b"\0\0", b"\0\x01a"),
    ] {
        let watch = Watch::start(content_type, begin, "0").await;
        let address = watch.leaving.address;
        until("nobody is accepted", async || TcpStream::connect(address).await.err()).await;
        watch.server.send(Bytes::copy_from_slice(rest)).unwrap();
        assert_eq!(watch.rest().await, (rest.to_vec(), true), "{content_type}");
    }
}
