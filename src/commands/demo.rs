//! `demo`: API servers of three versions in memory, and the proxy before them, in one process.

use std::{fmt::Write as _, net::SocketAddr, path::PathBuf};

use anyhow::ensure;
use clap::{Args, Subcommand};
use http::{Method, StatusCode};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    api::media_type::ACCEPT_V2,
    ops::telemetry::{self, LogFormat},
};

mod api_server;
mod check;
mod stage;

use stage::Stage;

/// What `demo` is told on the command line.
#[derive(Args, Clone, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct DemoArgs {
    #[command(subcommand)]
    part: Option<DemoPart>,
    /// Create, list and watch what only one server has, kill that server, bring it back; print what was seen, and exit
    #[arg(long)]
    check: bool,
    /// Port of the proxy on 127.0.0.1
    #[arg(long, value_name = "PORT", default_value_t = 8443)]
    port: u16,
    /// Port of the admin pages on 127.0.0.1
    #[arg(long, value_name = "PORT", default_value_t = 8090)]
    admin_port: u16,
    /// What is logged: error, warn, info, debug or trace; with info, a line for each request [default: warn;
    /// error with --check, where a server is killed on purpose]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
}

#[derive(Clone, Debug, Subcommand)]
enum DemoPart {
    /// One of its API servers by itself, in memory: for demonstrations only
    ///
    /// It answers discovery as a kube-apiserver of that version does and keeps objects in memory until it ends. It
    /// validates nothing, lets every authenticated caller do everything, and shares its objects with nobody: two of
    /// these are not one cluster, as API servers on one etcd are.
    ApiServer(api_server::ApiServerArgs),
}

/// Runs until SIGTERM or SIGINT, or until the story is told.
///
/// # Errors
/// If a port is taken, or the story does not go as it should.
pub fn run(args: &DemoArgs) -> anyhow::Result<()> {
    if let Some(DemoPart::ApiServer(args)) = &args.part {
        return api_server::run(args);
    }
    let usual = if args.check { "error" } else { "warn" };
    telemetry::init(args.log_level.as_deref().unwrap_or(usual), LogFormat::Text)?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        if args.check {
            let stage = Stage::set(loopback(0), loopback(0)).await?;
            let seen = check::play(&stage).await;
            stage.clear().await;
            return seen?.print();
        }
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let stage = Stage::set(loopback(args.port), loopback(args.admin_port)).await?;
        let proxy = check::Client::new(&stage, stage.app.addresses[0])?;
        let made = proxy.send(Method::POST, check::POLICIES, "", Some(check::policy("first"))).await?;
        ensure!(made.status() == StatusCode::CREATED, "cannot make a first policy: {}", made.status());
        print!("{}", welcome(&stage));
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stage.clear().await;
        Ok(())
    })
}

fn loopback(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

/// What to try.
fn welcome(stage: &Stage) -> String {
    let dir = stage.dir.display();
    let ca = stage.file("ca.crt");
    let (cert, key) = (stage.file("admin.crt"), stage.file("admin.key"));
    let curl = format!("curl -sS --cacert {ca} --cert {cert} --key {key}");
    let (url, admin) = (stage.url(), stage.app.admin);
    let v2 = ACCEPT_V2;
    let groups = "jq -c '.items[] | [.metadata.name, .versions[].version]'";
    let mut text = String::new();
    for server in &stage.servers {
        // Writing to a String does not fail.
        let _ = writeln!(text, "API server {:<4} {}", server.id(), server.url());
    }
    text + &format!(
        "\
proxy           {url}   (home: {home})
admin pages     http://{admin}/
files           {dir}   (removed at the end)

  # kubectl, through the proxy; policies of this kind exist on 1.36 only
  export KUBECONFIG={dir}/kubeconfig
  kubectl get mutatingadmissionpolicies
  kubectl auth whoami
  (these servers know no fields: nothing is validated)
  # the same list from home itself: 404
  {curl} {home_url}{policies}

  # what all of them serve, merged
  {curl} -H 'Accept: {v2}' {url}/apis | {groups}
  # what home serves by itself
  {curl} -H 'Accept: {v2};profile=nopeer' {url}/apis | {groups}
  # where would a request go, and why?
  curl -s 'http://{admin}/debug/explain?path=/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies&verb=list'

Ctrl-C ends it.
",
        home = stage::HOME,
        home_url = stage.servers[0].url(),
        policies = check::POLICIES,
    )
}

/// Removes a folder when dropped.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // It lies in the folder for temporary files; whatever is left there is the system's to clean.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
