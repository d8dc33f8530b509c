//! The program itself, as a process of its own.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;

use super::client::{As, Client, Protocol};
use super::{DEADLINE, PKI};

const PROGRAM: &str = env!("CARGO_BIN_EXE_kube-peer-proxy");

/// `serve` as a sidecar of one server; killed when dropped.
pub struct Program {
    pub address: SocketAddr,
    pub admin: SocketAddr,
    child: Child,
    _lines: Lines<BufReader<ChildStderr>>,
    _folder: TempDir,
}

/// The flags of a sidecar of the server at `url`, with the PKI's files in `folder`.
pub fn sidecar_flags(folder: &Path, url: &str) -> Vec<String> {
    let file = |flag: &str, name: &str| format!("--{flag}={}", folder.join(name).display());
    vec![
        "serve".into(),
        "--bind-address=127.0.0.1".into(),
        "--secure-port=0".into(),
        "--admin-bind-address=127.0.0.1:0".into(),
        "--log-format=json".into(),
        format!("--api-server=a={url}"),
        "--home=a".into(),
        file("tls-cert-file", "proxy.crt"),
        file("tls-private-key-file", "proxy.key"),
        file("client-ca-file", "ca.crt"),
        file("peer-ca-file", "ca.crt"),
        file("proxy-client-cert-file", "front-proxy-client.crt"),
        file("proxy-client-key-file", "front-proxy-client.key"),
    ]
}

// === impl Program ===

impl Program {
    pub async fn start(server: &str, more: &[&str]) -> Self {
        Self::with_descriptors(server, more, None).await
    }

    /// With so many file descriptors and no more.
    pub async fn with_descriptors(server: &str, more: &[&str], descriptors: Option<u32>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        PKI.write(folder.path(), false).unwrap();
        let limit = descriptors.map_or_else(|| "true".to_owned(), |count| format!("ulimit -n {count}"));
        let mut child = Command::new("/bin/sh")
            .args(["-c", &format!("{limit} && exec \"$0\" \"$@\""), PROGRAM])
            .args(sidecar_flags(folder.path(), server))
            .args(more)
            .env_clear()
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (mut address, mut admin) = (None, None);
        while address.is_none() || admin.is_none() {
            let line =
                timeout(DEADLINE, lines.next_line()).await.unwrap().unwrap().expect("it listens first");
            let line: serde_json::Value = serde_json::from_str(&line).unwrap();
            let at = || line["address"].as_str().map(|at| at.parse().unwrap());
            match line["message"].as_str() {
                Some("listening") => address = at(),
                Some("admin pages") => admin = at(),
                _ => {}
            }
        }
        let (address, admin) = (address.unwrap(), admin.unwrap());
        Self { address, admin, child, _lines: lines, _folder: folder }
    }

    pub async fn h2(&self, who: As<'_>) -> Client {
        Client::connect(self.address, who, Protocol::H2).await
    }

    /// As `TERM`.
    pub fn signal(&self, name: &str) {
        let id = self.child.id().expect("it runs").to_string();
        let kill = std::process::Command::new("kill").args([&format!("-{name}"), &id]).status();
        assert!(kill.unwrap().success());
    }

    pub async fn ended(&mut self) -> ExitStatus {
        timeout(DEADLINE, self.child.wait()).await.expect("it ends").unwrap()
    }

    /// Bytes of it that are in memory.
    pub fn resident(&self) -> usize {
        let pages = std::fs::read_to_string(format!("/proc/{}/statm", self.child.id().unwrap())).unwrap();
        pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
    }
}
