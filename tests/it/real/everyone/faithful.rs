//! With one server behind us there is nothing to merge: what we make of its discovery is, byte for byte and header
//! for header, what it says itself, in every form and encoding.

use std::collections::BTreeMap;

use super::super::{
    fleet, fleets,
    kit::{
        client::{Client, Reply},
        eventually,
        files::Who,
        proxy::Proxy,
    },
    say,
};

/// Not of the document, but of the request; and whether the length is said beforehand, which is a matter of buffers.
const OF_A_REQUEST: [&str; 5] = [
    "audit-id",
    "content-length",
    "date",
    "x-kubernetes-pf-flowschema-uid",
    "x-kubernetes-pf-prioritylevel-uid",
];

fn accepts() -> Vec<String> {
    let mut accepts: Vec<String> = [
        "application/json",
        "application/yaml",
        "application/vnd.kubernetes.protobuf",
        "application/vnd.kubernetes.protobuf,application/json",
        "*/*",
        "application/*",
        "text/html,application/xhtml+xml,*/*;q=0.8",
        "application/cbor",
        "application/cbor,application/json;q=0.9",
        "text/plain",
        "application/json;as=Table;v=v1;g=meta.k8s.io",
        "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
    ]
    .map(str::to_owned)
    .into();
    for encoding in ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"] {
        for version in ["v2", "v2beta1"] {
            let aggregated = format!("{encoding};g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList");
            accepts.push(format!("{aggregated},application/json"));
            accepts.push(aggregated);
        }
    }
    accepts.push(
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
         application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json"
            .to_owned(),
    );
    accepts
}

/// Every path at which a server's lists say that there is one, and some at which there is none.
async fn paths(server: &Client) -> Vec<String> {
    let mut paths: Vec<String> = [
        "/api",
        "/apis",
        "/api/v1",
        "/api/",
        "/apis/",
        "/api/v1/",
        "/api/v2",
        "/apis/no.example.com",
        "/apis/apps/v9",
    ]
    .map(str::to_owned)
    .into();
    let groups = server.get("/apis").await.unwrap().json();
    for group in groups["groups"].as_array().unwrap() {
        paths.push(format!("/apis/{}", group["name"].as_str().unwrap()));
        for version in group["versions"].as_array().unwrap() {
            paths.push(format!("/apis/{}", version["groupVersion"].as_str().unwrap()));
        }
    }
    paths
}

fn headers(reply: &Reply) -> BTreeMap<&str, Vec<&str>> {
    let mut all = BTreeMap::new();
    for (name, value) in &reply.headers {
        if !OF_A_REQUEST.contains(&name.as_str()) {
            all.entry(name.as_str()).or_insert_with(Vec::new).push(value.to_str().unwrap());
        }
    }
    all
}

/// How an answer of ours may be another, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Known {
    /// kube-apiserver indents what says that it has no such form, whoever asks, and names forms that it has.
    WordsOfARefusal,
    /// Aggregated discovery of a version that this server does not speak: we do.
    FormsThatItLacks,
    /// Before 1.35 a group's metadata say `creationTimestamp: null`, and the ETag is of that. We write what 1.36 does.
    NullTimes,
    /// `application/*` means any of the forms that there are; kube-apiserver refuses it at some paths.
    AnyForm,
}

/// What is not the same, in words; nothing if all is.
fn difference(accept: &str, ours: &Reply, theirs: &Reply) -> Result<(), (Option<Known>, String)> {
    let aggregated = |reply: &Reply| reply.header("content-type").contains("g=apidiscovery.k8s.io");
    if (ours.status, theirs.status) == (406, 406) {
        let same = [ours, theirs]
            .map(|reply| (reply.header("content-type").to_owned(), reply.json()["reason"].clone()));
        return if ours.body == theirs.body && same[0] == same[1] {
            Ok(())
        } else if same[0] == same[1] {
            Err((Some(Known::WordsOfARefusal), String::new()))
        } else {
            Err((None, format!("{same:?}")))
        };
    }
    if ours.status == 200 && aggregated(ours) && !aggregated(theirs) && accept.contains("apidiscovery.k8s.io")
    {
        return Err((Some(Known::FormsThatItLacks), String::new()));
    }
    if (ours.status, theirs.status) == (200, 406) && accept == "application/*" {
        return Err((Some(Known::AnyForm), String::new()));
    }
    if ours.status != theirs.status {
        let said: String = ours.text().chars().take(200).collect();
        return Err((None, format!("status {} instead of {}: {said}", ours.status, theirs.status)));
    }
    let (ours_has, theirs_has) = (headers(ours), headers(theirs));
    let [mut more, mut less] = [ours_has.clone(), theirs_has.clone()];
    more.retain(|name, value| theirs_has.get(name) != Some(value));
    less.retain(|name, value| ours_has.get(name) != Some(value));
    let tag = more.remove("etag").is_some() & less.remove("etag").is_some();
    if !more.is_empty() || !less.is_empty() {
        return Err((None, format!("headers {more:?} instead of {less:?}")));
    }
    if ours.body == theirs.body {
        return if tag { Err((Some(Known::NullTimes), String::new())) } else { Ok(()) };
    }
    if tag && timeless(ours) == timeless(theirs) {
        return Err((Some(Known::NullTimes), String::new()));
    }
    if ours.status >= 400 && ours.header("content-type") == "application/json" && ours.json() == theirs.json()
    {
        return Err((Some(Known::WordsOfARefusal), String::new()));
    }
    let at = ours.body.iter().zip(theirs.body.iter()).take_while(|(one, other)| one == other).count();
    let near = |reply: &Reply| {
        let from = at.saturating_sub(60);
        String::from_utf8_lossy(&reply.body[from..reply.body.len().min(at + 60)]).into_owned()
    };
    Err((None, format!("from byte {at} on {:?} instead of {:?}", near(ours), near(theirs))))
}

/// An aggregated document without times that are null.
fn timeless(reply: &Reply) -> String {
    if reply.header("content-type").starts_with("application/yaml") {
        let text = reply.text().replace("\n    creationTimestamp: null", "");
        return text.replace("- metadata: {}", "- metadata:");
    }
    let mut document = reply.json();
    for item in document["items"].as_array_mut().into_iter().flatten() {
        item["metadata"].as_object_mut().unwrap().remove("creationTimestamp");
    }
    document.to_string()
}

async fn faithful_to(server: &str) {
    let cluster = fleet!(fleets::ages().await);
    let proxy = Proxy::start(cluster.cluster, &[(server, server)], Some(server), |_| ()).await;
    let (ours, theirs) = (proxy.client(Who::Admin).await, cluster.direct(server, Who::Admin).await);
    for path in ["/api", "/apis"] {
        eventually("its discovery is known", async || {
            (ours.get(path).await.unwrap().body == theirs.get(path).await.unwrap().body).then_some(())
        })
        .await;
    }
    let mut unknown: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut known: BTreeMap<Known, usize> = BTreeMap::new();
    let (mut compared, mut bytes) = (0, 0);
    for path in paths(&theirs).await {
        for accept in accepts() {
            for (agent, encoding) in [("probe", ""), ("curl/8", ""), ("probe", "gzip")] {
                let asked =
                    [("accept", accept.as_str()), ("user-agent", agent), ("accept-encoding", encoding)];
                let (ours, theirs) =
                    tokio::join!(ours.get_with(&path, &asked), theirs.get_with(&path, &asked));
                let (ours, theirs) = (ours.unwrap(), theirs.unwrap());
                compared += 1;
                bytes += theirs.body.len();
                match difference(&accept, &ours, &theirs) {
                    Ok(()) => {}
                    Err((Some(reason), _)) => *known.entry(reason).or_default() += 1,
                    Err((None, said)) => {
                        unknown.entry(said).or_default().push(format!("{path} {accept:?} {agent} {encoding}"))
                    }
                }
            }
        }
    }
    say!("{server} alone: {compared} answers, {bytes} bytes; different, and why: {known:?}");
    let lines: Vec<_> = unknown
        .iter()
        .map(|(what, when)| format!("{} times, as at {}: {what}", when.len(), when[0]))
        .collect();
    assert!(lines.is_empty(), "{}", lines.join("\n"));
    assert!(compared > 1000);
    assert!(server == "middle" || !known.contains_key(&Known::NullTimes), "{known:?}");
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn alone_with_1_36_every_discovery_answer_is_its_own() {
    faithful_to("new").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn alone_with_1_32_every_discovery_answer_is_its_own() {
    faithful_to("middle").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn alone_with_1_20_every_discovery_answer_is_its_own() {
    faithful_to("old").await;
}
