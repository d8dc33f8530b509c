//! The status page, and what `/debug` says for terminals.

use http::Method;
use kube_peer_proxy::embedded::Recorded::{V1_32, V1_36};
use serde_json::{Value, json};

use crate::kit::{As, Client, Cluster, PKI, Proxy, Reply, V2, certificate, client::Protocol, until};

const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies";

async fn two() -> (Cluster, Proxy) {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let proxy = cluster.proxy().home("v132").start().await;
    (cluster, proxy)
}

/// As a browser asks.
async fn browse(proxy: &Proxy, target: &str) -> Reply {
    let client = Client::plain(proxy.app.admin).await;
    let accept = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    client.ask(Method::GET, target).header("accept", accept).whole().await
}

async fn refused(proxy: &Proxy, target: &str, code: u16) -> String {
    let reply = proxy.page(target).await;
    assert_eq!(reply.status, code, "{target}: {}", reply.text());
    assert!(reply.text().ends_with('\n') && reply.text().lines().count() == 1, "{target}: one sentence");
    reply.text().to_owned()
}

#[tokio::test]
async fn a_browser_gets_a_page_and_everybody_else_what_there_is() {
    let (_cluster, proxy) = two().await;
    let page = browse(&proxy, "/").await;
    assert_eq!((page.status.as_u16(), page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(page.text().starts_with("<!doctype html>"));
    for header in ["content-security-policy", "x-frame-options", "x-content-type-options", "cache-control"] {
        assert!(!page.header(header).is_empty(), "{header}");
    }
    let text = proxy.page("/").await;
    assert!(text.header("content-type").starts_with("text/plain"));
    for line in text.text().lines().filter(|line| line.starts_with("/debug")) {
        let target = line.split_whitespace().next().unwrap().replace("NAME", "v136");
        assert_eq!(proxy.page(&target).await.status, 200, "{target}");
    }
    let client = Client::plain(proxy.app.admin).await;
    let head = client.ask(Method::HEAD, "/").header("accept", "text/html").whole().await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    assert!(!head.header("content-security-policy").is_empty());
    let lured = Client::plain_as(proxy.app.admin, "evil.example").await;
    assert_eq!(lured.ask(Method::GET, "/").header("accept", "text/html").whole().await.status, 403);
}

#[tokio::test]
async fn the_page_shows_servers_and_where_they_differ() {
    let (cluster, proxy) = two().await;
    let page = browse(&proxy, "/").await;
    for shown in [
        "All 2 API servers are healthy",
        "Home is <strong>v132</strong>",
        "<span class=\"name\">v136<wbr></span>",
        "<td role=\"cell\" data-label=\"Version\" class=\"version\">1.36</td>",
        "<th scope=\"row\">mutatingadmissionpolicies</th>",
        "No request was rerouted yet.",
        "<dt>Rerouted per second</dt><dd>0.0</dd>",
    ] {
        assert!(page.text().contains(shown), "{shown}: {}", page.text());
    }
    assert!(!page.text().contains("<th scope=\"row\">namespaces"), "all serve it alike");
    assert!(browse(&proxy, "/?all").await.text().contains("<th scope=\"row\">namespaces"));
    cluster.server("v136").stop().await;
    proxy.until_healthy("v136", false).await;
    let page = browse(&proxy, "/").await;
    assert!(page.text().contains("1 of 2 API servers is not healthy: v136."), "{}", page.text());
}

#[tokio::test]
async fn i12_decisions_tell_what_was_asked_for_and_of_nobody_and_no_object() {
    let (cluster, proxy) = two().await;
    let someone = certificate("s3cr3t-user", &["system:masters", "s3cr3t-group"]);
    let client = proxy.h2(As::Certificate(&someone)).await;
    client.get(&format!("{POLICIES}/s3cr3t-name?pretty=s3cr3t")).await;
    client.get("/apis/resource.k8s.io/v1/namespaces/s3cr3t-space/resourceclaims/s3cr3t-name/status").await;
    client.get("/api/v1/namespaces").await;
    client.get("/api/v1//s3cr3t").await.refused(400);
    cluster.server("v136").stop().await;
    client.get(&format!("{POLICIES}/s3cr3t-name")).await.refused(503);

    let decisions = proxy.debug("decisions").await;
    let told = |list: &str| -> Vec<Value> {
        let fields = ["verb", "group", "version", "resource", "home", "server", "status", "times"];
        let entries = decisions[list].as_array().unwrap().iter();
        entries.map(|entry| fields.iter().map(|field| entry[field].clone()).collect()).collect()
    };
    let group = "admissionregistration.k8s.io";
    let claim = json!(["get", "resource.k8s.io", "v1", "resourceclaims/status", "v132", "v136", 404, 1]);
    let policy = json!(["get", group, "v1", "mutatingadmissionpolicies", "v132", "v136", 404, 1]);
    assert_eq!(told("rerouted"), [claim, policy]);
    let refused = told("refused");
    assert_eq!(
        refused[0],
        json!(["get", group, "v1", "mutatingadmissionpolicies", "v132", "v136", 503, 1]),
        "{decisions}"
    );
    assert!(refused.iter().any(|entry| entry[6] == 400 && entry[3] == ""), "{decisions}");
    let page = browse(&proxy, "/").await;
    assert!(page.text().contains("resourceclaims/status</span>"), "{}", page.text());
    for text in [page.text(), &decisions.to_string()] {
        assert!(!text.contains("s3cr3t"), "{text}");
    }
}

#[tokio::test]
async fn a_watch_is_shown_when_it_begins_and_alike_requests_share_a_line() {
    let (_cluster, proxy) = two().await;
    let client = proxy.h2(As::Certificate(&PKI.admin)).await;
    let watch = client.ask(Method::GET, &format!("{POLICIES}?watch=1")).begin().await;
    for _ in 0..3 {
        assert_eq!(client.get(POLICIES).await.status, 200);
    }
    let decisions = proxy.debug("decisions").await;
    let told: Vec<_> = decisions["rerouted"].as_array().unwrap().iter().collect();
    assert_eq!((&told[0]["verb"], &told[0]["times"]), (&json!("list"), &json!(3)));
    assert_eq!((&told[1]["verb"], &told[1]["reason"]), (&json!("watch"), &json!("peers-serve")));
    let rate =
        async || proxy.debug("decisions").await["reroutedPerSecond"].as_f64().filter(|rate| *rate > 0.0);
    assert!(until("the second is over", rate).await <= 0.4);
    drop(watch);
}

#[tokio::test]
async fn one_server_can_be_asked_for_and_one_that_is_not_there_is_answered_with_those_that_are() {
    let (cluster, proxy) = two().await;
    let servers = proxy.debug("servers?server=v136").await;
    assert_eq!(
        (servers["servers"].as_array().unwrap().len(), &servers["servers"][0]["name"]),
        (1, &json!("v136"))
    );
    let catalog = proxy.debug("catalog?server=v132").await;
    assert_eq!(catalog["server"], "v132");
    assert_eq!(catalog["groupVersions"]["v1"]["pods/log"], json!(["get"]));
    assert_eq!(catalog["groupVersions"]["v1"]["pods/resize"], Value::Null, "that is in 1.36");
    let address = cluster.server("v136").addr();
    let admin = Client::connect(address, As::Certificate(&PKI.admin), Protocol::H2).await;
    let own = admin.get_with("/apis", V2).await;
    let discovery = proxy.debug("discovery?server=v136").await;
    assert_eq!(
        (&discovery["/apis"], &discovery["etags"]["/apis"]),
        (&own.json(), &json!(own.header("etag")))
    );

    for page in ["servers", "catalog", "discovery"] {
        let sentence = refused(&proxy, &format!("/debug/{page}?server=v135"), 404).await;
        assert_eq!(sentence, "there is no API server \"v135\"; there is v132, v136\n");
        let sentence = refused(&proxy, &format!("/debug/{page}?sever=v136"), 400).await;
        assert_eq!(sentence, "this page has no query key \"sever\"; it has server\n");
    }
    assert!(refused(&proxy, "/debug/discovery", 400).await.contains("v132, v136"));
    assert!(refused(&proxy, "/debug/decisions?x", 400).await.contains("\"x\""));
    refused(&proxy, "/?al", 400).await;
    refused(&proxy, "/debug", 404).await;
}

#[tokio::test]
async fn differences_are_a_table_for_terminals_and_json_for_programs() {
    let (_cluster, proxy) = two().await;
    let table = proxy.page("/debug/discovery/diff").await;
    assert!(table.header("content-type").starts_with("text/plain"));
    let line = |text: &str, resource: &str| -> Vec<String> {
        let found = text.lines().find(|line| line.split_whitespace().nth(1) == Some(resource));
        found.unwrap_or_default().split_whitespace().map(str::to_owned).collect()
    };
    let policies = ["admissionregistration.k8s.io/v1", "mutatingadmissionpolicies", "-", "yes"];
    assert_eq!(line(table.text(), "mutatingadmissionpolicies"), policies, "{}", table.text());
    assert!(line(table.text(), "namespaces").is_empty(), "{}", table.text());
    let all = proxy.page("/debug/discovery/diff?all").await;
    assert_eq!(line(all.text(), "namespaces"), ["v1", "namespaces", "yes", "yes"]);
    assert!(table.text().lines().chain(all.text().lines()).all(|line| line.trim_end() == line));

    let two = proxy.page("/debug/discovery/diff?a=v132&b=v136").await;
    let (_, only) = two.text().split_once("Only in v136:\n").unwrap();
    assert!(
        only.starts_with("v1  ") && !line(only, "mutatingadmissionpolicies").is_empty(),
        "{}",
        two.text()
    );

    let json = proxy.page("/debug/discovery/diff?format=json").await.json();
    let names: Vec<_> = json["rows"].as_array().unwrap().iter().map(|row| &row["resource"]).collect();
    assert!(names.contains(&&json!("mutatingadmissionpolicies")) && !names.contains(&&json!("namespaces")));
    let client = Client::plain(proxy.app.admin).await;
    let accepted =
        client.ask(Method::GET, "/debug/discovery/diff?a=v136&b=v132").header("accept", "application/json");
    assert_eq!(accepted.whole().await.json()["servers"], json!(["v136", "v132"]));

    assert!(refused(&proxy, "/debug/discovery/diff?a=v132&b=x", 404).await.contains("v132, v136"));
    for bad in ["?a=v132", "?a=v132&b=v132", "?format=yaml", "?server=v132"] {
        refused(&proxy, &format!("/debug/discovery/diff{bad}"), 400).await;
    }
}

#[tokio::test]
async fn whatever_debug_says_ends_with_a_newline_and_comes_in_the_same_order_again() {
    let (_cluster, proxy) = two().await;
    proxy.until_lists_are_read().await;
    for page in [
        "servers",
        "catalog",
        "catalog?server=v136",
        "discovery?server=v136",
        "discovery/diff",
        "decisions",
        "explain?path=/version",
    ] {
        let target = format!("/debug/{page}");
        let (once, again) = (proxy.page(&target).await, proxy.page(&target).await);
        assert!(once.text().ends_with('\n') && !once.text().ends_with("\n\n"), "{page}");
        let keys = |reply: &Reply| -> Vec<String> {
            reply.text().lines().map(|line| line.split(": ").next().unwrap().to_owned()).collect()
        };
        assert_eq!(keys(&once), keys(&again), "{page}");
    }
}
