//! `healthz`: the health check of a container that holds nothing but this program.

use std::{fs, io::Write, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use clap::Args;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use url::Url;

use crate::{
    body::{self, BoxError},
    servers::pool::{Pool, Settings, Target},
    tls::client::{self, Alpn, Pem},
};

/// For all of it: Docker's own limit (`--timeout`) ends a check without a word.
const WITHIN: Duration = Duration::from_secs(4);
/// The longest answer that is read.
const LONGEST: usize = 64 * 1024;

/// Asks whether somebody is ready, and says so in one sentence; exit code 0 or 1.
#[derive(Args, Clone, Debug)]
pub struct HealthzArgs {
    /// Admin or metrics address of the proxy
    #[arg(
        long,
        value_name = "IP:PORT",
        env = "KUBE_PEER_PROXY_ADMIN_BIND_ADDRESS",
        default_value = "127.0.0.1:8090"
    )]
    admin: SocketAddr,
    /// Ask whether it is alive (/livez) instead of ready (/readyz)
    #[arg(long)]
    live: bool,
    /// Ask an API server instead, anonymously
    #[arg(long, value_name = "URL", requires = "ca_file")]
    api_server: Option<Url>,
    /// CAs of its serving certificate; needed with --api-server, and for nothing else
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

/// Asks, and tells `out`.
///
/// # Errors
/// If there is no answer within four seconds, or it is not 200.
pub fn run(args: &HealthzArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let path = if args.live { "/livez" } else { "/readyz" };
    let whom = args.api_server.as_ref().map_or_else(|| args.admin.to_string(), Url::to_string);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let asked = runtime.block_on(async {
        let asking = async {
            match (&args.api_server, &args.ca_file) {
                (Some(url), Some(ca_file)) => ask_api_server(url, ca_file, path).await,
                _ => ask_admin(args.admin, path).await,
            }
        };
        tokio::time::timeout(WITHIN, asking).await
    });
    // Not waiting for a name for which nobody answers.
    runtime.shutdown_background();
    let (status, text) = asked
        .with_context(|| format!("{whom}: no answer to {path} within {WITHIN:?}"))?
        .with_context(|| format!("{whom} cannot be asked for {path}"))?;
    if status != StatusCode::OK {
        bail!("{whom}{path} says {status}{}", failing(&text));
    }
    let word = if args.live { "alive" } else { "ready" };
    Ok(writeln!(out, "{whom} is {word}")?)
}

async fn ask_admin(admin: SocketAddr, path: &str) -> anyhow::Result<(StatusCode, String)> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(TcpStream::connect(admin).await?)).await?;
    let driver = tokio::spawn(connection);
    let request = Request::get(path).header(header::HOST, admin.to_string()).body(body::empty())?;
    let answer = read(sender.send_request(request).await?).await;
    driver.abort();
    answer
}

async fn ask_api_server(url: &Url, ca_file: &PathBuf, path: &str) -> anyhow::Result<(StatusCode, String)> {
    let host = match url.host().filter(|_| url.scheme() == "https") {
        Some(url::Host::Domain(name)) => name.to_owned(),
        Some(url::Host::Ipv4(address)) => address.to_string(),
        Some(url::Host::Ipv6(address)) => address.to_string(),
        None => bail!("--api-server has to be like https://127.0.0.1:6443"),
    };
    let pem = fs::read(ca_file).with_context(|| format!("--ca-file {}", ca_file.display()))?;
    let roots = client::roots_from_pem(Pem { name: &ca_file.display().to_string(), pem: &pem })?;
    // Over HTTP/2 an API server says good-bye to whoever is anonymous.
    let tls = client::config(roots, None, Alpn::Http11)?;
    let server_name = ServerName::try_from(host.clone())?;
    let target = Target { host, port: url.port_or_known_default().unwrap_or(443), server_name };
    let pool = Pool::new(target, tls, Settings::default(), Arc::new(|_| {}))?;
    let answer = pool.send(Request::get(path).body(body::empty())?).await;
    read(answer.map_err(|error| anyhow::anyhow!("{error}"))?).await
}

async fn read<B>(answer: Response<B>) -> anyhow::Result<(StatusCode, String)>
where
    B: http_body::Body<Error: Into<BoxError>>,
{
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, LONGEST).collect().await.map_err(|error| anyhow::anyhow!("{error}"))?;
    Ok((head.status, String::from_utf8_lossy(&body.to_bytes()).into_owned()))
}

/// The checks that fail, of a report in Kubernetes' form.
fn failing(report: &str) -> String {
    let names: Vec<_> = report
        .lines()
        .filter_map(|line| line.strip_prefix("[-]"))
        .map(|line| line.split_once(" failed").map_or(line, |(name, _)| name))
        .collect();
    if names.is_empty() { String::new() } else { format!(": not yet {}", names.join(", ")) }
}

#[cfg(test)]
mod tests {
    use clap::{Command, FromArgMatches as _};

    use super::*;
    use crate::{embedded::Server, pki::Pki};

    fn args(more: &[&str]) -> HealthzArgs {
        let all = ["healthz"].iter().chain(more).copied().collect::<Vec<_>>();
        let matches = HealthzArgs::augment_args(Command::new("healthz")).get_matches_from(all);
        HealthzArgs::from_arg_matches(&matches).unwrap()
    }

    /// Asks from a thread of its own: the command has a runtime of its own.
    async fn asked(args: HealthzArgs) -> Result<String, String> {
        let asked = tokio::task::spawn_blocking(move || {
            let mut out = Vec::new();
            run(&args, &mut out)
                .map(|()| String::from_utf8(out).unwrap())
                .map_err(|error| format!("{error:#}"))
        });
        asked.await.unwrap()
    }

    #[test]
    fn the_failing_checks_are_named() {
        let report =
            "[+]ping ok\n[-]discovery failed: reason withheld\n[-]b failed: x\nreadyz check failed\n";
        assert_eq!(failing(report), ": not yet discovery, b");
        assert_eq!(failing("ok"), "");
    }

    #[tokio::test]
    async fn an_api_server_is_asked_by_its_certificate() {
        let (pki, other) = (Pki::generate(&[]).unwrap(), Pki::generate(&[]).unwrap());
        let server = Server::builder("a").pki(&pki).start(([127, 0, 0, 1], 0).into()).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, pki: &Pki| {
            let path = dir.path().join(name);
            fs::write(&path, pki.cluster_ca.cert_pem()).unwrap();
            format!("--ca-file={}", path.display())
        };
        let url = format!("--api-server={}", server.url());
        let said = asked(args(&[&url, &file("right", &pki)])).await.unwrap();
        assert!(said.ends_with("is ready\n"), "{said}");
        let said = asked(args(&[&url, &file("wrong", &other)])).await.unwrap_err();
        assert!(said.contains("TLS handshake failed"), "{said}");
        server.stop().await;
        let said = asked(args(&[&url, &file("right", &pki)])).await.unwrap_err();
        assert!(said.contains("cannot connect"), "{said}");
    }
}
