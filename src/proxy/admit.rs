//! Is this HTTP that we and the API server read alike?

use http::{Method, header, request::Parts, uri::Authority};

use crate::api::status::Status;

/// Refuses what must not be forwarded, and gives the authority that the client asked for.
///
/// The authority is passed on and decides nothing: no address that a request names is ever dialled (I11).
///
/// # Errors
/// 400 for a request whose host is missing, doubled or malformed, 405 for CONNECT.
pub fn admit(parts: &Parts) -> Result<Authority, Status> {
    if parts.method == Method::CONNECT {
        return Err(Status::method_not_allowed("CONNECT is not a way through this proxy"));
    }
    if parts.uri.path() == "*" {
        return Err(Status::bad_request("a request for `*` asks for nothing that an API server has"));
    }
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Status::bad_request("the request has more than one Host header"));
    }
    let authority = match (parts.uri.authority(), host) {
        // RFC 9112, 3.2.2: an absolute target counts, not the Host beside it. HTTP/2 has `:authority`.
        (Some(authority), _) => Ok(authority.clone()),
        (None, Some(host)) => Authority::try_from(host.as_bytes()),
        (None, None) => return Err(Status::bad_request("the request has no Host header")),
    };
    authority.map_err(|_| Status::bad_request("the request's Host is malformed"))
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
        assert_eq!(refused(get()), None);
        assert_eq!(refused(Request::get("https://k8s/api")), None);
        assert_eq!(refused(Request::get("https://k8s/api").header("host", "other")), None);
        assert_eq!(refused(Request::get("/api")), Some(400));
        assert_eq!(refused(get().header("host", "k8s:6443")), Some(400));
        assert_eq!(refused(Request::get("/api").header("host", "a b")), Some(400));
        assert_eq!(refused(get().method("CONNECT")), Some(405));
        assert_eq!(refused(Request::options("*").header("host", "k8s")), Some(400));
    }
}
