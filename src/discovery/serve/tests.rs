use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH};
use http::{Method, Response, StatusCode};
use http_body_util::BodyExt;

use super::respond;
use crate::api::discovery::{GroupDiscovery, GroupDiscoveryList};
use crate::body::Body;
use crate::discovery::render::{GZIP_THRESHOLD, Rendered};

fn small() -> Rendered {
    Rendered::new(&GroupDiscoveryList::default())
}

fn large() -> Rendered {
    let mut document = GroupDiscoveryList::default();
    document.items.resize_with(20_000, GroupDiscovery::default);
    Rendered::new(&document)
}

fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn get(rendered: &Rendered, sent: &[(HeaderName, &str)]) -> Response<Body> {
    respond(rendered, &Method::GET, &headers(sent), false)
}

/// All headers, sorted; a header that stands twice stands here twice.
fn shown(response: &Response<Body>) -> Vec<String> {
    let line = |(name, value): (&HeaderName, &HeaderValue)| format!("{name}: {}", value.to_str().unwrap());
    let mut lines: Vec<_> = response.headers().iter().map(line).collect();
    lines.sort();
    lines
}

async fn body(response: Response<Body>) -> Bytes {
    response.into_body().collect().await.unwrap().to_bytes()
}

#[tokio::test]
async fn a_document_has_the_headers_that_kube_apiserver_sends() {
    let rendered = small();
    let response = get(&rendered, &[]);
    assert_eq!(response.status(), StatusCode::OK);
    let expected = [
        "cache-control: public".to_owned(),
        format!("content-length: {}", rendered.json().body().len()),
        "content-type: application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList".to_owned(),
        format!("etag: \"{}\"", rendered.etag()),
        "vary: Accept".to_owned(),
    ];
    assert_eq!(shown(&response), expected);
    assert_eq!(&body(response).await, rendered.json().body());
}

#[tokio::test]
async fn the_same_etag_is_answered_304_without_a_body() {
    let rendered = small();
    let etag = format!("\"{}\"", rendered.etag());
    let response = get(&rendered, &[(IF_NONE_MATCH, &etag)]);
    assert_eq!(response.status(), StatusCode::NOT_MODIFIED);
    let expected = ["cache-control: public".to_owned(), format!("etag: {etag}"), "vary: Accept".to_owned()];
    assert_eq!(shown(&response), expected);
    assert!(body(response).await.is_empty());
}

#[test]
fn only_the_quoted_etag_itself_matches() {
    let rendered = small();
    let etag = rendered.etag();
    for given in [
        etag.to_owned(),
        format!("W/\"{etag}\""),
        format!("\"{etag}\", \"x\""),
        format!("\"{}\"", etag.to_lowercase()),
        "*".to_owned(),
        String::new(),
    ] {
        assert_eq!(
            get(&rendered, &[(IF_NONE_MATCH, &given)]).status(),
            StatusCode::OK,
            "If-None-Match: {given}"
        );
    }
    let second_line = [(IF_NONE_MATCH, "\"x\""), (IF_NONE_MATCH, &*format!("\"{etag}\""))];
    assert_eq!(get(&rendered, &second_line).status(), StatusCode::OK);
}

#[tokio::test]
async fn a_long_document_is_compressed_for_who_takes_gzip() {
    let rendered = large();
    assert!(rendered.json().body().len() > GZIP_THRESHOLD);
    for accepted in ["gzip", "deflate, gzip", "br,gzip ,x"] {
        let response = get(&rendered, &[(ACCEPT_ENCODING, accepted)]);
        let lines = shown(&response);
        assert!(lines.contains(&"content-encoding: gzip".to_owned()), "{accepted}: {lines:?}");
        assert!(
            lines.ends_with(&["vary: Accept".to_owned(), "vary: Accept-Encoding".to_owned()]),
            "{lines:?}"
        );
        let sent = body(response).await;
        assert!(lines.contains(&format!("content-length: {}", sent.len())), "{lines:?}");
        assert_eq!(&sent, rendered.json().gzip().unwrap());
    }
    for refused in ["", "identity", "gzip;q=1", "GZIP", "xgzip"] {
        let response = get(&rendered, &[(ACCEPT_ENCODING, refused)]);
        assert!(!shown(&response).iter().any(|line| line.starts_with("content-encoding")), "{refused}");
        assert_eq!(&body(response).await, rendered.json().body());
    }
    assert!(
        !shown(&get(&small(), &[(ACCEPT_ENCODING, "gzip")])).contains(&"content-encoding: gzip".to_owned())
    );
}

#[tokio::test]
async fn head_is_answered_like_get_without_the_body() {
    for rendered in [small(), large()] {
        let sent = headers(&[(ACCEPT_ENCODING, "gzip")]);
        let (get, head) =
            (respond(&rendered, &Method::GET, &sent, false), respond(&rendered, &Method::HEAD, &sent, false));
        assert_eq!(shown(&head), shown(&get));
        assert!(body(head).await.is_empty());
    }
}

#[tokio::test]
async fn pretty_json_has_the_same_etag() {
    let rendered = small();
    let response = respond(&rendered, &Method::GET, &HeaderMap::new(), true);
    assert!(shown(&response).contains(&format!("etag: \"{}\"", rendered.etag())));
    assert_eq!(&body(response).await, rendered.pretty().body());
}
