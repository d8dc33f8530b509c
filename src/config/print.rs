//! The effective configuration as a file.

use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::duration::{format, format_bytes};
use super::settings::file_key;
use super::{
    ClientLimits, Config, Home, HomePreference, IdentityRule, Listen, LogFormat, MappedName, PeerSource,
    Peers, Reroute, ServerConfig, SniCertificate, UserHeaders,
};
use crate::tls::suites;

/// See [`Config::to_yaml`].
pub(super) fn to_yaml(config: &Config) -> String {
    serde_saphyr::to_string(&Value::Object(document(config)))
        .expect("text, lists and mappings are always YAML")
}

/// Everything that counts, defaults included, under the keys of the file.
pub(super) fn document(config: &Config) -> Map<String, Value> {
    // Whoever adds a field is made to print it.
    let Config {
        listen,
        clients,
        callers,
        trust_domain,
        identity_map,
        servers,
        home,
        allow_shared_identity,
        proxy_user,
        peers,
        discovery,
        discovery_cache_dir,
        health,
        connections,
        reroute,
        request_timeout,
        max_requests_inflight,
        upgrade_idle_timeout,
        shutdown,
        operating,
    } = config;
    let mut file = File::default();
    put_listen(&mut file, listen);
    put_clients(&mut file, clients);

    file.put("client-ca-file", callers.client_ca_file.as_deref().map(path));
    if let Some(front_proxy) = &callers.front_proxy {
        file.put("requestheader-client-ca-file", path(&front_proxy.client_ca_file));
        file.put("requestheader-allowed-names", front_proxy.allowed_names.clone());
        file.put_headers(&front_proxy.headers);
    }
    file.put(
        "trusted-proxy-cidrs",
        callers.trusted_proxy_cidrs.iter().map(ToString::to_string).collect::<Vec<_>>(),
    );

    file.put("trust-domain", trust_domain.as_ref());
    file.put("identity-map", identity_map.iter().map(identity_rule).collect::<Vec<_>>());
    file.put("api-servers", servers.iter().map(server).collect::<Vec<_>>());
    match home {
        Home::Named(name) => file.put("home", name.as_ref()),
        Home::Chosen(preference) => file.put(
            "home-preference",
            match preference {
                HomePreference::Any => "any",
                HomePreference::Oldest => "oldest",
                HomePreference::Newest => "newest",
            },
        ),
    }
    file.put("allow-shared-identity", *allow_shared_identity);
    file.put("proxy-user", proxy_user.as_str());
    put_peers(&mut file, peers.as_ref());

    file.put("discovery-refresh", discovery.refresh.as_str());
    file.put("discovery-resync", format(discovery.resync));
    file.put("discovery-refresh-interval", format(discovery.refresh_interval));
    file.put("stale-after", format(discovery.stale_after));
    file.put("forget-after", format(discovery.forget_after));
    file.put("discovery-authorization-ttl", format(discovery.authorization_ttl));
    file.put("discovery-fetch-timeout", format(discovery.fetch_timeout));
    file.put("discovery-max-bytes", format_bytes(discovery.max_bytes));
    file.put("discovery-cache-dir", discovery_cache_dir.as_deref().map(path));
    file.put("merge", on_off(discovery.merge));
    file.put("discovery-sources-header", on_off(discovery.sources_header));

    let durations: [(&str, Duration); 5] = [
        ("health-probe-interval", health.probe_interval),
        ("health-probe-timeout", health.probe_timeout),
        ("connect-timeout", connections.connect_timeout),
        ("dead-after", connections.dead_after),
        ("pool-idle-timeout", connections.idle_timeout),
    ];
    for (name, value) in durations {
        file.put(name, format(value));
    }
    file.put("max-identity-connections", connections.max_identity);
    file.put("max-token-connections", connections.max_token);
    file.put("max-unproven-connections", connections.max_unproven);
    file.put("max-upgrade-connections", connections.max_upgrade);

    file.put(
        "reroute",
        match reroute {
            Reroute::On => "on",
            Reroute::DryRun => "dry-run",
            Reroute::Off => "off",
        },
    );
    file.put("request-timeout", format(*request_timeout));
    file.put("max-requests-inflight", max_requests_inflight.unwrap_or(0));
    file.put("upgrade-idle-timeout", format(upgrade_idle_timeout.unwrap_or_default()));
    file.put("shutdown-delay-duration", format(shutdown.delay));
    file.put("shutdown-timeout", format(shutdown.timeout));

    file.put("admin-bind-address", operating.admin_bind.to_string());
    file.put("metrics-bind-address", operating.metrics_bind.map(|address| address.to_string()));
    file.put("log-level", operating.log_filter.as_str());
    file.put(
        "log-format",
        match operating.log_format {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        },
    );
    file.put("access-log", on_off(operating.access_log));
    file.put("reload-check-interval", format(operating.reload_check_interval));
    file.0
}

fn put_listen(file: &mut File, listen: &Listen) {
    let Listen { bind, cert_file, key_file, min_version, cipher_suites, sni } = listen;
    file.put("bind-address", bind.iter().map(|address| address.ip().to_string()).collect::<Vec<_>>());
    file.put("secure-port", bind.first().map(|address| address.port()));
    file.put("tls-cert-file", path(cert_file));
    file.put("tls-private-key-file", path(key_file));
    file.put("tls-min-version", min_version.name());
    file.put("tls-cipher-suites", cipher_suites.iter().map(|suite| suites::name(*suite)).collect::<Vec<_>>());
    let sni = sni.iter().map(|SniCertificate { cert_file, key_file, names }| {
        let colon = if names.is_empty() { "" } else { ":" };
        format!("{},{}{colon}{}", path(cert_file), path(key_file), names.join(","))
    });
    file.put("tls-sni-cert-key", sni.collect::<Vec<_>>());
}

fn put_clients(file: &mut File, clients: &ClientLimits) {
    let ClientLimits {
        max_connections,
        max_connections_per_source,
        max_handshakes,
        handshake_timeout,
        header_read_timeout,
        max_header_bytes,
        max_streams,
        proxy_protocol_from,
        goaway_chance,
    } = clients;
    file.put("proxy-protocol-from", proxy_protocol_from.iter().map(ToString::to_string).collect::<Vec<_>>());
    file.put("max-connections", max_connections);
    file.put("max-connections-per-source", max_connections_per_source.unwrap_or(0));
    file.put("max-handshakes", max_handshakes);
    file.put("tls-handshake-timeout", format(*handshake_timeout));
    file.put("header-read-timeout", format(*header_read_timeout));
    file.put("max-header-bytes", format_bytes(*max_header_bytes));
    file.put("http2-max-streams-per-connection", max_streams);
    file.put("goaway-chance", goaway_chance);
}

fn put_peers(file: &mut File, peers: Option<&Peers>) {
    let Some(Peers { source, allowed_cidrs, nameserver: _, like }) = peers else {
        file.put("peer-source", "static");
        return;
    };
    file.put("peer-source", source.as_str());
    file.put("peer-allowed-cidrs", allowed_cidrs.iter().map(ToString::to_string).collect::<Vec<_>>());
    if let PeerSource::Dns(question) = source {
        file.put("peer-dns-name", question.to_string());
    }
    // The rest is what every server has that says nothing else; its headers and its trust domain can't be given so.
    file.put("peer-ca-file", path(&like.ca_file));
    file.put("peer-server-name", like.server_name.to_str());
    file.put("proxy-client-cert-file", path(&like.proxy_client_cert_file));
    file.put("proxy-client-key-file", path(&like.proxy_client_key_file));
}

fn server(server: &ServerConfig) -> Value {
    let ServerConfig {
        name,
        url,
        ca_file,
        server_name,
        proxy_client_cert_file,
        proxy_client_key_file,
        headers,
        trust_domain,
    } = server;
    let mut file = File::default();
    file.put("name", name.as_ref());
    file.put("url", url.as_str());
    file.put("ca-file", path(ca_file));
    file.put("server-name", server_name.to_str());
    file.put("proxy-client-cert-file", path(proxy_client_cert_file));
    file.put("proxy-client-key-file", path(proxy_client_key_file));
    file.put_headers(headers);
    file.put("trust-domain", trust_domain.as_ref());
    Value::Object(file.0)
}

fn identity_rule(rule: &IdentityRule) -> Value {
    let IdentityRule { trust_domain, users, groups, user, as_groups } = rule;
    let mut file = File::default();
    file.put("trust-domain", trust_domain.as_ref());
    file.put("users", users);
    file.put("groups", groups);
    match user {
        MappedName::Literal(name) => file.put("as-user", name),
        MappedName::Prefixed(prefix) => file.put("as-user-prefix", prefix),
    }
    file.put("as-groups", as_groups);
    Value::Object(file.0)
}

/// A mapping of the file that is being written.
#[derive(Default)]
struct File(Map<String, Value>);

// === impl File ===

impl File {
    /// Writes a setting, unless it is none.
    fn put(&mut self, name: &str, value: impl serde::Serialize) {
        let value = json!(value);
        if !value.is_null() {
            self.0.insert(file_key(name), value);
        }
    }

    fn put_headers(&mut self, headers: &UserHeaders) {
        let UserHeaders { username, uid, group, extra_prefixes } = headers;
        let lists = [("username-headers", username), ("uid-headers", uid), ("group-headers", group)];
        for (name, names) in lists {
            let names: Vec<_> = names.iter().map(http::HeaderName::as_str).collect();
            self.put(&format!("requestheader-{name}"), names);
        }
        self.put("requestheader-extra-headers-prefix", extra_prefixes);
    }
}

/// Paths that are no UTF-8 can't come from a flag, a variable or a YAML file.
fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn on_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}
