use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::*;
use crate::pki::{AUTHORITY_LIFETIME, Authority, Credential, Leaf};

struct World {
    clients: Authority,
    proxies: Authority,
    authenticator: Authenticator,
}

impl World {
    fn new() -> Self {
        let (clients, proxies) = (Authority::new("clients").unwrap(), Authority::new("proxies").unwrap());
        let ca = |authority: &Authority| ClientCa::from_pem(authority.cert_pem().as_bytes()).unwrap();
        let authenticator = Authenticator {
            client_ca: Some(ca(&clients)),
            front_proxy: Some(FrontProxy {
                ca: ca(&proxies),
                allowed_names: vec!["front-proxy-client".into()],
                headers: UserHeaders::default(),
            }),
        };
        Self { clients, proxies, authenticator }
    }

    /// The caller of a request on a connection with this certificate, `later` after its handshake.
    fn caller_later(
        &self,
        shown: Option<&Credential>,
        lines: &[(&'static str, &'static str)],
        later: Duration,
    ) -> Result<Caller, u16> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let now = UnixTime::now();
        let chain = shown.map(|credential| vec![credential.cert.clone()]);
        let credentials = self.authenticator.connection(chain.as_deref(), now);
        let now = UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs()) + later);
        self.authenticator.caller(&credentials, &headers, now).map_err(|status| status.code.as_u16())
    }

    fn caller(
        &self,
        shown: Option<&Credential>,
        lines: &[(&'static str, &'static str)],
    ) -> Result<Caller, u16> {
        self.caller_later(shown, lines, Duration::ZERO)
    }
}

const TOKEN: (&str, &str) = ("authorization", "Bearer t");
const TOLD: [(&str, &str); 5] = [
    ("x-remote-user", "jane"),
    ("x-remote-uid", "u1"),
    ("x-remote-group", "dev"),
    ("x-remote-group", "ops"),
    ("x-remote-extra-scopes%2fx", "a"),
];

#[test]
fn a_certificates_subject_is_read_as_kube_apiserver_reads_it() {
    let world = World::new();
    let leaf = Leaf::client("first").common_name("jane").group("dev").group("ops").uid("u1");
    let shown = world.clients.issue(&leaf).unwrap();
    let Ok(Caller::Certificate(user)) = world.caller(Some(&shown), &[TOKEN]) else { panic!("no user") };
    assert_eq!((user.name.as_str(), user.uid.as_str()), ("jane", "u1"));
    assert_eq!(user.groups, ["dev", "ops"]);
    let [(key, value)] = user.extra.as_slice() else { panic!("{:?}", user.extra) };
    assert_eq!(key, CREDENTIAL_ID);
    assert!(value.starts_with("X509SHA256=") && value.len() == "X509SHA256=".len() + 64, "{value}");
}

#[test]
fn two_uids_or_an_empty_one_are_a_401() {
    let world = World::new();
    for leaf in [Leaf::client("jane").uid("a").uid("b"), Leaf::client("jane").uid("")] {
        let shown = world.clients.issue(&leaf).unwrap();
        assert_eq!(world.caller(Some(&shown), &[]), Err(401));
    }
}

#[test]
fn a_certificate_that_does_not_verify_counts_for_nothing_and_a_token_beside_it_counts() {
    let world = World::new();
    let stranger = Authority::new("stranger").unwrap().issue(&Leaf::client("jane")).unwrap();
    let server = world.clients.issue(&Leaf::server("jane")).unwrap();
    for shown in [&stranger, &server] {
        assert_eq!(world.caller(Some(shown), &[]), Err(401));
        assert_eq!(world.caller(Some(shown), &[TOKEN]), Ok(Caller::Token));
    }
}

#[test]
fn a_certificate_that_expires_on_an_open_connection_no_longer_counts() {
    let world = World::new();
    let shown = world.clients.issue(&Leaf::client("jane").lifetime(Duration::from_secs(3600))).unwrap();
    assert!(world.caller(Some(&shown), &[]).is_ok());
    let later = Duration::from_secs(3601);
    assert_eq!(world.caller_later(Some(&shown), &[], later), Err(401));
    assert_eq!(world.caller_later(Some(&shown), &[TOKEN], later), Ok(Caller::Token));
}

#[test]
fn only_a_trusted_front_proxy_tells_who_is_calling() {
    let world = World::new();
    let trusted = world.proxies.issue(&Leaf::client("front-proxy-client")).unwrap();
    let Ok(Caller::FrontProxy(user)) = world.caller(Some(&trusted), &TOLD) else { panic!("no user") };
    assert_eq!((user.name.as_str(), user.uid.as_str()), ("jane", "u1"));
    assert_eq!(user.groups, ["dev", "ops"]);
    assert_eq!(user.extra, [("scopes/x".to_owned(), "a".to_owned())]);

    let wrong_name = world.proxies.issue(&Leaf::client("somebody")).unwrap();
    assert_eq!(world.caller(Some(&wrong_name), &TOLD), Err(401));
    assert_eq!(
        world.caller(Some(&trusted), &[]),
        Err(401),
        "without a user it is just a foreign certificate"
    );
    assert_eq!(world.caller(None, &TOLD), Ok(Caller::Anonymous));
    let client = world.clients.issue(&Leaf::client("mallory")).unwrap();
    assert_eq!(world.caller(Some(&client), &TOLD).unwrap().label(), "mallory");
}

#[test]
fn a_front_proxy_that_tells_of_the_anonymous_user_gets_nothing_stamped() {
    let world = World::new();
    let trusted = world.proxies.issue(&Leaf::client("front-proxy-client")).unwrap();
    let caller = world.caller(Some(&trusted), &[("x-remote-user", ANONYMOUS), TOKEN]).unwrap();
    assert!(caller.is_known() && caller.stamped().is_none());
}

#[test]
fn without_a_certificate_a_token_is_looked_for_where_kube_apiserver_looks() {
    let world = World::new();
    for (line, expected) in [
        (TOKEN, Caller::Token),
        (("authorization", "bearer t"), Caller::Token),
        (("authorization", "Bearer "), Caller::Anonymous),
        (("authorization", "Basic dTpw"), Caller::Anonymous),
    ] {
        assert_eq!(world.caller(None, &[line]), Ok(expected), "{line:?}");
    }
}

#[test]
fn i4_a_known_user_among_the_unauthenticated_is_refused() {
    let world = World::new();
    let trusted = world.proxies.issue(&Leaf::client("front-proxy-client")).unwrap();
    let told = [("x-remote-user", "eve"), ("x-remote-group", "system:unauthenticated")];
    assert_eq!(world.caller(Some(&trusted), &told), Err(401));
    let shown = world.clients.issue(&Leaf::client("eve").group("system:unauthenticated")).unwrap();
    assert_eq!(world.caller(Some(&shown), &[]), Err(401));
}

#[test]
fn i4_a_blank_of_unicode_is_no_token_for_an_api_server_and_none_for_us() {
    for line in ["Bearer \u{a0}", "Bearer \u{85}", "Bearer \u{3000}", "\u{a0}Bearer t", "Bearer t\u{a0}"] {
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_str(line).unwrap())]);
        assert!(!has_token(&headers), "{line:?}");
    }
    let headers = HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static(TOKEN.1))]);
    assert!(has_token(&headers));
}

#[test]
fn a_websocket_protocol_is_a_token_on_an_upgrade_only() {
    let world = World::new();
    let bearer =
        ("sec-websocket-protocol", "base64.channel.k8s.io, base64url.bearer.authorization.k8s.io.dA");
    let none = ("sec-websocket-protocol", "base64.channel.k8s.io");
    let (connection, upgrade) = (("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket"));
    for (lines, expected) in [
        ([bearer, connection, upgrade], Caller::Token),
        ([none, connection, upgrade], Caller::Anonymous),
        ([bearer, connection, ("upgrade", "SPDY/3.1")], Caller::Anonymous),
        ([bearer, ("connection", "close"), upgrade], Caller::Anonymous),
    ] {
        assert_eq!(world.caller(None, &lines), Ok(expected), "{lines:?}");
    }
    assert_eq!(world.caller(None, &[bearer]), Ok(Caller::Anonymous));
}

#[test]
fn a_ca_that_has_expired_vouches_for_nobody() {
    let world = World::new();
    let year = Duration::from_secs(365 * 86_400);
    let later = AUTHORITY_LIFETIME + year;
    for (ca, name, lines) in
        [(&world.clients, "jane", &[][..]), (&world.proxies, "front-proxy-client", &TOLD)]
    {
        let lasting = ca.issue(&Leaf::client(name).lifetime(3 * AUTHORITY_LIFETIME)).unwrap();
        assert!(world.caller(Some(&lasting), lines).is_ok());
        assert_eq!(
            world.caller_later(Some(&lasting), lines, later),
            Err(401),
            "{name}, on an open connection"
        );
        let then = UnixTime::since_unix_epoch(Duration::from_secs(UnixTime::now().as_secs()) + later);
        let credentials = world.authenticator.connection(Some(&[lasting.cert]), then);
        assert!(
            world.authenticator.caller(&credentials, &HeaderMap::new(), then).is_err(),
            "{name}, on a new one"
        );
        assert!(!world.authenticator.is_front_proxy(&credentials, then));
    }
}
