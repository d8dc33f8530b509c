//! Clients that are not kubectl's newest: curl on HTTP/1.1, raw requests, protobuf, watches that end.

use std::time::{Duration, Instant};

use http::Method;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::process::Command;

use super::{
    fleet, fleets,
    kit::{files::Who, kubectl::Kubectl, proxy::Proxy},
};

const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";

#[tokio::test(flavor = "multi_thread")]
async fn curl_on_http_1_1_gets_what_a_peer_serves_and_each_header_once() {
    let fleet = fleet!(fleets::versions().await);
    let proxy = Proxy::of(fleet.cluster, Some("v132")).await;
    let file = |name: &str| fleet.files.path(name);
    let curl = async |more: &[&str], path: &str| {
        let mut command = Command::new("curl");
        command.args(["-sS", "-i", "--max-time", "30", "--cacert", &file("ca.crt")]).args(more);
        let output = command.arg(format!("{}{path}", proxy.url())).output().await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let (cert, key) = (file("alice.crt"), file("alice.key"));
    let by_certificate = ["--cert", cert.as_str(), "--key", key.as_str()];
    let by_token = ["-H", "Authorization: Bearer bob-token"];
    for protocol in ["--http1.1", "--http2"] {
        for who in [&by_certificate[..], &by_token[..]] {
            let answer = curl(&[who, &[protocol]].concat(), POLICIES).await;
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            let version = if protocol == "--http1.1" { "HTTP/1.1 200" } else { "HTTP/2 200" };
            assert!(head.starts_with(version), "{head}");
            assert!(body.contains("MutatingAdmissionPolicyList"), "{body}");
            let mut names: Vec<_> = head.lines().skip(1).filter_map(|line| line.split_once(':')).collect();
            names.sort_by_key(|(name, _)| name.to_ascii_lowercase());
            let twice = names.windows(2).find(|pair| pair[0].0.eq_ignore_ascii_case(pair[1].0));
            assert_eq!(twice, None);
        }
    }
    // A body of which the length is not said, and one for which a go-ahead is asked.
    for header in ["Transfer-Encoding: chunked", "Expect: 100-continue"] {
        let more = [
            "--http1.1",
            "-X",
            "POST",
            "-H",
            "Content-Type: application/json",
            "-H",
            header,
            "--data",
            r#"{"metadata": {"generateName": "curled-"}}"#,
        ];
        let answer = curl(&[&by_token[..], &more].concat(), "/api/v1/namespaces/default/configmaps").await;
        assert!(answer.contains("HTTP/1.1 201"), "{header}: {answer}");
    }
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_get_raw_works_with_every_version() {
    let fleet = fleet!(fleets::versions().await);
    let proxy = Proxy::of(fleet.cluster, Some("v132")).await;
    for version in fleet.binaries.kubectls.keys().copied() {
        let kubectl = Kubectl::new(fleet.binaries, version, &fleet.files, &proxy.url(), Who::Bob);
        let list = kubectl.json(&["get", "--raw", POLICIES]).await;
        assert_eq!(list["kind"], "MutatingAdmissionPolicyList", "{version}");
        assert_eq!(kubectl.run(&["get", "--raw", "/readyz"]).await, "ok", "{version}");
        let absent = kubectl.try_run(&["get", "--raw", "/apis/nobody.example.com/v1"]).await;
        assert!(!absent.ok && absent.err.contains("NotFound"), "{version}: {absent:?}");
    }
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_with_a_timeout_ends_cleanly_where_it_is_rerouted_and_where_not() {
    let fleet = fleet!(fleets::versions().await);
    for home in ["v132", "v136"] {
        let proxy = Proxy::of(fleet.cluster, Some(home)).await;
        for h1 in [false, true] {
            let dial = proxy.dial(Who::Alice);
            let client = if h1 { dial.h1() } else { dial }.connect().await.unwrap();
            let begun = Instant::now();
            let path = format!("{POLICIES}?watch=1&timeoutSeconds=2");
            let answer = client.open(Method::GET, &path, &[], "".into()).await.unwrap();
            assert_eq!(answer.status(), 200);
            answer.into_body().collect().await.expect("a clean end");
            let took = begun.elapsed();
            assert!(took >= Duration::from_secs(2) && took < Duration::from_secs(10), "{took:?}");
        }
        proxy.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_in_every_encoding_are_byte_for_byte_what_the_peer_sends() {
    let fleet = fleet!(fleets::versions().await);
    let proxy = Proxy::of(fleet.cluster, Some("v132")).await;
    let (direct, through) = (fleet.direct("v136", Who::Alice).await, proxy.client(Who::Alice).await);
    // Of 1.36 only, and listed at a version that does not move although other tests write meanwhile.
    let binding = json!({
        "metadata": { "name": "encoded" },
        "spec": {
            "policyName": "none",
            "matchResources": { "resourceRules": [{ "apiGroups": ["never.example.com"], "apiVersions": ["v1"],
                "operations": ["CREATE"], "resources": ["nothings"] }] },
        },
    });
    let bindings = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicybindings";
    let created = through.post(bindings, &binding).await.unwrap();
    assert_eq!(created.status, 201, "{}", created.text());
    let version = created.json()["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let path = format!("{bindings}?resourceVersion={version}&resourceVersionMatch=Exact");
    for (accept, encoding) in
        [("application/json", ""), (PROTOBUF, ""), (TABLE, ""), ("application/yaml", ""), (PROTOBUF, "gzip")]
    {
        let headers = [("accept", accept), ("accept-encoding", encoding)];
        let [expected, seen] =
            [direct.get_with(&path, &headers).await, through.get_with(&path, &headers).await]
                .map(Result::unwrap);
        assert_eq!(seen.status, 200, "{}", seen.text());
        assert_eq!(seen.body, expected.body, "{accept}");
        assert!(!seen.body.is_empty());
        let same = |headers: &http::HeaderMap| {
            let mut all: Vec<_> = headers
                .iter()
                .filter(|(name, _)| !["audit-id", "date"].contains(&name.as_str()))
                .map(|(name, value)| format!("{name}: {value:?}"))
                .collect();
            all.sort();
            all
        };
        assert_eq!(same(&seen.headers), same(&expected.headers), "{accept}");
    }
    let path = format!("{bindings}/encoded");
    let deleted = through.call(Method::DELETE, &path, &[], "".into()).await.unwrap();
    assert_eq!(deleted.status, 200, "{}", deleted.text());
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_real_server_answers_passes_with_its_status_warnings_and_location() {
    let fleet = fleet!(fleets::versions().await);
    let proxy = Proxy::of(fleet.cluster, Some("v136")).await;
    let (direct, through) = (fleet.direct("v136", Who::Alice).await, proxy.client(Who::Alice).await);
    let map = json!({ "metadata": { "name": "there", "nonsense": 1 } });
    let maps = "/api/v1/namespaces/default/configmaps";
    // Unknown fields are warned about, a second one of a name is a conflict.
    let warned = through.post(&format!("{maps}?dryRun=All&fieldValidation=Warn"), &map).await.unwrap();
    assert_eq!(warned.status, 201, "{}", warned.text());
    assert!(warned.header("warning").contains("nonsense"), "{:?}", warned.headers);
    for (path, status) in [
        ("/api/v1/namespaces/default/configmaps/absent", 404),
        ("/api/v1/nodes/absent/proxy/metrics", 404),
        ("/api/v1/namespaces/default/secrets?limit=rubbish", 400),
        ("/apis/rbac.authorization.k8s.io/v1/clusterroles", 403),
        ("/swagger.json", 403),
    ] {
        let [expected, seen] = [direct.get(path).await.unwrap(), through.get(path).await.unwrap()];
        assert_eq!(expected.status, status, "{path}: {}", expected.text());
        assert_eq!(seen.status, status, "{path}: {}", seen.text());
        assert_eq!(seen.text(), expected.text(), "{path}");
        assert_eq!(seen.header("content-type"), expected.header("content-type"), "{path}");
    }
    let unread: Value = through.get("/version").await.unwrap().json();
    assert_eq!(unread["minor"], "36");
    proxy.stop().await;
}
