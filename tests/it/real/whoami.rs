//! Who one is through the proxy, and what the server writes down about it.

use serde_json::{Value, json};

use super::{
    fleet, fleets,
    kit::{
        audit,
        client::{Client, Dial, Reply},
        cluster::Cluster,
        files::Who,
        kubectl::Kubectl,
        proxy::Proxy,
    },
    say,
};

const REVIEWS: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
/// Not where the proxy itself comes from.
pub(super) const FROM: [u8; 4] = [127, 0, 0, 2];

async fn ask(client: &Client, headers: &[(&str, &str)]) -> Reply {
    let review = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview" });
    client.post_with(REVIEWS, headers, &review).await.unwrap()
}

fn user(reply: &Reply) -> Value {
    assert_eq!(reply.status, 201, "{}", reply.text());
    reply.json()["status"]["userInfo"].clone()
}

/// A name for messages, the client, and the headers that it sends.
pub(super) type Case = (&'static str, Who, Vec<(&'static str, &'static str)>);

/// Callers of every kind, and the headers that they send.
pub(super) fn callers() -> Vec<Case> {
    let impersonation = vec![
        ("impersonate-user", "carol"),
        ("impersonate-uid", "carol-uid"),
        ("impersonate-group", "one"),
        ("impersonate-group", "two"),
        ("impersonate-extra-scopes", "read"),
        ("impersonate-extra-scopes", "write"),
        ("impersonate-extra-example.com%2fproject", "north"),
    ];
    let told = vec![
        ("x-remote-user", "dave"),
        ("x-remote-uid", "dave-uid"),
        ("x-remote-group", "three"),
        ("x-remote-group", "four"),
        ("x-remote-extra-scopes", "view"),
        ("x-remote-extra-example.com%2fproject", "south"),
    ];
    vec![
        ("a certificate with several CNs, several Os and a UID", Who::Alice, vec![]),
        ("a certificate of system:masters", Who::Admin, vec![]),
        ("a token", Who::Bob, vec![]),
        ("a bad token", Who::Token("never-seen"), vec![]),
        ("nobody", Who::Anonymous, vec![]),
        ("nobody, who claims to be somebody", Who::Anonymous, told.clone()),
        ("a certificate, claiming to be somebody else", Who::Alice, told.clone()),
        ("impersonation by certificate", Who::Admin, impersonation.clone()),
        ("impersonation by token", Who::AdminToken, impersonation.clone()),
        ("impersonation by somebody who may not", Who::Bob, impersonation),
        ("a trusted front proxy", Who::FrontProxy, told),
    ]
}

/// The same caller, directly and through the proxy.
async fn both(fleet: &Cluster, proxy: &Proxy, server: &str, who: Who) -> [Client; 2] {
    let direct = Dial::new(&fleet.files, fleet.server(server).addr, who).from(FROM);
    [direct.connect().await.unwrap(), proxy.dial(who).from(FROM).connect().await.unwrap()]
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_is_through_the_proxy_who_he_is_directly_and_in_the_audit_log_too() {
    let fleet = fleet!(fleets::versions().await);
    let proxy = Proxy::of(fleet.cluster, Some("v136")).await;
    for (caller, who, headers) in callers() {
        let [direct, through] = both(&fleet, &proxy, "v136", who).await;
        let [mut expected, mut seen] = [ask(&direct, &headers).await, ask(&through, &headers).await];
        assert_eq!(seen.status, expected.status, "{caller}: {}", seen.text());
        // A connection that carried a bad token or nobody's request is closed by the server.
        let body = |reply: &Reply| {
            let mut body = reply.json();
            body["metadata"] = Value::Null;
            body
        };
        assert_eq!(body(&seen), body(&expected), "{caller}");
        say!("{caller:52} {} {}", seen.status, seen.json()["status"]["userInfo"]);

        if expected.status == 401 {
            // Who he is was not found out, so an entry could say nothing about him.
            continue;
        }
        for reply in [&mut expected, &mut seen] {
            assert_ne!(reply.header("audit-id"), "", "{caller}");
        }
        let server = fleet.server("v136");
        let expected = audit::entry(server, expected.header("audit-id")).await;
        let seen = audit::entry(server, seen.header("audit-id")).await;
        for field in ["user", "impersonatedUser", "verb", "requestURI", "userAgent", "responseStatus"] {
            assert_eq!(seen[field], expected[field], "{caller}: {field}");
        }
        assert_eq!(expected["sourceIPs"], json!(["127.0.0.2"]), "{caller}");
        assert_eq!(seen["sourceIPs"], json!(["127.0.0.2", "127.0.0.1"]), "{caller}");
    }
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_auth_whoami_prints_the_same_through_the_proxy() {
    let fleet = fleet!(fleets::versions().await);
    let proxy = Proxy::of(fleet.cluster, Some("v136")).await;
    for who in [Who::Alice, Who::Bob, Who::Admin, Who::AdminToken] {
        let ask = async |url: &str, more: &[&str]| {
            let kubectl = Kubectl::newest(fleet.binaries, &fleet.files, url, who);
            let args = [&["auth", "whoami", "-o", "json"], more].concat();
            kubectl.json(&args).await["status"].clone()
        };
        let direct = fleet.server("v136").url();
        assert_eq!(ask(&proxy.url(), &[]).await, ask(&direct, &[]).await, "{who:?}");
        if matches!(who, Who::Admin | Who::AdminToken) {
            let as_carol = ["--as=carol", "--as-uid=carol-uid", "--as-group=one", "--as-group=two"];
            assert_eq!(ask(&proxy.url(), &as_carol).await, ask(&direct, &as_carol).await, "{who:?}");
        }
    }
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rerouted_request_is_one_entry_in_the_peers_audit_log_under_the_id_that_the_client_got() {
    let fleet = fleet!(fleets::versions().await);
    let proxy = Proxy::of(fleet.cluster, Some("v132")).await;
    let client = proxy.dial(Who::Alice).from(FROM).connect().await.unwrap();
    let path = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies?limit=7";
    let reply = client.get(path).await.unwrap();
    assert_eq!(reply.status, 200);
    let entry = audit::entry(fleet.server("v136"), reply.header("audit-id")).await;
    let direct = fleet.direct("v136", Who::Alice).await;
    assert_eq!(entry["user"], user(&ask(&direct, &[]).await));
    assert_eq!(entry["sourceIPs"][0], "127.0.0.2");
    assert_eq!(entry["requestURI"], path);
    for other in ["v132", "v135", "less"] {
        assert_eq!(audit::entries(fleet.server(other), reply.header("audit-id")), [] as [Value; 0]);
    }
    proxy.stop().await;
}

/// What an older home makes of a caller. Fields, directly at it and through us.
#[tokio::test(flavor = "multi_thread")]
async fn what_older_servers_lose_is_known() {
    let fleet = fleet!(fleets::versions().await);
    // server, caller, uid directly, uid through us
    let table = [
        // Without the gate RemoteRequestHeaderUID (alpha in 1.32), no header is read for it.
        ("v132", Who::Alice, Value::Null, Value::Null),
        ("v132", Who::Bob, json!("bob-uid"), json!("bob-uid")),
        // With the gate, one learns it from us that does not take it from a certificate itself.
        ("less", Who::Alice, Value::Null, json!("alice-uid")),
        // Without --requestheader-uid-headers it is the other way round.
        ("v135", Who::Alice, json!("alice-uid"), Value::Null),
        ("v136", Who::Alice, json!("alice-uid"), json!("alice-uid")),
    ];
    for (server, who, directly, through_us) in table {
        let proxy = Proxy::of(fleet.cluster, Some(server)).await;
        let [direct, through] = both(&fleet, &proxy, server, who).await;
        let [mut direct, mut through] = [user(&ask(&direct, &[]).await), user(&ask(&through, &[]).await)];
        say!("{server:5} {who:?} direct  {direct}\n{server:5} {who:?} through {through}");
        assert_eq!(direct["uid"], directly, "{server} {who:?}");
        assert_eq!(through["uid"], through_us, "{server} {who:?}");
        // All else is the same.
        direct["uid"] = Value::Null;
        through["uid"] = Value::Null;
        assert_eq!(through, direct, "{server} {who:?}");
        proxy.stop().await;
    }
}
