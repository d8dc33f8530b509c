//! A configured server that the source names, too, is one server.

use kube_peer_proxy::discovery::catalog::Freshness::Fresh;

use super::*;

/// As the source would name it, wherever the configuration has it: beside a sidecar that may be another address.
#[tokio::test]
async fn a_home_with_the_name_of_its_lease_is_not_found_a_second_time() {
    let mut town = Town::with("seed").await;
    town.servers.clear();
    town.add("cp1", V1_32, |server| leased(server, "cp1")).await;
    town.add_leased("cp2").await;
    let port = town["cp1"].addr().port();
    let proxy = town
        .proxy("leases", "cp1", "cp1")
        .configure(move |config| {
            let url = format!("https://localhost:{port}");
            config.servers[0].url = url.parse().unwrap();
        })
        .start()
        .await;
    until_it_is(&proxy, "cp2", Fresh).await;
    assert_eq!(names(&proxy), ["cp1", "cp2"]);
    assert_eq!((counted(&proxy, "static").await, counted(&proxy, "seen").await), (1.0, 1.0));
    assert_eq!(proxy.debug("servers").await["home"], "cp1");
}

#[tokio::test]
async fn a_home_at_the_address_that_its_source_names_is_not_found_a_second_time_whatever_its_name() {
    for source in ["leases", "endpointslices"] {
        let mut town = Town::with("seed").await;
        town.servers.clear();
        town.add("cp1", V1_32, |server| leased(server, "cp1").endpoint_slice(true)).await;
        town.add("cp2", V1_36, |server| leased(server, "cp2").endpoint_slice(true)).await;
        town.give_widgets("cp2");
        let proxy = town.proxy(source, "mine", "cp1").start().await;
        assert_eq!(admin(&proxy).await.get(WIDGETS).await.status, 200);
        let peer = if source == "leases" {
            "cp2".to_owned()
        } else {
            town["cp2"].addr().to_string().replace(':', "-")
        };
        let mut expected = vec![peer, "mine".to_owned()];
        expected.sort();
        assert_eq!(names(&proxy), expected, "{source}");
        assert_eq!((counted(&proxy, "static").await, counted(&proxy, "seen").await), (1.0, 1.0), "{source}");
    }
}

#[tokio::test]
async fn i6_with_endpoint_slices_homes_named_by_their_addresses_give_the_same_document() {
    let mut town = Town::with("seed").await;
    town.servers.clear();
    town.add("cp1", V1_32, |server| server.endpoint_slice(true)).await;
    town.add("cp2", V1_36, |server| server.endpoint_slice(true)).await;
    town.give_widgets("cp2");
    let id = |name: &str| town[name].addr().to_string().replace(':', "-");
    let mut seen = Vec::new();
    for home in ["cp1", "cp2"] {
        let proxy = town.proxy("endpointslices", &id(home), home).start().await;
        for server in ["cp1", "cp2"] {
            until_it_is(&proxy, &id(server), Fresh).await;
        }
        let reply = admin(&proxy).await.get_with("/apis", V2).await;
        seen.push((names(&proxy), reply.header("etag").to_owned(), reply.body));
    }
    assert_eq!(seen[0].0.len(), 2);
    assert_eq!(seen[0], seen[1]);
}
