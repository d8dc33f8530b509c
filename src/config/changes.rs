//! In what two configurations differ.

use std::fmt;

use serde_json::{Map, Value};

use super::settings::file_key;
use super::{Config, Discovery, Invalid, Listen, Loaded, Operating, Peers, print, resolve};

/// A setting that two configurations do not have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The name of the API server that it is about, if it is one's own.
    pub server: Option<String>,
    /// The setting's key in the file.
    pub key: String,
}

impl Config {
    /// Every setting in which `other` differs, by its effect and not by where it was given. Another list of API
    /// servers is one setting.
    #[must_use]
    pub fn changes(&self, other: &Self) -> Vec<Change> {
        let servers = file_key("api-servers");
        let (mut old, mut new) = (print::document(self), print::document(other));
        let (old_list, new_list) = (take_list(&mut old, &servers), take_list(&mut new, &servers));
        let mut changes = differing(&old, &new, None);
        let names = |list: &[Map<String, Value>]| list.iter().map(name).collect::<Vec<_>>();
        if names(&old_list) == names(&new_list) {
            let pairs = old_list.iter().zip(&new_list);
            changes.extend(pairs.flat_map(|(old, new)| differing(old, new, Some(name(old)))));
        } else {
            changes.push(Change { server: None, key: servers });
        }
        changes
    }
}

impl Config {
    /// This configuration with all of `other` that can change while we run. It may have faults that neither has.
    #[must_use]
    pub fn taking(&self, other: &Self) -> Self {
        let new = other.clone();
        let peers = match (&self.peers, new.peers) {
            (Some(own), Some(new)) if own.source.as_str() == new.source.as_str() => {
                Some(Peers { source: own.source.clone(), ..new })
            }
            _ => self.peers.clone(),
        };
        Self {
            listen: Listen { bind: self.listen.bind.clone(), ..new.listen },
            callers: new.callers,
            trust_domain: new.trust_domain,
            identity_map: new.identity_map,
            servers: new.servers,
            home: new.home,
            allow_shared_identity: new.allow_shared_identity,
            peers,
            discovery: Discovery {
                merge: new.discovery.merge,
                sources_header: new.discovery.sources_header,
                forget_after: new.discovery.forget_after,
                ..self.discovery
            },
            reroute: new.reroute,
            request_timeout: new.request_timeout,
            max_requests_inflight: new.max_requests_inflight,
            upgrade_idle_timeout: new.upgrade_idle_timeout,
            operating: Operating {
                reload_check_interval: new.operating.reload_check_interval,
                ..self.operating.clone()
            },
            ..self.clone()
        }
    }
}

impl Loaded {
    /// The same with another configuration, which is checked like any, and with what its files hold now.
    ///
    /// # Errors
    /// Every fault that could be found.
    pub fn with(self, config: &Config) -> Result<Self, Invalid> {
        let resolve::Resolved { config, material, warnings } = resolve::again(config)?;
        Ok(Self { config, material, warnings, ..self })
    }
}

fn take_list(document: &mut Map<String, Value>, key: &str) -> Vec<Map<String, Value>> {
    let Some(Value::Array(list)) = document.remove(key) else { return Vec::new() };
    let maps = list.into_iter().filter_map(|server| match server {
        Value::Object(map) => Some(map),
        _ => None,
    });
    maps.collect()
}

fn name(server: &Map<String, Value>) -> String {
    server.get("name").and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn differing(old: &Map<String, Value>, new: &Map<String, Value>, server: Option<String>) -> Vec<Change> {
    let added = new.keys().filter(|key| !old.contains_key(*key));
    let keys = old.keys().chain(added).filter(|key| old.get(*key) != new.get(*key));
    keys.map(|key| Change { server: server.clone(), key: key.clone() }).collect()
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.server {
            Some(server) => write!(f, "apiServers[{server}].{}", self.key),
            None => f.write_str(&self.key),
        }
    }
}
