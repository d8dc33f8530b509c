//! `explain`: where a request would go, by which rule, from which view, and who its caller would be there.

use std::{io::Write, sync::Arc};

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use serde_json::Value;

use super::{
    cli::Usage,
    looking::{Admin, LookArgs, Place, Target, ask_all},
};
use crate::{
    api::{request_info::RequestInfo, user::UserHeaders},
    config::{self, Config, ServeArgs},
    discovery::{catalog::Serving, skew::Column},
    proxy::{
        Reroute,
        domains::Domains,
        explain::{self, Asked, Beginning, Seen, View},
    },
    servers::source::{MAX_SERVERS, ServerSet},
};

mod text;

/// Where a proxy's admin pages are unless it is told otherwise.
const USUAL_ADMIN: &str = "127.0.0.1:8090";

const BELOW: &str = "\
Exit code 0 if it could be said, 1 if nobody could be asked, 64 for a path, verb or caller that there is not.

Examples, which `kubectl peers explain` takes, too:
  # of the proxy whose admin pages are at 127.0.0.1:8090
  kube-peer-proxy explain /apis/apps/v1/deployments --verb list
  # of a certificate's caller, somewhere else
  kube-peer-proxy explain /api/v1/namespaces/default/pods/p/exec --verb create --as-user jane --admin 127.0.0.1:9090
  # without any proxy: API servers of the kubeconfig, or those of a proxy's configuration
  kube-peer-proxy explain /apis/apps/v1/deployments --context blue --context green
  kube-peer-proxy explain /apis/apps/v1/deployments --config proxy.yaml";

/// Says which API server would answer a request, and why. The request itself is not sent.
///
/// With no argument that says where to look, `kube-peer-proxy explain` asks the proxy whose admin pages are at
/// 127.0.0.1:8090, and `kubectl peers explain` the server of the current context. Where API servers are asked and no
/// proxy, it is decided as one before them would.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = BELOW)]
pub struct ExplainArgs {
    #[command(flatten)]
    look: LookArgs,
    /// The request's path, as /apis/apps/v1/namespaces/default/deployments
    #[arg(value_name = "PATH")]
    path: String,
    /// What is to be done: get, list, watch, create, update, patch, delete, deletecollection [default: get; list for
    /// a collection]
    #[arg(long, value_name = "VERB")]
    verb: Option<String>,
    /// Which API server to take for home [default: the proxy's; where each connection has its own, all of them]
    #[arg(long, value_name = "NAME")]
    home: Option<String>,
    /// A caller with a client certificate for this user
    #[arg(long, value_name = "NAME", conflicts_with_all = ["as_token", "as_anonymous"])]
    as_user: Option<String>,
    /// The caller's group; can be repeated
    #[arg(long, alias = "group", value_name = "NAME", value_delimiter = ',', requires = "as_user")]
    as_group: Vec<String>,
    /// A caller with a bearer token
    #[arg(long, conflicts_with = "as_anonymous")]
    as_token: bool,
    /// A caller with neither certificate nor token
    #[arg(long)]
    as_anonymous: bool,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    /// A few lines for people
    Text,
    /// What /debug/explain answers
    Json,
    /// The same
    Yaml,
}

/// Where to look if nobody says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Usual {
    /// A proxy on this machine.
    Proxy,
    /// kubectl's current context.
    Kubectl,
}

/// How a proxy before certain servers would decide, apart from what they serve.
struct Settings {
    home: Option<usize>,
    homes: ServerSet,
    reroute: Reroute,
    merge: bool,
    /// By number.
    user_headers: Vec<UserHeaders>,
    /// By number.
    trust_domains: Vec<Arc<str>>,
    domains: Domains,
}

/// Runs the command.
///
/// # Errors
/// [`Usage`] if there is no such path or verb, and whatever keeps servers or the proxy from being asked.
pub(super) fn run(args: &ExplainArgs, usual: Usual, out: &mut impl Write) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = runtime.block_on(args.answer(usual));
    // Not waiting for a name for which nobody answers, nor for a credential plugin that hangs.
    runtime.shutdown_background();
    let answer = answer?;
    let text = match args.output {
        Output::Text => text::render(&answer),
        Output::Json => format!("{answer:#}\n"),
        Output::Yaml => serde_saphyr::to_string(&answer).context("the answer can't be written as YAML")?,
    };
    out.write_all(text.as_bytes())?;
    Ok(())
}

// === impl ExplainArgs ===

impl ExplainArgs {
    async fn answer(&self, usual: Usual) -> anyhow::Result<Value> {
        let asked = self.asked();
        // Before anybody is asked: what is wrong with the question is wrong everywhere.
        explain::check(&asked).map_err(Usage)?;
        let mut look = self.look.clone();
        if usual == Usual::Proxy && !says_where(&look) {
            look.admin = Some(USUAL_ADMIN.to_owned());
        }
        match look.place().await? {
            Place::Admin(admin) => of_proxy(&admin, &look, &asked).await,
            Place::Servers(targets) => of_servers(targets, &look, &asked).await,
        }
    }

    fn asked(&self) -> Asked {
        let kind = match (self.as_token, self.as_anonymous) {
            (true, _) => Some("token"),
            (_, true) => Some("anonymous"),
            _ => None,
        };
        Asked {
            path: Some(self.path.clone()),
            verb: self.verb.clone(),
            home: self.home.clone(),
            user: self.as_user.clone(),
            groups: (!self.as_group.is_empty()).then(|| self.as_group.join(",")),
            caller: kind.map(str::to_owned),
        }
    }
}

/// Whether the arguments name any place.
fn says_where(look: &LookArgs) -> bool {
    let LookArgs { server, context, kubeconfig, tls_server_name: _, config, admin, timeout: _ } = look;
    !server.is_empty() || !context.is_empty() || kubeconfig.is_some() || config.is_some() || admin.is_some()
}

/// Asks a proxy that runs.
async fn of_proxy(admin: &Admin, look: &LookArgs, asked: &Asked) -> anyhow::Result<Value> {
    let query =
        url::form_urlencoded::Serializer::new(String::new()).extend_pairs(asked.parameters()).finish();
    let answer = admin.json(&format!("/debug/explain?{query}"), look.timeout).await;
    answer.map_err(|error: anyhow::Error| match error.downcast::<Usage>() {
        Ok(usage) => usage.into(),
        Err(error) => error.context(
            "no proxy could be asked; without one, say which API servers to look at (--context, --server, --config)",
        ),
    })
}

/// Asks API servers what they serve, and decides as a proxy before them would.
async fn of_servers(mut targets: Vec<Target>, look: &LookArgs, asked: &Asked) -> anyhow::Result<Value> {
    if targets.len() > MAX_SERVERS {
        return Err(Usage(format!("a proxy stands before {MAX_SERVERS} API servers at most")).into());
    }
    targets.sort_by(|one, other| one.name.cmp(&other.name));
    let settings = Settings::of(look, &targets)?;
    let columns = ask_all(&targets, look.timeout, |_| {}).await;
    if columns.iter().all(|column| column.document.is_none()) {
        let why = columns.iter().filter_map(|column| column.seen.error.as_deref());
        bail!("no server could be asked: {}", why.collect::<Vec<_>>().join("; "));
    }
    if let [alone] = columns.as_slice()
        && alone.seen.stands_for_others
    {
        bail!(
            "at {} a proxy stands before other API servers, too, and only it knows where it sends a request: ask it \
             (--admin HOST:PORT), or name the servers themselves (--server, --context)",
            alone.seen.name
        );
    }
    let all: ServerSet = (0..columns.len()).collect();
    let heard = all.iter().filter(|number| columns[*number].document.is_some()).collect();
    let serving = |info: &RequestInfo<'_>| {
        let documents = columns.iter().enumerate();
        let documents = documents.filter_map(|(number, column)| Some((number, &**column.document.as_ref()?)));
        Serving::of(documents, info)
    };
    let beginning = Beginning {
        trust_domains: &settings.trust_domains,
        heard,
        reroute: settings.reroute != Reroute::Off,
        domains: &settings.domains,
    };
    let servers = columns.iter().zip(&settings.user_headers).zip(&settings.trust_domains);
    let view = View {
        servers: servers.map(|((column, headers), domain)| seen(column, headers, domain)).collect(),
        generation: None,
        healthy: heard,
        home: settings.home,
        homes: settings.homes,
        reroute: settings.reroute,
        merge: settings.merge,
        serving: &|info| serving(info).0,
        decide: &|info, path, home, caller| beginning.decide(serving(info), info, path, home, caller),
        domains: settings.domains.clone(),
    };
    Ok(explain::explain(&view, asked).map_err(Usage)?)
}

fn seen(column: &Column, user_headers: &UserHeaders, trust_domain: &Arc<str>) -> Seen {
    Seen {
        name: Arc::clone(&column.seen.name),
        version: column.document.as_ref().and_then(|document| document.version),
        freshness: column.seen.freshness,
        contact: column.seen.age_seconds.map(std::time::Duration::from_secs_f64),
        error: column.seen.error.clone(),
        user_headers: user_headers.clone(),
        trust_domain: Arc::clone(trust_domain),
    }
}

// === impl Settings ===

impl Settings {
    /// Those of the configuration file, if there is one, else the defaults; a single server is home.
    fn of(look: &LookArgs, targets: &[Target]) -> Result<Self, config::Invalid> {
        let usual = Self {
            home: (targets.len() == 1).then_some(0),
            homes: (0..targets.len()).collect(),
            reroute: Reroute::On,
            merge: true,
            user_headers: vec![UserHeaders::default(); targets.len()],
            trust_domains: vec![Arc::default(); targets.len()],
            domains: Domains::default(),
        };
        let Some(file) = &look.config else { return Ok(usual) };
        let args = ServeArgs { config: Some(file.clone()), ..ServeArgs::default() };
        let config = Config::load(&args)?.config;
        let home = match &config.home {
            config::Home::Named(name) => targets.iter().position(|target| target.name == *name),
            config::Home::Chosen(_) => usual.home,
        };
        let of = |target: &Target| config.servers.iter().find(|server| server.name == target.name);
        let headers = |target| of(target).map(|server| server.headers.clone()).unwrap_or_default();
        let domain = |target| of(target).map_or(&config.trust_domain, |server| &server.trust_domain);
        let trust_domains: Vec<_> = targets.iter().map(|target| Arc::clone(domain(target))).collect();
        let of_home = |number: &usize| &*trust_domains[*number] == config.home_domain();
        Ok(Self {
            home,
            homes: usual.homes.iter().filter(of_home).collect(),
            reroute: config.reroute,
            merge: config.discovery.merge,
            user_headers: targets.iter().map(headers).collect(),
            trust_domains,
            domains: Domains { callers: Arc::clone(&config.trust_domain), rules: config.identity_map },
        })
    }
}
