//! API servers as a kubeconfig names them.

use std::{collections::HashSet, env, net::IpAddr};

use kube::config::{Config, KubeConfigOptions, Kubeconfig, KubeconfigError};
use url::{Host, Url};

use super::{LookArgs, invalid, target::Target};
use crate::config::Invalid;

/// The API servers that the arguments name.
///
/// # Errors
/// What is wrong with the arguments or the kubeconfig.
pub(super) async fn targets(args: &LookArgs) -> Result<Vec<Target>, Invalid> {
    if !args.server.is_empty() && args.context.len() > 1 {
        let message = "goes with one --context, whose credentials are used; several contexts are several servers already";
        return Err(invalid("--server", message));
    }
    let kubeconfig = read(args)?;
    let mut targets = Vec::new();
    if args.server.is_empty() {
        let contexts = match &kubeconfig {
            Some(_) if !args.context.is_empty() => args.context.clone(),
            Some(kubeconfig) => vec![current(kubeconfig)?],
            None => vec!["in-cluster".to_owned()],
        };
        for context in contexts {
            let mut config = config_of(kubeconfig.as_ref(), &context).await?;
            config.tls_server_name = args.tls_server_name.clone().or(config.tls_server_name);
            targets.push(Target::direct(&context, config));
        }
    } else {
        let context = match (args.context.first(), &kubeconfig) {
            (Some(context), _) => context.clone(),
            (None, Some(kubeconfig)) => current(kubeconfig)?,
            (None, None) => String::new(),
        };
        let config = config_of(kubeconfig.as_ref(), &context).await?;
        for text in &args.server {
            let (name, url) = server(text).map_err(|fault| invalid("--server", fault))?;
            let mut config = config.clone();
            let fault = |error| invalid("--server", format!("{text:?}: {error}"));
            config.cluster_url =
                url.as_str().parse().map_err(|error: http::uri::InvalidUri| fault(error.to_string()))?;
            // The kubeconfig's is that of its own server, as kubectl sees it, too.
            config.tls_server_name.clone_from(&args.tls_server_name);
            targets.push(Target::direct(&name, config));
        }
    }
    let mut names = HashSet::new();
    match targets.iter().find(|target| !names.insert(target.name.clone())) {
        Some(twice) => {
            let message =
                format!("{:?} is named twice; give each a name of its own: --server NAME=URL", &*twice.name);
            Err(invalid(if args.server.is_empty() { "--context" } else { "--server" }, message))
        }
        None => Ok(targets),
    }
}

/// `None`: there is none, but we run in a cluster.
fn read(args: &LookArgs) -> Result<Option<Kubeconfig>, Invalid> {
    if let Some(file) = &args.kubeconfig {
        let read = Kubeconfig::read_from(file);
        return read.map(Some).map_err(|error| invalid("--kubeconfig", unread(&error)));
    }
    if env::var_os("KUBECONFIG").is_some_and(|value| !value.is_empty()) {
        let read = Kubeconfig::read();
        return read.map(Some).map_err(|error| invalid("KUBECONFIG", unread(&error)));
    }
    let usual = env::home_dir().map(|home| home.join(".kube").join("config"));
    match usual {
        Some(file) if file.exists() => {
            let read = Kubeconfig::read_from(&file);
            read.map(Some).map_err(|error| invalid(&file.display().to_string(), unread(&error)))
        }
        _ if env::var_os("KUBERNETES_SERVICE_HOST").is_some() && args.context.is_empty() => Ok(None),
        _ => Err(invalid(
            "--kubeconfig",
            "there is no kubeconfig: KUBECONFIG is not set, and ~/.kube/config does not exist. Say where to look: \
             --kubeconfig FILE, --config FILE of a proxy, or --admin HOST:PORT of a proxy that runs",
        )),
    }
}

/// Why a kubeconfig cannot be read. The parser's own words show the lines around the fault, where keys and tokens may
/// stand (I12).
fn unread(error: &KubeconfigError) -> String {
    let KubeconfigError::Parse(fault) = error else { return sentence(error) };
    let place = fault.location().map(|place| format!(" (line {}, column {})", place.line(), place.column()));
    format!("it is no YAML of a kubeconfig{}", place.unwrap_or_default())
}

/// An error and its causes. Some of that crate's messages have theirs in them already.
fn sentence(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = cause.source();
    }
    text
}

fn current(kubeconfig: &Kubeconfig) -> Result<String, Invalid> {
    kubeconfig.current_context.clone().filter(|name| !name.is_empty()).ok_or_else(|| {
        let message = format!("the kubeconfig has no current context; name one of {}", contexts(kubeconfig));
        invalid("--context", message)
    })
}

fn contexts(kubeconfig: &Kubeconfig) -> String {
    let names: Vec<&str> = kubeconfig.contexts.iter().map(|context| &*context.name).collect();
    if names.is_empty() { "none, for it has none".to_owned() } else { names.join(", ") }
}

/// How a context reaches its server.
async fn config_of(kubeconfig: Option<&Kubeconfig>, context: &str) -> Result<Config, Invalid> {
    let Some(kubeconfig) = kubeconfig else {
        let message = |error: kube::config::InClusterError| format!("in this pod: {}", sentence(&error));
        return Config::incluster().map_err(|error| invalid("--kubeconfig", message(error)));
    };
    let Some(named) = kubeconfig.contexts.iter().find(|named| named.name == context) else {
        let message =
            format!("there is no context {context:?} in the kubeconfig; it has {}", contexts(kubeconfig));
        return Err(invalid("--context", message));
    };
    let options = KubeConfigOptions { context: Some(context.to_owned()), ..KubeConfigOptions::default() };
    let mut config = Config::from_custom_kubeconfig(kubeconfig.clone(), &options)
        .await
        .map_err(|error| invalid("--context", format!("{context:?}: {}", sentence(&error))))?;
    let cluster = named.context.as_ref().map(|context| &context.cluster);
    let cluster = kubeconfig.clusters.iter().find(|one| Some(&one.name) == cluster);
    let says_proxy = cluster.and_then(|one| one.cluster.as_ref()?.proxy_url.as_ref()).is_some();
    if !says_proxy && goes_directly(config.cluster_url.host().unwrap_or_default()) {
        config.proxy_url = None;
    }
    Ok(config)
}

/// Whether a proxy of the environment is not for this host, as Go has it: never for this machine, nor for what
/// `NO_PROXY` names.
fn goes_directly(host: &str) -> bool {
    let listed = env::var("NO_PROXY").or_else(|_| env::var("no_proxy")).unwrap_or_default();
    is_direct(host, &listed)
}

fn is_direct(host: &str, listed: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    let address = host.parse::<IpAddr>().ok();
    if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
        return true;
    }
    listed.split(',').map(|one| one.trim().to_ascii_lowercase()).filter(|one| !one.is_empty()).any(|one| {
        let network = one.parse::<ipnet::IpNet>();
        let domain = one.trim_start_matches('*').trim_start_matches('.');
        one == "*"
            || one == host
            || address.zip(network.ok()).is_some_and(|(address, network)| network.contains(&address))
            || (!domain.is_empty() && host.ends_with(&format!(".{domain}")))
    })
}

/// `[NAME=]URL`; without a scheme it is https.
fn server(text: &str) -> Result<(String, Url), String> {
    let (name, url) = match text.split_once('=') {
        Some((name, url)) if !name.contains(['/', ':']) => (Some(name), url),
        _ => (None, text),
    };
    let fault = |what: &str| format!("{text:?}: {what}; write it as NAME=https://HOST:PORT");
    let full = if url.contains("://") { url.to_owned() } else { format!("https://{url}") };
    let url = Url::parse(&full).map_err(|error| fault(&error.to_string()))?;
    let is_here = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => return Err(fault("it has no host")),
    };
    match url.scheme() {
        "https" => {}
        "http" if is_here => {}
        "http" => return Err(fault("credentials are not sent without TLS to another machine")),
        _ => return Err(fault("it is no https URL")),
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
        return Err(fault("it has more than host, port and path"));
    }
    let host = url.host_str().unwrap_or_default();
    let name = match name {
        Some("") => return Err(fault("its name is empty")),
        Some(name) => name.to_owned(),
        None => url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")),
    };
    Ok((name, url))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i12_a_kubeconfig_that_cannot_be_read_is_not_printed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("kubeconfig");
        for (user, place) in [
            ("{token: s3cr3t, exec: 5}", "(line 4, column 31)"),
            ("s3cr3t", "(line 4, column 9)"),
            ("{token: s3cr3t, x: [}", "(line 4, column "),
        ] {
            std::fs::write(&file, format!("apiVersion: v1\nusers:\n- name: a\n  user: {user}\n")).unwrap();
            let args = LookArgs { kubeconfig: Some(file.clone()), ..LookArgs::default() };
            let said = read(&args).unwrap_err().to_string();
            assert!(!said.contains("s3cr3t") && said.contains(place), "{said}");
        }
    }

    #[test]
    fn a_server_is_a_url_with_or_without_a_name() {
        let read = |text: &str| server(text).map(|(name, url)| format!("{name} {url}"));
        assert_eq!(read("a=https://10.0.0.1:6443").unwrap(), "a https://10.0.0.1:6443/");
        assert_eq!(read("https://10.0.0.1:6443").unwrap(), "10.0.0.1:6443 https://10.0.0.1:6443/");
        assert_eq!(read("b=10.0.0.1:6443").unwrap(), "b https://10.0.0.1:6443/");
        assert_eq!(read("https://k.example/c/x=y").unwrap(), "k.example https://k.example/c/x=y");
        assert_eq!(read("http://[::1]:8001").unwrap(), "[::1]:8001 http://[::1]:8001/");
        for wrong in
            ["http://10.0.0.1", "=https://a", "a=ftp://b", "a=https://u:p@b", "a=https://", "https://a?b"]
        {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_proxy_of_the_environment_is_not_for_this_machine_nor_for_what_no_proxy_names() {
        let listed = "10.0.0.0/8, .example.com,exact.org,*.star.net";
        for direct in
            ["localhost", "127.0.0.1", "[::1]", "10.1.2.3", "a.example.com", "exact.org", "x.star.net"]
        {
            assert!(is_direct(direct, listed), "{direct}");
        }
        for proxied in ["11.0.0.1", "notexample.com", "example.org", "star.net.org"] {
            assert!(!is_direct(proxied, listed), "{proxied}");
        }
        assert!(is_direct("anything", "*") && !is_direct("anything", ""));
    }
}
