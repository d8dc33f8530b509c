//! The flags of `serve`. Each is text here and is read, together with the environment and the file, by
//! `resolve`: so that every fault is told at once, and told the same way wherever the value came from.

use std::path::PathBuf;

use clap::Args;

const LISTENING: &str = "Listening";
const CALLERS: &str = "Who is calling";
const SERVERS: &str = "API servers";
const DISCOVERY: &str = "Discovery";
const REQUESTS: &str = "Requests";
const OPERATING: &str = "Operating";

/// Shown below the flags.
const BELOW: &str = "\
Each flag can also be given as an environment variable (--stale-after as KUBE_PEER_PROXY_STALE_AFTER; lists \
separated by commas, those of --tls-sni-cert-key by semicolons) or in the configuration file (staleAfter). A flag counts more than the environment, and that \
more than the file; `config print` shows what results. Paths in the file begin where it lies.

Instead of --api-server the file has apiServers, a list with, for each: name, url, caFile, serverName, \
proxyClientCertFile, proxyClientKeyFile, requestheaderUsernameHeaders, requestheaderUidHeaders, \
requestheaderGroupHeaders, requestheaderExtraHeadersPrefix, trustDomain. All but the first two have defaults.

Keys that only the file has:
  allowSharedIdentity       servers whose CAs differ are one trust domain nevertheless: true or false
  trustDomain               the trust domain of callers with certificates; that of the servers if they have one
  identityMap               who such a caller is in other trust domains, a list with, for each: trustDomain,
                            users and groups (the first rule that has one of his counts; the user '*' is
                            everybody), asUser or asUserPrefix, asGroups
  discoveryResync           how often a server is asked that is watched and of which nothing is heard
  discoveryFetchTimeout     limit for fetching one discovery document
  discoveryMaxBytes         limit for its size, decompressed
  healthProbeInterval       how often a server's health is looked at
  healthProbeTimeout        a probe without an answer by then has failed
  connectTimeout            limit for connecting to a server, TCP and TLS together
  deadAfter                 a connection that answers no PING for this long is given up
  poolIdleTimeout           a connection without a request for this long is closed
  maxIdentityConnections    connections to one server for callers whose identity we hand on
  maxTokenConnections       connections to one server for callers with tokens that it accepts
  maxUnprovenConnections    connections to one server for everybody else
  maxUpgradeConnections     upgraded connections (exec, attach, port-forward) to one server
  maxHeaderBytes            the longest head of a request
  headerReadTimeout         a head that takes longer to arrive is given up
  tlsHandshakeTimeout       a handshake with a client that takes longer is given up
  maxHandshakes             handshakes with clients at the same time; one more, and the longest of
                            the address that has most of them is given up
  reloadCheckInterval       how often this file and all that it names are looked at for changes";

/// Everything that `serve` can be told on the command line; `config check` and `config print` take the same.
#[derive(Args, Clone, Debug, Default)]
#[command(after_long_help = BELOW)]
pub struct ServeArgs {
    /// Configuration file (YAML); its keys are the flags' names in camelCase, and some that have no flag
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Address to listen on, IPv4 or IPv6; can be repeated [default: 0.0.0.0]
    #[arg(long, value_name = "IP", value_delimiter = ',', help_heading = LISTENING)]
    pub bind_address: Vec<String>,
    /// Port to listen on, at each address [default: 6443]
    #[arg(long, value_name = "PORT", help_heading = LISTENING)]
    pub secure_port: Option<String>,
    /// Serving certificate and its chain (PEM)
    #[arg(long, value_name = "FILE", help_heading = LISTENING)]
    pub tls_cert_file: Option<String>,
    /// Private key of the serving certificate (PEM)
    #[arg(long, value_name = "FILE", help_heading = LISTENING)]
    pub tls_private_key_file: Option<String>,
    /// Lowest TLS version of clients: VersionTLS12 or VersionTLS13 [default: VersionTLS12]
    #[arg(long, value_name = "VERSION", help_heading = LISTENING)]
    pub tls_min_version: Option<String>,
    /// Cipher suites of TLS 1.2, by their IANA names; those of TLS 1.3 can be named, but are always there
    /// [default: all that are supported, of which none is weak]
    #[arg(long, value_name = "SUITE", value_delimiter = ',', help_heading = LISTENING)]
    pub tls_cipher_suites: Vec<String>,
    /// Certificate and key for clients that ask for certain names, as CERT,KEY:NAME,*.NAME; without names those of the
    /// certificate count, an exact name counts more than a wildcard; can be repeated
    #[arg(long, value_name = "CERT,KEY[:NAMES]", help_heading = LISTENING)]
    pub tls_sni_cert_key: Vec<String>,
    /// Networks of load balancers that must begin each connection with a PROXY protocol header [default: none]
    #[arg(long, value_name = "CIDR", value_delimiter = ',', help_heading = LISTENING)]
    pub proxy_protocol_from: Vec<String>,
    /// Client connections at the same time [default: 10000]
    #[arg(long, value_name = "NUMBER", help_heading = LISTENING)]
    pub max_connections: Option<String>,
    /// Client connections from one address at the same time; 0: no limit [default: 0]
    #[arg(long, value_name = "NUMBER", help_heading = LISTENING)]
    pub max_connections_per_source: Option<String>,
    /// Requests that a client may have under way on one HTTP/2 connection [default: 250]
    #[arg(long, value_name = "NUMBER", help_heading = LISTENING)]
    pub http2_max_streams_per_connection: Option<String>,
    /// Chance, 0 to 0.02, that an HTTP/2 client is told to connect anew after a request, so that load balancers can
    /// spread clients again [default: 0]
    #[arg(long, value_name = "CHANCE", help_heading = LISTENING)]
    pub goaway_chance: Option<String>,

    /// CAs of client certificates; without it callers can't be known by theirs
    #[arg(long, value_name = "FILE", help_heading = CALLERS)]
    pub client_ca_file: Option<String>,
    /// CAs of trusted front proxies, whose X-Remote-* headers say who is calling
    #[arg(long, value_name = "FILE", help_heading = CALLERS)]
    pub requestheader_client_ca_file: Option<String>,
    /// Common names that a front proxy's certificate may have [default: any]
    #[arg(long, value_name = "NAME", value_delimiter = ',', help_heading = CALLERS)]
    pub requestheader_allowed_names: Vec<String>,
    /// Headers in which a front proxy gives the user [default: X-Remote-User]
    #[arg(long, value_name = "HEADER", value_delimiter = ',', help_heading = CALLERS)]
    pub requestheader_username_headers: Vec<String>,
    /// Headers in which a front proxy gives the user's UID [default: X-Remote-Uid]
    #[arg(long, value_name = "HEADER", value_delimiter = ',', help_heading = CALLERS)]
    pub requestheader_uid_headers: Vec<String>,
    /// Headers in which a front proxy gives the user's groups [default: X-Remote-Group]
    #[arg(long, value_name = "HEADER", value_delimiter = ',', help_heading = CALLERS)]
    pub requestheader_group_headers: Vec<String>,
    /// Beginnings of headers in which a front proxy gives extra data [default: X-Remote-Extra-]
    #[arg(long, value_name = "PREFIX", value_delimiter = ',', help_heading = CALLERS)]
    pub requestheader_extra_headers_prefix: Vec<String>,
    /// Networks of load balancers whose X-Forwarded-For is believed [default: none]
    #[arg(long, value_name = "CIDR", value_delimiter = ',', help_heading = CALLERS)]
    pub trusted_proxy_cidrs: Vec<String>,

    /// An API server, as a=https://10.0.0.1:6443; can be repeated
    #[arg(long, value_name = "NAME=URL", value_delimiter = ',', help_heading = SERVERS)]
    pub api_server: Vec<String>,
    /// The API server that this proxy stands beside (sidecar); without it the proxy is in front of all of them
    #[arg(long, value_name = "NAME", help_heading = SERVERS)]
    pub home: Option<String>,
    /// Without --home, which server a client's connection gets: any, oldest or newest [default: any]
    #[arg(long, value_name = "CHOICE", help_heading = SERVERS)]
    pub home_preference: Option<String>,
    /// CAs of the API servers' serving certificates
    #[arg(long, value_name = "FILE", help_heading = SERVERS)]
    pub peer_ca_file: Option<String>,
    /// Name that the API servers' serving certificates are checked for [default: kubernetes.default.svc]
    #[arg(long, value_name = "NAME", help_heading = SERVERS)]
    pub peer_server_name: Option<String>,
    /// Front-proxy client certificate that is shown to the API servers (PEM)
    #[arg(long, value_name = "FILE", help_heading = SERVERS)]
    pub proxy_client_cert_file: Option<String>,
    /// Private key of the front-proxy client certificate (PEM)
    #[arg(long, value_name = "FILE", help_heading = SERVERS)]
    pub proxy_client_key_file: Option<String>,
    /// User that the proxy's own requests are made as [default: system:kube-peer-proxy]
    #[arg(long, value_name = "USER", help_heading = SERVERS)]
    pub proxy_user: Option<String>,
    /// Where API servers come from, beside those of --api-server: static (nowhere else), leases (the identity leases of
    /// kube-apiservers, which have addresses by default from 1.36), endpointslices (of the service default/kubernetes;
    /// named like 10.0.0.1-6443) or dns. The certificates they must show, and are shown, are those of --peer-ca-file,
    /// --peer-server-name and --proxy-client-cert-file. One of --api-server counts more than another of its name or
    /// address [default: static]
    #[arg(long, value_name = "SOURCE", help_heading = SERVERS)]
    pub peer_source: Option<String>,
    /// Networks in which API servers that are not of --api-server may be, such as 10.0.0.0/24; others are never connected
    /// to. Loopback, link-local and multicast addresses need a network that has nothing else. Needed with every
    /// --peer-source but static
    #[arg(long, value_name = "CIDR", value_delimiter = ',', help_heading = SERVERS)]
    pub peer_allowed_cidrs: Vec<String>,
    /// With --peer-source=dns, the name whose addresses are API servers; one that begins with _ is one of SRV records,
    /// which have ports of their own [default port: 6443]
    #[arg(long, value_name = "NAME[:PORT]", help_heading = SERVERS)]
    pub peer_dns_name: Option<String>,

    /// What makes the proxy ask a server for its discovery again: watch (events of the server's own resources; a
    /// timer where they can't be watched) or interval (a timer) [default: watch]
    #[arg(long, value_name = "TRIGGER", help_heading = DISCOVERY)]
    pub discovery_refresh: Option<String>,
    /// How often a server is asked for its discovery on the timer [default: 30s]
    #[arg(long, value_name = "DURATION", help_heading = DISCOVERY)]
    pub discovery_refresh_interval: Option<String>,
    /// A server not heard from for this long is stale [default: 30s]
    #[arg(long, value_name = "DURATION", help_heading = DISCOVERY)]
    pub stale_after: Option<String>,
    /// A server that its source no longer names is forgotten after this long [default: 24h]
    #[arg(long, value_name = "DURATION", help_heading = DISCOVERY)]
    pub forget_after: Option<String>,
    /// How long home's permission to read discovery is remembered; 0 asks every time [default: 10s]
    #[arg(long, value_name = "DURATION", help_heading = DISCOVERY)]
    pub discovery_authorization_ttl: Option<String>,
    /// Directory in which the servers' last good discovery outlives a restart of the proxy; made if it is missing
    /// [default: none]
    #[arg(long, value_name = "DIRECTORY", help_heading = DISCOVERY)]
    pub discovery_cache_dir: Option<String>,
    /// Whether discovery and OpenAPI are answered with merged documents: on or off [default: on]
    #[arg(long, value_name = "ON|OFF", help_heading = DISCOVERY)]
    pub merge: Option<String>,
    /// Whether merged discovery answers name the servers whose documents went into them, in
    /// x-kube-peer-proxy-discovery-sources: on or off [default: off]
    #[arg(long, value_name = "ON|OFF", help_heading = DISCOVERY)]
    pub discovery_sources_header: Option<String>,

    /// Whether requests that home can't serve go to a peer: on, dry-run (only counted and logged) or off
    /// [default: on]
    #[arg(long, value_name = "CHOICE", help_heading = REQUESTS)]
    pub reroute: Option<String>,
    /// Limit for requests that are not long-running [default: 75s]
    #[arg(long, value_name = "DURATION", help_heading = REQUESTS)]
    pub request_timeout: Option<String>,
    /// Requests under way at the same time that are not long-running; others get 429; 0: no limit [default: 4000]
    #[arg(long, value_name = "NUMBER", help_heading = REQUESTS)]
    pub max_requests_inflight: Option<String>,
    /// An upgraded connection (exec, attach, port-forward) that is silent for this long is ended; 0: never
    /// [default: 4h]
    #[arg(long, value_name = "DURATION", help_heading = REQUESTS)]
    pub upgrade_idle_timeout: Option<String>,
    /// How long clients are still accepted after SIGTERM, while /readyz fails already [default: 5s]
    #[arg(long, value_name = "DURATION", help_heading = REQUESTS)]
    pub shutdown_delay_duration: Option<String>,
    /// How long after SIGTERM watches and upgraded connections are ended; not shorter than the delay [default: 25s]
    #[arg(long, value_name = "DURATION", help_heading = REQUESTS)]
    pub shutdown_timeout: Option<String>,

    /// Loopback address of the admin pages, metrics and health [default: 127.0.0.1:8090]
    #[arg(long, value_name = "IP:PORT", help_heading = OPERATING)]
    pub admin_bind_address: Option<String>,
    /// Address for scrapers and probes: /livez, /readyz and /metrics only [default: off]
    #[arg(long, value_name = "IP:PORT", help_heading = OPERATING)]
    pub metrics_bind_address: Option<String>,
    /// Level (error, warn, info, debug, trace) or filter of what is logged; RUST_LOG counts too [default: info]
    #[arg(long, value_name = "FILTER", help_heading = OPERATING)]
    pub log_level: Option<String>,
    /// How it is logged: text or json [default: text]
    #[arg(long, value_name = "FORMAT", help_heading = OPERATING)]
    pub log_format: Option<String>,
    /// Whether each request is logged: on or off [default: on]
    #[arg(long, value_name = "ON|OFF", help_heading = OPERATING)]
    pub access_log: Option<String>,
}

// === impl ServeArgs ===

impl ServeArgs {
    /// What was given under the flag `name` (without its dashes): nothing, one value or several.
    pub(super) fn given(&self, name: &str) -> &[String] {
        match name {
            "bind-address" => &self.bind_address,
            "secure-port" => self.secure_port.as_slice(),
            "tls-cert-file" => self.tls_cert_file.as_slice(),
            "tls-private-key-file" => self.tls_private_key_file.as_slice(),
            "tls-min-version" => self.tls_min_version.as_slice(),
            "tls-cipher-suites" => &self.tls_cipher_suites,
            "tls-sni-cert-key" => &self.tls_sni_cert_key,
            "proxy-protocol-from" => &self.proxy_protocol_from,
            "max-connections" => self.max_connections.as_slice(),
            "max-connections-per-source" => self.max_connections_per_source.as_slice(),
            "http2-max-streams-per-connection" => self.http2_max_streams_per_connection.as_slice(),
            "goaway-chance" => self.goaway_chance.as_slice(),
            "client-ca-file" => self.client_ca_file.as_slice(),
            "requestheader-client-ca-file" => self.requestheader_client_ca_file.as_slice(),
            "requestheader-allowed-names" => &self.requestheader_allowed_names,
            "requestheader-username-headers" => &self.requestheader_username_headers,
            "requestheader-uid-headers" => &self.requestheader_uid_headers,
            "requestheader-group-headers" => &self.requestheader_group_headers,
            "requestheader-extra-headers-prefix" => &self.requestheader_extra_headers_prefix,
            "trusted-proxy-cidrs" => &self.trusted_proxy_cidrs,
            "api-server" => &self.api_server,
            "home" => self.home.as_slice(),
            "home-preference" => self.home_preference.as_slice(),
            "peer-ca-file" => self.peer_ca_file.as_slice(),
            "peer-server-name" => self.peer_server_name.as_slice(),
            "proxy-client-cert-file" => self.proxy_client_cert_file.as_slice(),
            "proxy-client-key-file" => self.proxy_client_key_file.as_slice(),
            "proxy-user" => self.proxy_user.as_slice(),
            "peer-source" => self.peer_source.as_slice(),
            "peer-allowed-cidrs" => &self.peer_allowed_cidrs,
            "peer-dns-name" => self.peer_dns_name.as_slice(),
            "discovery-refresh" => self.discovery_refresh.as_slice(),
            "discovery-refresh-interval" => self.discovery_refresh_interval.as_slice(),
            "stale-after" => self.stale_after.as_slice(),
            "forget-after" => self.forget_after.as_slice(),
            "discovery-authorization-ttl" => self.discovery_authorization_ttl.as_slice(),
            "discovery-cache-dir" => self.discovery_cache_dir.as_slice(),
            "merge" => self.merge.as_slice(),
            "discovery-sources-header" => self.discovery_sources_header.as_slice(),
            "reroute" => self.reroute.as_slice(),
            "request-timeout" => self.request_timeout.as_slice(),
            "max-requests-inflight" => self.max_requests_inflight.as_slice(),
            "upgrade-idle-timeout" => self.upgrade_idle_timeout.as_slice(),
            "shutdown-delay-duration" => self.shutdown_delay_duration.as_slice(),
            "shutdown-timeout" => self.shutdown_timeout.as_slice(),
            "admin-bind-address" => self.admin_bind_address.as_slice(),
            "metrics-bind-address" => self.metrics_bind_address.as_slice(),
            "log-level" => self.log_level.as_slice(),
            "log-format" => self.log_format.as_slice(),
            "access-log" => self.access_log.as_slice(),
            _ => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command, FromArgMatches};

    use super::super::settings::{FILE_ONLY, FLAGS, SERVER_KEYS, Shape, file_key};
    use super::*;

    fn flags() -> Vec<String> {
        let command = ServeArgs::augment_args(Command::new("serve"));
        command.get_arguments().filter_map(|arg| arg.get_long()).map(str::to_owned).collect()
    }

    #[test]
    fn every_flag_is_a_setting_and_the_other_way_round() {
        let known: Vec<_> = FLAGS.iter().map(|(name, _)| (*name).to_owned()).collect();
        let mut given = flags();
        given.retain(|flag| flag != "config");
        assert_eq!(given, known);
        assert!(SERVER_KEYS.iter().all(|(_, shape)| !matches!(shape, Shape::Tables(_))));
    }

    #[test]
    fn every_flag_arrives_under_its_name() {
        for flag in flags().iter().filter(|flag| *flag != "config") {
            let command = ServeArgs::augment_args(Command::new("serve"));
            let matches = command.get_matches_from(["serve", &format!("--{flag}"), "canary"]);
            let args = ServeArgs::from_arg_matches(&matches).unwrap();
            assert_eq!(args.given(flag), ["canary"], "--{flag}");
        }
    }

    #[test]
    fn every_flag_is_explained() {
        let command = ServeArgs::augment_args(Command::new("serve"));
        for arg in command.get_arguments() {
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.len() > 20, "--{} says {help:?}", arg.get_id());
        }
    }

    #[test]
    fn every_key_that_only_the_file_has_is_explained() {
        for (name, _) in FILE_ONLY.iter().chain(SERVER_KEYS) {
            let found = BELOW.split([' ', '\n', ',', '.', ':']).any(|word| word == file_key(name));
            assert!(found, "{}", file_key(name));
        }
    }
}
