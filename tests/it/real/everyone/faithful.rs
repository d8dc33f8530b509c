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

/// What is not the same, in words; nothing if all is.
fn difference(ours: &Reply, theirs: &Reply) -> Option<String> {
    if ours.status != theirs.status {
        return Some(format!(
            "status {} instead of {}: {}",
            ours.status,
            theirs.status,
            ours.text().chars().take(200).collect::<String>()
        ));
    }
    let (ours_has, theirs_has) = (headers(ours), headers(theirs));
    if ours_has != theirs_has {
        let only = |one: &BTreeMap<_, _>, other: &BTreeMap<_, _>| {
            one.iter()
                .filter(|(name, value)| other.get(*name) != Some(*value))
                .map(|(name, value): (&&str, &Vec<&str>)| format!("{name}: {value:?}"))
                .collect::<Vec<_>>()
        };
        return Some(format!(
            "headers {:?} instead of {:?}",
            only(&ours_has, &theirs_has),
            only(&theirs_has, &ours_has)
        ));
    }
    if ours.body == theirs.body {
        return None;
    }
    let at = ours.body.iter().zip(theirs.body.iter()).take_while(|(one, other)| one == other).count();
    let near = |reply: &Reply| {
        let from = at.saturating_sub(60);
        String::from_utf8_lossy(&reply.body[from..reply.body.len().min(at + 60)]).into_owned()
    };
    Some(format!("from byte {at} on {:?} instead of {:?}", near(ours), near(theirs)))
}

async fn faithful_to(cluster: fleets::Fleet, server: &str) {
    let proxy = Proxy::start(cluster.cluster, &[(server, server)], Some(server), |_| ()).await;
    let (ours, theirs) = (proxy.client(Who::Admin).await, cluster.direct(server, Who::Admin).await);
    eventually("its discovery is known", async || {
        (ours.get("/apis").await.unwrap().body == theirs.get("/apis").await.unwrap().body).then_some(())
    })
    .await;
    let mut differences: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut compared = 0;
    for path in paths(&theirs).await {
        // What differs between lists of group-versions is not in how they are asked for: some of them get it all.
        for accept in accepts() {
            for (agent, encoding) in [("probe", ""), ("curl/8", ""), ("probe", "gzip")] {
                let asked =
                    [("accept", accept.as_str()), ("user-agent", agent), ("accept-encoding", encoding)];
                let pair = [ours.get_with(&path, &asked).await, theirs.get_with(&path, &asked).await];
                let [ours, theirs] = pair.map(Result::unwrap);
                compared += 1;
                if let Some(difference) = difference(&ours, &theirs) {
                    let said = format!("{path} {accept:?} {agent} {encoding}");
                    differences.entry(difference).or_default().push(said);
                }
            }
        }
    }
    say!("{server}: {compared} answers compared, {} kinds of differences", differences.len());
    let lines: Vec<_> = differences
        .iter()
        .map(|(what, when)| format!("{} times, as at {}: {what}", when.len(), when[0]))
        .collect();
    assert!(lines.is_empty(), "{}", lines.join("\n"));
    assert!(compared > 1000);
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn alone_with_1_36_every_discovery_answer_is_its_own() {
    faithful_to(fleet!(fleets::ages().await), "new").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn alone_with_1_32_every_discovery_answer_is_its_own() {
    faithful_to(fleet!(fleets::ages().await), "middle").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn alone_with_1_20_every_discovery_answer_is_its_own() {
    faithful_to(fleet!(fleets::ages().await), "old").await;
}
