use http::HeaderMap;
use http::header::{ACCEPT, HeaderValue, USER_AGENT};

use super::{AggregatedVersion, DiscoveryForm, Media, negotiate, wants_pretty};

const V2: &str = "g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const V2BETA1: &str = "g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";

const PLAIN: DiscoveryForm = plain(Media::Json);
const NONE: DiscoveryForm = DiscoveryForm::NotAcceptable;
const MERGED: DiscoveryForm = aggregated(false, Media::Json);
const NOPEER: DiscoveryForm = aggregated(true, Media::Json);
const BETA: DiscoveryForm = DiscoveryForm::Aggregated {
    version: AggregatedVersion::V2Beta1,
    nopeer: false,
    media: Media::Json,
    pretty: false,
};

const fn plain(media: Media) -> DiscoveryForm {
    DiscoveryForm::Unaggregated { media, pretty: false }
}

const fn aggregated(nopeer: bool, media: Media) -> DiscoveryForm {
    DiscoveryForm::Aggregated { version: AggregatedVersion::V2, nopeer, media, pretty: false }
}

/// `json;v2` and the like stand for the long forms.
fn form(short: &str) -> DiscoveryForm {
    let long =
        short.replace("v2b", V2BETA1).replace(";v2", &format!(";{V2}")).replace("json;", "application/json;");
    DiscoveryForm::of(long.as_bytes(), false)
}

#[test]
fn accept_is_read_as_kube_apiserver_was_seen_to_read_it() {
    let pretty = DiscoveryForm::Aggregated {
        version: AggregatedVersion::V2,
        nopeer: false,
        media: Media::Json,
        pretty: true,
    };
    let table = [
        ("", PLAIN),
        ("*/*", PLAIN),
        ("*", PLAIN),
        ("application/json", PLAIN),
        ("json;profile=nopeer", PLAIN),
        ("json;v2", MERGED),
        ("json;as=APIGroupDiscoveryList;v=v2;g=apidiscovery.k8s.io", MERGED),
        ("json;v2;charset=utf-8", MERGED),
        ("json;v2;foo=bar", MERGED),
        ("json;v2;pretty=1", pretty),
        ("json;v2;stream=watch", MERGED),
        ("json;v2;profile=nopeer", NOPEER),
        ("json;profile=nopeer;v2", NOPEER),
        ("json; profile = nopeer ; v =v2 ;g= apidiscovery.k8s.io; as=APIGroupDiscoveryList", NOPEER),
        ("json;v2;profile=NoPeer", MERGED),
        ("json;v2;Profile=nopeer", MERGED),
        ("json;v2;profile=", MERGED),
        ("json;v2;profile=foo", MERGED),
        ("json;v2;profile=foo;profile=nopeer", NOPEER),
        ("json;v2;profile=nopeer;profile=foo", MERGED),
        ("json;v2 , json;v2;profile=nopeer", MERGED),
        ("json;v2;profile=nopeer,json;v2,application/json", NOPEER),
        ("json;v2;profile=nopeer;q=0.1,json;v2;q=0.9", MERGED),
        ("application/json,json;v2", MERGED),
        ("application/json,json;v2;q=0.1", MERGED),
        ("json;v2,json;v2b,application/json", MERGED),
        ("application/vnd.kubernetes.protobuf;v2", aggregated(false, Media::Protobuf)),
        ("application/vnd.kubernetes.protobuf;v2;profile=nopeer", aggregated(true, Media::Protobuf)),
        ("application/yaml;v2", aggregated(false, Media::Yaml)),
        ("application/yaml;v2;profile=nopeer", aggregated(true, Media::Yaml)),
        ("*/*;v2", MERGED),
        ("application/*;v2", MERGED),
        ("*/*;v2;profile=nopeer", NOPEER),
        ("application/*;v2;profile=nopeer", NOPEER),
        ("application/cbor;v2", NONE),
        ("text/html;v2", NONE),
        ("text/html;v2,*/*", PLAIN),
        ("Application/JSON;v2", NONE),
        ("json;G=apidiscovery.k8s.io;V=v2;As=APIGroupDiscoveryList", PLAIN),
        ("json;g=apidiscovery.k8s.io;v=v2;as=apigroupdiscoverylist", NONE),
        ("json;g=apidiscovery.k8s.io;v=v2", NONE),
        ("json;v2;stream=x", NONE),
        ("json;v2;sv=v1", NONE),
        ("application/yaml;v2;stream=watch", NONE),
    ];
    for (accept, expected) in table {
        assert_eq!(form(accept), expected, "Accept: {accept}");
    }
}

#[test]
fn several_accept_lines_are_one_list() {
    let mut headers = HeaderMap::new();
    assert_eq!(DiscoveryForm::of_headers(&headers, false), PLAIN);
    headers.append(ACCEPT, HeaderValue::from_static("text/html"));
    assert_eq!(DiscoveryForm::of_headers(&headers, false), NONE);
    headers.append(ACCEPT, HeaderValue::from_static("application/yaml"));
    assert_eq!(DiscoveryForm::of_headers(&headers, false), plain(Media::Yaml));
    headers.append(ACCEPT, HeaderValue::try_from(format!("application/json;{V2}")).unwrap());
    assert_eq!(DiscoveryForm::of_headers(&headers, false), MERGED);
    assert_eq!(DiscoveryForm::unaggregated(&headers, false), plain(Media::Yaml));
}

#[test]
fn a_weight_of_zero_refuses_what_it_names_closest() {
    let (yaml, protobuf) = (plain(Media::Yaml), plain(Media::Protobuf));
    for (accept, expected) in [
        ("json;v2;q=0", NONE),
        ("json;v2;q=0.000,application/json", PLAIN),
        ("json;v2;q=0,application/yaml;v2", aggregated(false, Media::Yaml)),
        ("json;v2;q=0,*/*", PLAIN),
        ("json;v2;q=0,*/*;v2", aggregated(false, Media::Yaml)),
        ("json;q=0,json;v2", MERGED),
        ("json;q=0", NONE),
        ("json;q=0,*/*", yaml),
        ("json;q=0,application/yaml;q=0.0,application/*", protobuf),
        ("application/*;q=0,*/*", NONE),
        ("*/*;q=0,application/yaml", yaml),
        ("json;q=0,application/json", PLAIN),
        // No weight as RFC 9110 has it: upstream's last choice.
        ("json;v2;q=x", MERGED),
        ("json;v2;q=-0", MERGED),
        ("json;v2;q=0.0000", MERGED),
        ("json;v2;q=00", MERGED),
    ] {
        assert_eq!(form(accept), expected, "Accept: {accept}");
    }
}

#[test]
fn quoted_values_are_what_stands_between_the_quotes() {
    for (accept, expected) in [
        ("json;v2;profile=\"nopeer\"", NOPEER),
        ("json;v2;profile=\"no\\peer\"", NOPEER),
        ("json;v2;profile=\"nopeer;profile=x\"", MERGED),
        ("json;foo=\"a,b;c=\\\"d\";v2;profile=nopeer", NOPEER),
        ("json;foo=\"a,text/html\",application/yaml", PLAIN),
        ("json;g=\"apidiscovery.k8s.io\";v=\"v2\";as=\"APIGroupDiscoveryList\"", MERGED),
        // Quotes that are no quoted string mean nothing.
        ("json;v2;profile=\"nopeer", MERGED),
        ("json;v2;profile=\"nopeer,json;v2;profile=nopeer", MERGED),
        ("json;v2;profile=\"nopeer\"x", MERGED),
        ("json;v2;foo\";profile=nopeer", NOPEER),
    ] {
        assert_eq!(form(accept), expected, "Accept: {accept}");
    }
}

#[test]
fn v2beta1_is_for_those_who_do_not_ask_for_v2() {
    for (accept, expected) in [
        ("json;v2b", BETA),
        ("json;v2b,application/json", BETA),
        ("json;v2b,json;v2;q=0.1", MERGED),
        ("json;v2b,json;v2;q=0", BETA),
        ("text/html;v2b,application/json", PLAIN),
    ] {
        assert_eq!(form(accept), expected, "Accept: {accept}");
    }
}

#[test]
fn cbor_is_offered_where_it_is() {
    let accept = format!("application/cbor;{V2},application/cbor,application/json");
    let of = |cbor| DiscoveryForm::of(accept.as_bytes(), cbor);
    assert_eq!((of(true), of(false)), (aggregated(false, Media::Cbor), PLAIN));
    assert_eq!(DiscoveryForm::of(b"application/cbor", true), plain(Media::Cbor));
    assert_eq!(DiscoveryForm::of(b"*/*", true), PLAIN);
}

#[test]
fn bytes_that_are_no_text_are_tolerated() {
    let accept = [b"application/json;foo=\xff\xfe;".as_slice(), V2.as_bytes()].concat();
    assert_eq!(DiscoveryForm::of(&accept, false), MERGED);
}

/// The comparator of the sort is no order; a sort that relies on one would panic or never end.
#[test]
fn thousands_of_clauses_are_sorted_by_quality() {
    let accept =
        format!("{}application/yaml;q=0.8,*;q=0.7,application/json;q=0.9", "a/b;q=0.5,a/*;q=x,".repeat(5000));
    assert_eq!(negotiate(Some(accept.as_bytes())), Some(Media::Json));
    let best_last =
        format!("{}application/yaml;{V2};q=0.9", format!("application/json;{V2};q=0.1,").repeat(12));
    assert_eq!(DiscoveryForm::of(best_last.as_bytes(), false), aggregated(false, Media::Yaml));
}

#[test]
fn an_error_is_written_in_what_the_client_reads() {
    for (accept, expected) in [
        ("", Some(Media::Json)),
        ("application/yaml", Some(Media::Yaml)),
        ("application/vnd.kubernetes.protobuf,application/json", Some(Media::Protobuf)),
        ("application/json;q=0.5,application/yaml", Some(Media::Yaml)),
        ("application/json;as=Table;g=meta.k8s.io;v=v1,application/json", Some(Media::Json)),
        ("text/html,*/*;q=0.8", Some(Media::Json)),
        ("text/html", None),
    ] {
        assert_eq!(negotiate(Some(accept.as_bytes())), expected, "Accept: {accept}");
    }
    assert_eq!(negotiate(None), Some(Media::Json));
}

#[test]
fn people_get_indented_json() {
    let agent = |agent: &'static str| HeaderMap::from_iter([(USER_AGENT, HeaderValue::from_static(agent))]);
    let kubectl = agent("kubectl/v1.36.0 (linux/amd64)");
    for (query, headers, expected) in [
        (None, &kubectl, false),
        (None, &HeaderMap::new(), false),
        (None, &agent("curl/8.0"), true),
        (None, &agent("Wget/1.2"), true),
        (None, &agent("Mozilla/5.0 (X11)"), true),
        (None, &agent("libcurl"), false),
        (Some("pretty=1"), &kubectl, true),
        (Some("x=y&pretty=True"), &kubectl, true),
        (Some("pretty=yes"), &kubectl, false),
        (Some("pretty=0"), &agent("curl/8.0"), false),
        (Some("pretty=false&pretty=1"), &agent("curl/8.0"), false),
        (Some("pretty="), &agent("curl/8.0"), true),
        (Some("pretty"), &kubectl, false),
    ] {
        assert_eq!(wants_pretty(query, headers), expected, "{query:?} {headers:?}");
    }
}

#[test]
fn a_header_full_of_clauses_that_are_all_refused_is_read_in_no_time() {
    let refusals =
        ["json", "yaml", "vnd.kubernetes.protobuf", "cbor"].map(|sub| format!("application/{sub};q=0"));
    let header = format!("{}{}", "*/*,".repeat(crate::limits::MAX_HEADER_BYTES / 4), refusals.join(","));
    let began = std::time::Instant::now();
    assert_eq!(DiscoveryForm::of(header.as_bytes(), true), NONE);
    let took = began.elapsed();
    assert!(took < std::time::Duration::from_secs(1), "{took:?}");
}
