//! Home does not serve it, a peer does.

use http::Method;
use http_body_util::BodyExt;
use kube_peer_proxy::embedded::Recorded::{V1_32, V1_35, V1_36};
use kube_peer_proxy::embedded::Tree;
use serde_json::json;

use super::{CONFIG_MAPS, DEVICE_CLASSES, POLICIES, config_map, policy, proxied, three};
use crate::kit::{As, Cluster, DEADLINE, PKI, PROXIED};

#[tokio::test]
async fn what_only_the_newest_serves_can_be_created_read_changed_and_deleted_through_the_oldest() {
    let cluster = three().await;
    let proxy = cluster.proxy().home("v132").start().await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    let one = format!("{POLICIES}/first");

    assert_eq!(admin.post(POLICIES, &policy("first")).await.status, 201);
    assert_eq!(admin.get(&one).await.json()["metadata"]["name"], "first");
    assert_eq!(admin.get(POLICIES).await.json()["items"].as_array().unwrap().len(), 1);
    let patched = admin
        .ask(Method::PATCH, &one)
        .header("content-type", "application/merge-patch+json")
        .json(&json!({ "metadata": { "labels": { "a": "b" } } }))
        .whole()
        .await;
    assert_eq!(patched.json()["metadata"]["labels"]["a"], "b");
    assert_eq!(admin.ask(Method::DELETE, &one).whole().await.status, 200);
    assert_eq!(
        admin.get(&one).await.refused(404),
        "mutatingadmissionpolicies.admissionregistration.k8s.io \"first\" not found"
    );

    let at_peer = cluster.asked("v136", |request| request.target.starts_with(POLICIES));
    assert_eq!(at_peer.len(), 6);
    assert!(cluster.asked("v132", |_| true).is_empty());
    assert!(cluster.asked("v135", |_| true).is_empty());
}

#[tokio::test]
async fn i3_a_rerouted_request_carries_the_loop_header_exactly_once() {
    let cluster = three().await;
    let proxy = cluster.proxy().home("v132").start().await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    for brought in
        [vec![], vec!["false"], vec!["TRUE"], vec![""], vec!["true", "true"], vec!["true, true"], vec!["1"]]
    {
        cluster.server("v136").log().clear();
        let lines: Vec<_> = brought.iter().map(|value| (PROXIED, *value)).collect();
        assert_eq!(admin.ask(Method::GET, POLICIES).headers(&lines).whole().await.status, 200, "{brought:?}");
        let asked = cluster.asked_for("v136", POLICIES);
        assert_eq!(asked.iter().map(proxied).collect::<Vec<_>>(), [["true"]], "{brought:?}");
    }
    assert!(
        proxy.metric("apiserver_rerouted_request_total", &["mutatingadmissionpolicies", "200"]).await >= 7.0
    );
}

#[tokio::test]
async fn i3_other_values_of_the_loop_header_do_not_reach_home() {
    let cluster = three().await;
    let proxy = cluster.proxy().home("v132").start().await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    admin.ask(Method::GET, CONFIG_MAPS).header(PROXIED, "false").header(PROXIED, "true").whole().await;
    assert!(proxied(&cluster.asked_for("v132", CONFIG_MAPS)[0]).is_empty());
}

#[tokio::test]
async fn i3_a_request_with_the_loop_header_gets_homes_answer_and_goes_no_further() {
    let cluster = three().await;
    let proxy = cluster.proxy().home("v132").start().await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    assert_eq!(
        admin.get_with(POLICIES, (PROXIED, "true")).await.refused(404),
        "the server could not find the requested resource"
    );
    assert_eq!(proxied(&cluster.asked_for("v132", POLICIES)[0]), ["true"]);
    assert!(cluster.asked_for("v136", POLICIES).is_empty());
}

#[tokio::test]
async fn i3_our_own_fetches_carry_the_loop_header() {
    let cluster = Cluster::start(&[V1_32]).await;
    let _proxy = cluster.proxy().home("v132").start().await;
    let own = cluster.server("v132").log().all();
    assert!(own.len() >= 3 && own.iter().all(|request| proxied(request) == ["true"]), "{own:?}");
}

#[tokio::test]
async fn a_watch_across_servers_shows_what_happens() {
    let cluster = three().await;
    let proxy = cluster.proxy().home("v132").start().await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    let mut watch = admin.ask(Method::GET, &format!("{POLICIES}?watch=1")).begin().await.into_body();
    admin.post(POLICIES, &policy("late")).await;
    let frame = tokio::time::timeout(DEADLINE, watch.frame()).await.unwrap().unwrap().unwrap();
    let event: serde_json::Value = serde_json::from_slice(frame.data_ref().unwrap()).unwrap();
    assert_eq!((&event["type"], &event["object"]["metadata"]["name"]), (&json!("ADDED"), &json!("late")));
    assert_eq!(cluster.asked_for("v136", &format!("{POLICIES}?watch=1")).len(), 1);
}

#[tokio::test]
async fn a_subresource_that_home_lacks_goes_to_a_peer_and_its_parent_stays() {
    let cluster = Cluster::start(&[V1_32, V1_35]).await;
    let proxy = cluster.proxy().home("v132").start().await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    let pods = "/api/v1/namespaces/default/pods";
    let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "p" } });
    assert_eq!(admin.post(pods, &pod).await.status, 201);
    let resize = format!("{pods}/p/resize");
    assert_eq!(admin.get(&resize).await.status, 200);
    assert_eq!(admin.get(&format!("{pods}/p")).await.status, 200);
    assert_eq!(cluster.asked_for("v135", &resize).len(), 1);
    assert_eq!(cluster.asked("v135", |_| true).len(), 1);
    assert_eq!(cluster.asked("v132", |_| true).len(), 2);
}

#[tokio::test]
async fn a_verb_that_home_lacks_goes_to_a_peer_and_other_verbs_stay() {
    let cluster = Cluster::start(&[V1_32, V1_35]).await;
    let home = cluster.server("v132").discovery();
    let mut core = home.document(Tree::Api);
    let resources = core["items"][0]["versions"][0]["resources"].as_array_mut().unwrap();
    let config_maps = resources.iter_mut().find(|one| one["resource"] == "configmaps").unwrap();
    config_maps["verbs"].as_array_mut().unwrap().retain(|verb| verb != "deletecollection");
    home.replace(Tree::Api, core);

    let proxy = cluster.proxy().home("v132").start().await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    admin.post(CONFIG_MAPS, &config_map("one")).await;
    assert_eq!(admin.ask(Method::DELETE, CONFIG_MAPS).whole().await.status, 200);
    assert_eq!(admin.get(CONFIG_MAPS).await.json()["items"], json!([]));
    let methods = |name| cluster.asked(name, |_| true).into_iter().map(|one| one.method).collect::<Vec<_>>();
    assert_eq!(methods("v132"), [Method::POST, Method::GET]);
    assert_eq!(methods("v135"), [Method::DELETE]);
}

#[tokio::test]
async fn of_several_peers_the_less_busy_one_is_asked() {
    let cluster = three().await;
    let proxy = cluster.proxy().home("v132").start().await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    // A request that the newest keeps: it is busy now.
    cluster.server("v136").faults().hang(true);
    let busy = proxy.h2(As::Certificate(&PKI.admin)).await;
    let held = tokio::spawn(async move { busy.get(POLICIES).await.status });
    assert!(cluster.server("v136").log().wait_for(DEADLINE, |one| one.target == POLICIES).await.is_some());
    for _ in 0..8 {
        assert_eq!(admin.get(DEVICE_CLASSES).await.status, 200);
    }
    assert_eq!(cluster.asked_for("v135", DEVICE_CLASSES).len(), 8);
    cluster.server("v136").faults().hang(false);
    assert_eq!(held.await.unwrap(), 200);
}

#[tokio::test]
async fn peers_that_are_equally_busy_share_whatever_their_place_in_the_list() {
    let versions = [("a", V1_36), ("b", V1_32), ("c", V1_36)];
    let cluster = Cluster::with(versions, |builder| builder).await;
    let proxy = cluster.proxy().home("b").start().await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    for _ in 0..40 {
        assert_eq!(admin.get(POLICIES).await.status, 200);
    }
    let share = |name| cluster.asked_for(name, POLICIES).len();
    assert!(share("a") >= 5 && share("c") >= 5, "{} and {}", share("a"), share("c"));
}
