use super::*;

fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    headers
}

fn names(headers: &HeaderMap) -> Vec<&str> {
    let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    names
}

#[test]
fn i2_every_connection_line_names_headers_that_go() {
    let mut headers = map(&[
        ("connection", "close, X-One"),
        ("connection", "x-two"),
        ("x-one", "1"),
        ("x-two", "2"),
        ("x-three", "3"),
        ("keep-alive", "timeout=5"),
        ("upgrade", "h2c"),
        ("http2-settings", "AAMAAABkAAQAAP__"),
        ("transfer-encoding", "chunked"),
    ]);
    strip_hop_by_hop(&mut headers);
    assert_eq!(names(&headers), ["x-three"]);
}

#[test]
fn i2_a_byte_that_no_name_has_does_not_hide_what_else_its_line_names() {
    let mut headers = map(&[("x-one", "1"), ("x-two", "2")]);
    headers.insert(header::CONNECTION, HeaderValue::from_bytes(b"x-one, \xe9, x-two").unwrap());
    strip_hop_by_hop(&mut headers);
    assert!(headers.is_empty(), "{headers:?}");
}

#[test]
fn i2_connection_cannot_name_away_whom_a_request_speaks_for() {
    let mut headers = map(&[
        ("connection", "Impersonate-User, Authorization, x-kubernetes-peer-proxied, impersonate-extra-a"),
        ("connection", "Sec-WebSocket-Protocol"),
        ("sec-websocket-protocol", "base64url.bearer.authorization.k8s.io.dA"),
        ("impersonate-user", "jane"),
        ("impersonate-extra-a", "b"),
        ("authorization", "Bearer t"),
        ("x-kubernetes-peer-proxied", "true"),
    ]);
    strip_hop_by_hop(&mut headers);
    assert_eq!(
        names(&headers),
        [
            "authorization",
            "impersonate-extra-a",
            "impersonate-user",
            "sec-websocket-protocol",
            "x-kubernetes-peer-proxied"
        ]
    );
}

#[test]
fn only_trailers_remains_of_te() {
    let mut headers = map(&[("te", "gzip"), ("te", "deflate;q=0.5, Trailers")]);
    strip_hop_by_hop(&mut headers);
    assert_eq!(headers.get_all("te").iter().collect::<Vec<_>>(), ["trailers"]);
    let mut headers = map(&[("te", "gzip"), ("te", "deflate")]);
    strip_hop_by_hop(&mut headers);
    assert!(headers.is_empty());
}

#[test]
fn i1_identity_headers_of_any_server_in_any_spelling_go() {
    let own = UserHeaders {
        username: vec![HeaderName::from_static("x-user")],
        uid: Vec::new(),
        group: vec![HeaderName::from_static("x-groups")],
        extra_prefixes: vec!["x-more-".into()],
    };
    let filter = IdentityFilter::new([&UserHeaders::default(), &own]);
    let mut headers = map(&[
        ("x-remote-user", "admin"),
        ("x_remote_user", "admin"),
        ("x-remote_group", "system:masters"),
        ("x-remote-extra-scopes%2fx", "y"),
        ("x-remote-uid", "1"),
        ("x-remote-anything", "1"),
        ("x-user", "admin"),
        ("x-groups", "system:masters"),
        ("x-more-scopes", "y"),
        ("x-userful", "stays"),
        ("accept", "*/*"),
    ]);
    filter.strip(&mut headers);
    assert_eq!(names(&headers), ["accept", "x-userful"]);
}

#[test]
fn an_untrusted_clients_own_forwarding_headers_do_not_count() {
    let brought = [("x-forwarded-for", "6.6.6.6"), ("x-real-ip", "6.6.6.6"), ("forwarded", "for=6.6.6.6")];
    let mut headers = map(&brought);
    forwarded_for(&mut headers, "10.1.2.3".parse().unwrap(), false);
    assert_eq!(headers, map(&[("x-forwarded-for", "10.1.2.3")]));

    let mut headers = map(&brought[..1]);
    forwarded_for(&mut headers, "::ffff:10.1.2.3".parse().unwrap(), true);
    assert_eq!(headers, map(&[("x-forwarded-for", "6.6.6.6, 10.1.2.3")]));
}

#[test]
fn i3_only_exactly_one_true_counts_as_peer_proxied() {
    for (values, expected) in [
        (&["true"][..], true),
        (&["false"], false),
        (&["TRUE"], false),
        (&[""], false),
        (&["false", "true"], false),
        (&["true", "true"], false),
        (&[], false),
    ] {
        let lines: Vec<_> = values.iter().map(|value| ("x-kubernetes-peer-proxied", *value)).collect();
        let mut headers = map(&lines);
        assert_eq!(take_peer_proxied(&mut headers), expected, "{values:?}");
        assert_eq!(headers.len(), usize::from(expected), "{values:?}");
    }
}

#[test]
fn crumbs_of_a_cookie_become_one_line() {
    let mut headers = map(&[("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3; d=4")]);
    join_cookies(&mut headers);
    assert_eq!(headers, map(&[("cookie", "a=1; b=2; c=3; d=4")]));
    join_cookies(&mut headers);
    assert_eq!(headers, map(&[("cookie", "a=1; b=2; c=3; d=4")]));
}
