//! Another home, and what becomes of connections whose home left.

use super::*;
use crate::kit::Client;

/// Who answers what only home can answer.
async fn home_of(cluster: &Cluster, client: &Client, number: usize) -> &'static str {
    let target = format!("/version?{number}");
    assert_eq!(client.get(&target).await.status, 200, "{number}");
    ["a", "b", "c", "d"]
        .into_iter()
        .find(|name| !cluster.asked_for(name, &target).is_empty())
        .expect("somebody")
}

/// Takes a setting out of the file.
async fn unset(proxy: &Proxy, key: &str) {
    let before = reloads(proxy, "ok").await;
    let file = proxy.file("proxy.yaml");
    let text = fs::read_to_string(&file).unwrap();
    let others: Vec<_> = text.lines().filter(|line| !line.starts_with(key)).collect();
    replace(&file, others.join("\n"));
    until_reloads(proxy, "ok", before + 1.0).await;
}

#[tokio::test]
async fn another_home_counts_from_the_next_request_of_every_connection_on() {
    let cluster = cluster().await;
    let proxy = before(&cluster, &["a", "b"]).await;
    let open = proxy.h2(As::Certificate(&PKI.admin)).await;
    assert_eq!(home_of(&cluster, &open, 0).await, "a");
    let kept = (proxy.target("a"), proxy.target("b"));
    let library = Arc::clone(&proxy.app.proxy.load().library);
    set(&proxy, "home", "b");
    until_reloads(&proxy, "ok", 1.0).await;
    assert_eq!(home_of(&cluster, &open, 1).await, "b");
    assert!(Arc::ptr_eq(&kept.0, &proxy.target("a")) && Arc::ptr_eq(&kept.1, &proxy.target("b")));
    assert!(Arc::ptr_eq(&library, &proxy.app.proxy.load().library), "the fleet is the same");

    // None at all: whoever comes gets one, and keeps it.
    unset(&proxy, "home").await;
    let mut homes = Vec::new();
    for number in 2..12 {
        let new = proxy.h2(As::Token(BOB)).await;
        let home = home_of(&cluster, &new, number * 10).await;
        assert_eq!(home_of(&cluster, &new, number * 10 + 1).await, home);
        homes.push(home);
    }
    assert!(homes.iter().all(|home| ["a", "b"].contains(home)));

    for (preference, wanted, number) in [("oldest", "a", 1000), ("newest", "b", 1001)] {
        set(&proxy, "homePreference", preference);
        until_reloads(&proxy, "ok", f64::from(number - 1000) + 3.0).await;
        let new = proxy.h2(As::Token(BOB)).await;
        assert_eq!(home_of(&cluster, &new, number as usize).await, wanted);
    }
}

#[tokio::test]
async fn a_connection_whose_home_left_has_another_one_and_nothing_fails() {
    let cluster = cluster().await;
    let proxy = before(&cluster, &["a", "b", "c"]).await;
    unset(&proxy, "home").await;
    for name in ["a", "b", "c"] {
        proxy.until_healthy(name, true).await;
    }
    let mut open = Vec::new();
    for number in 0..24 {
        let client = proxy.h2(As::Token(BOB)).await;
        let home = home_of(&cluster, &client, number).await;
        open.push((client, home));
    }
    assert!(open.iter().any(|(_, home)| *home == "b"), "who loses nothing proves nothing");
    let gone = Arc::downgrade(&proxy.target("b"));
    change(&proxy, list(&cluster, &[("a", "a"), ("c", "c")])).await;
    // Connections that sit there idle keep nothing of it.
    until_dropped("it", &gone).await;
    for (number, (client, home)) in open.iter().enumerate() {
        let now = home_of(&cluster, client, 100 + number).await;
        assert!(if *home == "b" { now != "b" } else { now == *home }, "{home} became {now}");
    }
}
