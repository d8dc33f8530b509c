//! The list of API servers: from flags, from the file, or from both.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rustls_pki_types::CertificateDer;

use super::domains;
use super::read::Findings;
use super::settings::{Given, Settings};
use super::{ServerConfig, ServerMaterial, values};
use crate::servers::source::MAX_SERVERS;

/// The name that an API server's certificate has for those who call it inside the cluster.
const DEFAULT_SERVER_NAME: &str = "kubernetes.default.svc";

/// Stands in faults for the servers that the configuration does not name.
const ANY_OTHER: &str = "of --peer-source";
/// Where they are until they are known (RFC 2606 keeps it free).
const NOWHERE: &str = "https://peer.invalid";

/// What is known of the servers. The list holds those without a fault, the names are all that could be read.
#[derive(Default)]
pub(super) struct Servers {
    pub(super) list: Vec<(ServerConfig, ServerMaterial)>,
    pub(super) names: BTreeSet<String>,
}

/// One server as it was given.
struct Draft {
    /// What the file says about it; empty if it is only named by a flag.
    section: Settings<'static>,
    name: Option<Given>,
    url: Option<Given>,
}

/// Reads the servers. `--api-server` decides which there are and where; one that the file knows under the same
/// name keeps what else the file says about it. There has to be one if it is `needed`.
pub(super) fn servers(settings: &mut Settings<'_>, needed: bool, found: &mut Findings) -> Servers {
    let drafts = drafts(settings, found);
    if drafts.is_empty() && needed {
        found.fault(
            settings.key("api-server"),
            "at least one API server is needed, as NAME=https://HOST:PORT",
        );
    }
    if drafts.len() > MAX_SERVERS {
        let message = format!("there are {} API servers, and there can be {MAX_SERVERS}", drafts.len());
        found.fault(settings.key("api-server"), message);
    }
    let mut servers = Servers::default();
    let mut places = BTreeMap::new();
    for draft in drafts {
        let keys = [&draft.name, &draft.url].map(|given| given.as_ref().map(|given| given.key.clone()));
        let name = draft.name(found);
        if let Some(name) = &name
            && !servers.names.insert(name.clone())
        {
            found.fault(
                keys[0].clone().unwrap_or_default(),
                format!("there are two API servers named {name}"),
            );
        }
        let Some((config, material)) = draft.read(name, settings, found) else { continue };
        let place = (config.host(), config.port());
        if let Some(other) = places.insert(place, config.name.clone()) {
            let message = format!("{} and {other} are the same address", config.name);
            found.fault(keys[1].clone().unwrap_or_default(), message);
        }
        servers.list.push((config, material));
    }
    servers
}

/// A server about which nothing is said of its own, without a name and an address. It is in home's trust domain.
pub(super) fn like_others(
    trust_domain: Arc<str>,
    settings: &Settings<'_>,
    found: &mut Findings,
) -> Option<(ServerConfig, ServerMaterial)> {
    let url = Given {
        key: settings.key("peer-source"),
        values: vec![NOWHERE.to_owned()],
        base: std::path::PathBuf::new(),
    };
    let draft = Draft { section: Settings::nothing(), name: None, url: Some(url) };
    let (mut config, material) = draft.read(Some(ANY_OTHER.to_owned()), settings, found)?;
    config.trust_domain = trust_domain;
    Some((config, material))
}

fn drafts(settings: &mut Settings<'_>, found: &mut Findings) -> Vec<Draft> {
    let sections = settings.take_tables("api-servers");
    for section in &sections {
        section.unknown_keys(&mut found.faults);
    }
    let Some(given) = settings.given("api-server") else {
        let draft = |section: Settings<'static>| {
            let (name, url) = (section.given("name"), section.given("url"));
            Draft { section, name, url }
        };
        return sections.into_iter().map(draft).collect();
    };
    let mut known: BTreeMap<_, _> = sections
        .into_iter()
        .filter_map(|section| Some((section.given("name")?.values.first()?.clone(), section)))
        .collect();
    let mut drafts = Vec::new();
    for text in given.values.iter().filter(|text| !text.is_empty()) {
        let Some((name, url)) = text.split_once('=') else {
            // Not shown: it may be a URL with a password in it.
            found.fault(&given.key, "takes NAME=URL, such as a=https://10.0.0.1:6443");
            continue;
        };
        let part = |text: &str| Some(Given { values: vec![text.to_owned()], ..given.clone() });
        let section = known.remove(name).unwrap_or_else(Settings::nothing);
        drafts.push(Draft { section, name: part(name), url: part(url) });
    }
    drafts
}

// === impl Draft ===

impl Draft {
    fn name(&self, found: &mut Findings) -> Option<String> {
        let Some(given) = &self.name else {
            found.fault(self.section.key("name"), "is missing");
            return None;
        };
        values::name(given.values.first()?).map_err(|fault| found.fault(&given.key, fault)).ok()
    }

    /// Reads all of it, whatever is wrong with parts of it.
    fn read(
        self,
        name: Option<String>,
        all: &Settings<'_>,
        found: &mut Findings,
    ) -> Option<(ServerConfig, ServerMaterial)> {
        let own = &self.section;
        let shown = name.as_deref().unwrap_or("without a name");
        let url = match &self.url {
            Some(given) => values::server_url(given.values.first().map_or("", String::as_str))
                .map_err(|fault| found.fault(&given.key, fault))
                .ok(),
            None => {
                found.fault(own.key("url"), "is missing");
                None
            }
        };
        let ca = match own.given("ca-file").or_else(|| all.given("peer-ca-file")) {
            Some(given) => found.certificates(&given),
            None => {
                let message = format!("is missing: the certificate of API server {shown} can't be checked");
                found.fault(all.key("peer-ca-file"), message);
                None
            }
        };
        let server_name = own.optional(found, "server-name", values::server_name).or_else(|| {
            let default = values::server_name(DEFAULT_SERVER_NAME).ok();
            all.optional(found, "peer-server-name", values::server_name).or(default)
        });
        let proxy_client = self.proxy_client(shown, all, found);
        let headers = own.headers(found);
        let trust_domain = own.value(found, "trust-domain", domains::DEFAULT.to_owned(), values::name);
        let ((ca_file, ca), proxy_client) = (ca?, proxy_client?);
        let config = ServerConfig {
            name: name?.into(),
            url: url?,
            ca_file,
            server_name: server_name?,
            proxy_client_cert_file: proxy_client.cert_file,
            proxy_client_key_file: proxy_client.key_file,
            headers,
            trust_domain: trust_domain.into(),
        };
        Some((config, ServerMaterial { ca, proxy_client: proxy_client.pair }))
    }

    /// The server's own client certificate and key, or everybody's: never one of each.
    fn proxy_client(
        &self,
        shown: &str,
        all: &Settings<'_>,
        found: &mut Findings,
    ) -> Option<super::read::KeyPairAt> {
        const NAMES: [&str; 2] = ["proxy-client-cert-file", "proxy-client-key-file"];
        let own = NAMES.map(|name| self.section.given(name));
        let from_own = own.iter().any(Option::is_some);
        let settings = if from_own { &self.section } else { all };
        match NAMES.map(|name| settings.given(name)) {
            [Some(cert), Some(key)] => found.key_pair(&cert, &key),
            given => {
                for (name, _) in NAMES.into_iter().zip(&given).filter(|(_, given)| given.is_none()) {
                    let message =
                        format!("is missing: API server {shown} would not take callers' identities from us");
                    found.fault(settings.key(name), message);
                }
                None
            }
        }
    }
}

/// I13, as far as a configuration can show it: servers of one trust domain accept the same callers, and servers of two
/// do not.
pub(super) fn check_trust(
    servers: &Servers,
    others: Option<(&ServerConfig, &ServerMaterial)>,
    allow_shared: bool,
    settings: &Settings<'_>,
    found: &mut Findings,
) {
    let named = servers.list.iter().map(|(server, material)| (server, material));
    let mut firsts: Vec<(&ServerConfig, &ServerMaterial)> = Vec::new();
    for (server, material) in named.chain(others) {
        let mut is_known = false;
        for (first, first_material) in &firsts {
            let cas = [first_material, material].map(|material| sorted(&material.ca.der));
            let [one, other] =
                [first_material, material].map(|material| material.proxy_client.chain.der.first());
            if first.trust_domain == server.trust_domain {
                is_known = true;
                let differ = [(cas[0] != cas[1], "CA files"), (one != other, "proxy client certificates")];
                let differ: Vec<_> = differ.iter().filter(|(is, _)| *is).map(|(_, what)| *what).collect();
                if !allow_shared && !differ.is_empty() {
                    let message = format!(
                        "{} and {} are in one trust domain but have different {}: who can sign certificates for one \
                         of them could become anybody in the other; say true here if you know that they accept the \
                         same callers",
                        first.name,
                        server.name,
                        differ.join(" and ")
                    );
                    found.fault(settings.key("allow-shared-identity"), message);
                }
            } else if !cas[0].is_disjoint(&cas[1]) || one == other {
                let message = format!(
                    "{} ({}) and {} ({}) are in two trust domains but have a CA or a proxy client certificate in \
                     common: who can sign certificates in one could pass for an API server of the other",
                    first.name, first.trust_domain, server.name, server.trust_domain
                );
                found.warning("apiServers.trustDomain", message);
            }
        }
        if !is_known {
            firsts.push((server, material));
        }
    }
}

fn sorted<'a>(certificates: &'a [CertificateDer<'static>]) -> BTreeSet<&'a [u8]> {
    certificates.iter().map(AsRef::as_ref).collect()
}
