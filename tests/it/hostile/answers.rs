//! Answers of a server over HTTP/1.1, byte by byte: none of them may become the answer to somebody else's request.

use std::sync::{Arc, Mutex};

use http::Method;
use http_body_util::BodyExt;
use tokio::time::timeout;

use crate::kit::{As, DEADLINE, PKI, ProxyBuilder, Stub, certificate};

const POISON: &str = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";

/// A name for messages, the method, the answer, whether the server closes behind it, and what the client gets:
/// a status and a body, or `None` for one of our own errors or an answer that breaks off.
type Row = (&'static str, Method, String, bool, Option<(u16, &'static str)>);

fn row(name: &'static str, method: Method, head: &str, body: &str, gets: Option<(u16, &'static str)>) -> Row {
    (name, method, format!("HTTP/1.1 {}\r\n\r\n{body}", head.replace('\n', "\r\n")), false, gets)
}

fn rows() -> Vec<Row> {
    let behind = |body: &str| format!("{body}{POISON}");
    let (get, head) = (Method::GET, Method::HEAD);
    let ok = Some((200, "ok"));
    let mut closing =
        row("an end that only the connection tells", get.clone(), "200 OK", &behind("ok"), None);
    closing.3 = true;
    closing.4 = Some((200, "okHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison"));
    let mut old = closing.clone();
    (old.0, old.2) = ("the same in HTTP/1.0", old.2.replacen("HTTP/1.1", "HTTP/1.0", 1));
    let mut cut = row("less than was said", get.clone(), "200 OK\ncontent-length: 100", "ok", None);
    cut.3 = true;
    let mut unended =
        row("chunks without an end", get.clone(), "200 OK\ntransfer-encoding: chunked", "2\r\nok\r\n", None);
    unended.3 = true;
    vec![
        row("another answer behind a length", get.clone(), "200 OK\ncontent-length: 2", &behind("ok"), ok),
        row(
            "another answer behind chunks",
            get.clone(),
            "200 OK\ntransfer-encoding: chunked",
            &behind("2\r\nok\r\n0\r\n\r\n"),
            ok,
        ),
        row(
            "a length beside chunked",
            get.clone(),
            "200 OK\ncontent-length: 50\ntransfer-encoding: chunked",
            &behind("2\r\nok\r\n0\r\n\r\n"),
            ok,
        ),
        row("a body behind 204", get.clone(), "204 No Content", POISON, Some((204, ""))),
        row(
            "a body behind 304",
            get.clone(),
            "304 Not Modified\ncontent-length: 50",
            POISON,
            Some((304, "")),
        ),
        row("a body behind the answer to HEAD", head, "200 OK\ncontent-length: 50", POISON, Some((200, ""))),
        row("two lengths", get.clone(), "200 OK\ncontent-length: 2\ncontent-length: 50", &behind("ok"), None),
        row("a length with a sign", get.clone(), "200 OK\ncontent-length: +2", &behind("ok"), None),
        row("a NUL in a value", get.clone(), "200 OK\ncontent-length: 2\nx: a\0b", &behind("ok"), None),
        row("a status that is none", get.clone(), "20 OK\ncontent-length: 2", &behind("ok"), None),
        row(
            "an upgrade that nobody asked for",
            get.clone(),
            "101 Switching Protocols\nconnection: upgrade\nupgrade: websocket",
            POISON,
            None,
        ),
        row("a head without end", get.clone(), &format!("200 OK\nx: {}", "a".repeat(200_000)), "ok", None),
        row(
            "300 lines",
            get.clone(),
            &format!("200 OK\n{}content-length: 2", "x: 1\n".repeat(300)),
            "ok",
            None,
        ),
        row(
            "a broken chunk",
            get,
            "200 OK\ntransfer-encoding: chunked",
            &behind("zz\r\nok\r\n0\r\n\r\n"),
            None,
        ),
        closing,
        old,
        cut,
        unended,
    ]
}

#[tokio::test]
async fn what_a_server_says_behind_its_answer_is_nobodys_answer() {
    let current = Arc::new(Mutex::new((Vec::new(), false)));
    let told = Arc::clone(&current);
    let stub = Stub::raw(move |target| {
        if target.starts_with("/api/v1/mad") {
            return told.lock().unwrap().clone();
        }
        (format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{target}", target.len()).into_bytes(), false)
    })
    .await;
    let proxy = ProxyBuilder::new().server("stub", stub.address).home("stub").start().await;
    let (mallory, jane) = (certificate("mallory", &[]), certificate("jane", &[]));
    let jane = proxy.h2(As::Certificate(&jane)).await;
    let mut wrong = Vec::new();
    for (name, method, answer, last, gets) in rows() {
        *current.lock().unwrap() = (answer.into_bytes(), last);
        let mallory = proxy.h2(As::Certificate(&mallory)).await;
        let got = match mallory.ask(method, "/api/v1/mad").attempt().await {
            Ok(response) => {
                let status = response.status().as_u16();
                let body = timeout(DEADLINE, response.into_body().collect()).await.expect("an end in time");
                body.ok().map(|body| (status, String::from_utf8_lossy(&body.to_bytes()).into_owned()))
            }
            Err(_broken) => None,
        };
        let right = match (&got, gets) {
            (Some((status, body)), Some(expected)) => (*status, &**body) == expected,
            (Some((status, _)), None) => *status >= 500,
            (None, None) => true,
            (None, Some(_)) => false,
        };
        if !right {
            wrong.push(format!("{name}: {got:?}"));
        }
        for number in 0..5 {
            let target = format!("/version-of-jane?{number}");
            let reply = jane.get(&target).await;
            if (reply.status.as_u16(), reply.text()) != (200, &*target) {
                wrong.push(format!("{name}: jane got {reply:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(proxy.h2(As::Certificate(&PKI.admin)).await.get("/api/v1/pods").await.text(), "/api/v1/pods");
}

#[tokio::test]
async fn trailers_of_an_answer_carry_nothing_that_is_for_one_connection() {
    let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-kept\r\n\r\n2\r\nok\r\n0\r\n\
        X-Kept: 1\r\nConnection: x-named\r\nX-Named: 1\r\nUpgrade: h2c\r\nTransfer-Encoding: gzip\r\nKeep-Alive: 1\r\n\r\n";
    let stub = Stub::raw(move |_| (answer.as_bytes().to_vec(), false)).await;
    let proxy = ProxyBuilder::new().server("stub", stub.address).home("stub").start().await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    let response = admin.ask(Method::GET, "/api/v1/pods").begin().await;
    let body = timeout(DEADLINE, response.into_body().collect()).await.expect("an end in time").unwrap();
    let trailers = body.trailers().cloned().unwrap_or_default();
    assert_eq!(trailers.keys().map(http::HeaderName::as_str).collect::<Vec<_>>(), ["x-kept"]);
    assert_eq!(body.to_bytes(), "ok");
}
