//! From a configuration to what requests and handshakes go by; the same at start and at every reload.

use std::sync::Arc;

use anyhow::Context as _;
use rustls::ServerConfig;

use crate::{
    api::user::UserHeaders,
    config::{self, Config, KeyPair, Loaded},
    limits,
    proxy::{
        caller::{Authenticator, FrontProxy},
        domains::Domains,
        headers::IdentityFilter,
        policy::{Policy, Settings},
    },
    tls::{
        certificate::ClientCa,
        server::{self, Serving, ServingCertificate},
    },
};

/// What requests go by. They may go to servers that are leaving, too, which take users from these headers (I1).
pub(super) fn policy(loaded: &Loaded, leaving: &[UserHeaders], generation: u64) -> anyhow::Result<Policy> {
    let config = &loaded.config;
    let authenticator = authenticator(loaded)?;
    let user_headers = config.servers.iter().map(|server| &server.headers).chain(leaving);
    let front_proxy = authenticator.front_proxy.as_ref().map(|trusted| &trusted.headers);
    Ok(Policy {
        generation,
        identity_filter: Arc::new(IdentityFilter::new(user_headers.chain(front_proxy))),
        authenticator,
        domains: Domains { callers: Arc::clone(&config.trust_domain), rules: config.identity_map.clone() },
        settings: Settings {
            reroute: config.reroute,
            merge: config.discovery.merge,
            sources_header: config.discovery.sources_header,
            request_timeout: config.request_timeout,
            max_requests_in_flight: config.max_requests_inflight,
            trusted_proxies: config.callers.trusted_proxy_cidrs.clone(),
            upgrade_idle_timeout: config.upgrade_idle_timeout,
            recheck_timeout: limits::RECHECK_TIMEOUT,
        },
    })
}

/// What handshakes with clients go by; the CAs that `policy` believes are named to them.
pub(super) fn serving(loaded: &Loaded, policy: &Policy) -> anyhow::Result<Arc<ServerConfig>> {
    let Authenticator { client_ca, front_proxy } = &policy.authenticator;
    let cas = client_ca.iter().chain(front_proxy.iter().map(|trusted| &trusted.ca));
    let ca_names = cas.flat_map(|ca| ca.names().to_vec()).collect();
    let Loaded { config: Config { listen, .. }, material, .. } = loaded;
    let named = listen.sni.iter().zip(&material.sni);
    let serving = Serving {
        default: pem(&material.serving),
        named: named.map(|(sni, pair)| (pem(pair), sni.names.as_slice())).collect(),
        min_version: listen.min_version,
        cipher_suites: &listen.cipher_suites,
        ca_names,
    };
    server::config(serving).context("--tls-cert-file, --tls-private-key-file, --tls-sni-cert-key")
}

fn pem(pair: &KeyPair) -> ServingCertificate<'_> {
    ServingCertificate { certificate: &pair.chain.pem, key: &pair.key_pem }
}

fn authenticator(loaded: &Loaded) -> anyhow::Result<Authenticator> {
    let Loaded { config, material, .. } = loaded;
    let ca = |bundle: &config::Certificates, key| ClientCa::from_pem(&bundle.pem).context(key);
    let client_ca = material.client_ca.as_ref().map(|bundle| ca(bundle, "--client-ca-file")).transpose()?;
    let front_proxy = match (&config.callers.front_proxy, &material.front_proxy_ca) {
        (Some(trusted), Some(bundle)) => Some(FrontProxy {
            ca: ca(bundle, "--requestheader-client-ca-file")?,
            allowed_names: trusted.allowed_names.clone(),
            headers: trusted.headers.clone(),
        }),
        _ => None,
    };
    Ok(Authenticator { client_ca, front_proxy })
}
