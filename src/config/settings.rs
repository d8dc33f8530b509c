//! What was said, and where: flags above the environment above the file.
//!
//! Every setting is known by its flag's name. The environment variable and the file's key are made from it, so
//! that there is one list and one rule.

use std::path::{Path, PathBuf};

use super::Fault;
use super::document::{Entry, Keys, Table, Value};
use super::flags::ServeArgs;

pub(super) use super::document::Shape;

/// Settings that have a flag, in the order of the help.
pub(super) const FLAGS: Keys = &[
    ("bind-address", Shape::Texts),
    ("secure-port", Shape::Text),
    ("tls-cert-file", Shape::Text),
    ("tls-private-key-file", Shape::Text),
    ("tls-min-version", Shape::Text),
    ("tls-cipher-suites", Shape::Texts),
    ("tls-sni-cert-key", Shape::Texts),
    ("proxy-protocol-from", Shape::Texts),
    ("max-connections", Shape::Text),
    ("max-connections-per-source", Shape::Text),
    ("http2-max-streams-per-connection", Shape::Text),
    ("goaway-chance", Shape::Text),
    ("client-ca-file", Shape::Text),
    ("requestheader-client-ca-file", Shape::Text),
    ("requestheader-allowed-names", Shape::Texts),
    ("requestheader-username-headers", Shape::Texts),
    ("requestheader-uid-headers", Shape::Texts),
    ("requestheader-group-headers", Shape::Texts),
    ("requestheader-extra-headers-prefix", Shape::Texts),
    ("trusted-proxy-cidrs", Shape::Texts),
    ("api-server", Shape::Texts),
    ("home", Shape::Text),
    ("home-preference", Shape::Text),
    ("peer-ca-file", Shape::Text),
    ("peer-server-name", Shape::Text),
    ("proxy-client-cert-file", Shape::Text),
    ("proxy-client-key-file", Shape::Text),
    ("proxy-user", Shape::Text),
    ("peer-source", Shape::Text),
    ("peer-allowed-cidrs", Shape::Texts),
    ("peer-dns-name", Shape::Text),
    ("discovery-refresh", Shape::Text),
    ("discovery-refresh-interval", Shape::Text),
    ("stale-after", Shape::Text),
    ("forget-after", Shape::Text),
    ("discovery-authorization-ttl", Shape::Text),
    ("discovery-cache-dir", Shape::Text),
    ("merge", Shape::Text),
    ("discovery-sources-header", Shape::Text),
    ("reroute", Shape::Text),
    ("request-timeout", Shape::Text),
    ("max-requests-inflight", Shape::Text),
    ("upgrade-idle-timeout", Shape::Text),
    ("shutdown-delay-duration", Shape::Text),
    ("shutdown-timeout", Shape::Text),
    ("admin-bind-address", Shape::Text),
    ("metrics-bind-address", Shape::Text),
    ("log-level", Shape::Text),
    ("log-format", Shape::Text),
    ("access-log", Shape::Text),
];

/// Settings that only the file has.
pub(super) const FILE_ONLY: Keys = &[
    ("api-servers", Shape::Tables(SERVER_KEYS)),
    ("allow-shared-identity", Shape::Text),
    ("trust-domain", Shape::Text),
    ("identity-map", Shape::Tables(IDENTITY_KEYS)),
    ("discovery-resync", Shape::Text),
    ("discovery-fetch-timeout", Shape::Text),
    ("discovery-max-bytes", Shape::Text),
    ("health-probe-interval", Shape::Text),
    ("health-probe-timeout", Shape::Text),
    ("connect-timeout", Shape::Text),
    ("dead-after", Shape::Text),
    ("pool-idle-timeout", Shape::Text),
    ("max-identity-connections", Shape::Text),
    ("max-token-connections", Shape::Text),
    ("max-unproven-connections", Shape::Text),
    ("max-upgrade-connections", Shape::Text),
    ("max-header-bytes", Shape::Text),
    ("header-read-timeout", Shape::Text),
    ("tls-handshake-timeout", Shape::Text),
    ("max-handshakes", Shape::Text),
    ("reload-check-interval", Shape::Text),
];

/// What the file says about one API server.
pub(super) const SERVER_KEYS: Keys = &[
    ("name", Shape::Text),
    ("url", Shape::Text),
    ("ca-file", Shape::Text),
    ("server-name", Shape::Text),
    ("proxy-client-cert-file", Shape::Text),
    ("proxy-client-key-file", Shape::Text),
    ("requestheader-username-headers", Shape::Texts),
    ("requestheader-uid-headers", Shape::Texts),
    ("requestheader-group-headers", Shape::Texts),
    ("requestheader-extra-headers-prefix", Shape::Texts),
    ("trust-domain", Shape::Text),
];

/// What the file says about callers in another trust domain.
pub(super) const IDENTITY_KEYS: Keys = &[
    ("trust-domain", Shape::Text),
    ("users", Shape::Texts),
    ("groups", Shape::Texts),
    ("as-user", Shape::Text),
    ("as-user-prefix", Shape::Text),
    ("as-groups", Shape::Texts),
];

/// What was given for a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Given {
    /// The setting as whoever gave it knows it.
    pub(super) key: String,
    /// At least one.
    pub(super) values: Vec<String>,
    /// Relative paths begin here.
    pub(super) base: PathBuf,
}

/// Where settings are looked up.
pub(super) struct Settings<'a> {
    /// None for what only the file has.
    above: Option<Above<'a>>,
    file: Table,
    /// The file's name, as it was given.
    file_name: String,
    /// Where the file lies.
    base: PathBuf,
    /// `apiServers[1].`, or nothing.
    prefix: String,
}

/// What counts more than the file.
#[derive(Clone, Copy)]
struct Above<'a> {
    args: &'a ServeArgs,
    env: &'a dyn Fn(&str) -> Option<String>,
}

/// `stale-after` becomes `staleAfter`.
pub(super) fn file_key(name: &str) -> String {
    let mut words = name.split('-');
    let mut key = words.next().unwrap_or_default().to_owned();
    for word in words {
        let (first, rest) = word.split_at(1);
        key += &first.to_ascii_uppercase();
        key += rest;
    }
    key
}

/// `stale-after` becomes `KUBE_PEER_PROXY_STALE_AFTER`.
pub(super) fn variable(name: &str) -> String {
    format!("KUBE_PEER_PROXY_{}", name.to_ascii_uppercase().replace('-', "_"))
}

// === impl Settings ===

impl<'a> Settings<'a> {
    pub(super) fn new(
        args: &'a ServeArgs,
        env: &'a dyn Fn(&str) -> Option<String>,
        file: Table,
        path: Option<&Path>,
    ) -> Self {
        Self {
            above: Some(Above { args, env }),
            file,
            file_name: path.map(|path| path.display().to_string()).unwrap_or_default(),
            base: path.and_then(Path::parent).map(Path::to_owned).unwrap_or_default(),
            prefix: String::new(),
        }
    }

    /// Settings of which none was given.
    pub(super) fn nothing() -> Settings<'static> {
        Settings {
            above: None,
            file: Table::default(),
            file_name: String::new(),
            base: PathBuf::new(),
            prefix: String::new(),
        }
    }

    /// What counts for the setting `name`; an empty environment variable counts as none.
    pub(super) fn given(&self, name: &str) -> Option<Given> {
        if let Some(Above { args, env }) = self.above {
            let values = args.given(name);
            if !values.is_empty() {
                let key = format!("--{name}");
                return Some(Given { key, values: values.to_owned(), base: PathBuf::new() });
            }
            if let Some((key, text)) = from_environment(name, env) {
                let values = if is_list(name) {
                    text.split(separator(name)).map(|item| item.trim().to_owned()).collect()
                } else {
                    vec![text]
                };
                return Some(Given { key, values, base: PathBuf::new() });
            }
        }
        let Entry { line, value } = self.file.entries.get(&file_key(name))?;
        let values = match value {
            Value::Text(text) => vec![text.clone()],
            Value::Texts(texts) => texts.clone(),
            Value::Tables(_) => return None,
        };
        Some(Given { key: self.in_file(name, *line), values, base: self.base.clone() })
    }

    /// How to name a setting that was not given: by its flag if it has one.
    pub(super) fn key(&self, name: &str) -> String {
        match self.given(name) {
            Some(given) => given.key,
            None if self.above.is_some() && is_flag(name) => format!("--{name}"),
            None => format!("{}{}", self.prefix, file_key(name)),
        }
    }

    /// The mappings listed under a key of the file, as settings of their own, by their line.
    pub(super) fn take_tables(&mut self, name: &str) -> Vec<Settings<'static>> {
        let key = file_key(name);
        let Some(Entry { value: Value::Tables(tables), .. }) = self.file.entries.remove(&key) else {
            return Vec::new();
        };
        let sections = tables.into_iter().enumerate().map(|(index, file)| Settings {
            above: None,
            file,
            file_name: self.file_name.clone(),
            base: self.base.clone(),
            prefix: format!("{}{key}[{index}].", self.prefix),
        });
        sections.collect()
    }

    /// A fault for each key that nobody knows.
    pub(super) fn unknown_keys(&self, faults: &mut Vec<Fault>) {
        for (key, line) in &self.file.unknown {
            let message = match FLAGS.iter().find(|(name, _)| name == key) {
                Some((name, _)) => format!("unknown key; it is written {} here", file_key(name)),
                None => "unknown key".to_owned(),
            };
            faults.push(Fault { key: format!("{}{key} ({}:{line})", self.prefix, self.file_name), message });
        }
    }

    fn in_file(&self, name: &str, line: u64) -> String {
        format!("{}{} ({}:{line})", self.prefix, file_key(name), self.file_name)
    }
}

/// The variable that is set for the setting `name`, and its text. The log level has a second one, which
/// everybody who debugs a program in Rust knows.
fn from_environment(name: &str, env: &dyn Fn(&str) -> Option<String>) -> Option<(String, String)> {
    let set = |variable: String| {
        let text = env(&variable).filter(|text| !text.is_empty())?;
        Some((variable, text))
    };
    let second = || if name == "log-level" { set("RUST_LOG".to_owned()) } else { None };
    if is_flag(name) { set(variable(name)).or_else(second) } else { None }
}

fn is_flag(name: &str) -> bool {
    FLAGS.iter().any(|(flag, _)| *flag == name)
}

fn is_list(name: &str) -> bool {
    FLAGS.iter().any(|(flag, shape)| *flag == name && matches!(shape, Shape::Texts))
}

/// Every environment variable that means something.
pub(super) fn variables() -> impl Iterator<Item = String> {
    let names = FLAGS.iter().map(|(name, _)| *name).chain(["config"]);
    names.map(variable).chain(["RUST_LOG".to_owned()])
}

/// What stands between the items of a list in the environment. An SNI certificate has commas of its own.
fn separator(name: &str) -> char {
    if name == "tls-sni-cert-key" { ';' } else { ',' }
}

/// All keys of the file. `api-server` is a flag only: the file has `apiServers`.
pub(super) fn file_keys() -> Vec<(&'static str, Shape)> {
    FLAGS.iter().chain(FILE_ONLY).copied().filter(|(name, _)| *name != "api-server").collect()
}
