//! Bodies of HTTP/1.1 requests: where one ends, the next begins, and nobody may see that differently.

use std::time::Duration;

use http::Method;
use kube_peer_proxy::embedded::Recorded::V1_36;
use kube_peer_proxy::servers::Class;
use serde_json::{Value, json};

use super::{alone, arrived, raw};
use crate::kit::{As, BOB, Cluster, PKI, eventually};

/// Would be a request of its own to whoever ended the one before it too early.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: k8s\r\nConnection: close\r\n\r\n";

fn post(lines: &str) -> String {
    format!(
        "POST /test/sink HTTP/1.1\r\nHost: k8s\r\nAuthorization: Bearer {BOB}\r\n{}\r\n",
        lines.replace('\n', "\r\n")
    )
}

/// The statuses of all answers on a connection.
fn statuses(answers: &str) -> Vec<u16> {
    let heads = answers.split("HTTP/1.").skip(1);
    heads.map(|rest| rest[2..5].parse().unwrap()).collect()
}

#[tokio::test]
async fn what_says_its_length_in_two_ways_or_in_none_is_refused_with_everything_behind_it() {
    let (cluster, proxy) = alone().await;
    let rows: &[(&str, &str, &str, u16)] = &[
        ("two lengths", "Content-Length: 5\nContent-Length: 6\n", "hello", 400),
        ("a list of lengths", "Content-Length: 5, 5\n", "hello", 400),
        ("a length with a sign", "Content-Length: +5\n", "hello", 400),
        ("a negative length", "Content-Length: -5\n", "hello", 400),
        ("a hexadecimal length", "Content-Length: 0x5\n", "hello", 400),
        ("a length with a blank", "Content-Length: 5 5\n", "hello", 400),
        ("an empty length", "Content-Length:\n", "hello", 400),
        ("a length beyond all numbers", "Content-Length: 99999999999999999999\n", "hello", 400),
        ("an unknown coding", "Transfer-Encoding: xchunked\n", "5\r\nhello\r\n0\r\n\r\n", 400),
        ("identity behind chunked", "Transfer-Encoding: chunked, identity\n", "5\r\nhello\r\n0\r\n\r\n", 400),
        ("identity alone", "Transfer-Encoding: identity\n", "", 400),
        ("a coding beside chunked", "Transfer-Encoding: gzip, chunked\n", "5\r\nhello\r\n0\r\n\r\n", 501),
        (
            "a coding on a line before chunked",
            "Transfer-Encoding: gzip\nTransfer-Encoding: chunked\n",
            "5\r\nhello\r\n0\r\n\r\n",
            501,
        ),
        ("chunked twice", "Transfer-Encoding: chunked, chunked\n", "5\r\nhello\r\n0\r\n\r\n", 501),
        (
            "chunked on two lines",
            "Transfer-Encoding: chunked\nTransfer-Encoding: chunked\n",
            "5\r\nhello\r\n0\r\n\r\n",
            501,
        ),
        ("nothing before chunked", "Transfer-Encoding: , chunked\n", "5\r\nhello\r\n0\r\n\r\n", 501),
        ("a blank before the colon", "Transfer-Encoding : chunked\n", "5\r\nhello\r\n0\r\n\r\n", 400),
        ("a fold before chunked", "Transfer-Encoding:\n chunked\n", "5\r\nhello\r\n0\r\n\r\n", 400),
    ];
    let mut wrong = Vec::new();
    for (name, lines, body, code) in rows {
        let mut raw = raw(&proxy).await;
        raw.send([&*post(lines), body, SMUGGLED].concat()).await;
        let seen = statuses(&raw.rest().await);
        let arrived: Vec<_> = arrived(&cluster).into_iter().map(|request| request.target).collect();
        if seen != [*code] || !arrived.is_empty() {
            wrong.push(format!("{name}: {seen:?} {arrived:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let mut raw = raw(&proxy).await;
    let old =
        "POST /test/sink HTTP/1.0\r\nHost: k8s\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    raw.send([old, SMUGGLED].concat()).await;
    assert_eq!((statuses(&raw.rest().await), arrived(&cluster).len()), (vec![400], 0), "chunked in HTTP/1.0");
}

#[tokio::test]
async fn of_a_length_beside_chunked_only_chunked_counts_and_nothing_behind_it_is_read() {
    let (cluster, proxy) = alone().await;
    for lines in [
        "Content-Length: 5\nTransfer-Encoding: chunked\n",
        "Transfer-Encoding: chunked\nContent-Length: 500\n",
        "Transfer-Encoding: CHUNKED\nContent-Length: nonsense\n",
    ] {
        for who in [Some(&PKI.admin), None] {
            let mut raw = crate::kit::Raw::connect(proxy.address(), who).await;
            raw.send([&*post(lines), "3\r\nabc\r\n0\r\n\r\n", SMUGGLED].concat()).await;
            let answers = raw.rest().await;
            assert_eq!(statuses(&answers), [200], "{lines}: {answers}");
            assert!(answers.contains(r#""bytes":3"#), "{lines}: {answers}");
            let seen = arrived(&cluster);
            assert_eq!(seen.len(), 1, "{lines}");
            assert!(!seen[0].headers.contains_key("content-length"), "{lines}");
        }
    }
}

#[tokio::test]
async fn a_broken_chunk_ends_the_connection_and_the_upload() {
    let (cluster, proxy) = alone().await;
    for (name, body) in [
        ("no number", "x\r\nhello\r\n0\r\n\r\n"),
        ("a sign", "+5\r\nhello\r\n0\r\n\r\n"),
        ("a prefix", "0x5\r\nhello\r\n0\r\n\r\n"),
        ("longer than all numbers", "fffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
        ("too little", "6\r\nhello\r\n0\r\n\r\n"),
        ("too much", "4\r\nhello\r\n0\r\n\r\n"),
        ("bare line feeds", "5\nhello\n0\n\n"),
        ("a line feed in an extension", "5;a\nb\r\nhello\r\n0\r\n\r\n"),
        ("a blank before the number", " 5\r\nhello\r\n0\r\n\r\n"),
        ("an endless extension", &format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(100_000))),
    ] {
        let mut raw = raw(&proxy).await;
        raw.send([&*post("Transfer-Encoding: chunked\n"), body, SMUGGLED].concat()).await;
        let answers = raw.rest().await;
        assert!(!statuses(&answers).contains(&200), "{name}: {answers}");
        let seen = arrived(&cluster);
        assert!(seen.iter().all(|request| request.target == "/test/sink"), "{name}: {seen:?}");
    }
}

#[tokio::test]
async fn requests_sent_without_waiting_are_answered_one_after_the_other() {
    let (cluster, proxy) = alone().await;
    let mut raw = raw(&proxy).await;
    raw.send(
        "GET /version?1 HTTP/1.1\r\nHost: k8s\r\n\r\n\
         POST /test/sink?2 HTTP/1.1\r\nHost: k8s\r\nContent-Length: 5\r\n\r\nhello\
         POST /test/sink?3 HTTP/1.1\r\nHost: k8s\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\n\r\n\
         HEAD /version?4 HTTP/1.1\r\nHost: k8s\r\n\r\n\
         GET /version?5 HTTP/1.1\r\nHost: k8s\r\nConnection: close\r\n\r\n\
         GET /version?6 HTTP/1.1\r\nHost: k8s\r\n\r\n",
    )
    .await;
    let answers = raw.rest().await;
    assert_eq!(statuses(&answers), [200; 5], "{answers}");
    let seen: Vec<_> = arrived(&cluster).into_iter().map(|request| request.target).collect();
    assert_eq!(seen, ["/version?1", "/test/sink?2", "/test/sink?3", "/version?4", "/version?5"]);
}

#[tokio::test]
async fn http_1_0_is_served_and_its_answer_ends_with_the_connection() {
    let (cluster, proxy) = alone().await;
    let mut old = raw(&proxy).await;
    old.send("GET /test/bytes?n=100000 HTTP/1.0\r\n\r\n").await;
    let answer = old.rest().await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.0 200"), "{head}");
    assert!(!head.to_lowercase().contains("transfer-encoding"), "{head}");
    assert_eq!(body.len(), 100_000);
    let seen = arrived(&cluster).pop().unwrap();
    assert_eq!(seen.host, cluster.server("v136").addr().to_string());

    let mut kept = raw(&proxy).await;
    for round in 0..2 {
        kept.send(format!("GET /version?{round} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")).await;
        let head = kept.until("\r\n\r\n").await.to_lowercase();
        assert!(head.contains("content-length:") && head.contains("connection: keep-alive"), "{head}");
        kept.until("}").await;
    }
    let mut upload = raw(&proxy).await;
    upload.send("POST /test/sink HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello").await;
    assert!(upload.rest().await.contains(r#""bytes":5"#));
}

/// A body that nobody read must not be taken for the next request: on neither side of us.
#[tokio::test]
async fn early_response_closes_or_drains() {
    let cluster = Cluster::with([("v136", V1_36)], |builder| builder.http2(false)).await;
    let proxy = cluster.proxy().home("v136").start().await;
    let padding = "a".repeat(4_000_000 - SMUGGLED.len());
    // What we refuse before anybody reads the body, what the server refuses without, and what it refuses while
    // it reads: an object has 3 MiB at most.
    for (target, code) in [
        ("/api//v1/configmaps", 400),
        ("/api/v1/namespaces/default/nonsense", 404),
        ("/api/v1/namespaces/default/configmaps", 413),
    ] {
        let mut raw = raw(&proxy).await;
        let head = format!(
            "POST {target} HTTP/1.1\r\nHost: k8s\r\nContent-Type: application/json\r\nContent-Length: 4000000\r\n\r\n"
        );
        raw.send([&head, SMUGGLED, &padding].concat()).await;
        raw.send(SMUGGLED.replace("smuggled", "behind")).await;
        let answers = raw.rest().await;
        let said = statuses(&answers);
        // A server that closes while bytes still come may take its answer back with a reset.
        assert!(said.first().is_none_or(|first| *first == code) && said.len() <= 2, "{target}: {answers}");
        let seen: Vec<_> = arrived(&cluster).into_iter().map(|request| request.target).collect();
        let (first, rest) = seen.split_first().map_or((None, &[][..]), |(first, rest)| (Some(first), rest));
        assert!(first.is_none_or(|first| first == target || first == "/behind"), "{target}: {seen:?}");
        assert!(rest.iter().all(|next| next == "/behind"), "{target}: {seen:?}");
    }
    // Our connections to the server are in order, too.
    let admin = proxy.h1(As::Certificate(&PKI.admin)).await;
    for round in 0..20 {
        let reply = admin.get(&format!("/test/echo?{round}")).await;
        assert_eq!(reply.json()["target"], format!("/test/echo?{round}"));
    }
    assert!(arrived(&cluster).iter().all(|request| request.target.starts_with("/test/echo")));
}

/// The end of a request that we sent on but whose sender went away must not be waited for by a later one.
#[tokio::test]
async fn an_upload_that_breaks_off_takes_its_http_1_1_connection_with_it() {
    let cluster = Cluster::with([("v136", V1_36)], |builder| builder.http2(false)).await;
    let proxy = cluster.proxy().home("v136").start().await;
    for _ in 0..10 {
        let mut raw = raw(&proxy).await;
        raw.send(post("Content-Length: 1000\n")).await;
        raw.send("GET /smuggled HTTP/1.1\r\n").await;
        let arrived =
            cluster.server("v136").log().wait_for(crate::kit::DEADLINE, |one| one.target == "/test/sink");
        assert!(arrived.await.is_some());
        cluster.server("v136").log().clear();
        drop(raw);
    }
    let in_use = || proxy.connections("v136", Class::Identity).in_use;
    eventually("all of them are over", || in_use() == 0).await;
    let admin = proxy.h1(As::Certificate(&PKI.admin)).await;
    for _ in 0..10 {
        let reply = admin.ask(Method::POST, "/test/sink").json(&json!({})).whole().await;
        assert_eq!(reply.json()["bytes"], 2);
    }
    assert!(arrived(&cluster).iter().all(|request| request.target == "/test/sink"));
}

#[tokio::test]
async fn trailers_carry_nothing_that_decides_about_a_request() {
    let (_cluster, proxy) = alone().await;
    for who in [Some(&PKI.admin), None] {
        let mut raw = crate::kit::Raw::connect(proxy.address(), who).await;
        let head = post(
            "Transfer-Encoding: chunked\nConnection: close\n\
             Trailer: X-Kept, X-Remote-User, Impersonate-User, Authorization, Content-Length, Host, Cookie\n",
        );
        raw.send(head).await;
        raw.send(
            "5\r\nhello\r\n0\r\nX-Kept: 1\r\nX-Remote-User: root\r\nX_Remote_Group: system:masters\r\n\
             Impersonate-User: root\r\nImpersonate-Extra-A: b\r\nAuthorization: Bearer x\r\nContent-Length: 7\r\n\
             Transfer-Encoding: gzip\r\nHost: elsewhere\r\nConnection: x-kept\r\nCookie: a\r\nUpgrade: h2c\r\n\
             X-Kubernetes-Peer-Proxied: true\r\nX-Forwarded-For: 6.6.6.6\r\nTE: gzip\r\n\r\n",
        )
        .await;
        let answer = raw.rest().await;
        let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer}"));
        let seen: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{answer}"));
        assert_eq!(seen["trailers"], json!([["x-kept", "1"]]), "{answer}");
    }
}

#[tokio::test]
async fn a_continue_is_said_only_when_somebody_reads() {
    let (cluster, proxy) = alone().await;
    let mut refused = raw(&proxy).await;
    refused
        .send("POST /api//v1/pods HTTP/1.1\r\nHost: k8s\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        .await;
    // Whoever was not told to go on may send the next request instead of the body.
    assert!(refused.until("\r\n\r\n").await.starts_with("HTTP/1.1 400"));
    let answer = tokio::time::timeout(Duration::from_secs(20), refused.rest()).await.unwrap();
    assert!(!answer.contains("100 Continue"), "{answer}");
    assert!(arrived(&cluster).is_empty());
}
