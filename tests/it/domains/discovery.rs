//! Documents that are made of what several trust domains say.

use kube_peer_proxy::embedded::Store;

use super::*;
use crate::kit::{V2, until};

#[tokio::test]
async fn i13_discovery_is_merged_of_all_and_authorized_by_homes_domain_only() {
    let two = Two::with(
        |a| {
            let refused = ["mallory", "system:anonymous"];
            a.authorizer(move |user, path, _| !refused.contains(&&*user.name) || !path.starts_with("/ap"))
        },
        |b| b,
    )
    .await;
    let proxy = two.proxy().start().await;
    for (who, code) in [
        (As::Certificate(&jane()), 200),
        (As::Token(BOB), 200),
        (As::Certificate(&stranger()), 403),
        (As::Nobody, 403),
    ] {
        let reply = proxy.h2(who).await.get_with("/apis", V2).await;
        assert_eq!(reply.status, code);
        assert_eq!(reply.text().contains("mutatingadmissionpolicies"), code == 200);
    }
    assert!(two.at_b().is_empty(), "none of them was told of there");
}

#[tokio::test]
async fn i13_i10_home_of_another_domain_authorizes_whom_the_map_makes_of_the_caller() {
    let two = Two::with(
        |a| a.authorizer(|user, path, _| user.name == "demo:jane" || !path.starts_with("/ap")),
        |b| b,
    )
    .await;
    let proxy = two.foreign().start().await;
    let (jane, pete) = (jane(), PKI.client("pete", &["dev"]).unwrap());
    for (who, code) in
        [(&jane, 200), (&pete, 403), (&jane, 200), (&PKI.admin, 403), (&stranger(), 403), (&jane, 200)]
    {
        let reply = proxy.h2(As::Certificate(who)).await.get_with("/apis", V2).await;
        assert_eq!(reply.status, code);
    }
    for request in two.at_a() {
        assert!(request.user.unwrap().name.starts_with("demo:"));
    }
    let reply = proxy.h2(As::Certificate(&stranger())).await.get_with("/apis", V2).await;
    forbidden(&reply, "identityMap has no rule there for \"mallory\"");
}

#[tokio::test]
async fn i13_openapi_of_another_domain_is_for_whoever_may_read_homes() {
    let two = Two::start().await;
    let proxy = two.proxy().start().await;
    let (jane, bob) = (proxy.h2(As::Certificate(&jane())).await, proxy.h2(As::Token(BOB)).await);
    let paths = bob.get("/openapi/v3").await.json()["paths"].clone();
    assert_eq!(paths, jane.get("/openapi/v3").await.json()["paths"]);
    let policies = "apis/admissionregistration.k8s.io/v1";
    let url = paths[policies]["serverRelativeURL"].as_str().unwrap().to_owned();
    let theirs = jane.get(&url).await;
    let ours = bob.get(&url).await;
    assert_eq!((theirs.status.as_u16(), ours.status.as_u16()), (200, 200), "{url}");
    assert!(ours.text().contains("MutatingAdmissionPolicy"));
    assert_eq!(theirs.json(), ours.json());
    assert!(two.at_b().iter().all(|request| request.user.as_ref().unwrap().name == "demo:jane"));
    let nobody = proxy.h1(As::Nobody).await.get(&url).await;
    assert_eq!(nobody.status, 403, "home lets nobody read it");
    assert!(!format!("{:?}", two.b.log().all()).contains(BOB));
}

#[tokio::test]
async fn i13_a_write_in_one_domain_makes_no_server_of_another_be_asked() {
    let two = Two::start().await;
    let proxy = two.proxy().start().await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    let asked = async |name: &str| {
        let labels = [format!("server=\"{name}\""), "trigger=\"write\"".to_owned()];
        let labels = labels.each_ref().map(String::as_str);
        proxy.metric("kube_peer_proxy_discovery_sync_total", &labels).await
    };
    let crd = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": "gadgets.example.org" },
        "spec": {
            "group": "example.org", "scope": "Namespaced", "names": { "plural": "gadgets", "kind": "Gadget" },
            "versions": [{ "name": "v1", "served": true, "storage": true,
                "schema": { "openAPIV3Schema": { "type": "object" } } }],
        },
    });
    let created = admin.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &crd).await;
    assert_eq!(created.status, 201, "{}", created.text());
    let merged = admin.get_with("/apis", V2).await;
    assert!(merged.text().contains("gadgets"));
    assert!(asked("a").await > 0.0);
    assert_eq!(asked("b").await, 0.0);
}

#[tokio::test]
async fn i13_a_source_of_servers_is_that_of_homes_domain() {
    let lease = |builder: Builder, host: &str| builder.identity_lease(host).advertise_address(true);
    let store = Store::new();
    let shared = Arc::clone(&store);
    let two = Two::with(move |a| lease(a.store(Arc::clone(&shared)), "host-a"), |b| lease(b, "host-b")).await;
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let more_a = lease(Server::builder("a2").version(V1_32).pki(&PKI).store(store), "host-a2");
    let more_a = more_a.start(any).await.unwrap();
    let more_b = Server::builder("b2").version(V1_36).pki(&OTHER).store(Arc::clone(two.b.store()));
    let more_b = lease(more_b, "host-b2").start(any).await.unwrap();
    let proxy = two.proxy().file("peerSource", "leases").file("peerAllowedCidrs", "[127.0.0.0/8]");
    let proxy = proxy.start().await;
    let addresses = async || -> Vec<String> {
        let page = proxy.debug("servers").await;
        let servers = page["servers"].as_array().unwrap();
        servers.iter().map(|it| it["address"].as_str().unwrap().to_owned()).collect()
    };
    let found = until("the other server of home's domain is found", async || {
        let found = addresses().await;
        found.contains(&more_a.addr().to_string()).then_some(found)
    })
    .await;
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(!found.contains(&more_b.addr().to_string()), "{found:?}");
}
