//! Method, path and query as a client sends them → Kubernetes' reading of them.
//!
//! Input: one byte that chooses the method, then the target.
#![no_main]

use http::{Method, uri::PathAndQuery};
use kube_peer_proxy::api::request_info::{PathError, RequestInfo, decode};
use libfuzzer_sys::fuzz_target;

const METHODS: [Method; 8] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
    Method::TRACE,
];

fuzz_target!(|input: &[u8]| {
    let Some((method, target)) = input.split_first() else { return };
    let method = &METHODS[usize::from(*method) % METHODS.len()];
    let Ok(target) = PathAndQuery::try_from(target) else { return };
    let (raw, query) = (target.path(), target.query());
    let Ok(decoded) = decode(raw) else { return };

    assert_eq!(decode(&encoded(&decoded, false)).as_deref(), Ok(&*decoded), "escaping is undone");
    let read = RequestInfo::parse(method, raw, &decoded, query);
    for other in &METHODS {
        let accepted = RequestInfo::parse(other, raw, &decoded, None).is_ok();
        assert_eq!(accepted, read.is_ok(), "only the path decides whether a request is read: {raw}");
    }
    let Ok(info) = read else { return };
    let again = encoded(&decoded, true);
    assert_eq!(
        RequestInfo::parse(method, &again, &decoded, query).as_ref(),
        Ok(&info),
        "the spelling {again} of {raw} is read differently"
    );
    let _ = info.is_long_running();
    if !info.is_resource {
        let verb = method.as_str().to_ascii_lowercase().into();
        assert_eq!(info, RequestInfo { verb, ..RequestInfo::default() });
    } else if info.verb != "proxy" {
        assert_eq!(names_in(raw), Ok(names_of(&info)), "two ways to read {raw}");
    }
});

/// Group, version, namespace, resource, name in the path, subresource.
type Names = [String; 6];

fn names_of(info: &RequestInfo<'_>) -> Names {
    // A name that a field selector gave stands in no path.
    let name = if info.parts > 1 { &*info.name } else { "" };
    [info.group, info.version, info.namespace, info.resource, name, info.subresource].map(str::to_owned)
}

/// A reader that splits first and decodes then, the other way round than Kubernetes; what both agree on nobody
/// behind us reads differently.
fn names_in(raw: &str) -> Result<Names, PathError> {
    let mut segments = Vec::new();
    for segment in raw.trim_matches('/').split('/') {
        segments.push(decode(segment)?.into_owned());
    }
    let mut segments = segments.into_iter();
    let mut next = || segments.next().unwrap_or_default();
    let mut names = Names::default();
    if next() == "apis" {
        names[0] = next();
    }
    names[1] = next();
    let mut resource = next();
    let watch = resource == "watch";
    if watch {
        resource = next();
    }
    let (mut name, mut subresource) = (next(), next());
    if resource == "namespaces" && !name.is_empty() {
        names[2].clone_from(&name);
        if !matches!(&*subresource, "" | "status" | "finalize") {
            (resource, name, subresource) = (subresource, next(), next());
        }
    }
    if watch {
        subresource.clear();
    }
    let deciding = [&names[0], &names[1], &names[2], &resource, &name, &subresource];
    for part in deciding {
        assert!(!part.contains(['/', '\0']) && part != "." && part != "..", "{part:?} decides in {raw}");
    }
    (names[3], names[4], names[5]) = (resource, name, subresource);
    Ok(names)
}

/// Percent-encodes all that is not a letter or a digit, or all of that but slashes.
fn encoded(text: &str, slashes: bool) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || (slashes && byte == b'/') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
        encoded
    })
}
