//! One kube-apiserver.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Mutex,
    time::{Duration, Instant},
};

use super::{
    binaries::Version,
    client::Dial,
    eventually,
    files::{Files, Who},
    process::{DIES_WITH_PARENT, Process},
};

/// How a server is to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spec {
    pub(crate) name: &'static str,
    pub(crate) version: Version,
    /// Flags beside those that all have.
    pub(crate) flags: &'static [&'static str],
    /// With the Mixed Version Proxy of its own switched on.
    pub(crate) native: bool,
}

/// A kube-apiserver that can be killed and started again.
pub(crate) struct ApiServer {
    pub(crate) name: &'static str,
    pub(crate) addr: SocketAddr,
    pub(crate) dir: PathBuf,
    command: Mutex<Vec<String>>,
    /// Which word of the command is the program.
    program: usize,
    process: Mutex<Option<Process>>,
}

// === impl Spec ===

impl Spec {
    pub(crate) const fn new(name: &'static str, version: Version) -> Self {
        Self { name, version, flags: &[], native: false }
    }

    pub(crate) const fn flags(self, flags: &'static [&'static str]) -> Self {
        Self { flags, ..self }
    }

    pub(crate) const fn native(self) -> Self {
        Self { native: true, ..self }
    }
}

// === impl ApiServer ===

impl ApiServer {
    pub(crate) fn new(spec: &Spec, binary: &str, etcd: &str, files: &Files) -> Self {
        let dir = files.dir.join(spec.name);
        fs::create_dir_all(&dir).unwrap();
        let port = super::free_port();
        // The identity lease is named after the host: without a UTS namespace of its own, every server of
        // this machine would have the same.
        let unshare: &[&str] = if fs::metadata("/proc/self").unwrap().uid() == 0 {
            &["unshare", "--uts"]
        } else {
            &["unshare", "--user", "--map-root-user", "--uts"]
        };
        let mut command: Vec<String> = unshare.iter().map(|word| (*word).to_owned()).collect();
        command.extend(["sh", "-c", r#"hostname "$0" && exec "$@""#].map(str::to_owned));
        command.push(format!("kpp-{}", spec.name));
        command.extend(DIES_WITH_PARENT.map(str::to_owned));
        let program = command.len();
        command.push(binary.to_owned());
        let file = |name: &str| files.path(name);
        command.extend([
            format!("--etcd-servers={etcd}"),
            format!("--secure-port={port}"),
            "--bind-address=127.0.0.1".to_owned(),
            "--advertise-address=127.0.0.1".to_owned(),
            // Loopback is no valid address for the Endpoints object of `kubernetes`.
            "--endpoint-reconciler-type=none".to_owned(),
            "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
            format!("--tls-cert-file={}", file("apiserver.crt")),
            format!("--tls-private-key-file={}", file("apiserver.key")),
            format!("--client-ca-file={}", file("ca.crt")),
            format!("--token-auth-file={}", file("tokens.csv")),
            format!("--requestheader-client-ca-file={}", file("front-proxy-ca.crt")),
            "--requestheader-allowed-names=front-proxy-client".to_owned(),
            "--requestheader-username-headers=X-Remote-User".to_owned(),
            "--requestheader-group-headers=X-Remote-Group".to_owned(),
            "--requestheader-extra-headers-prefix=X-Remote-Extra-".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-key-file={}", file("sa.crt")),
            format!("--service-account-signing-key-file={}", file("sa.key")),
            // As which it calls kubelets, where, and whom it takes for one.
            format!("--kubelet-client-certificate={}", file("kubelet-client.crt")),
            format!("--kubelet-client-key={}", file("kubelet-client.key")),
            format!("--kubelet-certificate-authority={}", file("ca.crt")),
            "--kubelet-preferred-address-types=InternalIP".to_owned(),
            "--authorization-mode=RBAC".to_owned(),
            // No controller makes service accounts here, and pods must be creatable.
            "--disable-admission-plugins=ServiceAccount".to_owned(),
            format!("--audit-policy-file={}", file("audit-policy.json")),
            format!("--audit-log-path={}", dir.join("audit.log").display()),
        ]);
        if spec.native {
            command.extend([
                format!("--peer-ca-file={}", file("ca.crt")),
                format!("--proxy-client-cert-file={}", file("front-proxy-client.crt")),
                format!("--proxy-client-key-file={}", file("front-proxy-client.key")),
            ]);
        }
        command.extend(spec.flags.iter().map(|flag| (*flag).to_owned()));
        let addr = (Ipv4Addr::LOCALHOST, port).into();
        Self { name: spec.name, addr, dir, command: Mutex::new(command), program, process: Mutex::new(None) }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.addr)
    }

    /// From its next start on, it is this program.
    pub(crate) fn becomes(&self, binary: &Path) {
        self.command.lock().unwrap()[self.program] = binary.display().to_string();
    }

    /// From its next start on, it has this flag as well.
    pub(crate) fn add_flag(&self, flag: &str) {
        self.command.lock().unwrap().push(flag.to_owned());
    }

    /// Starts it, or starts it again with the same flags on the same port.
    pub(crate) fn start(&self) {
        let process = Process::start(&self.command.lock().unwrap(), &self.dir.join("log")).unwrap();
        *self.process.lock().unwrap() = Some(process);
    }

    /// SIGKILL, as when a machine goes.
    pub(crate) fn kill(&self) {
        drop(self.process.lock().unwrap().take());
    }

    /// SIGTERM, and waits for the end; kube-apiserver lets open watches linger for up to a minute.
    pub(crate) async fn terminate(&self) {
        self.signal("TERM");
        eventually("the server ends after SIGTERM", async || (!self.is_running()).then_some(())).await;
        self.kill();
    }

    /// SIGTERM, and SIGKILL to what is left after `grace`, as a kubelet does it.
    pub(crate) async fn retire(&self, grace: Duration) {
        self.signal("TERM");
        let begun = Instant::now();
        while self.is_running() && begun.elapsed() < grace {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.kill();
    }

    /// `STOP` and `CONT` make it hang for a while.
    pub(crate) fn signal(&self, signal: &str) {
        if let Some(process) = &*self.process.lock().unwrap() {
            process.signal(signal);
        }
    }

    fn is_running(&self) -> bool {
        self.process.lock().unwrap().as_mut().is_some_and(Process::is_running)
    }

    /// Waits until it says of itself that it is ready.
    pub(crate) async fn ready(&self, files: &Files) {
        eventually(&format!("{} is ready (see {}/log)", self.name, self.dir.display()), async || {
            assert!(self.is_running(), "{} ended, see {}/log", self.name, self.dir.display());
            let client = Dial::new(files, self.addr, Who::Admin).h1().connect().await.ok()?;
            let reply = client.get("/readyz").await.ok()?;
            (reply.status == 200).then_some(())
        })
        .await;
    }
}
