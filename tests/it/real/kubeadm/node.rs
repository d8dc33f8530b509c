//! A machine of its own, as far as the network is concerned.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use serde_json::Value;
use tokio::{process::Command, time};

use super::super::kit::{
    DEADLINE, eventually,
    process::{DIES_WITH_PARENT, Process},
};

/// What ran on a node and ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) ok: bool,
    pub(super) out: String,
    pub(super) err: String,
}

/// A control-plane node with a network namespace of its own, and a folder for its `/etc/kubernetes`.
pub(super) struct Node {
    pub(super) ip: &'static str,
    pub(super) etc: PathBuf,
    /// Keeps the namespace.
    holder: Process,
}

// === impl Node ===

impl Node {
    /// Needs root, for the namespaces.
    pub(super) async fn start(dir: &Path, ip: &'static str) -> Self {
        let etc = dir.join("etc/kubernetes");
        fs::create_dir_all(etc.join("pki")).unwrap();
        fs::create_dir_all(dir.join("cache")).unwrap();
        let hold = ["unshare", "--net", "sh", "-c", "ip link set lo up && exec sleep infinity"];
        let words: Vec<_> = DIES_WITH_PARENT.iter().chain(&hold).map(|word| (*word).to_owned()).collect();
        let holder = Process::start(&words, &dir.join("holder.log")).unwrap();
        let node = Self { ip, etc, holder };
        let ours = fs::read_link("/proc/self/ns/net").unwrap();
        eventually("the namespace is there", async || {
            fs::read_link(node.namespace()).ok().filter(|theirs| *theirs != ours).map(drop)
        })
        .await;
        node
    }

    fn namespace(&self) -> String {
        format!("/proc/{}/ns/net", self.holder.id())
    }

    /// Puts a cable between two nodes.
    pub(super) async fn connect(&self, other: &Self) {
        let peer = other.holder.id().to_string();
        self.run(&["ip", "link", "add", "node", "type", "veth", "peer", "name", "node", "netns", &peer])
            .await;
        for node in [self, other] {
            let address = format!("{}/24", node.ip);
            node.run(&["ip", "address", "add", &address, "dev", "node"]).await;
            node.run(&["ip", "link", "set", "node", "up"]).await;
        }
    }

    /// Something of `/etc/kubernetes`.
    pub(super) fn file(&self, name: &str) -> String {
        self.etc.join(name).display().to_string()
    }

    /// Something beside that.
    pub(super) fn dir_file(&self, name: &str) -> String {
        self.etc.join("../..").join(name).display().to_string()
    }

    /// What begins with /etc/kubernetes and /var/lib/kube-peer-proxy on a real node, begins elsewhere here.
    pub(super) fn here(&self, text: &str) -> String {
        let cache = self.etc.join("../../cache").canonicalize().unwrap();
        text.replace("/etc/kubernetes", &self.etc.display().to_string())
            .replace("/var/lib/kube-peer-proxy", &cache.display().to_string())
    }

    fn words(&self, words: &[&str]) -> Vec<String> {
        let enter = ["nsenter".to_owned(), format!("--net={}", self.namespace()), "--".to_owned()];
        enter.into_iter().chain(words.iter().map(|word| (*word).to_owned())).collect()
    }

    /// Starts something that does not end by itself.
    pub(super) fn spawn(&self, log: &str, words: &[&str]) -> Process {
        let words = [&DIES_WITH_PARENT[..], words].concat();
        Process::start(&self.words(&words), &self.etc.join("../..").join(log)).unwrap()
    }

    pub(super) async fn try_run(&self, words: &[&str]) -> Ended {
        let words = self.words(words);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::null()).kill_on_drop(true);
        command.env("HOME", self.etc.join("../.."));
        command.env("KUBEADM_INIT_DRYRUN_DIR", self.etc.join("manifests"));
        let ended = time::timeout(DEADLINE, command.output()).await;
        let ended = ended.unwrap_or_else(|_| panic!("{words:?} hangs")).unwrap();
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Ended { ok: ended.status.success(), out: text(&ended.stdout), err: text(&ended.stderr) }
    }

    /// Runs it and gives what it printed; it has to succeed.
    pub(super) async fn run(&self, words: &[&str]) -> String {
        let Ended { ok, out, err } = self.try_run(words).await;
        assert!(ok, "{words:?}: {out}{err}");
        out
    }

    /// The status of an HTTP answer, as a kubelet's probe sees it; none if nobody answers.
    pub(super) async fn probe(&self, url: &str) -> Option<u16> {
        let ask = ["curl", "-sk", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", url];
        let Ended { ok, out, .. } = self.try_run(&ask).await;
        ok.then(|| out.parse().unwrap())
    }

    pub(super) async fn until_it_answers(&self, url: &str, status: u16) {
        let mut pause = Duration::ZERO;
        eventually(&format!("{url} on {} answers {status}", self.ip), async || {
            time::sleep(std::mem::replace(&mut pause, Duration::from_millis(200))).await;
            (self.probe(url).await == Some(status)).then_some(())
        })
        .await;
    }
}

/// A file of YAML with one document.
pub(super) fn yaml(path: &Path) -> Value {
    serde_saphyr::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}
