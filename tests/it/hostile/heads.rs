//! Heads of HTTP/1.1 requests: which are refused, and as what the others arrive.

use super::{alone, arrived, raw};
use crate::kit::{Cluster, Proxy};

/// What becomes of a request.
#[derive(Clone, Copy)]
enum Fate {
    /// This status, and no server hears of it.
    Refused(u16),
    /// Any 4xx or 5xx, or just the end; no server hears of it.
    Dropped,
    /// 200; the server sees one request, for this.
    Served(&'static str),
}
use Fate::{Dropped, Refused, Served};

/// A name for messages, the bytes as they go out, and what becomes of them.
type Row = (&'static str, String, Fate);

/// `\n` stands for CRLF.
fn row(name: &'static str, head: &str, fate: Fate) -> Row {
    (name, head.replace('\n', "\r\n"), fate)
}

async fn check(rows: impl IntoIterator<Item = Row>) {
    let (cluster, proxy) = alone().await;
    let mut wrong = Vec::new();
    for (name, bytes, fate) in rows {
        wrong.extend(met_another(&cluster, &proxy, name, &bytes, fate).await);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What happened instead, if it did.
async fn met_another(
    cluster: &Cluster,
    proxy: &Proxy,
    name: &str,
    bytes: &str,
    fate: Fate,
) -> Option<String> {
    arrived(cluster);
    let mut raw = raw(proxy).await;
    raw.send(bytes).await;
    let answer = raw.rest().await;
    let code: u16 = answer.get(9..12).and_then(|code| code.parse().ok()).unwrap_or(0);
    let seen: Vec<_> = arrived(cluster).into_iter().map(|request| request.target).collect();
    let met = match fate {
        Refused(expected) => code == expected && seen.is_empty(),
        Dropped => (code == 0 || code >= 400) && seen.is_empty(),
        Served(target) => code == 200 && seen == [target],
    };
    (!met).then(|| format!("{name}: {code}, {seen:?}, {:.200}", answer))
}

#[tokio::test]
async fn exactly_one_host_is_needed_and_it_names_a_host() {
    let close = "Connection: close\n\n";
    check([
        row("none", &format!("GET /version HTTP/1.1\n{close}"), Refused(400)),
        row("two", &format!("GET /version HTTP/1.1\nHost: a\nHost: b\n{close}"), Refused(400)),
        row("the same twice", &format!("GET /version HTTP/1.1\nHost: a\nhost: a\n{close}"), Refused(400)),
        row("a list", &format!("GET /version HTTP/1.1\nHost: a, b\n{close}"), Refused(400)),
        row("a path behind it", &format!("GET /version HTTP/1.1\nHost: a/b\n{close}"), Refused(400)),
        row("a user before it", &format!("GET /version HTTP/1.1\nHost: jane@a\n{close}"), Refused(400)),
        row("a blank in it", &format!("GET /version HTTP/1.1\nHost: a b\n{close}"), Refused(400)),
        row(
            "two beside an absolute target",
            &format!("GET https://a/version HTTP/1.1\nHost: a\nHost: b\n{close}"),
            Refused(400),
        ),
        row("one", &format!("GET /version HTTP/1.1\nHost: a:6443\n{close}"), Served("/version")),
        row("IPv6", &format!("GET /version HTTP/1.1\nHost: [::1]:6443\n{close}"), Served("/version")),
        // kube-apiserver serves both.
        row("an empty one", &format!("GET /version HTTP/1.1\nHost:\n{close}"), Served("/version")),
        row("none in HTTP/1.0", "GET /version HTTP/1.0\n\n", Served("/version")),
    ])
    .await;
}

#[tokio::test]
async fn a_target_is_a_path_and_an_authority_in_it_decides_nothing() {
    let rest = "Host: k8s\nConnection: close\n\n";
    check([
        row("absolute form", &format!("GET https://k8s/version?a HTTP/1.1\n{rest}"), Served("/version?a")),
        row(
            "absolute form, elsewhere",
            &format!("GET http://169.254.169.254/version HTTP/1.1\n{rest}"),
            Served("/version"),
        ),
        row(
            "absolute form without Host",
            "GET https://k8s/version HTTP/1.1\nConnection: close\n\n",
            Refused(400),
        ),
        row(
            "absolute form with a user",
            &format!("GET https://jane:pw@k8s/version HTTP/1.1\n{rest}"),
            Refused(400),
        ),
        row("authority form", &format!("GET k8s:6443 HTTP/1.1\n{rest}"), Refused(400)),
        row("CONNECT", &format!("CONNECT k8s:6443 HTTP/1.1\n{rest}"), Refused(405)),
        row("CONNECT to a path", &format!("CONNECT /version HTTP/1.1\n{rest}"), Dropped),
        row("asterisk", &format!("OPTIONS * HTTP/1.1\n{rest}"), Refused(400)),
        row("another scheme", &format!("GET ftp://k8s/version HTTP/1.1\n{rest}"), Served("/version")),
        row("relative", &format!("GET version HTTP/1.1\n{rest}"), Dropped),
        row("empty", &format!("GET  HTTP/1.1\n{rest}"), Dropped),
        row("a blank in it", &format!("GET /version x HTTP/1.1\n{rest}"), Dropped),
        row("a tab in it", &format!("GET /ver\tsion HTTP/1.1\n{rest}"), Dropped),
        row("a NUL in it", &format!("GET /ver\0sion HTTP/1.1\n{rest}"), Dropped),
        row("too long", &format!("GET /{} HTTP/1.1\n{rest}", "a".repeat(70_000)), Dropped),
        row("HTTP/1.2", &format!("GET /version HTTP/1.2\n{rest}"), Dropped),
        row("HTTP/2.0 in words", &format!("GET /version HTTP/2.0\n{rest}"), Dropped),
        row("HTTP/0.9", "GET /version\n", Dropped),
        row("HTTP/2's preface", "PRI * HTTP/2.0\n\nSM\n\n", Dropped),
        row("an empty line before it", &format!("\nGET /version HTTP/1.1\n{rest}"), Served("/version")),
    ])
    .await;
}

#[tokio::test]
async fn a_path_that_two_readers_could_take_for_two_things_is_refused() {
    let (cluster, proxy) = alone().await;
    let mut wrong = Vec::new();
    for path in [
        "/api/../apis/%2e%2e/x",
        "/api/v1/../../apis/apps/v1/deployments",
        "/api/v1/namespaces/%2e%2e/secrets",
        "/api/v1/namespaces/default/./secrets",
        "/api/v1/namespaces/default/secrets/%2E",
        "//api/v1/secrets",
        "/api//v1/secrets",
        "/api/v1//secrets",
        "/apis//v1/pods",
        "/api/v1/namespaces//secrets",
        "/api%2fv1/secrets",
        "/api/v1%2Fsecrets",
        "/api/v1/namespaces/a%2fb/secrets",
        "/api/v1/secrets%00",
        "/api/v1/namespaces/default%00/secrets",
        "/api/v1/secrets/%",
        "/api/v1/secrets/%0",
        "/api/v1/secrets/%gg",
        "/api/v1/secrets/%ff%fe",
        "https://k8s/api/v1/../secrets",
    ] {
        let head = format!("GET {path} HTTP/1.1\r\nHost: k8s\r\nConnection: close\r\n\r\n");
        wrong.extend(met_another(&cluster, &proxy, path, &head, Refused(400)).await);
    }
    for path in [
        "/api/v1/namespaces/kube-system/configmaps",
        "/%61pi/v1/configmaps",
        "/api/v1/namespaces/kube%2dsystem/configmaps",
        "/api/v1/configmaps/",
        "/api/v1/configmaps?x=%00/../%2f//",
        "https://elsewhere/api/v1/configmaps",
    ] {
        let head = format!("GET {path} HTTP/1.1\r\nHost: k8s\r\nConnection: close\r\n\r\n");
        let target = path.strip_prefix("https://elsewhere").unwrap_or(path);
        wrong.extend(met_another(&cluster, &proxy, path, &head, Served(target)).await);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn a_line_that_two_readers_could_split_differently_is_refused() {
    let get = |lines: &str| format!("GET /version HTTP/1.1\nHost: k8s\nConnection: close\n{lines}\n\n");
    check([
        row("a blank before the colon", &get("X-One : 1"), Refused(400)),
        row("a fold", &get("X-One: 1\n  X-Two: 2"), Refused(400)),
        row("a fold by tab", &get("X-One: 1\n\tX-Two: 2"), Refused(400)),
        row(
            "a fold at once",
            "GET /version HTTP/1.1\n X-One: 1\nHost: k8s\nConnection: close\n\n",
            Refused(400),
        ),
        row("a bare CR in a value", &get("X-One: 1\rX-Two: 2"), Refused(400)),
        row("a NUL in a value", &get("X-One: 1\0"), Refused(400)),
        row("a NUL in a name", &get("X-\0ne: 1"), Refused(400)),
        row("a control character in a value", &get("X-One: \u{7f}"), Refused(400)),
        row("a blank in a name", &get("X One: 1"), Refused(400)),
        row("a name beyond ASCII", &get("X-Öne: 1"), Refused(400)),
        row("no name", &get(": 1"), Refused(400)),
        row("no colon", &get("X-One"), Refused(400)),
        row("a value beyond ASCII", &get("X-One: Größe"), Served("/version")),
        row("blanks around a value", &get("X-One: \t 1 \t"), Served("/version")),
        row("an empty value", &get("X-One:"), Served("/version")),
    ])
    .await;
    let bare = "GET /version HTTP/1.1\nHost: k8s\nX-One: 1\nConnection: close\n\n".to_owned();
    check([("bare line feeds", bare, Served("/version"))]).await;
}

#[tokio::test]
async fn a_head_has_a_size() {
    let many = |count: usize| -> String { (0..count).map(|number| format!("X-{number}: 1\n")).collect() };
    let get = |lines: &str| format!("GET /version HTTP/1.1\nHost: k8s\nConnection: close\n{lines}\n");
    check([
        row("300 lines", &get(&many(300)), Refused(431)),
        row("90 lines", &get(&many(90)), Served("/version")),
        row("a line of 500 KB", &get(&format!("X: {}\n", "a".repeat(500_000))), Refused(431)),
        row("a line of 70 KB", &get(&format!("X: {}\n", "a".repeat(70_000))), Refused(431)),
        row(
            "90 lines of 1 KB",
            &get(&many(90).replace(": 1", &format!(": {}", "a".repeat(1000)))),
            Refused(431),
        ),
        row("a line of 60 KB", &get(&format!("X: {}\n", "a".repeat(60_000))), Served("/version")),
    ])
    .await;
}

#[tokio::test]
async fn what_a_client_wants_of_its_own_connection_does_not_go_on() {
    let (cluster, proxy) = alone().await;
    let mut raw = raw(&proxy).await;
    raw.send(
        "GET /version HTTP/1.1\r\nHost: k8s\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nUpgrade: h2c\r\n\
         Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic eA==\r\n\
         TE: gzip, trailers;q=0.5\r\nConnection: close, X-One,\tx-two ,,\r\nCONNECTION: X-Three\r\n\
         X-One: 1\r\nX-TWO: 2\r\nx-three: 3\r\nX-Four: 4\r\n\r\n",
    )
    .await;
    assert!(raw.rest().await.starts_with("HTTP/1.1 200"));
    let seen = arrived(&cluster).pop().unwrap();
    for name in [
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "upgrade",
        "http2-settings",
        "x-one",
        "x-two",
        "x-three",
    ] {
        assert!(!seen.headers.contains_key(name), "{name}");
    }
    assert_eq!((&seen.headers["x-four"], seen.headers.get("te")), (&"4".parse().unwrap(), None));
}
