//! SIGHUP, and what the program itself logs.

use std::net::SocketAddr;
use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr};
use tokio::time::timeout;

use super::*;
use crate::kit::DEADLINE;

/// The next line of the log with this message.
async fn logged(lines: &mut Lines<BufReader<ChildStderr>>, message: &str) -> Value {
    loop {
        let line = timeout(DEADLINE, lines.next_line()).await.expect(message).unwrap().expect(message);
        let line: Value = serde_json::from_str(&line).unwrap();
        if line["message"].as_str().is_some_and(|text| text.contains(message)) {
            return line;
        }
    }
}

fn hang_up(child: &Child) {
    let id = child.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-HUP", &id]).status().unwrap().success());
}

#[tokio::test]
async fn sighup_looks_at_once_and_says_what_came_of_it() {
    let cluster = Cluster::start(&[V1_36]).await;
    let folder = tempfile::tempdir().unwrap();
    PKI.write(folder.path(), false).unwrap();
    let file = folder.path().join("proxy.yaml");
    let configuration = |server: &str, more: &str| {
        format!(
            "bindAddress: [127.0.0.1]
securePort: 0
adminBindAddress: 127.0.0.1:0
tlsCertFile: proxy.crt
tlsPrivateKeyFile: proxy.key
clientCaFile: ca.crt
peerCaFile: ca.crt
proxyClientCertFile: front-proxy-client.crt
proxyClientKeyFile: front-proxy-client.key
logFormat: json
reloadCheckInterval: 1h
apiServers:
- name: a
  url: {server}
{more}"
        )
    };
    let server = cluster.server("v136").url();
    fs::write(&file, configuration(&server, "")).unwrap();
    let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_kube-peer-proxy"))
        .args(["serve", "--config", file.to_str().unwrap()])
        .env_clear()
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let address: SocketAddr =
        logged(&mut lines, "listening").await["address"].as_str().unwrap().parse().unwrap();
    let speaker = Speaker::new(BOTH, None, &[]);
    assert_eq!(speaker.shown_by(address, "localhost").await, PKI.proxy.cert);

    hang_up(&child);
    logged(&mut lines, "no file of the configuration has changed").await;

    let new = serving();
    replace(&folder.path().join("proxy.crt"), &new.cert_pem);
    replace(&folder.path().join("proxy.key"), &new.key_pem);
    hang_up(&child);
    logged(&mut lines, "has changed and is in use").await;
    assert_eq!(speaker.shown_by(address, "localhost").await, new.cert);

    fs::write(&file, configuration(&server, "maxHandshakes: 7\n")).unwrap();
    hang_up(&child);
    let waits = logged(&mut lines, "take a restart").await;
    assert_eq!((&waits["keys"], &waits["level"]), (&"maxHandshakes".into(), &"WARN".into()));

    for (content, wanted) in [
        (configuration(&server, "- name: a\n  url: https://127.0.0.1:1\n"), "apiServers"),
        (configuration(&server, "home: b\n"), "home ("),
    ] {
        fs::write(&file, content).unwrap();
        hang_up(&child);
        let refused = logged(&mut lines, "is refused").await;
        assert!(refused["error"].as_str().unwrap().starts_with(wanted), "{refused}");
        assert_eq!(refused["level"], "ERROR");
    }
    hang_up(&child);
    let still = logged(&mut lines, "no file ").await;
    assert!(
        still["message"].as_str().unwrap().contains("refused"),
        "what lies there is not what is in use: {still}"
    );
    assert_eq!(speaker.shown_by(address, "localhost").await, new.cert);
    child.kill().await.unwrap();
}
