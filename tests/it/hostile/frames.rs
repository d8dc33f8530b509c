//! Heads of HTTP/2 requests, and what becomes of them behind us, over HTTP/1.1 too.

use serde_json::{Value, json};

use super::{alone, arrived, bystander, is_well, raw_h2};
use crate::kit::raw_h2::{
    Answer, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PROTOCOL_ERROR, block, frame, pseudo,
    request,
};
use crate::kit::{BOB, Cluster, Proxy, RawH2};

/// A stream or a connection that ends for a fault in the protocol, before anything was served.
fn is_malformed(answer: &Answer) -> bool {
    matches!(answer, Answer::Reset(PROTOCOL_ERROR) | Answer::GoAway(_) | Answer::Whole(400, _))
}

/// `GET /version` with more fields.
fn get<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [&pseudo("GET", "/version"), more].concat()
}

async fn refused(cluster: &Cluster, proxy: &Proxy, name: &str, fields: &[(&str, &str)]) -> Option<String> {
    let answer = raw_h2(proxy).await.ask(fields).await;
    let seen = arrived(cluster);
    (!is_malformed(&answer) || !seen.is_empty()).then(|| format!("{name}: {answer:?}, {seen:?}"))
}

#[tokio::test]
async fn fields_of_a_connection_are_malformed_in_http_2() {
    let (cluster, proxy) = alone().await;
    let mut wrong = Vec::new();
    for field in [
        ("connection", "close"),
        ("connection", "x-remote-user"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("te", "gzip"),
        ("te", "gzip, trailers"),
    ] {
        wrong.extend(refused(&cluster, &proxy, &format!("{field:?}"), &get(&[field])).await);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let answer =
        raw_h2(&proxy).await.ask(&get(&[("te", "trailers"), ("http2-settings", "AAMAAABkAAQAAP__")])).await;
    assert_eq!(answer.status(), 200);
    let seen = arrived(&cluster).pop().unwrap();
    assert!(seen.headers["te"] == "trailers" && !seen.headers.contains_key("http2-settings"));
}

#[tokio::test]
async fn pseudo_fields_come_once_and_first_and_are_those_of_a_request() {
    let (cluster, proxy) = alone().await;
    let good = pseudo("GET", "/version");
    let without = |name: &str| good.iter().filter(|field| field.0 != name).copied().collect::<Vec<_>>();
    let but =
        |name, value| good.iter().map(|field| if field.0 == name { (name, value) } else { *field }).collect();
    let behind = |name| {
        [without(name), vec![("x", "y")], good.iter().filter(|field| field.0 == name).copied().collect()]
            .concat()
    };
    let rows: Vec<(&str, Vec<(&str, &str)>)> = vec![
        ("no method", without(":method")),
        ("no path", without(":path")),
        ("no scheme", without(":scheme")),
        ("two methods", get(&[(":method", "POST")])),
        ("two paths", get(&[(":path", "/smuggled")])),
        ("two authorities", get(&[(":authority", "other")])),
        ("a path behind a field", behind(":path")),
        ("a method behind a field", behind(":method")),
        ("an authority behind a field", behind(":authority")),
        ("a status", get(&[(":status", "200")])),
        ("a protocol", get(&[(":protocol", "websocket")])),
        ("an unknown one", get(&[(":user", "root")])),
        ("an empty path", but(":path", "")),
        ("a path with a blank", but(":path", "/version HTTP/1.1")),
        ("a path with a line break", but(":path", "/version HTTP/1.1\r\nX-Remote-User: root\r\n\r\n")),
        ("a path with a tab", but(":path", "/ver\tsion")),
        ("a path with a NUL", but(":path", "/ver\0sion")),
        ("a method with a blank", but(":method", "GET /smuggled HTTP/1.1\r\n\r\nGET")),
        ("an authority with a line break", but(":authority", "k8s\r\nX-Remote-User: root")),
        ("an authority with a path", but(":authority", "k8s/api")),
        ("an authority with a user", but(":authority", "jane@k8s")),
        ("an authority and another host", get(&[("host", "other")])),
        ("an authority and two hosts", get(&[("host", "k8s"), ("host", "k8s")])),
        ("an extended CONNECT", [but(":method", "CONNECT"), vec![(":protocol", "websocket")]].concat()),
        ("an asterisk", but(":path", "*")),
        ("a doubled slash", but(":path", "/api//v1/pods")),
        ("dot segments", but(":path", "/api/v1/../../apis")),
    ];
    let mut wrong = Vec::new();
    for (name, fields) in &rows {
        wrong.extend(refused(&cluster, &proxy, name, fields).await);
    }
    let connect = [(":method", "CONNECT"), (":authority", "k8s:6443")];
    let answer = raw_h2(&proxy).await.ask(&connect).await;
    if answer.status() != 405 || !arrived(&cluster).is_empty() {
        wrong.push(format!("CONNECT: {answer:?}"));
    }
    for (name, fields) in [
        ("the same host", get(&[("host", "K8S")])),
        ("no authority but a host", [without(":authority"), vec![("host", "k8s")]].concat()),
        ("neither", without(":authority")),
    ] {
        let answer = raw_h2(&proxy).await.ask(&fields).await;
        if answer.status() != 200 || arrived(&cluster).len() != 1 {
            wrong.push(format!("{name}: {answer:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn names_and_values_that_could_break_out_of_a_line_are_malformed() {
    let (cluster, proxy) = alone().await;
    let mut wrong = Vec::new();
    for field in [
        ("x-one", "1\r\nX-Remote-User: root"),
        ("x-one", "1\nX-Remote-User: root"),
        ("x-one", "1\rX-Remote-User: root"),
        ("x-one", "1\0"),
        ("x-one", "\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: k8s\r\n\r\n"),
        ("X-One", "1"),
        ("x one", "1"),
        ("x-one:", "1"),
        ("x-one: 1\r\nx-remote-user", "root"),
        ("x-one\n", "1"),
        ("", "1"),
        ("x-öne", "1"),
        ("content-length", "+0"),
        ("content-length", "0, 0"),
        ("content-length", "0x0"),
        ("content-length", "-1"),
        ("content-length", "1"),
    ] {
        wrong.extend(refused(&cluster, &proxy, &format!("{field:?}"), &get(&[field])).await);
    }
    let lengths = get(&[("content-length", "0"), ("content-length", "0")]);
    wrong.extend(refused(&cluster, &proxy, "two lengths", &lengths).await);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The statuses of every answer to an upload in these frames, as whom the server serves over HTTP/1.1.
async fn upload(proxy: &Proxy, more: &[(&str, &str)], pieces: &[(&str, u8)]) -> Answer {
    let token = format!("Bearer {BOB}");
    let mut raw = RawH2::connect(proxy.address(), None).await;
    let fields = [&pseudo("POST", "/test/sink"), &[("authorization", &*token)][..], more].concat();
    raw.send(frame(HEADERS, END_HEADERS, 1, &block(&fields))).await;
    for (piece, flags) in pieces {
        raw.send(frame(DATA, *flags, 1, piece.as_bytes())).await;
    }
    raw.answer(1).await
}

#[tokio::test]
async fn h2_to_h1_is_well_formed() {
    // Only HTTP/1.1 upstream, whoever asks.
    let cluster =
        Cluster::with([("v136", kube_peer_proxy::embedded::Recorded::V1_36)], |builder| builder.http2(false))
            .await;
    let proxy = cluster.proxy().home("v136").start().await;
    const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: k8s\r\n\r\n";
    let length = SMUGGLED.len().to_string();

    let right = upload(&proxy, &[("content-length", &length)], &[(SMUGGLED, END_STREAM)]).await;
    assert!(
        matches!(&right, Answer::Whole(200, body) if body.contains(&format!(r#""bytes":{length}"#))),
        "{right:?}"
    );
    let chunked = upload(&proxy, &[], &[(SMUGGLED, 0), ("", 0), (SMUGGLED, END_STREAM)]).await;
    let both = format!(r#""bytes":{}"#, 2 * SMUGGLED.len());
    assert!(matches!(&chunked, Answer::Whole(200, body) if body.contains(&both)), "{chunked:?}");
    // A chunk's own syntax is only bytes to us.
    let inner = upload(&proxy, &[], &[("0\r\n\r\n", 0), (SMUGGLED, END_STREAM)]).await;
    assert!(
        matches!(&inner, Answer::Whole(200, body) if body.contains(&format!(r#""bytes":{}"#, 5 + SMUGGLED.len()))),
        "{inner:?}"
    );
    for (name, length, pieces) in [
        ("less than said", "100", vec![("hello", END_STREAM)]),
        ("more than said", "1", vec![(SMUGGLED, END_STREAM)]),
        ("more than nothing", "0", vec![(SMUGGLED, END_STREAM)]),
        ("more than said, later", "5", vec![("hello", 0), (SMUGGLED, END_STREAM)]),
    ] {
        let answer = upload(&proxy, &[("content-length", length)], &pieces).await;
        assert!(is_malformed(&answer), "{name}: {answer:?}");
    }
    // Whatever was begun above has left nothing on the connections that the next ones use.
    let bob = proxy.h2(crate::kit::As::Token(BOB)).await;
    for round in 0..20 {
        let echo = bob.get(&format!("/test/echo?{round}")).await.json();
        assert_eq!(echo["target"], format!("/test/echo?{round}"));
    }
    let seen = arrived(&cluster);
    assert!(seen.iter().all(|one| one.version == http::Version::HTTP_11));
    assert!(seen.iter().all(|one| one.target.starts_with("/test/")), "{seen:?}");
    assert!(seen.iter().all(|one| one.headers.get_all("content-length").iter().count() <= 1));

    // A cookie may come in crumbs (RFC 9113, 8.2.3), and many lines of one name stay many or become a list.
    let token = format!("Bearer {BOB}");
    let crumbs =
        [("authorization", &*token), ("cookie", "a=1"), ("cookie", "b=2"), ("x-many", "1"), ("x-many", "2")];
    let fields = [&pseudo("GET", "/test/echo")[..], &crumbs].concat();
    let answer = RawH2::connect(proxy.address(), None).await.ask(&fields).await;
    let Answer::Whole(200, body) = &answer else { panic!("{answer:?}") };
    let echo: Value = serde_json::from_str(body).unwrap();
    let values = |name: &str| -> Vec<Value> {
        let lines = echo["headers"].as_array().unwrap().iter();
        lines.filter(|line| line[0] == name).map(|line| line[1].clone()).collect()
    };
    assert_eq!(values("x-many"), [json!("1"), json!("2")]);
    assert_eq!(values("cookie"), [json!("a=1; b=2")], "{body}");
    assert_eq!(values("host"), [json!("k8s")]);
}

#[tokio::test]
async fn a_head_over_the_limit_is_431_and_the_connection_goes_on() {
    let (cluster, proxy) = alone().await;
    let other = bystander(&proxy).await;
    arrived(&cluster);
    let mut raw = raw_h2(&proxy).await;
    let long = "a".repeat(12_000);
    let fields = get(&[
        ("x-1", &long),
        ("x-2", &long),
        ("x-3", &long),
        ("x-4", &long),
        ("x-5", &long),
        ("x-6", &long),
    ]);
    let block = block(&fields);
    let (first, rest) = block.split_at(16_000);
    raw.send(frame(HEADERS, END_STREAM, 1, first)).await;
    let pieces: Vec<_> = rest.chunks(16_000).collect();
    for (number, piece) in pieces.iter().enumerate() {
        let last = if number + 1 == pieces.len() { END_HEADERS } else { 0 };
        raw.send(frame(CONTINUATION, last, 1, piece)).await;
    }
    let answer = raw.answer(1).await;
    assert!(answer.status() == 431 || matches!(answer, Answer::Reset(_)), "{answer:?}");
    raw.send(request(3, &get(&[]))).await;
    assert_eq!(raw.answer(3).await.status(), 200);
    assert_eq!(arrived(&cluster).len(), 1);
    is_well(&other).await;
}
