//! Who an upgrade is from, as the server sees it, at home and at a peer.

use http::Version;
use kube_peer_proxy::embedded::LoggedRequest;
use kube_peer_proxy::pki::Leaf;

use super::{EXEC, PKI, PROTOCOLS, Tunnel, WIDGET, two, upgrades};
use crate::kit::{As, BOB, Cluster, PROXIED, Proxy};

/// printf %s b0b-s3cr3t | basenc --base64url
const BOB_FOR_WEBSOCKETS: &str = "base64url.bearer.authorization.k8s.io.YjBiLXMzY3IzdA";
const SPOOFED: [(&str, &str); 3] =
    [("X-Remote-User", "root"), ("X_Remote_Group", "system:masters"), ("X-Remote-Extra-A", "b")];

/// Asks at home and at the peer in both protocols; what arrived.
async fn everywhere(
    cluster: &Cluster,
    proxy: &Proxy,
    who: As<'_>,
    lines: &[(&str, &str)],
    status: u16,
) -> Vec<LoggedRequest> {
    let mut seen = Vec::new();
    for (name, target) in [("v132", EXEC), ("v136", WIDGET)] {
        for protocol in PROTOCOLS {
            cluster.server(name).log().clear();
            let client = Tunnel::ask(proxy.address(), who, target, protocol, lines).await;
            assert_eq!(client.status(), status, "{target} {protocol}: {}", client.head);
            let mut asked = upgrades(cluster, name);
            assert_eq!(asked.len(), 1, "{target} {protocol}");
            let one = asked.remove(0);
            assert_eq!(one.version, Version::HTTP_11);
            assert_eq!(one.headers["upgrade"], protocol);
            let rerouted: Vec<_> = one.headers.get_all(PROXIED).iter().collect();
            assert_eq!(rerouted, if name == "v136" { vec!["true"] } else { vec![] }, "{target}");
            seen.push(one);
        }
    }
    seen
}

fn name_of(request: &LoggedRequest) -> &str {
    request.user.as_ref().map_or("", |user| &user.name)
}

fn stamped(request: &LoggedRequest) -> bool {
    request.headers.keys().any(|name| name.as_str().replace('_', "-").starts_with("x-remote-"))
}

#[tokio::test]
async fn i4_upgrade_of_a_known_certificate_is_stamped_on_a_connection_with_ours() {
    let (cluster, proxy) = two().await;
    let jane = PKI.cluster_ca.issue(&Leaf::client("jane").group("dev").group("ops")).unwrap();
    let token = format!("Bearer {BOB}");
    let protocols = format!("v5.channel.k8s.io, {BOB_FOR_WEBSOCKETS}");
    let mut lines = SPOOFED.to_vec();
    lines.extend([("Authorization", token.as_str()), ("Sec-WebSocket-Protocol", &protocols)]);
    for seen in everywhere(&cluster, &proxy, As::Certificate(&jane), &lines, 101).await {
        assert_eq!((name_of(&seen), seen.certificate), ("jane", true));
        assert_eq!(seen.user.unwrap().groups, ["dev", "ops", "system:authenticated"]);
        assert!(!seen.headers.contains_key("authorization"), "no token beside an identity");
        assert_eq!(seen.headers["sec-websocket-protocol"], "v5.channel.k8s.io");
        assert!(!seen.headers.contains_key("x_remote_group"));
        assert_eq!(seen.headers["x-forwarded-for"], "127.0.0.1");
    }
}

#[tokio::test]
async fn i4_upgrade_of_a_token_goes_untouched_and_without_our_certificate() {
    let (cluster, proxy) = two().await;
    for seen in everywhere(&cluster, &proxy, As::Token(BOB), &SPOOFED, 101).await {
        assert_eq!((name_of(&seen), seen.certificate, stamped(&seen)), ("bob", false, false));
        assert_eq!(seen.headers["authorization"], format!("Bearer {BOB}"));
    }
    let unknown = everywhere(&cluster, &proxy, As::Token("unknown"), &[], 401).await;
    assert!(unknown.iter().all(|seen| seen.user.is_none() && !seen.certificate));
}

#[tokio::test]
async fn i4_upgrade_of_a_token_among_the_websocket_protocols_goes_untouched_and_without_our_certificate() {
    let (cluster, proxy) = two().await;
    let protocols = format!("{BOB_FOR_WEBSOCKETS}, v4.channel.k8s.io");
    for (name, target) in [("v132", EXEC), ("v136", WIDGET)] {
        let lines =
            [("Sec-WebSocket-Protocol", protocols.as_str()), ("Sec-WebSocket-Key", "a2V5"), SPOOFED[0]];
        let client = Tunnel::ask(proxy.address(), As::Nobody, target, "websocket", &lines).await;
        assert_eq!(client.status(), 101, "{}", client.head);
        assert_eq!(client.header("sec-websocket-protocol"), ["v4.channel.k8s.io"]);
        let seen = upgrades(&cluster, name).remove(0);
        assert_eq!((name_of(&seen), seen.certificate, stamped(&seen)), ("bob", false, false));
        assert_eq!(seen.headers["sec-websocket-protocol"], protocols);
        assert_eq!(seen.headers["sec-websocket-key"], "a2V5");
    }
}

#[tokio::test]
async fn i4_upgrade_of_nobody_is_anonymous_and_has_no_certificate() {
    let (cluster, proxy) = two().await;
    for seen in everywhere(&cluster, &proxy, As::Nobody, &SPOOFED, 403).await {
        assert_eq!((name_of(&seen), seen.certificate, stamped(&seen)), ("system:anonymous", false, false));
    }
}

#[tokio::test]
async fn i1_upgrade_of_a_front_proxy_is_of_whom_it_tells() {
    let (cluster, proxy) = two().await;
    let front = As::Certificate(&PKI.front_proxy_client);
    let told = [("X-Remote-User", "jane"), ("X-Remote-Group", "b"), ("X-Remote-Group", "a")];
    for seen in everywhere(&cluster, &proxy, front, &told, 101).await {
        assert_eq!((name_of(&seen), seen.certificate), ("jane", true));
        assert_eq!(seen.user.unwrap().groups, ["b", "a", "system:authenticated"]);
    }
    let anonymous = [("X-Remote-User", "system:anonymous"), ("X-Remote-Group", "system:unauthenticated")];
    for seen in everywhere(&cluster, &proxy, front, &anonymous, 403).await {
        assert_eq!((name_of(&seen), seen.certificate, stamped(&seen)), ("system:anonymous", false, false));
    }
}

#[tokio::test]
async fn i2_upgrade_cannot_name_identity_away() {
    let (cluster, proxy) = two().await;
    let jane = PKI.cluster_ca.issue(&Leaf::client("jane").group("system:masters")).unwrap();
    let request = Tunnel::request("GET", WIDGET, "SPDY/3.1", As::Nobody, &[("Impersonate-User", "joe")]).replace(
        "Connection: Upgrade",
        "Connection: X-Remote-User, Impersonate-User\r\nConnection: Upgrade, x-kubernetes-peer-proxied, upgrade",
    );
    let client = Tunnel::send_first(proxy.address(), As::Certificate(&jane), request.as_bytes()).await;
    assert_eq!(client.status(), 101, "{}", client.head);
    let seen = upgrades(&cluster, "v136").remove(0);
    assert_eq!((name_of(&seen), &*seen.acting.as_ref().unwrap().name), ("jane", "joe"));
    assert_eq!(seen.headers[PROXIED], "true");
    assert_eq!(seen.headers.get_all("connection").iter().collect::<Vec<_>>(), ["Upgrade"]);
}
