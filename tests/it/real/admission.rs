//! What a real kube-apiserver accepts, byte by byte, is served through the proxy with the same status and the same
//! body; where we refuse what it would serve, that is a row here that says so.

use std::fmt;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{
    fleet, fleets,
    kit::{DEADLINE, client::Dial, files::Who, proxy::Proxy},
    say,
};
use crate::kit::{
    RawH2,
    raw_h2::{Answer, DATA, END_HEADERS, END_STREAM, HEADERS, block, frame, pseudo},
};

/// How an answer through the proxy has to relate to the direct one.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Expected {
    /// The server serves it (1xx to 3xx), and so do we.
    Served,
    /// Both refuse it, with these statuses; 0 is an end without an answer.
    Refused(u16, u16),
    /// The server serves it, we refuse it with this status, and here it says why.
    Stricter(u16, u16, &'static str),
    /// The other way round.
    Laxer(u16, u16, &'static str),
}
use Expected::{Laxer, Refused, Served, Stricter};

/// What was said to a request.
#[derive(PartialEq)]
struct Said {
    /// 0 if nothing was.
    code: u16,
    kind: String,
    body: String,
}

impl fmt::Debug for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {:.120}", self.code, self.kind, self.body)
    }
}

/// What tells one answer from the next of the same request is left out.
fn same_each_time(body: &str) -> String {
    let Ok(mut json) = serde_json::from_str::<Value>(body) else { return body.to_owned() };
    if json["kind"] != "Status" {
        json["metadata"] = Value::Null;
    }
    json.to_string()
}

fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size.split(';').next().unwrap(), 16).unwrap();
        whole += &rest[..size];
        body = rest[size..].strip_prefix("\r\n").unwrap();
        if size == 0 {
            break;
        }
    }
    whole
}

/// Sends bytes over HTTP/1.1 and reads until the other side closes.
async fn send(dial: &Dial<'_>, bytes: &str) -> Said {
    let mut tls = dial.tls().await.unwrap();
    let exchange = async {
        let _closed = tls.write_all(bytes.as_bytes()).await;
        let _closed = tls.flush().await;
        let mut answer = Vec::new();
        let _reset = tls.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    };
    let answer = tokio::time::timeout(DEADLINE, exchange).await.expect("the connection ends");
    let answer = answer.strip_prefix("HTTP/1.1 100 Continue\r\n\r\n").unwrap_or(&answer);
    let Some((head, body)) = answer.split_once("\r\n\r\n") else {
        return Said { code: 0, kind: String::new(), body: String::new() };
    };
    let field = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(':'));
        lines
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map_or("", |(_, value)| value.trim())
            .to_owned()
    };
    let body = if field("transfer-encoding") == "chunked" { unchunked(body) } else { body.to_owned() };
    Said { code: head[9..12].parse().unwrap(), kind: field("content-type"), body: same_each_time(&body) }
}

async fn send_h2(dial: &Dial<'_>, frames: &[u8]) -> Said {
    let mut raw = RawH2::over(dial.tls().await.unwrap(), &[]).await;
    raw.send(frames).await;
    match raw.answer(1).await {
        Answer::Whole(code, body) => Said { code, kind: String::new(), body: same_each_time(&body) },
        _ => Said { code: 0, kind: String::new(), body: String::new() },
    }
}

/// Complains if the two answers are not as expected.
fn judge(name: &str, expected: Expected, direct: &Said, through: &Said) -> Option<String> {
    let codes = (direct.code, through.code);
    let good = match expected {
        Served => (100..400).contains(&direct.code) && direct == through,
        Refused(theirs, ours) => codes == (theirs, ours),
        Stricter(theirs, ours, _) | Laxer(theirs, ours, _) => codes == (theirs, ours),
    };
    say!(
        "{:46} {:3} {:3} {}",
        name,
        direct.code,
        through.code,
        match expected {
            Stricter(.., why) | Laxer(.., why) => why,
            _ => "",
        }
    );
    (!good).then(|| format!("{name}: {expected:?}\n  direct  {direct:?}\n  through {through:?}"))
}

const OBJECT: &str = "/api/v1/namespaces/default";
const MAP: &str = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"raw"},"data":{"a":"b"}}"#;

/// `\n` stands for CRLF; the head of a GET that ends its connection.
fn get(target: &str, lines: &str) -> String {
    format!("GET {target} HTTP/1.1\nHost: kubernetes\n{lines}Connection: close\n\n").replace('\n', "\r\n")
}

/// The head of a dry run of a POST, and its body as it goes out.
fn post(lines: &str, body: &str) -> String {
    let head = "POST /api/v1/namespaces/default/configmaps?dryRun=All HTTP/1.1\nHost: kubernetes\n\
        Content-Type: application/json\nConnection: close\n";
    format!("{head}{lines}\n").replace('\n', "\r\n") + body
}

fn rows() -> Vec<(&'static str, String, Expected)> {
    let length = MAP.len();
    let sized = format!("Content-Length: {length}\n");
    let (first, second) = MAP.split_at(10);
    let chunks = format!(
        "{:x}\r\n{first}\r\n{:X};a=b\r\n{second}\r\n0\r\nX-Trailer: 1\r\n\r\n",
        first.len(),
        second.len()
    );
    let bare = |head: &str| head.replace('\n', "\r\n");
    let strict = "a proxy and a server behind it might read it differently";
    vec![
        ("a plain GET", get(OBJECT, ""), Served),
        ("another media type", get(OBJECT, "Accept: application/yaml\n"), Served),
        ("two Accept lines", get(OBJECT, "Accept: application/yaml\nAccept: application/json\n"), Served),
        ("a Table", get(OBJECT, "Accept: application/json;as=Table;v=v1;g=meta.k8s.io\n"), Served),
        ("odd casing of names", get(OBJECT, "aCCEPT: application/yaml\nUSER-agent: x\n"), Served),
        ("absolute form", get(&format!("https://kubernetes{OBJECT}"), ""), Served),
        ("absolute form, another host", get(&format!("https://elsewhere:1{OBJECT}"), ""), Served),
        ("a trailing slash", get(&format!("{OBJECT}/"), ""), Served),
        ("encoded ordinary characters", get("/api/v1/%6eamespaces/d%65fault", ""), Served),
        ("repeated query keys", get(&format!("{OBJECT}?pretty=true&pretty=false&x=1&x=2"), ""), Served),
        ("an odd query", get(&format!("{OBJECT}?a;b&c=%zz&=&&d"), ""), Served),
        ("a query with slashes and dots", get(&format!("{OBJECT}?x=/../%2f//%00"), ""), Served),
        ("an empty query", get(&format!("{OBJECT}?"), ""), Served),
        ("a field selector", get("/api/v1/namespaces?fieldSelector=metadata.name%3Ddefault", ""), Served),
        ("HEAD", get("/healthz", "").replace("GET", "HEAD"), Served),
        ("TE: trailers", get(OBJECT, "TE: trailers\n"), Served),
        ("TE: gzip", get(OBJECT, "TE: gzip;q=0.5\n"), Served),
        ("values beyond ASCII", get(OBJECT, "X-Odd: Größe\n"), Served),
        ("an empty value", get(OBJECT, "X-Odd:\n"), Served),
        ("blanks and tabs around values", get(OBJECT, "X-Odd: \t a \t\n"), Served),
        ("a name with odd characters", get(OBJECT, "x!#$%&'*+-.^_`|~1: a\n"), Served),
        ("a cookie on two lines", get(OBJECT, "Cookie: a=1\nCookie: b=2\n"), Served),
        ("an Origin", get(OBJECT, "Origin: https://elsewhere\n"), Served),
        ("80 lines", get(OBJECT, &(0..80).map(|n| format!("X-{n}: 1\n")).collect::<String>()), Served),
        ("a line of 30 KB", get(OBJECT, &format!("X: {}\n", "a".repeat(30_000))), Served),
        ("an Upgrade that Connection does not name", get(OBJECT, "Upgrade: h2c\n"), Served),
        (
            "Host with a port",
            bare(&format!("GET {OBJECT} HTTP/1.1\nHost: k:1\nConnection: close\n\n")),
            Served,
        ),
        ("an empty Host", bare(&format!("GET {OBJECT} HTTP/1.1\nHost:\nConnection: close\n\n")), Served),
        ("HTTP/1.0", bare(&format!("GET {OBJECT} HTTP/1.0\nHost: k\n\n")), Served),
        ("HTTP/1.0 without Host", bare(&format!("GET {OBJECT} HTTP/1.0\n\n")), Served),
        ("bare line feeds", get(OBJECT, "").replace('\r', ""), Served),
        (
            "an empty line before the request",
            format!("\r\n{}", get(OBJECT, "")),
            Laxer(400, 200, "RFC 9112, 2.2"),
        ),
        ("a body with a length", post(&sized, MAP), Served),
        ("a body in chunks", post("Transfer-Encoding: chunked\nTrailer: X-Trailer\n", &chunks), Served),
        ("chunked in capitals", post("Transfer-Encoding: CHUNKED\n", &chunks), Served),
        ("Expect: 100-continue", post(&format!("{sized}Expect: 100-continue\n"), MAP), Served),
        ("a length beside chunked", post("Content-Length: 3\nTransfer-Encoding: chunked\n", &chunks), Served),
        ("the same length twice", post(&format!("{sized}{sized}"), MAP), Served),
        ("a GET with a body", get(OBJECT, "Content-Length: 2\n") + "{}", Served),
        ("a body in HTTP/1.0", post(&sized, MAP).replace("HTTP/1.1", "HTTP/1.0"), Served),
        ("what is not there", get("/api/v1/namespaces/nope", ""), Refused(404, 404)),
        ("a group that is not there", get("/apis/nope.example/v1/x", ""), Refused(404, 404)),
        (
            "a fragment",
            get(&format!("{OBJECT}#x"), ""),
            Laxer(404, 200, "no client sends one; the HTTP library drops it"),
        ),
        ("HEAD of a resource", get(OBJECT, "").replace("GET", "HEAD"), Refused(405, 405)),
        ("OPTIONS of a resource", get(OBJECT, "").replace("GET", "OPTIONS"), Refused(405, 405)),
        ("a method that nobody knows", get(OBJECT, "").replace("GET", "BREW"), Refused(405, 405)),
        ("no Host", bare(&format!("GET {OBJECT} HTTP/1.1\nConnection: close\n\n")), Refused(400, 400)),
        ("two Hosts", get(OBJECT, "Host: b\n"), Refused(400, 400)),
        ("a coding beside chunked", post("Transfer-Encoding: gzip, chunked\n", &chunks), Refused(501, 501)),
        ("an unknown coding", post("Transfer-Encoding: xchunked\n", &chunks), Refused(501, 400)),
        ("differing lengths", post(&format!("{sized}Content-Length: 3\n"), MAP), Refused(400, 400)),
        ("a length with a sign", post(&format!("Content-Length: +{length}\n"), MAP), Refused(400, 400)),
        ("a blank before the colon", get(OBJECT, "X-Odd : 1\n"), Refused(400, 400)),
        ("a NUL in a value", get(OBJECT, "X-Odd: \0\n"), Refused(400, 400)),
        ("a bare CR in a value", get(OBJECT, "X-Odd: a\rb\n"), Refused(400, 400)),
        ("CONNECT", get("kubernetes:443", "").replace("GET", "CONNECT"), Refused(404, 405)),
        ("an encoded slash", get("/api%2fv1/namespaces/default", ""), Stricter(200, 400, strict)),
        ("dot segments", get("/api/v1/pods/../namespaces/default", ""), Refused(404, 400)),
        ("a doubled slash", get("/api//v1/namespaces/default", ""), Refused(404, 400)),
        ("a doubled slash at the end", get(&format!("{OBJECT}//"), ""), Stricter(200, 400, strict)),
        ("an encoded NUL", get(&format!("{OBJECT}%00"), ""), Refused(404, 400)),
        ("a folded line", get(OBJECT, "X-Odd: a\n b\n"), Stricter(200, 400, "obsolete since RFC 7230")),
        (
            "a line of 100 KB",
            get(OBJECT, &format!("X: {}\n", "a".repeat(100_000))),
            Stricter(200, 431, "64 KiB are enough"),
        ),
        ("150 lines", get(OBJECT, &(0..150).map(|n| format!("X-{n}: 1\n")).collect::<String>()), Served),
        (
            "300 lines",
            get(OBJECT, &(0..300).map(|n| format!("X-{n}: 1\n")).collect::<String>()),
            Stricter(200, 431, "256 are enough"),
        ),
        (
            "a user before the host",
            get(&format!("https://jane@k{OBJECT}"), ""),
            Stricter(200, 400, "RFC 9110, 4.2.4"),
        ),
        ("OPTIONS *", get("*", "").replace("GET", "OPTIONS"), Stricter(200, 400, "asks for nothing")),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_real_server_accepts_is_served_alike_and_every_difference_is_known() {
    let fleet = fleet!(fleets::versions().await);
    let proxy = Proxy::of(fleet.cluster, Some("v136")).await;
    let direct = Dial::new(&fleet.files, fleet.server("v136").addr, Who::Admin).h1();
    let through = proxy.dial(Who::Admin).h1();
    let mut wrong = Vec::new();
    for (name, bytes, expected) in rows() {
        let (theirs, ours) = (send(&direct, &bytes).await, send(&through, &bytes).await);
        wrong.extend(judge(name, expected, &theirs, &ours));
    }
    proxy.stop().await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn rows_h2() -> Vec<(&'static str, Vec<u8>, Expected)> {
    let good = || pseudo("GET", OBJECT);
    let with = |more: &[(&str, &str)]| {
        frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(&[&good(), more].concat()))
    };
    let without = |name: &str, more: &[(&str, &str)]| {
        let kept: Vec<_> =
            good().into_iter().filter(|field| field.0 != name).chain(more.iter().copied()).collect();
        frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(&kept))
    };
    let at = |path: &str| frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(&pseudo("GET", path)));
    let post = |more: &[(&str, &str)], pieces: &[&str]| {
        let fields = pseudo("POST", "/api/v1/namespaces/default/configmaps?dryRun=All");
        let fields = [&fields[..], &[("content-type", "application/json")], more].concat();
        let mut bytes = frame(HEADERS, END_HEADERS, 1, &block(&fields));
        for (number, piece) in pieces.iter().enumerate() {
            let last = if number + 1 == pieces.len() { END_STREAM } else { 0 };
            bytes.extend(frame(DATA, last, 1, piece.as_bytes()));
        }
        bytes
    };
    let length = MAP.len().to_string();
    vec![
        ("a plain GET", with(&[]), Served),
        ("te: trailers", with(&[("te", "trailers")]), Served),
        ("the same host", with(&[("host", "k8s")]), Served),
        ("a host instead of an authority", without(":authority", &[("host", "k8s")]), Served),
        ("neither", without(":authority", &[]), Served),
        ("cookie crumbs", with(&[("cookie", "a=1"), ("cookie", "b=2")]), Served),
        ("values beyond ASCII", with(&[("x-odd", "Größe")]), Served),
        ("odd characters in a query", at(&format!("{OBJECT}?a;b&c=%zz")), Served),
        ("a body without a length", post(&[], &[&MAP[..10], "", &MAP[10..]]), Served),
        ("a body with a length", post(&[("content-length", &length)], &[MAP]), Served),
        ("expect: 100-continue", post(&[("expect", "100-continue")], &[MAP]), Served),
        ("a longer body than said", post(&[("content-length", "5")], &[MAP]), Refused(0, 0)),
        ("a connection field", with(&[("connection", "close")]), Refused(400, 0)),
        ("a transfer coding", with(&[("transfer-encoding", "chunked")]), Refused(400, 0)),
        ("an upper-case name", with(&[("X-Odd", "1")]), Refused(0, 0)),
        ("a line break in a value", with(&[("x-odd", "a\r\nb")]), Refused(0, 0)),
        ("no method", without(":method", &[]), Refused(0, 0)),
        ("another host", with(&[("host", "other")]), Stricter(200, 400, "RFC 9113, 8.3.1")),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_real_server_accepts_over_http_2_is_served_alike_and_every_difference_is_known() {
    let fleet = fleet!(fleets::versions().await);
    let proxy = Proxy::of(fleet.cluster, Some("v136")).await;
    let direct = Dial::new(&fleet.files, fleet.server("v136").addr, Who::Admin);
    let through = proxy.dial(Who::Admin);
    let mut wrong = Vec::new();
    for (name, frames, expected) in rows_h2() {
        let (theirs, ours) = (send_h2(&direct, &frames).await, send_h2(&through, &frames).await);
        wrong.extend(judge(name, expected, &theirs, &ours));
    }
    proxy.stop().await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
