//! `explain`: where a request would go, by which rule, from which view, and who its caller would be there.

use std::{path::Path, process::Output};

use kube_peer_proxy::embedded::Recorded::{V1_32, V1_35, V1_36};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::kit::{Cluster, PKI, Proxy};

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_kube-peer-proxy");
pub const PLUGIN: &str = env!("CARGO_BIN_EXE_kubectl-peers");
const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies";

/// Exit code, standard output, standard error.
pub async fn run(program: &str, kubeconfig: Option<&Path>, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(program);
    command.args(arguments).env_clear().kill_on_drop(true);
    if let Some(kubeconfig) = kubeconfig {
        command.env("KUBECONFIG", kubeconfig);
    }
    let Output { status, stdout, stderr } = command.output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

/// A kubeconfig with a context for each server, in a folder with its files.
fn kubeconfig(cluster: &Cluster, current: &str) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    PKI.write(folder.path(), false).unwrap();
    let file = |name: &str| folder.path().join(name);
    let clusters = cluster.servers().map(|server| {
        json!({ "name": server.id(), "cluster": {
            "server": server.url(), "certificate-authority": file("ca.crt") } })
    });
    let contexts = cluster
        .servers()
        .map(|server| json!({ "name": server.id(), "context": { "cluster": server.id(), "user": "admin" } }));
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": current,
        "clusters": clusters.collect::<Vec<_>>(),
        "contexts": contexts.collect::<Vec<_>>(),
        "users": [{ "name": "admin", "user": {
            "client-certificate": file("admin.crt"), "client-key": file("admin.key") } }],
    });
    let path = file("kubeconfig");
    std::fs::write(&path, config.to_string()).unwrap();
    (folder, path)
}

async fn two() -> (Cluster, Proxy) {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let proxy = cluster.proxy().home("v132").start().await;
    (cluster, proxy)
}

#[tokio::test]
async fn a_proxy_is_not_taken_for_an_api_server() {
    let (cluster, proxy) = two().await;
    let (_folder, kubeconfig) = kubeconfig(&cluster, "v132");
    let through = ["--server", &format!("https://{}", proxy.address())];
    let (code, out, error) =
        run(PLUGIN, Some(&kubeconfig), &[&["explain", POLICIES, "--verb", "list"][..], &through].concat())
            .await;
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(
        error.contains("a proxy stands before other API servers") && error.contains("--admin"),
        "{error}"
    );
    let (code, out, _) = run(PLUGIN, Some(&kubeconfig), &[&["inspect"][..], &through].concat()).await;
    assert_eq!(code, 0);
    assert!(out.contains("a proxy stands before others"), "{out}");
    let (_, out, _) = run(PLUGIN, Some(&kubeconfig), &["inspect"]).await;
    assert!(out.contains("There is no other server to compare it with."), "{out}");
}

#[tokio::test]
async fn where_nobody_answers_nothing_is_concluded() {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let (_folder, kubeconfig) = kubeconfig(&cluster, "v132");
    let contexts = ["--context", "v132", "--context", "v136"];
    cluster.server("v136").stop().await;
    let (code, out, _) =
        run(PROGRAM, Some(&kubeconfig), &[&["explain", POLICIES][..], &contexts].concat()).await;
    assert_eq!(code, 0);
    let of = |name: &str| out.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    assert!(of("v132").contains(" no ") && of("v136").contains(" ? "), "{out}");
    cluster.server("v132").stop().await;
    let (code, out, error) =
        run(PROGRAM, Some(&kubeconfig), &[&["explain", POLICIES][..], &contexts].concat()).await;
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(error.contains("no server could be asked"), "{error}");
}

async fn page(proxy: &Proxy, query: &str) -> Value {
    proxy.debug(&format!("explain?{query}")).await
}

#[tokio::test]
async fn the_page_tells_by_which_view_it_decides() {
    let (_cluster, proxy) = two().await;
    let answer = page(&proxy, &format!("path={POLICIES}&verb=list")).await;
    let servers = answer["servers"].as_array().unwrap();
    let shown = |key: &str| servers.iter().map(|server| server[key].clone()).collect::<Vec<_>>();
    assert_eq!(shown("name"), [json!("v132"), json!("v136")]);
    assert_eq!(shown("version"), [json!("1.32"), json!("1.36")]);
    assert_eq!(shown("lists"), [json!("no"), json!("as Current")]);
    assert_eq!(shown("freshness"), [json!("fresh"), json!("fresh")]);
    assert!(shown("secondsSinceContact").iter().all(|age| age.as_f64().is_some_and(|age| age < 60.0)));
    assert!(answer["catalogGeneration"].as_u64().is_some_and(|generation| generation > 0));
}

#[tokio::test]
async fn the_page_tells_who_the_caller_would_be_upstream() {
    let (_cluster, proxy) = two().await;
    let ask = async |query: &str| {
        page(&proxy, &format!("path={POLICIES}&verb=list&{query}")).await["callerUpstream"]["v136"].clone()
    };
    let jane = ask("user=jane&groups=dev,ops").await;
    assert_eq!(jane["class"], "identity");
    assert_eq!(jane["headers"], json!({"x-remote-user": ["jane"], "x-remote-group": ["dev", "ops"]}));
    assert_eq!(jane["loopHeader"], true);
    assert_eq!(ask("caller=token").await, json!({"class": "token", "as": "token", "loopHeader": true}));
    assert_eq!(ask("caller=anonymous").await["class"], "unproven");
    // I4: whoever says that he is nobody is nobody.
    assert_eq!(ask("user=system:anonymous").await["as"], "anonymous");
    let all = ask("").await;
    assert_eq!(
        [&all["certificate"]["class"], &all["token"]["class"], &all["anonymous"]["class"]],
        ["identity", "token", "unproven"]
    );
    let exec = page(&proxy, "path=/api/v1/namespaces/a/pods/p/exec&verb=create&caller=token").await;
    assert_eq!(exec["callerUpstream"]["v132"]["class"], "upgrade");
    for bad in [
        "groups=a",
        "user=",
        "user=a&caller=token",
        "caller=me",
        "user=a&groups=system:unauthenticated",
        "user=%20a",
    ] {
        let reply = proxy.page(&format!("/debug/explain?path={POLICIES}&{bad}")).await;
        assert_eq!(reply.status, 400, "{bad}: {}", reply.text());
    }
}

#[tokio::test]
async fn in_front_mode_every_home_is_explained() {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let proxy = cluster.proxy().start().await;
    let answer = page(&proxy, &format!("path={POLICIES}&verb=list")).await;
    assert_eq!(answer["home"], Value::Null);
    let homes = answer["homes"].as_array().unwrap();
    let shown: Vec<_> = homes.iter().map(|one| (one["home"].as_str(), one["goes"].as_str())).collect();
    assert_eq!(shown, [(Some("v132"), Some("peer")), (Some("v136"), Some("home"))]);
    let one = page(&proxy, &format!("path={POLICIES}&verb=list&home=v132")).await;
    assert_eq!((&one["home"], &one["goes"]), (&json!("v132"), &json!("peer")));
}

#[tokio::test]
async fn a_dry_run_goes_home_and_says_why_it_would_not() {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let proxy =
        cluster.proxy().home("v132").flags(|args| args.reroute = Some("dry-run".into())).start().await;
    let answer = page(&proxy, &format!("path={POLICIES}&verb=list")).await;
    assert_eq!(
        (&answer["goes"], &answer["to"], &answer["reason"]),
        (&json!("home (dry-run)"), &json!(["v132"]), &json!("peers-serve"))
    );
}

#[tokio::test]
async fn the_command_says_what_the_page_of_a_proxy_says_in_80_columns() {
    let (_cluster, proxy) = two().await;
    let admin = proxy.app.admin.to_string();
    let arguments = [
        "explain",
        POLICIES,
        "--verb=watch",
        "--as-user=jane",
        "--as-group=dev",
        "--group=ops",
        "--admin",
        &admin,
    ];
    let (code, text, error) = run(PROGRAM, None, &arguments).await;
    assert_eq!((code, error.as_str()), (0, ""));
    for piece in [
        "watch mutatingadmissionpolicies (admissionregistration.k8s.io/v1)\n",
        "goes to  v136, a peer\n",
        "(peers-serve)",
        "x-remote-group: dev, ops; x-remote-user: jane",
        "v132 (home)",
        "as Current",
        "generation",
    ] {
        assert!(text.contains(piece), "{piece} in\n{text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    for output in ["json", "yaml"] {
        let (code, text, _) = run(PROGRAM, None, &[&arguments[..], &["-o", output]].concat()).await;
        assert_eq!(code, 0);
        assert!(text.contains("peers-serve"), "{text}");
        if output == "json" {
            let answer: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(answer["to"], json!(["v136"]));
        }
    }
}

#[tokio::test]
async fn without_a_proxy_api_servers_are_asked_and_the_same_is_decided() {
    let cluster = Cluster::start(&[V1_32, V1_35, V1_36]).await;
    let (_folder, path) = kubeconfig(&cluster, "v132");
    let all = ["--context=v132", "--context=v135", "--context=v136"];
    let ask = async |more: &[&str]| {
        let (code, text, error) =
            run(PROGRAM, Some(&path), &[&["explain"], &all[..], more, &["-ojson"]].concat()).await;
        assert_eq!(code, 0, "{error}");
        serde_json::from_str::<Value>(&text).unwrap()
    };
    let answer = ask(&[POLICIES, "--verb=list", "--home=v135"]).await;
    assert_eq!((&answer["goes"], &answer["to"]), (&json!("peer"), &json!(["v136"])));
    assert_eq!(answer["catalogGeneration"], Value::Null);
    let everywhere = ask(&[POLICIES, "--verb=list"]).await;
    let goes: Vec<_> =
        everywhere["homes"].as_array().unwrap().iter().map(|one| one["goes"].clone()).collect();
    assert_eq!(goes, ["peer", "peer", "home"]);
    assert_eq!(ask(&["/apis/nobody.example/v1/things", "--home=v132"]).await["reason"], "nobody-serves");
    // Ignorance is no 404, here neither.
    cluster.server("v136").stop().await;
    let unheard = ask(&["/apis/nobody.example/v1/things", "--home=v132"]).await;
    assert_eq!((&unheard["goes"], &unheard["unknown"]), (&json!("nowhere (503)"), &json!(["v136"])));
    assert!(unheard["servers"][2]["error"].as_str().is_some_and(|error| !error.is_empty()), "{unheard:#}");
}

#[tokio::test]
async fn what_is_wrong_with_the_question_is_a_sentence_and_64() {
    for (arguments, sentence) in [
        (&["explain", "pods"][..], "does not begin with a slash"),
        (&["explain", "/api/v1/pods", "--verb=eat"], "\"eat\" is no verb of Kubernetes; there are get, list"),
        (&["explain", "/api/v1//pods"], "empty segment"),
        (&["explain", "/api/v1/namespaces/a", "--verb=list"], "names one object"),
        (&["explain", "/version", "--as-user="], "can't be empty"),
        (&["explain", "/version", "--as-group=a"], "--as-user"),
        (&["explain"], "PATH"),
    ] {
        let (code, stdout, stderr) = run(PROGRAM, None, arguments).await;
        assert_eq!((code, stdout.as_str()), (64, ""), "{arguments:?}: {stderr}");
        assert!(stderr.contains(sentence) && !stderr.contains("/debug/"), "{arguments:?}: {stderr}");
    }
    let (_cluster, proxy) = two().await;
    let admin = proxy.app.admin.to_string();
    let (code, _, error) = run(PROGRAM, None, &["explain", "/version", "--home=x", "--admin", &admin]).await;
    assert_eq!(
        (code, error.as_str()),
        (64, "kube-peer-proxy: there is no API server \"x\", but v132, v136\n")
    );
    let reply = proxy.page("/debug/explain?path=/version&verbs=list").await;
    assert!(reply.status == 400 && reply.text().contains("no query key \"verbs\""), "{}", reply.text());
    let nobody = run(PROGRAM, None, &["explain", "/version", "--admin=127.0.0.1:1"]).await;
    assert_eq!(nobody.0, 1, "{}", nobody.2);
    assert!(nobody.2.contains("--context") && nobody.2.contains("nobody answers there"), "{}", nobody.2);
}

#[tokio::test]
async fn a_credential_plugin_that_hangs_is_not_waited_for_and_what_it_says_no_terminal_obeys() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kubeconfig");
    let with = |command: &str, argument: &str| {
        let plugin = json!({
            "apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Never",
            "command": command, "args": ["-c", argument],
        });
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "a",
            "clusters": [{"name": "a", "cluster": {"server": "https://127.0.0.1:1"}}],
            "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
            "users": [{"name": "a", "user": {"exec": plugin}}],
        });
        std::fs::write(&path, config.to_string()).unwrap();
    };
    let ask = async |more: &[&str]| {
        let arguments = [&["explain", "/version", "--context=a"], more].concat();
        let ended = tokio::time::timeout(crate::kit::DEADLINE, run(PROGRAM, Some(&path), &arguments)).await;
        ended.expect("it ends")
    };
    with("/bin/sh", "exec sleep 60");
    let (code, _, error) = ask(&["--timeout=300ms"]).await;
    assert!(code == 1 && error.contains("no server could be asked"), "{error}");
    with("/bin/sh", r"printf 'gone \033[2J' >&2; exit 1");
    let (code, _, error) = ask(&[]).await;
    assert!(code == 1 && error.contains("gone \u{fffd}[2J"), "{error:?}");
}

#[tokio::test]
async fn the_plugin_looks_at_the_current_context_and_says_that_this_is_one_server() {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let (_folder, path) = kubeconfig(&cluster, "v136");
    let (code, text, error) = run(PLUGIN, Some(&path), &["explain", POLICIES]).await;
    assert_eq!(code, 0, "{error}");
    assert!(text.contains("goes to  v136, which is home") && text.contains("note     v136 is all"), "{text}");
    let (code, text, _) = run(PLUGIN, None, &["--help"]).await;
    assert_eq!(code, 0);
    assert!(text.contains("Usage: kubectl peers <COMMAND>"), "{text}");
}
