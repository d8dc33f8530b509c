//! `demo api-server`: one of the demo's API servers in a process of its own, for a container.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use anyhow::Context as _;
use clap::Args;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    embedded::{Builder, Recorded, RunningServer, Server},
    ops::telemetry::{self, LogFormat},
    pki::{Credential, FRONT_PROXY_CLIENT},
};

/// How long clients have to leave at the end.
const LEAVE_WITHIN: Duration = Duration::from_secs(2);

/// A stand-in for one kube-apiserver.
#[derive(Args, Clone, Debug)]
pub(super) struct ApiServerArgs {
    /// Its name, for what it prints
    #[arg(long, value_name = "NAME", default_value = "demo")]
    name: String,
    /// Which kube-apiserver it looks like: 1.32, 1.35 or 1.36
    #[arg(long, value_name = "VERSION", default_value = "1.36", value_parser = version)]
    version: Recorded,
    /// Address to listen on
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    bind_address: IpAddr,
    /// Port to listen on
    #[arg(long, value_name = "PORT", default_value_t = 6443)]
    port: u16,
    /// Folder with the files that `kube-peer-proxy certs` wrote
    #[arg(long, value_name = "DIR")]
    pki: PathBuf,
    /// What is logged: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", default_value = "warn")]
    log_level: String,
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// If a file of the PKI can't be used, or the port is taken.
pub(super) fn run(args: &ApiServerArgs) -> anyhow::Result<()> {
    telemetry::init(&args.log_level, LogFormat::Text)?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let server = start(args).await?;
        println!(
            "{}: looks like Kubernetes 1.{} at {}; in memory, for demonstrations only",
            server.id(),
            args.version.minor(),
            server.url()
        );
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        server.shut_down(LEAVE_WITHIN).await;
        Ok(())
    })
}

async fn start(args: &ApiServerArgs) -> anyhow::Result<RunningServer> {
    let address = SocketAddr::new(args.bind_address, args.port);
    let server = credentials(args, Server::builder(&args.name))?.version(args.version);
    Ok(server.start(address).await?)
}

/// What [`Builder::pki`] takes from memory, from files.
fn credentials(args: &ApiServerArgs, server: Builder) -> anyhow::Result<Builder> {
    let read = |name: &str| {
        let path = args.pki.join(name);
        let text = fs::read_to_string(&path);
        text.with_context(|| {
            format!("--pki: cannot read {}; `kube-peer-proxy certs` makes it", path.display())
        })
    };
    let certificate = |name: &str| -> anyhow::Result<CertificateDer<'static>> {
        let pem = read(name)?;
        CertificateDer::from_pem_slice(pem.as_bytes())
            .with_context(|| format!("--pki: {name} is no certificate"))
    };
    let key_pem = read("apiserver.key")?;
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes())
        .context("--pki: apiserver.key is no private key")?;
    let (cert_pem, cert) = (read("apiserver.crt")?, certificate("apiserver.crt")?);
    Ok(server
        .serving(&Credential { cert_pem, key_pem, cert, key })
        .client_ca(&certificate("ca.crt")?)
        .front_proxy_ca(&certificate("front-proxy-ca.crt")?, &[FRONT_PROXY_CLIENT]))
}

fn version(text: &str) -> Result<Recorded, String> {
    let wanted = |known: &Recorded| text.strip_prefix('v').unwrap_or(text) == format!("1.{}", known.minor());
    Recorded::ALL
        .into_iter()
        .find(wanted)
        .ok_or_else(|| "there are recordings of 1.32, 1.35 and 1.36".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::{Command, FromArgMatches as _};

    use super::*;
    use crate::pki::Pki;

    fn args(more: &[&str]) -> Result<ApiServerArgs, clap::Error> {
        let all = ["api-server", "--port=0"].iter().chain(more).copied().collect::<Vec<_>>();
        let matches = ApiServerArgs::augment_args(Command::new("api-server")).try_get_matches_from(all)?;
        ApiServerArgs::from_arg_matches(&matches)
    }

    #[test]
    fn a_version_that_nobody_recorded_is_refused_with_those_that_were() {
        assert_eq!(args(&["--pki=x", "--version=v1.35"]).unwrap().version, Recorded::V1_35);
        let error = args(&["--pki=x", "--version=1.34"]).unwrap_err().to_string();
        assert!(error.contains("1.32, 1.35 and 1.36"), "{error}");
    }

    #[tokio::test]
    async fn without_its_pki_it_names_the_file_and_who_makes_it() {
        let dir = tempfile::tempdir().unwrap();
        let pki = format!("--pki={}", dir.path().display());
        let error = start(&args(&[&pki]).unwrap()).await.unwrap_err().to_string();
        assert!(error.contains("apiserver.key") && error.contains("kube-peer-proxy certs"), "{error}");
        Pki::generate(&[]).unwrap().write(dir.path(), false).unwrap();
        assert!(start(&args(&[&pki]).unwrap()).await.is_ok());
        fs::write(dir.path().join("ca.crt"), "nothing").unwrap();
        let error = start(&args(&[&pki]).unwrap()).await.unwrap_err().to_string();
        assert!(error.contains("ca.crt is no certificate"), "{error}");
    }
}
