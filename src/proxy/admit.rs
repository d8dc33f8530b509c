//! Is this HTTP that we and the API server read alike?

use http::{HeaderMap, Method, Version, header, request::Parts, uri::Authority};

use crate::api::status::Status;

/// Refuses what must not be forwarded, and gives the authority that the client asked for, if any.
///
/// The authority is passed on and decides nothing: no address that a request names is ever dialled (I11).
///
/// # Errors
/// 400 for a request whose host is missing, doubled or malformed or whose length is said twice, 405 for CONNECT,
/// 501 for a transfer coding other than `chunked`. Over HTTP/1.1 all of them end the connection: what follows on it
/// may be no request, but the rest of what we refused to read.
pub fn admit(parts: &Parts) -> Result<Option<Authority>, Status> {
    let admitted = check(parts);
    if parts.version <= Version::HTTP_11 { admitted.map_err(Status::closing) } else { admitted }
}

fn check(parts: &Parts) -> Result<Option<Authority>, Status> {
    if parts.method == Method::CONNECT {
        return Err(Status::method_not_allowed("CONNECT is not a way through this proxy"));
    }
    match parts.uri.path() {
        "*" => return Err(Status::bad_request("a request for `*` asks for nothing that an API server has")),
        "" => return Err(Status::bad_request("the request's target has no path")),
        _ => {}
    }
    check_framing(&parts.headers)?;
    authority(parts)
}

/// Beside what the HTTP library refuses: whoever is behind us must find the end of the body where we found it,
/// and nothing in it that we took off.
fn check_framing(headers: &HeaderMap) -> Result<(), Status> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let only_chunked = match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(coding), None) => coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => false,
    };
    if !only_chunked {
        return Err(Status::not_implemented("no transfer coding but `chunked`, once, is understood here"));
    }
    if headers.get_all(header::CONTENT_LENGTH).iter().count() > 1 {
        return Err(Status::bad_request("the request has more than one Content-Length header"));
    }
    Ok(())
}

/// The host that the request is for. Only HTTP/1.1 has to name one; as kube-apiserver, we serve an empty one too.
fn authority(parts: &Parts) -> Result<Option<Authority>, Status> {
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Status::bad_request("the request has more than one Host header"));
    }
    if host.is_none() && parts.version == Version::HTTP_11 {
        return Err(Status::bad_request("the request has no Host header"));
    }
    let host = host
        .filter(|host| !host.is_empty())
        .map(|host| Authority::try_from(host.as_bytes()))
        .transpose()
        .map_err(|_| Status::bad_request("the request's Host is malformed"))?;
    let asked = match (parts.uri.authority(), host) {
        // RFC 9113, 8.3.1: such a request is malformed, for who is behind us might go by the other one.
        (Some(authority), Some(host)) if parts.version > Version::HTTP_11 && *authority != host => {
            return Err(Status::bad_request("the request's Host differs from its :authority"));
        }
        // RFC 9112, 3.2.2: an absolute target counts, not the Host beside it.
        (Some(authority), _) => Some(authority.clone()),
        (None, host) => host,
    };
    if asked.as_ref().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(Status::bad_request("the request's host has a user in front of it"));
    }
    Ok(asked)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn refused(request: http::request::Builder) -> Option<u16> {
        let (parts, ()) = request.body(()).unwrap().into_parts();
        admit(&parts).err().map(|status| status.code.as_u16())
    }

    #[test]
    fn only_what_an_api_server_reads_alike_is_admitted() {
        let get = || Request::get("/api").header("host", "k8s:6443");
        let h2 = || Request::get("https://k8s/api").version(Version::HTTP_2);
        assert_eq!(refused(get()), None);
        assert_eq!(refused(Request::get("https://k8s/api").header("host", "other")), None);
        assert_eq!(refused(Request::get("https://k8s/api")), Some(400));
        assert_eq!(refused(Request::get("/api")), Some(400));
        assert_eq!(refused(Request::get("/api").version(Version::HTTP_10)), None);
        assert_eq!(refused(get().header("host", "k8s:6443")), Some(400));
        assert_eq!(refused(Request::get("/api").header("host", "a b")), Some(400));
        assert_eq!(refused(Request::get("/api").header("host", "a@b")), Some(400));
        assert_eq!(refused(Request::get("/api").header("host", "")), None);
        assert_eq!(refused(h2()), None);
        assert_eq!(refused(h2().header("host", "K8S")), None);
        assert_eq!(refused(h2().header("host", "other")), Some(400));
        assert_eq!(refused(get().method("CONNECT")), Some(405));
        assert_eq!(refused(Request::options("*").header("host", "k8s")), Some(400));
        assert_eq!(refused(Request::get("k8s:6443").header("host", "k8s")), Some(400));
    }

    #[test]
    fn a_body_ends_where_everybody_sees_its_end() {
        let post = || Request::post("/api").header("host", "k8s");
        let coded = |coding: &str| refused(post().header("transfer-encoding", coding));
        assert_eq!(["chunked", "Chunked", " chunked\t"].map(coded), [None; 3]);
        assert_eq!(
            ["gzip, chunked", "chunked, chunked", ", chunked", "identity", ""].map(coded),
            [Some(501); 5]
        );
        let twice = post().header("transfer-encoding", "chunked").header("transfer-encoding", "chunked");
        assert_eq!(refused(twice), Some(501));
        assert_eq!(refused(post().header("content-length", "5").header("content-length", "5")), Some(400));
    }

    #[test]
    fn over_http_1_1_a_refusal_ends_the_connection() {
        for (version, closes) in
            [(Version::HTTP_10, true), (Version::HTTP_11, true), (Version::HTTP_2, false)]
        {
            let (parts, ()) =
                Request::get("/api").method("CONNECT").version(version).body(()).unwrap().into_parts();
            assert_eq!(admit(&parts).unwrap_err().close, closes, "{version:?}");
        }
    }
}
