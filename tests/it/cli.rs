//! The program itself: arguments, exit codes, and a run from start to SIGTERM.

use std::process::{Command, Output};

use kube_peer_proxy::embedded::Recorded::V1_32;
use tokio::net::unix::pipe;

use crate::kit::{As, Client, Cluster, PKI, Program, sidecar_flags, until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_kube-peer-proxy");

fn run(arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } =
        Command::new(PROGRAM).args(arguments).env_clear().output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

#[test]
fn a_discovery_cache_that_cannot_be_had_exits_64_and_names_the_key_before_anything_listens() {
    let folder = tempfile::tempdir().unwrap();
    PKI.write(folder.path(), false).unwrap();
    let mut flags = sidecar_flags(folder.path(), "https://127.0.0.1:1");
    // Nobody makes a directory there, not even root.
    flags.push("--discovery-cache-dir=/proc/cache".into());
    let (code, _, stderr) = run(&flags.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(code, 64, "{stderr}");
    assert!(
        stderr.contains("--discovery-cache-dir: /proc/cache: ") && !stderr.contains("listening"),
        "{stderr}"
    );
}

#[test]
fn serve_with_faults_exits_64_and_names_every_key() {
    let (code, _, stderr) = run(&[
        "serve",
        "--api-server=a=http://127.0.0.1:1",
        "--api-server=nonsense",
        "--home=b",
        "--home-preference=biggest",
        "--secure-port=70000",
        "--bind-address=everywhere",
        "--stale-after=soon",
        "--reroute=perhaps",
        "--merge=2",
        "--admin-bind-address=0.0.0.0:8090",
        "--trusted-proxy-cidrs=10.0.0.0/64",
        "--client-ca-file=/nonexistent/ca.crt",
        "--log-level=,=",
    ]);
    assert_eq!(code, 64, "{stderr}");
    for key in [
        "--tls-cert-file",
        "--tls-private-key-file",
        "--api-server",
        "--home",
        "--home-preference",
        "--secure-port",
        "--bind-address",
        "--stale-after",
        "--reroute",
        "--merge",
        "--admin-bind-address",
        "--trusted-proxy-cidrs",
        "--client-ca-file",
        "--log-level",
    ] {
        let named =
            stderr.lines().any(|line| line.contains(&format!("{key}:")) || line.contains(&format!("{key} ")));
        assert!(named, "{key} in\n{stderr}");
    }
}

#[test]
fn bad_usage_exits_64_and_help_exits_0() {
    for arguments in [&["serve", "--no-such-flag"][..], &["no-such-command"], &[]] {
        let (code, stdout, stderr) = run(arguments);
        assert_eq!((code, stdout.as_str()), (64, ""), "{arguments:?}");
        assert!(!stderr.is_empty());
    }
    for arguments in [&["--help"][..], &["serve", "--help"], &["--version"]] {
        let (code, stdout, _) = run(arguments);
        assert!(code == 0 && !stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn an_unknown_key_in_the_file_exits_64_and_is_named_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("proxy.yaml");
    std::fs::write(&file, "securePort: 8443\nsecurePorts: 8443\n").unwrap();
    let (code, _, stderr) = run(&["serve", "--config", file.to_str().unwrap()]);
    assert_eq!(code, 64);
    assert!(stderr.contains("securePorts") && stderr.contains("proxy.yaml:2"), "{stderr}");
}

#[test]
fn the_demo_plays_its_story_and_exits_0() {
    let (code, stdout, stderr) = run(&["demo", "--check"]);
    assert_eq!(code, 0, "{stdout}{stderr}");
    assert!(stdout.contains("steps passed"), "{stdout}");
}

#[tokio::test]
async fn serve_runs_until_sigterm_and_exits_0() {
    let cluster = Cluster::start(&[V1_32]).await;
    let mut program = Program::start(&cluster.server("v132").url(), &["--shutdown-delay-duration=0"]).await;
    let admin = program.h2(As::Certificate(&PKI.admin)).await;
    assert_eq!(admin.get("/version").await.json()["minor"], "32");
    program.signal("TERM");
    assert_eq!(program.ended().await.code(), Some(0));
}

#[tokio::test]
async fn healthz_says_who_is_ready_and_what_is_missing() {
    let cluster = Cluster::start(&[V1_32]).await;
    let mut program = Program::start(&cluster.server("v132").url(), &["--shutdown-delay-duration=20s"]).await;
    let admin = program.admin.to_string();
    let ask = async |more: &'static [&'static str]| {
        let arguments = [&["healthz", "--admin", &admin], more].concat();
        let Output { status, stdout, stderr } =
            tokio::process::Command::new(PROGRAM).args(arguments).env_clear().output().await.unwrap();
        (status.code(), String::from_utf8([stdout, stderr].concat()).unwrap())
    };
    until("it is ready", async || (ask(&[]).await.0 == Some(0)).then_some(())).await;
    assert_eq!(ask(&[]).await.1, format!("{admin} is ready\n"));
    program.signal("TERM");
    let said = until("it leaves", async || Some(ask(&[]).await).filter(|(code, _)| *code == Some(1))).await.1;
    assert!(
        said.contains("500") && said.contains("not-shutting-down") && said.lines().count() == 1,
        "{said}"
    );
    assert_eq!(ask(&["--live"]).await, (Some(0), format!("{admin} is alive\n")));
    program.signal("TERM");
    program.ended().await;
    let (code, said) = ask(&[]).await;
    assert!(code == Some(1) && said.contains("cannot be asked") && said.lines().count() == 1, "{said}");
}

#[tokio::test]
async fn a_second_signal_ends_it_now_with_1() {
    let cluster = Cluster::start(&[V1_32]).await;
    let mut program = Program::start(&cluster.server("v132").url(), &["--shutdown-delay-duration=20s"]).await;
    let admin = Client::plain(program.admin).await;
    program.signal("TERM");
    until("it says that it leaves", async || (admin.get("/readyz").await.status == 500).then_some(())).await;
    program.signal("INT");
    assert_eq!(program.ended().await.code(), Some(1));
}

/// A file that gives no answer, as one on a network that is gone; a name that no resolver answers for is the same.
#[tokio::test]
async fn neither_a_file_nor_a_name_that_hangs_keeps_it_from_leaving() {
    let cluster = Cluster::start(&[V1_32]).await;
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("front-proxy-ca.crt");
    std::fs::write(&ca, PKI.front_proxy_ca.cert_pem()).unwrap();
    let flags = [
        "--shutdown-delay-duration=0",
        "--requestheader-allowed-names=nobody",
        &format!("--requestheader-client-ca-file={}", ca.display()),
    ];
    let mut program = Program::start(&cluster.server("v132").url(), &flags).await;
    std::fs::remove_file(&ca).unwrap();
    assert!(Command::new("mkfifo").arg(&ca).status().unwrap().success());
    program.signal("HUP");
    // It can't be opened as long as nobody reads.
    let _open = until("it reads the pipe", async || pipe::OpenOptions::new().open_sender(&ca).ok()).await;
    program.signal("TERM");
    assert_eq!(program.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_port_that_is_taken_exits_1_and_names_the_flag() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    PKI.write(folder.path(), false).unwrap();
    let mut arguments = sidecar_flags(folder.path(), "https://127.0.0.1:1");
    arguments.push(format!("--secure-port={}", taken.local_addr().unwrap().port()));
    arguments.retain(|one| one != "--secure-port=0");
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let (code, _, stderr) = run(&arguments);
    assert_eq!(code, 1);
    assert!(stderr.contains("--secure-port"), "{stderr}");
}

#[test]
fn certs_writes_files_that_config_check_accepts() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("pki");
    let (code, _, stderr) = run(&["certs", "--dir", place.to_str().unwrap()]);
    assert_eq!(code, 0, "{stderr}");
    let mut arguments = sidecar_flags(&place, "https://127.0.0.1:6443");
    arguments.splice(..1, ["config".to_owned(), "check".to_owned()]);
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let (code, stdout, stderr) = run(&arguments);
    assert_eq!(code, 0, "{stdout}{stderr}");
}

#[test]
fn config_check_warns_of_a_cache_directory_that_cannot_be_written() {
    let folder = tempfile::tempdir().unwrap();
    PKI.write(folder.path(), false).unwrap();
    let mut flags = sidecar_flags(folder.path(), "https://127.0.0.1:1");
    flags.splice(0..1, ["config".to_owned(), "check".to_owned()]);
    let cache = folder.path().join("cache");
    let check = |directory: &str| {
        let flag = format!("--discovery-cache-dir={directory}");
        run(&flags.iter().map(String::as_str).chain([flag.as_str()]).collect::<Vec<_>>())
    };
    let (code, out, error) = check("/proc/cache");
    assert_eq!((code, out.as_str()), (0, "ok\n"), "{error}");
    assert!(error.contains("warning: discoveryCacheDir: /proc/cache: cannot be written"), "{error}");
    let (code, _, error) = check(cache.to_str().unwrap());
    assert!(code == 0 && !error.contains("discoveryCacheDir"), "{error}");
    assert!(!cache.exists(), "a check makes nothing");
    let (code, _, error) = check("");
    assert_eq!(code, 64);
    assert!(error.contains("--discovery-cache-dir: is empty; it takes the path of a directory"), "{error}");
}

#[test]
fn a_fault_names_key_line_what_is_there_and_what_is_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("proxy.yaml");
    for (yaml, sentence) in [
        ("securePort: abc", "securePort (proxy.yaml:1): \"abc\" is no port from 0 to 65535"),
        (
            "securePort: [1]",
            "securePort: line 1: a list is there; one value is wanted, as in `securePort: value`",
        ),
        (
            "bindAddress: {a: b}",
            "bindAddress: line 1: a mapping is there; a list is wanted, as in `bindAddress: [value, value]`",
        ),
        (
            "apiServers: {a: b}",
            "apiServers: line 1: a mapping is there; a list of mappings is wanted, as in `apiServers: [{name: …, url: …}]`",
        ),
        (
            "staleAfter: 30",
            "staleAfter (proxy.yaml:1): \"30\" is no duration such as 30s, 1m30s or 500ms: it has no unit; 30 seconds are 30s",
        ),
        ("staleAfter: 1d", "the longest unit is h, and a day has 24h"),
        ("staleAfter: 5 minutes", "units are h, m, s, ms, us and ns"),
        (
            "forgetAfter: 1ms",
            "forgetAfter (proxy.yaml:1): 1ms is shorter than the time after which a server is stale (--stale-after, 30s); it can be that to 8760h",
        ),
        ("- a", "a mapping such as `securePort: 6443`"),
    ] {
        std::fs::write(&file, yaml).unwrap();
        let (code, _, error) = run(&["config", "check", "--config", file.to_str().unwrap()]);
        let error = error.replace(&format!("{}/", folder.path().display()), "");
        assert_eq!(code, 64, "{yaml}");
        assert!(error.contains(sentence), "{yaml}: {error}");
    }
}
