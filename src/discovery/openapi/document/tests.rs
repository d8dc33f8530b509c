use std::io::Read as _;

use flate2::read::GzDecoder;
use http_body_util::BodyExt as _;

use super::*;

const V2: Manner = Manner { negotiated: true, gzip: true, immutable: false };

fn document(length: usize) -> Arc<Document> {
    Arc::new(Document::new(Arc::from("AB12"), "application/json", vec![b'x'; length].into()))
}

async fn asked(manner: Manner, method: Method, lines: &[(&str, &str)]) -> (http::response::Parts, Bytes) {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap());
    }
    let (parts, body) = document(2000).respond(manner, &method, &headers).await.into_parts();
    (parts, body.collect().await.unwrap().to_bytes())
}

fn text(parts: &http::response::Parts, name: HeaderName) -> &str {
    parts.headers.get(name).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn an_answer_has_upstreams_headers() {
    let (parts, body) = asked(V2, Method::GET, &[]).await;
    assert_eq!(parts.status, StatusCode::OK);
    assert_eq!(body.len(), 2000);
    assert_eq!(text(&parts, ETAG), "\"AB12\"");
    assert_eq!(text(&parts, CONTENT_TYPE), "application/json");
    assert_eq!(text(&parts, CACHE_CONTROL), "no-cache, private");
    assert!(text(&parts, LAST_MODIFIED).ends_with(" GMT"));
    let vary: Vec<_> = parts.headers.get_all(VARY).iter().collect();
    assert_eq!(vary, ["Accept-Encoding", "Accept"]);
    let manner = Manner { negotiated: true, immutable: true, ..Manner::default() };
    let (parts, _) = asked(manner, Method::GET, &[]).await;
    assert_eq!(text(&parts, CACHE_CONTROL), "public, immutable");
    assert!(text(&parts, EXPIRES).ends_with(" GMT"));
    assert_eq!(text(&parts, VARY), "Accept");
}

#[tokio::test]
async fn head_is_get_without_its_body() {
    let (parts, body) = asked(V2, Method::HEAD, &[("accept-encoding", "gzip")]).await;
    assert_eq!((text(&parts, CONTENT_LENGTH), body.len()), ("2000", 0));
}

#[tokio::test]
async fn whoever_has_it_gets_304() {
    for known in ["\"AB12\"", "W/\"AB12\"", "\"other\", \"AB12\"", "*", "\"a\",W/\"AB12\" "] {
        let (parts, body) = asked(V2, Method::GET, &[("if-none-match", known)]).await;
        assert_eq!((parts.status, body.len()), (StatusCode::NOT_MODIFIED, 0), "{known}");
        assert_eq!(text(&parts, ETAG), "\"AB12\"");
        assert!(!parts.headers.contains_key(CONTENT_TYPE));
    }
    for unknown in ["\"other\"", "AB12", "\"ab12\"", ""] {
        let (parts, _) = asked(V2, Method::GET, &[("if-none-match", unknown)]).await;
        assert_eq!(parts.status, StatusCode::OK, "{unknown}");
    }
    let (parts, _) =
        asked(V2, Method::GET, &[("if-none-match", "\"x\""), ("if-none-match", "\"AB12\"")]).await;
    assert_eq!(parts.status, StatusCode::NOT_MODIFIED, "on a second line");
}

#[tokio::test]
async fn a_date_counts_only_where_no_tag_does() {
    let far = "Sun, 21 Nov 2100 09:54:57 GMT";
    let (parts, _) = asked(V2, Method::GET, &[("if-modified-since", far)]).await;
    assert_eq!(parts.status, StatusCode::NOT_MODIFIED);
    let (parts, _) = asked(V2, Method::GET, &[("if-modified-since", far), ("if-none-match", "\"x\"")]).await;
    assert_eq!(parts.status, StatusCode::OK);
    for date in ["Sat, 21 Nov 2020 09:54:57 GMT", "yesterday"] {
        let (parts, _) = asked(V2, Method::GET, &[("if-modified-since", date)]).await;
        assert_eq!(parts.status, StatusCode::OK, "{date}");
    }
    let parts = asked(V2, Method::GET, &[]).await.0;
    let modified = text(&parts, LAST_MODIFIED).to_owned();
    assert!(parse_date(&modified).is_some(), "{modified}");
}

#[tokio::test]
async fn gzip_is_for_whoever_wants_it() {
    for wanted in ["gzip", "GZIP", "deflate, gzip;q=0.5", "br,gzip ; q=1"] {
        let (parts, body) = asked(V2, Method::GET, &[("accept-encoding", wanted)]).await;
        assert_eq!(text(&parts, CONTENT_ENCODING), "gzip", "{wanted}");
        let mut plain = Vec::new();
        GzDecoder::new(&body[..]).read_to_end(&mut plain).unwrap();
        assert_eq!(plain, vec![b'x'; 2000]);
    }
    for unwanted in ["", "deflate", "gzip;q=0", "*", "gzip;q=x"] {
        let (parts, body) = asked(V2, Method::GET, &[("accept-encoding", unwanted)]).await;
        assert_eq!((text(&parts, CONTENT_ENCODING), body.len()), ("", 2000), "{unwanted}");
    }
    let plain = Manner { gzip: false, ..V2 };
    assert_eq!(asked(plain, Method::GET, &[("accept-encoding", "gzip")]).await.1.len(), 2000);
}
