//! Whoever somebody claims to be, and whoever else is on the same connections.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use http::Method;
use kube_peer_proxy::embedded::LoggedRequest;
use rand::RngExt as _;
use serde_json::Value;

use super::{alone, arrived};
use crate::kit::raw_h2::{Answer, PROTOCOL_ERROR, pseudo};
use crate::kit::{As, BOB, Client, EVE, PKI, PROXIED, Raw, RawH2, certificate};

/// Everything that says who a request is from, or what may be done with it.
const PRECIOUS: &str = "X-Remote-User, X-Remote-Uid, X-Remote-Group, X-Remote-Extra-Authentication.kubernetes.io%2fCredential-Id, \
    Impersonate-User, Impersonate-Group, Impersonate-Uid, Impersonate-Extra-Reason, Authorization, \
    X-Kubernetes-Peer-Proxied, X-Forwarded-For, Audit-Id, Host, Content-Length";

fn name_of(request: &LoggedRequest) -> &str {
    request.user.as_ref().map_or("", |user| &user.name)
}

#[tokio::test]
async fn connection_cannot_name_identity_headers() {
    let (cluster, proxy) = alone().await;
    let words: Vec<&str> = PRECIOUS.split(", ").map(str::trim).collect();
    let one_each: String = words.iter().map(|word| format!("Connection: {word}\r\n")).collect();
    let (front, back) = words.split_at(words.len() / 2);
    let upper = PRECIOUS.to_uppercase();
    let forms = [
        ("one line", format!("Connection: {PRECIOUS}\r\n")),
        ("two lines", format!("Connection: {}\r\nConnection: {}\r\n", front.join(","), back.join(" ,\t"))),
        ("a line each", one_each),
        ("upper case", format!("CONNECTION: {upper}\r\n")),
        ("lower case", format!("connection: {}\r\n", PRECIOUS.to_lowercase())),
        ("behind keep-alive", format!("Connection: keep-alive\r\nConnection: ,,{PRECIOUS},\r\n")),
        ("among rubbish", format!("Connection: \u{fc}\r\nConnection: a b, =, {PRECIOUS}, \"\r\n")),
    ];
    let acting = "Impersonate-User: jane\r\nImpersonate-Group: dev\r\nImpersonate-Uid: u-1\r\nImpersonate-Extra-Reason: because\r\n";
    for (form, lines) in &forms {
        for (certificate, credentials, expected) in [
            (Some(&PKI.admin), String::new(), "kubernetes-admin"),
            (None, format!("Authorization: Bearer {BOB}\r\n"), "bob"),
        ] {
            let mut raw = Raw::connect(proxy.address(), certificate).await;
            let wants = if certificate.is_some() { acting } else { "" };
            raw.send(format!(
                "POST /test/sink HTTP/1.1\r\nHost: k8s\r\n{credentials}{wants}{lines}Content-Length: 5\r\n\
                 {PROXIED}: true\r\nAudit-Id: mine\r\n\r\nhello"
            ))
            .await;
            let head = raw.until("\r\n\r\n").await;
            assert!(head.starts_with("HTTP/1.1 200"), "{form}: {head}");
            assert!(raw.until("}").await.contains(r#""bytes":5"#), "{form}");
            let seen = arrived(&cluster).pop().unwrap();
            assert_eq!(name_of(&seen), expected, "{form}");
            assert_eq!(seen.headers[PROXIED], "true", "{form}");
            assert_eq!(seen.headers["audit-id"], "mine", "{form}");
            assert_eq!(seen.headers["x-forwarded-for"], "127.0.0.1", "{form}");
            if certificate.is_some() {
                let acting = seen.acting.as_ref().unwrap();
                assert_eq!((&*acting.name, &*acting.uid), ("jane", "u-1"), "{form}");
                assert_eq!(acting.extra, [("reason".to_owned(), "because".to_owned())], "{form}");
                assert!(seen.user.as_ref().unwrap().groups.contains(&"system:masters".to_owned()), "{form}");
            }
        }
    }
    // HTTP/2 has no such field; whoever sends one is cut off.
    for word in &words {
        let word = word.to_lowercase();
        let fields = [&pseudo("GET", "/version")[..], &[("connection", &word)]].concat();
        let answer = RawH2::connect(proxy.address(), Some(&PKI.admin)).await.ask(&fields).await;
        assert_eq!(answer, Answer::Reset(PROTOCOL_ERROR), "{word}");
    }
    assert!(arrived(&cluster).is_empty());
}

#[tokio::test]
async fn spoofed_identity_is_dropped() {
    let (cluster, proxy) = alone().await;
    let names = [
        "X-Remote-User",
        "x-remote-user",
        "X-REMOTE-USER",
        "x_remote_user",
        "X-Remote_User",
        "X_Remote-User",
        "X-Remote-Uid",
        "X-Remote-Group",
        "x_remote_group",
        "X-Remote-Extra-Scopes",
        "X-Remote-Extra-%2F",
        "X-Remote-Extra-",
        "x_remote_extra_scopes",
        "X-Remote-",
        "X-Remote-Something-New",
    ];
    let jane = certificate("jane", &["dev"]);
    let spoofed: String = names.iter().map(|name| format!("{name}: system:masters\r\n")).collect();
    let token = format!("Authorization: Bearer {BOB}\r\n");
    let bad_front = kube_peer_proxy::pki::Leaf::client("somebody-else");
    let bad_front = PKI.front_proxy_ca.issue(&bad_front).unwrap();
    for (who, certificate, credentials, expected) in [
        ("a certificate", Some(&jane), "", "jane"),
        ("a token", None, &*token, "bob"),
        ("nobody", None, "", "system:anonymous"),
        ("the front-proxy CA's certificate, but not the proxy's name", Some(&bad_front), &*token, "bob"),
    ] {
        let mut raw = Raw::connect(proxy.address(), certificate).await;
        raw.send(format!(
            "GET /version HTTP/1.1\r\nHost: k8s\r\n{credentials}{spoofed}Connection: close\r\n\r\n"
        ))
        .await;
        let answer = raw.rest().await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{who}: {answer}");
        let seen = arrived(&cluster).pop().unwrap();
        assert_eq!(name_of(&seen), expected, "{who}");
        assert!(seen.headers.values().all(|value| value != "system:masters"), "{who}: {:?}", seen.headers);

        let lower: Vec<String> = names.iter().map(|name| name.to_lowercase()).collect();
        let mut fields = pseudo("GET", "/version");
        fields.extend(lower.iter().map(|name| (&**name, "system:masters")));
        if !credentials.is_empty() {
            fields.push(("authorization", token.trim_end().split_once(": ").unwrap().1));
        }
        let answer = RawH2::connect(proxy.address(), certificate).await.ask(&fields).await;
        assert_eq!(answer.status(), 200, "{who}: {answer:?}");
        let seen = arrived(&cluster).pop().unwrap();
        assert_eq!(name_of(&seen), expected, "{who}");
        assert!(seen.headers.values().all(|value| value != "system:masters"), "{who}: {:?}", seen.headers);
    }
    // Alone, too, it makes nobody somebody.
    let mut raw = Raw::connect(proxy.address(), Some(&bad_front)).await;
    raw.send(format!("GET /version HTTP/1.1\r\nHost: k8s\r\n{spoofed}Connection: close\r\n\r\n")).await;
    assert!(raw.rest().await.starts_with("HTTP/1.1 401"));
    assert!(arrived(&cluster).is_empty());
}

/// One of those who ask at the same time.
struct Asker {
    client: Client,
    /// Sent with each request.
    says: Vec<(String, String)>,
    /// What the server has to find, header by header; "" for none.
    user: String,
    authorization: String,
}

/// Ten thousand requests of all kinds of callers, some on connections of their own, some with others behind one
/// front proxy, all over the few connections that we have: each answer tells who asked, and is its asker's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interleaved_users_never_mix() {
    const REQUESTS: usize = 10_000;
    let (cluster, proxy) = alone().await;
    let mut askers = Vec::new();
    for number in 0..4 {
        let user = format!("user-{number}");
        let jane = certificate(&user, &["dev"]);
        for client in [proxy.h2(As::Certificate(&jane)).await, proxy.h1(As::Certificate(&jane)).await] {
            let (says, authorization) = (vec![], String::new());
            askers.push(Asker { client, says, user: user.clone(), authorization });
        }
    }
    for token in [BOB, EVE, "nobodys"] {
        for client in [proxy.h2(As::Token(token)).await, proxy.h1(As::Token(token)).await] {
            askers.push(Asker {
                client,
                says: vec![],
                user: String::new(),
                authorization: format!("Bearer {token}"),
            });
        }
    }
    for client in [proxy.h2(As::Nobody).await, proxy.h1(As::Nobody).await] {
        askers.push(Asker { client, says: vec![], user: String::new(), authorization: String::new() });
    }
    for number in 0..4 {
        let client = proxy.h2(As::Certificate(&PKI.front_proxy_client)).await;
        let user = format!("told-{number}");
        let says = vec![("x-remote-user".to_owned(), user.clone())];
        askers.push(Asker { client, says, user, authorization: String::new() });
    }

    let (answered, ended) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let rounds = (0..32).map(|_| async {
        while answered.fetch_add(1, Ordering::Relaxed) < REQUESTS {
            let (number, secret) = {
                let mut random = rand::rng();
                (random.random_range(0..askers.len()), random.random::<u64>())
            };
            let asker = &askers[number];
            let target = format!("/test/echo?{secret}");
            let says = asker.says.iter().map(|(name, value)| (&**name, &**value)).collect::<Vec<_>>();
            let asking =
                asker.client.ask(Method::GET, &target).headers(&says).header("audit-id", &secret.to_string());
            let reply = asking.whole().await;
            assert_eq!(reply.header("audit-id"), secret.to_string());
            if asker.authorization == "Bearer nobodys" {
                assert_eq!(reply.status, 401);
            } else if asker.user.is_empty() && asker.authorization.is_empty() {
                assert!(reply.refused(403).contains("system:anonymous"), "{}", reply.text());
            } else {
                let echo = reply.json();
                assert_eq!(echo["target"], target);
                assert_eq!(value(&echo, "x-remote-user"), asker.user);
                assert_eq!(value(&echo, "authorization"), asker.authorization);
            }
            ended.fetch_add(1, Ordering::Relaxed);
        }
    });
    join_all(rounds).await;
    assert_eq!(ended.load(Ordering::Relaxed), REQUESTS);
    let log = cluster.server("v136").log().all();
    let connections: std::collections::HashSet<_> = log
        .iter()
        .filter(|one| one.target.contains("echo") && one.certificate)
        .map(|one| one.connection)
        .collect();
    assert!((1..=4).contains(&connections.len()), "whom we stamp share few connections: {connections:?}");
}

/// The values of a header as the server saw it, "" if it was not there.
fn value(echo: &Value, name: &str) -> String {
    let lines = echo["headers"].as_array().unwrap().iter().filter(|line| line[0] == name);
    lines.map(|line| line[1].as_str().unwrap()).collect::<Vec<_>>().join("|")
}
