//! Servers for unit tests that need one and send it nothing.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};

use super::{
    Pools, Server,
    health::Health,
    pool::{self, Pool, Target, UpgradeTls, Upgrades},
};
use crate::api::user::UserHeaders;

/// A server to which nobody ever connects.
pub(crate) fn server(name: &str) -> Arc<Server> {
    server_at(name, "192.0.2.1")
}

/// The same at an address.
pub(crate) fn server_at(name: &str, host: &str) -> Arc<Server> {
    server_of(name, host, "default")
}

/// The same in a trust domain.
pub(crate) fn server_of(name: &str, host: &str, trust_domain: &str) -> Arc<Server> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let tls = Arc::new(tls.with_root_certificates(RootCertStore::empty()).with_no_client_auth());
    let target = Target { host: host.into(), port: 6443, server_name: "apiserver".try_into().unwrap() };
    let observer: pool::Observer = Arc::new(|_| {});
    let pool = || {
        let settings = pool::Settings::default();
        Pool::new(target.clone(), Arc::clone(&tls), settings, Arc::clone(&observer)).unwrap()
    };
    let upgrade = UpgradeTls { identity: Arc::clone(&tls), plain: Arc::clone(&tls) };
    let upgrades = Upgrades::new(&target, upgrade, &pool::Settings::default(), &observer).unwrap();
    let pools = Pools { identity: pool(), token: pool(), unproven: pool(), own: pool(), upgrades };
    let health = Arc::new(Health::default());
    let headers = UserHeaders::default();
    Arc::new(Server::new(name.into(), target.authority(), trust_domain.into(), headers, health, pools))
}
