//! Real kubectls, each with a home folder of its own.

use std::{
    path::PathBuf,
    process::{self, Stdio},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::Command,
    time,
};

use super::{
    DEADLINE,
    binaries::{Binaries, Version},
    files::{Files, Who},
};

pub(crate) struct Kubectl {
    pub(crate) version: Version,
    program: PathBuf,
    kubeconfig: PathBuf,
    home: TempDir,
    spdy: bool,
}

/// How it ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Output {
    pub(crate) ok: bool,
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

// === impl Kubectl ===

impl Kubectl {
    pub(crate) fn new(binaries: &Binaries, version: Version, files: &Files, url: &str, who: Who) -> Self {
        let home = TempDir::new().unwrap();
        let kubeconfig = files.kubeconfig(home.path(), url, who);
        Self { version, program: binaries.kubectls[&version].clone(), kubeconfig, home, spdy: false }
    }

    /// The newest that there is.
    pub(crate) fn newest(binaries: &Binaries, files: &Files, url: &str, who: Who) -> Self {
        let version = *binaries.kubectls.keys().next_back().unwrap();
        Self::new(binaries, version, files, url, who)
    }

    /// Upgrades to SPDY, as all did before 1.31, instead of WebSocket.
    pub(crate) fn spdy(self) -> Self {
        Self { spdy: true, ..self }
    }

    /// To be spawned; all its ends are pipes.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(args)
            .env_clear()
            .env("HOME", self.home.path())
            .env("KUBECONFIG", &self.kubeconfig)
            // kubectl diff runs diff.
            .env("PATH", "/usr/bin:/bin")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if self.spdy {
            command.env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "false");
            command.env("KUBECTL_PORT_FORWARD_WEBSOCKETS", "false");
        }
        command
    }

    /// Runs it with something on its standard input.
    pub(crate) async fn piped(&self, input: &str, args: &[&str]) -> Output {
        let ended = self.bytes(input.as_bytes(), args).await;
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let (out, err) = (text(&ended.stdout), text(&ended.stderr));
        Output { ok: ended.status.success(), code: ended.status.code(), out, err }
    }

    /// The same with bytes that are no text.
    pub(crate) async fn bytes(&self, input: &[u8], args: &[&str]) -> process::Output {
        let mut child = self.command(args).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // One that reads nothing may be gone by now.
        let feeding = async move { drop(stdin.write_all(input).await) };
        let both = async { tokio::join!(feeding, child.wait_with_output()).1 };
        let ended = time::timeout(DEADLINE, both).await;
        ended.unwrap_or_else(|_| panic!("kubectl {} {args:?} hangs", self.version)).unwrap()
    }

    pub(crate) async fn try_run(&self, args: &[&str]) -> Output {
        self.piped("", args).await
    }

    /// Runs it and gives what it printed; it has to succeed.
    pub(crate) async fn run(&self, args: &[&str]) -> String {
        self.run_piped("", args).await
    }

    pub(crate) async fn run_piped(&self, input: &str, args: &[&str]) -> String {
        let Output { ok, out, err, .. } = self.piped(input, args).await;
        assert!(ok, "kubectl {} {args:?}: {err}{out}", self.version);
        out
    }

    pub(crate) async fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.run(args).await).unwrap()
    }

    /// Runs it until it has printed a line with all of `words`, or for `limit`.
    pub(crate) async fn until(
        &self,
        args: &[&str],
        words: &[&str],
        limit: Duration,
    ) -> Result<String, String> {
        let mut child = self.command(args).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut seen = String::new();
        let wanted = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                if words.iter().all(|word| line.contains(word)) {
                    return Some(line);
                }
                seen += &line;
            }
            None
        };
        let found = time::timeout(limit, wanted).await.ok().flatten();
        let _ = child.kill().await;
        found.ok_or(seen)
    }
}
