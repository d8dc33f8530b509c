//! `explain` tells in which trust domain somebody is who, and where he is nobody.

use super::*;
use crate::explain::{PROGRAM, run};
use crate::kit::{Proxy, V2};

const NAMESPACES: &str = "/api/v1/namespaces";

/// What a proxy that runs says of a caller.
async fn page(proxy: &Proxy, path: &str, caller: &str) -> Value {
    proxy.debug(&format!("explain?path={path}&verb=list{caller}")).await
}

/// What is said without a proxy, by its configuration alone.
async fn direct(two: &Two, path: &str, caller: &[&str]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    PKI.write(folder.path(), false).unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let mut b = two.entry("b");
    b["url"] = two.b.url().into();
    let config = json!({
        "tlsCertFile": file("proxy.crt"), "tlsPrivateKeyFile": file("proxy.key"),
        "clientCaFile": file("ca.crt"), "peerCaFile": file("ca.crt"),
        "proxyClientCertFile": file("front-proxy-client.crt"),
        "proxyClientKeyFile": file("front-proxy-client.key"),
        "trustDomain": "a", "identityMap": [viewers("b", "demo:")],
        "apiServers": [{ "name": "a", "url": two.a.server("a").url(), "trustDomain": "a" }, b],
    });
    std::fs::write(file("proxy.yaml"), config.to_string()).unwrap();
    let config = format!("--config={}", file("proxy.yaml"));
    let arguments = [&["explain", path, "--verb=list", &config, "-ojson"][..], caller].concat();
    let (code, text, error) = run(PROGRAM, None, &arguments).await;
    assert_eq!(code, 0, "{error}");
    let mut answer: Value = serde_json::from_str(&text).unwrap();
    // A front, whose one home this is.
    let homes = answer["homes"].as_array().unwrap().clone();
    assert_eq!(homes.iter().map(|one| &one["home"]).collect::<Vec<_>>(), ["a"]);
    answer.as_object_mut().unwrap().extend(homes[0].as_object().unwrap().clone());
    answer
}

#[tokio::test]
async fn i13_explained_for_whoever_is_named_by_a_proxy_and_without_one() {
    let two = Two::start().await;
    let proxy = two.proxy().start().await;
    let identity = json!({ "x-remote-user": ["demo:jane"], "x-remote-group": ["viewers"] });
    let jane =
        json!({ "b": { "class": "identity", "as": "headers", "headers": identity, "loopHeader": true } });
    let refused = |because: &str| json!({ "as": "refused", "because": because });
    let nobody = json!({ "b": {
        "certificate": { "class": "identity", "as": "mapped" },
        "token": refused("token-of-another-domain"), "anonymous": refused("anonymous"),
    } });
    let token = json!({ "a": { "class": "token", "as": "token", "loopHeader": false } });
    let (there, not_there) = (("peer", "peers-serve"), ("nowhere (403)", "other-trust-domain"));
    for (path, query, arguments, (goes, reason), callers) in [
        (POLICIES, "", &[][..], there, &nobody),
        (POLICIES, "&user=jane&groups=ops,dev", &["--as-user=jane", "--as-group=ops,dev"], there, &jane),
        (
            POLICIES,
            "&user=mallory&groups=ops",
            &["--as-user=mallory", "--as-group=ops"],
            not_there,
            &json!({}),
        ),
        (POLICIES, "&caller=token", &["--as-token"], not_there, &json!({})),
        (POLICIES, "&caller=anonymous", &["--as-anonymous"], not_there, &json!({})),
        (NAMESPACES, "&caller=token", &["--as-token"], ("home", "home-serves"), &token),
    ] {
        for answer in [page(&proxy, path, query).await, direct(&two, path, arguments).await] {
            let told = (&answer["goes"], &answer["reason"], &answer["callerUpstream"]);
            assert_eq!(told, (&json!(goes), &json!(reason), callers), "{path} {query}");
        }
    }
    let servers = proxy.debug("servers").await;
    let domains: Vec<_> =
        servers["servers"].as_array().unwrap().iter().map(|it| &it["trustDomain"]).collect();
    assert_eq!(domains, ["a", "b"]);
}

#[tokio::test]
async fn i13_explained_who_has_no_rule_anywhere_is_nobody_there_whatever_his_name() {
    let two = Two::start().await;
    let proxy = two.proxy().file("identityMap", "[]").start().await;
    let nobody = page(&proxy, POLICIES, "").await;
    let certificate = &nobody["callerUpstream"]["b"]["certificate"];
    assert_eq!(certificate, &json!({ "as": "refused", "because": "no-rule-of-identity-map" }));
}

#[tokio::test]
async fn i13_explained_a_dry_run_sends_home_what_is_only_in_another_domain() {
    let two = Two::start().await;
    let proxy = two.proxy().flags(|args| args.reroute = Some("dry-run".into())).start().await;
    let token = page(&proxy, POLICIES, "&caller=token").await;
    let told = (&token["goes"], &token["to"], &token["reason"]);
    assert_eq!(told, (&json!("home (dry-run)"), &json!(["a"]), &json!("other-trust-domain")));
    assert_eq!(proxy.h2(As::Token(BOB)).await.get(POLICIES).await.status, 404, "and so it is");
}

#[tokio::test]
async fn i13_explained_who_is_nobody_at_home_reads_no_merged_document() {
    let two = Two::start().await;
    let proxy = two.foreign().start().await;
    let stranger = page(&proxy, "/apis", "&user=mallory&groups=ops").await;
    let told = (&stranger["goes"], &stranger["reason"]);
    assert_eq!(told, (&json!("nowhere (403)"), &json!("home-of-other-trust-domain")));
    let mallory = proxy.h2(As::Certificate(&super::stranger())).await;
    assert_eq!(mallory.get_with("/apis", V2).await.status, 403, "and so it is");
    let jane = proxy.debug("explain?path=/apis&user=jane&groups=dev").await;
    assert_eq!((&jane["goes"], &jane["reason"]), (&json!("here"), &json!("merged-document")));
}

#[tokio::test]
async fn i13_explained_a_front_has_no_home_in_another_domain() {
    let two = Two::start().await;
    let servers = json!([{ "name": "a", "trustDomain": "a" }, two.entry("b")]).to_string();
    let proxy = ProxyBuilder::new().file("trustDomain", "a").file("identityMap", &rules("demo:"));
    let proxy = proxy.server("a", two.a.server("a").addr()).server("b", two.b.addr());
    let proxy = proxy.file("apiServers", &servers).start().await;
    let answer = page(&proxy, NAMESPACES, "").await;
    let homes: Vec<_> = answer["homes"].as_array().unwrap().iter().map(|one| &one["home"]).collect();
    assert_eq!(homes, ["a"]);
}
