//! The configuration as an operator meets it: flags, variables, files, and what is said about mistakes.

mod anew;
mod domains;
mod refused;

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Command, FromArgMatches};
use kube_peer_proxy::config::{
    Config, Home, HomePreference, Invalid, Loaded, LogFormat, MinVersion, PeerSource, Reroute, ServeArgs,
};
use kube_peer_proxy::pki::{Authority, Leaf, Pki};
use kube_peer_proxy::servers::source::sighting::Address;
use tempfile::TempDir;

/// A folder with a PKI in it, and a way to load configurations there.
struct Place {
    dir: TempDir,
    env: HashMap<String, String>,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Pki::generate(&[]).unwrap().write(dir.path(), false).unwrap();
        Self { dir, env: HashMap::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn shown(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        std::fs::write(self.path(name), content).unwrap();
        self.shown(name)
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    fn load(&self, flags: &[&str]) -> Result<Loaded, Invalid> {
        let command = <ServeArgs as clap::Args>::augment_args(Command::new("serve").no_binary_name(true));
        let args = ServeArgs::from_arg_matches(&command.get_matches_from(flags)).unwrap();
        Config::load_with(&args, &|name| self.env.get(name).cloned())
    }

    /// Loads what is needed, and `more` behind it.
    fn load_basic(&self, more: &[&str]) -> Result<Loaded, Invalid> {
        let basic = self.basic();
        let mut flags: Vec<&str> = basic.iter().map(String::as_str).collect();
        flags.extend(more);
        self.load(&flags)
    }

    /// As `load_basic`, with one flag added or replaced.
    fn load_basic_but(&self, flag: &str, value: &str) -> Result<Loaded, Invalid> {
        let mut flags = self.basic();
        flags.retain(|given| !given.starts_with(&format!("{flag}=")));
        flags.push(format!("{flag}={value}"));
        self.load_all(&flags)
    }

    fn load_all(&self, flags: &[String]) -> Result<Loaded, Invalid> {
        self.load(&flags.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn basic(&self) -> Vec<String> {
        let mut flags = vec!["--api-server=a=https://10.0.0.1:6443".to_owned()];
        for (flag, file) in [
            ("tls-cert-file", "proxy.crt"),
            ("tls-private-key-file", "proxy.key"),
            ("client-ca-file", "ca.crt"),
            ("peer-ca-file", "ca.crt"),
            ("proxy-client-cert-file", "front-proxy-client.crt"),
            ("proxy-client-key-file", "front-proxy-client.key"),
        ] {
            flags.push(format!("--{flag}={}", self.shown(file)));
        }
        flags
    }

    /// Loads a file that has what is needed, and `more` behind it.
    fn load_file(&self, more: &str) -> Result<Loaded, Invalid> {
        let file = self.write("proxy.yaml", format!("{BASIC_FILE}{more}"));
        self.load(&["--config", &file])
    }
}

const BASIC_FILE: &str = "\
tlsCertFile: proxy.crt
tlsPrivateKeyFile: proxy.key
clientCaFile: ca.crt
peerCaFile: ca.crt
proxyClientCertFile: front-proxy-client.crt
proxyClientKeyFile: front-proxy-client.key
";

const TWO_SERVERS: &str = "\
apiServers:
- name: a
  url: https://10.0.0.1:6443
- name: b
  url: https://10.0.0.2:6443
";

// === What comes out ===

#[test]
fn the_least_that_is_needed_gives_the_documented_defaults() {
    let place = Place::new();
    let Loaded { config, material, warnings, .. } = place.load_basic(&[]).unwrap();
    assert_eq!(config.listen.bind, ["0.0.0.0:6443".parse().unwrap()]);
    assert_eq!(config.home, Home::Chosen(HomePreference::Any));
    assert_eq!(config.proxy_user, "system:kube-peer-proxy");
    assert_eq!(config.peers, None);
    assert_eq!(config.reroute, Reroute::On);
    assert!(config.discovery.merge && config.operating.access_log && !config.allow_shared_identity);
    assert_eq!(config.discovery.refresh_interval, Duration::from_secs(30));
    assert_eq!(config.discovery.stale_after, Duration::from_secs(30));
    assert_eq!(config.discovery.forget_after, Duration::from_secs(24 * 3600));
    assert_eq!(config.discovery.authorization_ttl, Duration::from_secs(10));
    assert_eq!(config.discovery.max_bytes, 64 << 20);
    assert_eq!(config.request_timeout, Duration::from_secs(75));
    assert_eq!(config.connections.connect_timeout, Duration::from_secs(1));
    assert_eq!(config.connections.dead_after, Duration::from_secs(10));
    assert_eq!(config.operating.admin_bind, "127.0.0.1:8090".parse().unwrap());
    assert_eq!(config.operating.metrics_bind, None);
    assert_eq!((config.listen.min_version, config.listen.sni.len()), (MinVersion::Tls12, 0));
    assert_eq!(config.clients.max_connections, 10_000);
    assert_eq!(config.clients.max_connections_per_source, None);
    assert_eq!(config.clients.max_handshakes, 512);
    assert_eq!(config.clients.handshake_timeout, Duration::from_secs(10));
    assert_eq!(config.clients.header_read_timeout, Duration::from_secs(10));
    assert_eq!(config.clients.max_header_bytes, 64 << 10);
    assert_eq!(config.clients.max_streams, 250);
    assert_eq!(config.clients.goaway_chance, 0.0);
    assert_eq!(config.max_requests_inflight, Some(4_000));
    assert_eq!(config.upgrade_idle_timeout, Some(Duration::from_secs(4 * 3600)));
    assert_eq!(config.shutdown.delay, Duration::from_secs(5));
    assert_eq!(config.shutdown.timeout, Duration::from_secs(25));
    assert_eq!(config.connections.max_upgrade, 256);
    assert_eq!(config.operating.reload_check_interval, Duration::from_secs(5));
    let [server] = config.servers.as_slice() else { panic!("one server") };
    assert_eq!((server.host().as_str(), server.port()), ("10.0.0.1", 6443));
    assert_eq!(server.server_name.to_str(), "kubernetes.default.svc");
    assert_eq!(server.headers.username, ["x-remote-user"]);
    assert_eq!(material.servers.len(), 1);
    assert_eq!(material.client_ca.unwrap().der.len(), 1);
    assert!(material.front_proxy_ca.is_none());
    assert_eq!(warnings, [""; 0]);
}

#[test]
fn several_addresses_of_both_families() {
    let place = Place::new();
    let flags = ["--bind-address=10.9.8.7", "--bind-address=::1,fd00::1", "--secure-port=8443"];
    let bind = place.load_basic(&flags).unwrap().config.listen.bind;
    let bind: Vec<_> = bind.iter().map(ToString::to_string).collect();
    assert_eq!(bind, ["10.9.8.7:8443", "[::1]:8443", "[fd00::1]:8443"]);
}

#[test]
fn a_flag_counts_more_than_the_environment_and_that_more_than_the_file() {
    let place = Place::new().env("KUBE_PEER_PROXY_STALE_AFTER", "2m").env("KUBE_PEER_PROXY_HOME", "");
    let file = place.write(
        "proxy.yaml",
        format!("{BASIC_FILE}{TWO_SERVERS}staleAfter: 3m\nforgetAfter: 48h\nhome: b\nmerge: off\n"),
    );
    let config = place.load(&["--config", &file, "--stale-after=1m"]).unwrap().config;
    assert_eq!(config.discovery.stale_after, Duration::from_secs(60));
    let config = place.load(&["--config", &file]).unwrap().config;
    assert_eq!(config.discovery.stale_after, Duration::from_secs(120));
    assert_eq!(config.discovery.forget_after, Duration::from_secs(48 * 3600));
    assert_eq!(config.home, Home::Named("b".into()), "an empty variable is none");
    assert!(!config.discovery.merge);
}

#[test]
fn lists_in_the_environment_are_separated_by_commas() {
    let place = Place::new()
        .env("KUBE_PEER_PROXY_API_SERVER", "a=https://10.0.0.1:6443, b=https://[fd00::2]:6443")
        .env("KUBE_PEER_PROXY_BIND_ADDRESS", "10.9.8.7,::1");
    let config = place.load_file("").unwrap().config;
    let hosts: Vec<_> = config.servers.iter().map(|server| server.host()).collect();
    assert_eq!(hosts, ["10.0.0.1", "fd00::2"]);
    assert_eq!(config.listen.bind.len(), 2);
}

#[test]
fn the_file_itself_can_be_named_by_the_environment() {
    let place = Place::new();
    let file = place.write("proxy.yaml", format!("{BASIC_FILE}{TWO_SERVERS}"));
    let place = place.env("KUBE_PEER_PROXY_CONFIG", &file);
    assert_eq!(place.load(&[]).unwrap().config.servers.len(), 2);
}

#[test]
fn variables_of_a_service_of_our_name_do_no_harm() {
    let place = Place::new()
        .env("KUBE_PEER_PROXY_SERVICE_HOST", "10.96.0.9")
        .env("KUBE_PEER_PROXY_PORT", "tcp://10.96.0.9:6443");
    assert!(place.load_basic(&[]).is_ok());
}

#[test]
fn zero_lifts_the_limits_that_can_be_lifted() {
    let place = Place::new();
    let flags = [
        "--max-requests-inflight=0",
        "--max-connections-per-source=0",
        "--upgrade-idle-timeout=0s",
        "--shutdown-delay-duration=0",
        "--shutdown-timeout=0",
    ];
    let config = place.load_basic(&flags).unwrap().config;
    assert_eq!((config.max_requests_inflight, config.clients.max_connections_per_source), (None, None));
    assert_eq!(config.upgrade_idle_timeout, None);
    assert!(config.shutdown.delay.is_zero() && config.shutdown.timeout.is_zero());
}

#[test]
fn certificates_for_names_are_written_as_kube_apiserver_has_them() {
    let place = Place::new();
    let (cert, key) = (place.shown("proxy.crt"), place.shown("proxy.key"));
    let pairs = [format!("{cert},{key}:API.example, *.example"), format!("{cert},{key}")];
    let named = |config: &Config| config.listen.sni.iter().map(|one| one.names.join(" ")).collect::<Vec<_>>();
    let flags = pairs.clone().map(|pair| format!("--tls-sni-cert-key={pair}"));
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let loaded = place.load_basic(&flags).unwrap();
    assert_eq!(named(&loaded.config), ["api.example *.example", ""]);
    assert_eq!(loaded.material.sni.len(), 2);
    let place = place.env("KUBE_PEER_PROXY_TLS_SNI_CERT_KEY", &pairs.join(";"));
    assert_eq!(named(&place.load_basic(&[]).unwrap().config), ["api.example *.example", ""]);
    let place = Place { env: HashMap::new(), ..place };
    let file = "tlsSniCertKey: ['proxy.crt,proxy.key:api.example', 'admin.crt,admin.key:admin.example']\n";
    let config = place.load_file(&format!("{TWO_SERVERS}{file}")).unwrap().config;
    assert_eq!(named(&config), ["api.example", "admin.example"]);
    assert_eq!(config.listen.sni[1].key_file, place.path("admin.key"), "it begins where the file lies");
}

#[test]
fn rust_log_counts_for_the_log_level_below_the_variable_of_our_own() {
    let place = Place::new().env("RUST_LOG", "debug,h2=off");
    assert_eq!(place.load_basic(&[]).unwrap().config.operating.log_filter, "debug,h2=off");
    let place = place.env("KUBE_PEER_PROXY_LOG_LEVEL", "warn");
    assert_eq!(place.load_basic(&[]).unwrap().config.operating.log_filter, "warn");
    assert_eq!(place.load_basic(&["--log-level=error"]).unwrap().config.operating.log_filter, "error");
}

#[test]
fn paths_in_the_file_begin_where_it_lies() {
    let place = Place::new();
    let config = place.load_file(TWO_SERVERS).unwrap().config;
    assert_eq!(config.listen.cert_file, place.path("proxy.crt"));
    assert_eq!(config.servers[0].ca_file, place.path("ca.crt"));
}

#[test]
fn each_server_can_have_its_own_of_everything() {
    let place = Place::new();
    let other = Authority::new("kubernetes").unwrap();
    let client = other.issue(&Leaf::client("proxy-b")).unwrap();
    place.write("b-ca.crt", other.cert_pem());
    place.write("b.crt", client.cert_pem);
    place.write("b.key", client.key_pem);
    let config = place
        .load_file(
            "home: '1.30'
allowSharedIdentity: true
apiServers:
- name: 1.30
  url: https://10.0.0.1:6443
- name: b
  url: https://b.example
  caFile: b-ca.crt
  serverName: b.internal
  proxyClientCertFile: b.crt
  proxyClientKeyFile: b.key
  requestheaderUsernameHeaders: [X-B-User, X-Remote-User]
  requestheaderExtraHeadersPrefix: [X-B-Extra-]
",
        )
        .unwrap()
        .config;
    assert_eq!(
        config.home,
        Home::Named("1.30".into()),
        "an unquoted name that looks like a number stays as it is"
    );
    let b = &config.servers[1];
    assert_eq!((b.host().as_str(), b.port()), ("b.example", 443));
    assert_eq!(b.server_name.to_str(), "b.internal");
    assert_eq!(b.ca_file, place.path("b-ca.crt"));
    assert_eq!(b.proxy_client_key_file, place.path("b.key"));
    assert_eq!(b.headers.username, ["x-b-user", "x-remote-user"]);
    assert_eq!(b.headers.extra_prefixes, ["x-b-extra-"]);
    assert_eq!(b.headers.group, ["x-remote-group"]);
}

#[test]
fn a_flag_decides_where_a_server_is_and_the_file_keeps_the_rest() {
    let place = Place::new();
    let file = place.write("proxy.yaml", format!("{BASIC_FILE}{TWO_SERVERS}  serverName: b.internal\n"));
    let flags =
        ["--config", &file, "--api-server=b=https://10.0.0.9:6443", "--api-server=c=https://10.0.0.3:6443"];
    let servers = place.load(&flags).unwrap().config.servers;
    let shown: Vec<_> = servers.iter().map(|s| (&*s.name, s.host(), s.server_name.to_str())).collect();
    assert_eq!(
        shown,
        [
            ("b", "10.0.0.9".to_owned(), "b.internal".into()),
            ("c", "10.0.0.3".to_owned(), "kubernetes.default.svc".into())
        ]
    );
}

#[test]
fn what_is_printed_loads_back_to_the_same() {
    let place = Place::new();
    let every_setting = format!(
        "{BASIC_FILE}{TWO_SERVERS}\
bindAddress: ['10.9.8.7', '::1']
securePort: 8443
tlsMinVersion: VersionTLS13
tlsCipherSuites: [TLS_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]
tlsSniCertKey: ['proxy.crt,proxy.key', 'proxy.crt,proxy.key:api.example,*.example']
proxyProtocolFrom: [10.0.0.0/8]
maxConnections: 7
maxConnectionsPerSource: 8
http2MaxStreamsPerConnection: 9
goawayChance: 0.001
maxHeaderBytes: 100Ki
headerReadTimeout: 3s
tlsHandshakeTimeout: 4s
maxHandshakes: 5
maxRequestsInflight: 11
upgradeIdleTimeout: 90m
shutdownDelayDuration: 0
shutdownTimeout: 2m
maxUpgradeConnections: 6
reloadCheckInterval: 1m
requestheaderClientCaFile: front-proxy-ca.crt
requestheaderAllowedNames: ['on', front-proxy-client, '1.30']
requestheaderUidHeaders: [X-Uid]
trustedProxyCidrs: [10.0.0.0/8, 'fd00::/8', 192.0.2.1]
home: a
peerServerName: api.example
proxyUser: system:other
peerSource: static
discoveryRefresh: interval
discoveryRefreshInterval: 1m30s
staleAfter: 45s
forgetAfter: 36h
discoveryAuthorizationTtl: 0
discoveryCacheDir: cache
discoveryFetchTimeout: 2500ms
discoveryMaxBytes: 1000001
healthProbeInterval: 7s
healthProbeTimeout: 1s
connectTimeout: 250ms
deadAfter: 5s
poolIdleTimeout: 1h
maxIdentityConnections: 3
maxTokenConnections: 4
maxUnprovenConnections: 5
merge: off
reroute: dry-run
requestTimeout: 80s
adminBindAddress: '[::1]:9443'
metricsBindAddress: 0.0.0.0:9444
logLevel: warn,kube_peer_proxy=debug
logFormat: json
accessLog: off
"
    );
    let defaults = place.load_basic(&[]).unwrap().config;
    let file = place.write("all.yaml", every_setting);
    let all = place.load(&["--config", &file]).unwrap().config;
    assert_eq!(all.operating.log_format, LogFormat::Json);
    assert_ne!(all.discovery, defaults.discovery);
    assert_ne!(all.connections, defaults.connections);
    assert_ne!(all.health, defaults.health);
    assert_ne!(all.clients, defaults.clients);
    assert_ne!(all.shutdown, defaults.shutdown);
    assert_eq!(all.listen.sni[1].names, ["api.example", "*.example"]);

    let elsewhere = tempfile::tempdir().unwrap();
    for config in [defaults, all] {
        let printed = config.to_yaml();
        assert!(!printed.contains("PRIVATE KEY"));
        let file = elsewhere.path().join("printed.yaml");
        std::fs::write(&file, &printed).unwrap();
        let again = place.load(&["--config", file.to_str().unwrap()]).unwrap().config;
        assert_eq!(again, config, "{printed}");
        assert_eq!(again.to_yaml(), printed);
    }
}

#[test]
fn servers_can_come_from_elsewhere_within_networks_that_are_allowed() {
    let place = Place::new();
    for (source, dns, shown) in [
        ("leases", None, None),
        ("endpointslices", None, None),
        ("dns", Some("API.example"), Some("api.example:6443")),
        ("dns", Some("api.example:8443"), Some("api.example:8443")),
        ("dns", Some("_https._tcp.api.example."), Some("_https._tcp.api.example.")),
    ] {
        let mut flags =
            vec![format!("--peer-source={source}"), "--peer-allowed-cidrs=10.0.0.0/24,fd00::1".into()];
        flags.extend(dns.map(|name| format!("--peer-dns-name={name}")));
        let flags: Vec<_> = flags.iter().map(String::as_str).collect();
        let loaded = place.load_basic(&flags).unwrap();
        let peers = loaded.config.peers.as_ref().unwrap();
        assert_eq!(peers.source.as_str(), source);
        if let PeerSource::Dns(question) = &peers.source {
            assert_eq!(Some(question.to_string().as_str()), shown);
        }
        assert!(peers.allowed().permits("10.0.0.7".parse().unwrap()));
        assert!(!peers.allowed().permits("10.0.1.7".parse().unwrap()));
        assert!(loaded.material.peers.is_some());
        let server = peers.server("b".into(), &Address::new("fd00::1", 6443)).unwrap();
        assert_eq!(
            (server.url.as_str(), server.address()),
            ("https://[fd00::1]:6443/", Address::new("fd00::1", 6443))
        );
        assert_eq!(server.server_name.to_str(), "kubernetes.default.svc");
        assert_eq!(server.ca_file, place.path("ca.crt"));

        let printed = loaded.config.to_yaml();
        let file = place.write("printed.yaml", &printed);
        let again = place.load(&["--config", &file]).unwrap().config;
        assert_eq!(again, loaded.config, "{printed}");
    }
}

#[test]
fn by_dns_there_need_not_be_a_server_in_the_configuration_unless_it_is_home() {
    let place = Place::new();
    let mut flags = place.basic();
    flags.retain(|flag| !flag.starts_with("--api-server="));
    let dns = ["--peer-source=dns", "--peer-dns-name=a.example", "--peer-allowed-cidrs=10.0.0.0/8"];
    flags.extend(dns.map(str::to_owned));
    let config = place.load_all(&flags).unwrap().config;
    assert_eq!((config.servers.len(), config.home.name()), (0, None));

    flags.push("--home=10.0.0.1-6443".to_owned());
    let faults = place.load_all(&flags).unwrap_err().faults;
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert_eq!(faults[0].key, "--home");
    for words in
        ["10.0.0.1-6443 is not among the API servers (there are none)", "--api-server has to name it"]
    {
        assert!(faults[0].message.contains(words), "{faults:?}");
    }

    flags.push("--api-server=10.0.0.1-6443=https://10.0.0.1:6443".to_owned());
    let config = place.load_all(&flags).unwrap().config;
    assert_eq!(config.home, Home::Named("10.0.0.1-6443".into()));
}

#[test]
fn home_is_one_of_the_configuration_whatever_the_source() {
    let place = Place::new();
    for source in ["leases", "endpointslices", "dns"] {
        let mut flags = vec![format!("--peer-source={source}"), "--peer-allowed-cidrs=10.0.0.0/8".to_owned()];
        flags.extend((source == "dns").then(|| "--peer-dns-name=a.example".to_owned()));
        flags.push("--home=elsewhere".to_owned());
        let flags: Vec<_> = flags.iter().map(String::as_str).collect();
        let faults = place.load_basic(&flags).unwrap_err().faults;
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].key == "--home" && faults[0].message.contains("--peer-source"), "{faults:?}");
    }
}

#[test]
fn i12_no_key_is_in_what_debug_shows() {
    let place = Place::new();
    let loaded = place.load_basic(&[]).unwrap();
    let key = String::from_utf8(loaded.material.serving.key_pem.clone()).unwrap();
    let line = key.lines().nth(1).unwrap().to_owned();
    assert!(line.len() > 30);
    let shown = format!("{loaded:?}");
    assert!(
        !shown.contains(&line) && !shown.contains("PRIVATE KEY") && !shown.contains("48, 129"),
        "{shown}"
    );
}

// === What is only worth a word ===

#[test]
fn an_expired_certificate_is_a_warning() {
    let place = Place::new();
    let now = time::OffsetDateTime::now_utc();
    let day = time::Duration::DAY;
    let leaf = Leaf::server("old").validity(now - 2 * day, now - day);
    let old = Authority::new("kubernetes").unwrap().issue(&leaf).unwrap();
    place.write("proxy.crt", old.cert_pem);
    place.write("proxy.key", old.key_pem);
    let warnings = place.load_basic(&[]).unwrap().warnings;
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].starts_with("--tls-cert-file: CN=old is valid from"), "{warnings:?}");
}

#[test]
fn suites_that_mean_nothing_are_a_warning() {
    let flags =
        ["--tls-min-version=VersionTLS13", "--tls-cipher-suites=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"];
    let warnings = Place::new().load_basic(&flags).unwrap().warnings;
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].starts_with("--tls-cipher-suites: "), "{warnings:?}");
}

#[test]
fn callers_without_certificates_are_a_warning() {
    let place = Place::new();
    let mut flags = place.basic();
    flags.retain(|flag| !flag.starts_with("--client-ca-file"));
    let warnings = place.load_all(&flags).unwrap().warnings;
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].starts_with("--client-ca-file: "), "{warnings:?}");
}

// === The commands ===

fn run(command: &str, flags: &[String]) -> (anyhow::Result<()>, String) {
    use clap::Args as _;
    use kube_peer_proxy::commands::config::{ConfigArgs, run};
    let parser = ConfigArgs::augment_args(Command::new("config").no_binary_name(true));
    let all = std::iter::once(command.to_owned()).chain(flags.iter().cloned());
    let args = ConfigArgs::from_arg_matches(&parser.get_matches_from(all)).unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let result = run(&args, &mut out, &mut err);
    (result, String::from_utf8(out).unwrap())
}

#[test]
fn check_says_ok_or_what_is_wrong() {
    let place = Place::new();
    let (result, out) = run("check", &place.basic());
    assert!(result.is_ok());
    assert_eq!(out, "ok\n");
    let (result, out) = run("check", &[]);
    assert!(result.unwrap_err().downcast_ref::<Invalid>().is_some(), "main makes exit code 64 of it");
    assert_eq!(out, "");
}

#[test]
fn print_gives_what_serve_would_run_with() {
    let place = Place::new();
    let (result, out) = run("print", &place.basic());
    assert!(result.is_ok());
    assert_eq!(out, place.load_basic(&[]).unwrap().config.to_yaml());
}
