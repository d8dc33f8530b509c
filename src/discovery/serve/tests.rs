use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH};
use http::{Method, Response, StatusCode};
use http_body_util::BodyExt;

use super::{Request, SOURCES, respond};
use crate::api::discovery::{GroupDiscovery, GroupDiscoveryList, Tree, VersionDiscovery};
use crate::api::media_type::{AggregatedVersion, Media};
use crate::body::Body;
use crate::discovery::catalog::{Answers, Document, Key, Origin, Part};
use crate::discovery::render::{Encoding, GZIP_THRESHOLD};
use crate::limits;

const APIS: Key = Key::Aggregated(Tree::Apis, AggregatedVersion::V2);

/// Of two servers, of which the second one can't be asked now.
fn answers(groups: usize) -> Arc<Answers> {
    let group = |number| {
        let mut group = GroupDiscovery::default();
        group.metadata.name = format!("group{number}.example.com");
        group.versions = vec![Arc::new(VersionDiscovery { version: "v1".into(), ..Default::default() })];
        group
    };
    let list = GroupDiscoveryList { items: (0..groups).map(group).collect(), ..Default::default() };
    let document = Arc::new(Document { apis: Part { list, etag: None }, ..Document::default() });
    let origin =
        |name: &str, believed| Origin { name: name.into(), document: Arc::clone(&document), believed };
    Arc::new(Answers::new(vec![origin("b", false), origin("a", true)], None).unwrap())
}

fn small() -> Arc<Answers> {
    answers(1)
}

fn large() -> Arc<Answers> {
    answers(4000)
}

fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

async fn ask(answers: &Arc<Answers>, key: Key, media: Media, sent: &[(HeaderName, &str)]) -> Response<Body> {
    let (method, headers) = (&Method::GET, &headers(sent));
    let encoding = Encoding::new(media, false);
    respond(answers, Request { method, headers, key, encoding, sources: false }).await
}

async fn get(answers: &Arc<Answers>, sent: &[(HeaderName, &str)]) -> Response<Body> {
    ask(answers, APIS, Media::Json, sent).await
}

fn etag(answers: &Answers) -> &str {
    answers.etag(APIS).unwrap().digits()
}

fn json(answers: &Answers) -> &Bytes {
    answers.write(APIS, Encoding::new(Media::Json, false)).body()
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
async fn an_aggregated_document_has_the_headers_that_kube_apiserver_sends() {
    let answers = small();
    for (version, word) in [(AggregatedVersion::V2, "v2"), (AggregatedVersion::V2Beta1, "v2beta1")] {
        for media in Media::offered(true) {
            let key = Key::Aggregated(Tree::Apis, version);
            let response = ask(&answers, key, *media, &[]).await;
            assert_eq!(response.status(), StatusCode::OK);
            let written = answers.written(key, Encoding::new(*media, false)).unwrap().body();
            let expected = [
                "cache-control: public".to_owned(),
                format!("content-length: {}", written.len()),
                format!(
                    "content-type: {};g=apidiscovery.k8s.io;v={word};as=APIGroupDiscoveryList",
                    media.as_str()
                ),
                format!("etag: \"{}\"", etag(&answers)),
                "vary: Accept".to_owned(),
            ];
            assert_eq!(shown(&response), expected);
            assert_eq!(&body(response).await, written);
        }
    }
}

#[tokio::test]
async fn an_unaggregated_document_has_the_headers_that_kube_apiserver_sends() {
    let answers = small();
    for key in [Key::Root(Tree::Apis), Key::Root(Tree::Api), Key::Group(0), Key::Version(Tree::Apis, 0, 0)] {
        for media in Media::offered(true) {
            let response = ask(&answers, key, *media, &[(IF_NONE_MATCH, "*")]).await;
            assert_eq!(response.status(), StatusCode::OK, "without a tag there is no 304");
            let written = answers.written(key, Encoding::new(*media, false)).unwrap().body();
            let expected = [
                "cache-control: no-cache, private".to_owned(),
                format!("content-length: {}", written.len()),
                format!("content-type: {}", media.as_str()),
            ];
            assert_eq!(shown(&response), expected);
            assert_eq!(&body(response).await, written);
        }
    }
}

#[tokio::test]
async fn the_same_etag_is_answered_304_without_a_body() {
    let answers = small();
    let etag = format!("\"{}\"", etag(&answers));
    let response = get(&answers, &[(IF_NONE_MATCH, &etag)]).await;
    assert_eq!(response.status(), StatusCode::NOT_MODIFIED);
    let expected = ["cache-control: public".to_owned(), format!("etag: {etag}"), "vary: Accept".to_owned()];
    assert_eq!(shown(&response), expected);
    assert!(body(response).await.is_empty());
}

#[tokio::test]
async fn a_304_writes_nothing() {
    let answers = small();
    let response = ask(&answers, APIS, Media::Yaml, &[(IF_NONE_MATCH, "*")]).await;
    assert_eq!(response.status(), StatusCode::NOT_MODIFIED);
    assert!(answers.written(APIS, Encoding::new(Media::Yaml, false)).is_none());
}

#[tokio::test]
async fn tags_are_compared_as_rfc_9110_has_it() {
    let answers = small();
    let etag = etag(&answers);
    let (known, other) = (StatusCode::NOT_MODIFIED, StatusCode::OK);
    for (given, expected) in [
        (format!("\"{etag}\""), known),
        (format!("W/\"{etag}\""), known),
        ("*".to_owned(), known),
        (" * ".to_owned(), known),
        (format!("\"x\", \"{etag}\""), known),
        (format!("\"x\",W/\"{etag}\" , \"y\""), known),
        (format!(", ,\"a,b\",, \"{etag}\""), known),
        (etag.to_owned(), other),
        (format!("w/\"{etag}\""), other),
        (format!("\"{}\"", etag.to_lowercase()), other),
        (format!("\"x\" \"{etag}\""), other),
        (format!("\"x, {etag}\""), other),
        (format!("\"{etag}"), other),
        ("\"*\"".to_owned(), other),
        ("*, \"x\"".to_owned(), other),
        (",".to_owned(), other),
        (String::new(), other),
    ] {
        let response = get(&answers, &[(IF_NONE_MATCH, &given)]).await;
        assert_eq!(response.status(), expected, "If-None-Match: {given}");
    }
    let lines = [(IF_NONE_MATCH, "\"x\""), (IF_NONE_MATCH, &*format!("\"{etag}\""))];
    assert_eq!(get(&answers, &lines).await.status(), known);
}

#[tokio::test]
async fn a_long_document_is_compressed_for_who_takes_gzip() {
    let answers = large();
    assert!(json(&answers).len() > GZIP_THRESHOLD.max(limits::MAX_RENDERED_INLINE));
    for accepted in ["gzip", "deflate, gzip", "br,gzip ,x"] {
        let response = get(&answers, &[(ACCEPT_ENCODING, accepted)]).await;
        let lines = shown(&response);
        assert!(lines.contains(&"content-encoding: gzip".to_owned()), "{accepted}: {lines:?}");
        assert!(
            lines.ends_with(&["vary: Accept".to_owned(), "vary: Accept-Encoding".to_owned()]),
            "{lines:?}"
        );
        let sent = body(response).await;
        assert!(lines.contains(&format!("content-length: {}", sent.len())), "{lines:?}");
        let written = answers.written(APIS, Encoding::new(Media::Json, false)).unwrap();
        assert_eq!(&sent, written.gzip().unwrap());
    }
    for refused in ["", "identity", "gzip;q=1", "GZIP", "xgzip"] {
        let response = get(&answers, &[(ACCEPT_ENCODING, refused)]).await;
        assert!(!shown(&response).iter().any(|line| line.starts_with("content-encoding")), "{refused}");
        assert_eq!(&body(response).await, json(&answers));
    }
    let root = ask(&answers, Key::Root(Tree::Apis), Media::Json, &[(ACCEPT_ENCODING, "gzip")]).await;
    assert!(shown(&root).contains(&"content-encoding: gzip".to_owned()));
    let small = get(&small(), &[(ACCEPT_ENCODING, "gzip")]).await;
    assert!(!shown(&small).contains(&"content-encoding: gzip".to_owned()));
}

#[tokio::test]
async fn head_is_answered_like_get_without_the_body() {
    for answers in [small(), large()] {
        for key in [APIS, Key::Root(Tree::Apis), Key::Group(0)] {
            let headers = &headers(&[(ACCEPT_ENCODING, "gzip")]);
            let encoding = Encoding::new(Media::Json, false);
            let request = |method| Request { method, headers, key, encoding, sources: false };
            let get = respond(&answers, request(&Method::GET)).await;
            let head = respond(&answers, request(&Method::HEAD)).await;
            assert_eq!(shown(&head), shown(&get));
            assert!(body(head).await.is_empty());
        }
    }
}

#[tokio::test]
async fn whose_documents_went_into_an_answer_is_told_if_that_is_wanted() {
    let answers = small();
    let (method, headers) = (&Method::GET, &HeaderMap::new());
    for key in [APIS, Key::Root(Tree::Api), Key::Group(0), Key::Version(Tree::Apis, 0, 0)] {
        let encoding = Encoding::new(Media::Json, false);
        let request = |sources| Request { method, headers, key, encoding, sources };
        let told = respond(&answers, request(true)).await;
        assert_eq!(told.headers()[SOURCES], "a, b;stale");
        assert!(!respond(&answers, request(false)).await.headers().contains_key(SOURCES));
    }
}
