use http_body_util::BodyExt as _;

use super::*;

fn answer(status: Status, accept: &'static str) -> (http::response::Parts, Vec<u8>) {
    let mut request = HeaderMap::new();
    request.insert(header::ACCEPT, HeaderValue::from_static(accept));
    let (parts, body) = status.into_response(Encoding::preferred(&request)).into_parts();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    (parts, runtime.block_on(body.collect()).unwrap().to_bytes().to_vec())
}

#[test]
fn an_error_is_a_status_document_with_retry_after() {
    let (parts, body) = answer(Status::unavailable("nobody knows").retry_after(2), "*/*");
    assert_eq!(parts.status, 503);
    assert_eq!(parts.headers["retry-after"], "2");
    assert_eq!(
        String::from_utf8(body).unwrap(),
        "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"status\":\"Failure\",\
         \"message\":\"nobody knows\",\"reason\":\"ServiceUnavailable\",\
         \"details\":{\"retryAfterSeconds\":2},\"code\":503}\n"
    );
}

#[test]
fn the_encoding_is_the_one_that_the_client_prefers() {
    for (accept, expected) in [
        ("application/vnd.kubernetes.protobuf", PROTOBUF),
        ("application/vnd.kubernetes.protobuf,application/json", PROTOBUF),
        ("application/json, application/vnd.kubernetes.protobuf", "application/json"),
        ("application/json;as=Table;g=meta.k8s.io;v=v1,application/vnd.kubernetes.protobuf", PROTOBUF),
        ("text/html", "application/json"),
    ] {
        let (parts, _) = answer(Status::bad_request("no"), accept);
        assert_eq!(parts.headers["content-type"], expected, "{accept}");
    }
}

#[test]
fn our_own_protobuf_status_reads_back() {
    let (_, body) = answer(Status::bad_request("what is this"), PROTOBUF);
    let seen = protobuf::decode(&body).unwrap();
    assert_eq!(seen.message, "what is this");
    assert!(!seen.names_an_object);
}

#[test]
fn a_missing_route_is_told_from_a_missing_object() {
    let json = Some(HeaderValue::from_static("application/json"));
    let text = Some(HeaderValue::from_static("text/plain; charset=utf-8"));
    let protobuf = Some(HeaderValue::from_static(PROTOBUF));
    let route = format!(
        r#"{{"kind":"Status","message":"{ROUTE_NOT_FOUND}","reason":"NotFound","details":{{}},"code":404}}"#
    );
    let object = r#"{"kind":"Status","message":"pods \"p\" not found","reason":"NotFound","details":{"name":"p","kind":"pods"},"code":404}"#;
    let named = route.replace("{}", r#"{"name":"p"}"#);
    assert!(is_route_not_found(json.as_ref(), route.as_bytes()));
    assert!(!is_route_not_found(json.as_ref(), object.as_bytes()));
    assert!(!is_route_not_found(json.as_ref(), named.as_bytes()));
    assert!(!is_route_not_found(json.as_ref(), b"rubbish"));
    assert!(is_route_not_found(text.as_ref(), b"404 page not found\n"));
    assert!(!is_route_not_found(text.as_ref(), b"some extension server's words"));
    assert!(!is_route_not_found(None, b"404 page not found\n"));
    let yaml = Some(HeaderValue::from_static("application/yaml"));
    let route =
        format!("apiVersion: v1\ncode: 404\ndetails: {{}}\nkind: Status\nmessage: {ROUTE_NOT_FOUND}\n");
    assert!(is_route_not_found(yaml.as_ref(), route.as_bytes()));
    let object = route.replace("details: {}", "details:\n  name: p");
    assert!(!is_route_not_found(yaml.as_ref(), object.as_bytes()));

    let mut status = Status::bad_request(ROUTE_NOT_FOUND);
    assert!(is_route_not_found(protobuf.as_ref(), &protobuf::encode(&status)));
    status.message = "pods \"p\" not found".into();
    assert!(!is_route_not_found(protobuf.as_ref(), &protobuf::encode(&status)));
    assert!(!is_route_not_found(protobuf.as_ref(), b"k8s\0\x0a\xff"));
}

/// What a kube-apiserver 1.36 says in protobuf of a route and of a pod that aren't there.
#[test]
fn protobuf_is_that_of_a_real_server_to_the_byte() {
    let protobuf = Some(HeaderValue::from_static(PROTOBUF));
    let envelope = "6b3873000a0c0a0276311206537461747573";
    let route = bytes(&format!(
        "{envelope}125c0a060a0012001a0012074661696c7572651a30{}22084e6f74466f756e642a0a0a0012001a00280032003094031a002200",
        hex(ROUTE_NOT_FOUND),
    ));
    assert_eq!(route.len(), 116);
    assert!(is_route_not_found(protobuf.as_ref(), &route));
    let status = Status::new(StatusCode::NOT_FOUND, "NotFound", ROUTE_NOT_FOUND);
    assert_eq!(protobuf::encode(&status), route);

    let object = bytes(&format!(
        "{envelope}12490a060a0012001a0012074661696c7572651a15{}22084e6f74466f756e642a120a046e6f6e6512001a04706f6473280032003094031a002200",
        hex("pods \"none\" not found"),
    ));
    assert_eq!(object.len(), 97);
    assert!(protobuf::decode(&object).unwrap().names_an_object);
    assert!(!is_route_not_found(protobuf.as_ref(), &object));

    let again = Status::unavailable("later").retry_after(7);
    assert!(hex_of(&protobuf::encode(&again)).contains("2a0a0a0012001a0028073200"));
}

#[test]
fn what_is_no_protobuf_status_names_no_route() {
    let whole = protobuf::encode(&Status::new(StatusCode::NOT_FOUND, "NotFound", ROUTE_NOT_FOUND));
    let protobuf = Some(HeaderValue::from_static(PROTOBUF));
    assert!(is_route_not_found(protobuf.as_ref(), &whole));
    for length in 0..whole.len() - 4 {
        assert!(!is_route_not_found(protobuf.as_ref(), &whole[..length]), "cut to {length}");
    }
    let other = whole.iter().map(|byte| if *byte == b'S' { b's' } else { *byte }).collect::<Vec<_>>();
    assert!(!is_route_not_found(protobuf.as_ref(), &other), "another kind");
    assert!(!is_route_not_found(protobuf.as_ref(), &whole[4..]), "no magic");
}

fn hex(text: &str) -> String {
    hex_of(text.as_bytes())
}

fn hex_of(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    let pair = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(pair).collect()
}
