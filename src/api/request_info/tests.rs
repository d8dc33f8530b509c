use super::*;

/// verb, group, version, namespace, resource, subresource, name
type Row = (&'static str, &'static str, &'static str, &'static str, &'static str, &'static str, &'static str);

fn read(method: &Method, target: &str) -> Result<RequestInfo<'static>, PathError> {
    let (path, query) = target.split_once('?').map_or((target, None), |(p, q)| (p, Some(q)));
    let decoded: &'static str = decode(path)?.into_owned().leak();
    RequestInfo::parse(method, path, decoded, query)
}

fn row(info: &RequestInfo<'static>) -> Row {
    let leak = |text: &str| -> &'static str { text.to_owned().leak() };
    (
        leak(&info.verb),
        info.group,
        info.version,
        info.namespace,
        info.resource,
        info.subresource,
        leak(&info.name),
    )
}

#[test]
fn resource_paths_are_read_as_upstream_reads_them() {
    let (get, post, put, patch, delete) =
        (Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE);
    let table: &[(&Method, &str, Row)] = &[
        (&get, "/api/v1/namespaces", ("list", "", "v1", "", "namespaces", "", "")),
        (&get, "/api/v1/namespaces/x", ("get", "", "v1", "x", "namespaces", "", "x")),
        (&put, "/api/v1/namespaces/x/status", ("update", "", "v1", "x", "namespaces", "status", "x")),
        (&put, "/api/v1/namespaces/x/finalize", ("update", "", "v1", "x", "namespaces", "finalize", "x")),
        (&get, "/api/v1/namespaces/x/pods", ("list", "", "v1", "x", "pods", "", "")),
        (&get, "/api/v1/namespaces/x/pods/p", ("get", "", "v1", "x", "pods", "", "p")),
        (&post, "/api/v1/namespaces/x/pods", ("create", "", "v1", "x", "pods", "", "")),
        (&patch, "/api/v1/namespaces/x/pods/p/resize", ("patch", "", "v1", "x", "pods", "resize", "p")),
        (&get, "/api/v1/namespaces/x/pods/p/proxy/a/b", ("get", "", "v1", "x", "pods", "proxy", "p")),
        (&delete, "/api/v1/namespaces/x/pods", ("deletecollection", "", "v1", "x", "pods", "", "")),
        (&delete, "/api/v1/nodes/n", ("delete", "", "v1", "", "nodes", "", "n")),
        (&Method::HEAD, "/api/v1/nodes/n", ("get", "", "v1", "", "nodes", "", "n")),
        (&Method::HEAD, "/api/v1/nodes", ("list", "", "v1", "", "nodes", "", "")),
        (&Method::OPTIONS, "/api/v1/nodes", ("", "", "v1", "", "nodes", "", "")),
        (&get, "/api/v1/pods?watch=true", ("watch", "", "v1", "", "pods", "", "")),
        (&get, "/api/v1/pods?watch", ("watch", "", "v1", "", "pods", "", "")),
        (&get, "/api/v1/pods?watch=1", ("watch", "", "v1", "", "pods", "", "")),
        (&get, "/api/v1/pods?watch=0", ("list", "", "v1", "", "pods", "", "")),
        (&get, "/api/v1/pods?watch=False", ("list", "", "v1", "", "pods", "", "")),
        (&get, "/api/v1/pods?w%61tch=1", ("watch", "", "v1", "", "pods", "", "")),
        (&get, "/api/v1/pods?watch=1;x", ("list", "", "v1", "", "pods", "", "")),
        (&get, "/api/v1/nodes/n?watch=1", ("get", "", "v1", "", "nodes", "", "n")),
        (&get, "/api/v1/watch/pods", ("watch", "", "v1", "", "pods", "", "")),
        (&get, "/api/v1/watch/namespaces/x/pods/p", ("watch", "", "v1", "x", "pods", "", "p")),
        (&get, "/api/v1/proxy/namespaces/x/pods/p/any/thing", ("proxy", "", "v1", "x", "pods", "", "p")),
        (&get, "/api/v1/pods?fieldSelector=metadata.name%3Dp", ("list", "", "v1", "", "pods", "", "p")),
        (&get, "/api/v1/pods?fieldSelector=metadata.name==p,a=b", ("list", "", "v1", "", "pods", "", "p")),
        (&get, "/api/v1/pods?fieldSelector=metadata.name!%3Dp", ("list", "", "v1", "", "pods", "", "")),
        (&get, "/api/v1/pods?fieldSelector=metadata.name%3D..", ("list", "", "v1", "", "pods", "", "")),
        (&get, "/apis/batch/v1/cronjobs", ("list", "batch", "v1", "", "cronjobs", "", "")),
        (
            &get,
            "/apis/batch/v1/namespaces/x/cronjobs/c/status",
            ("get", "batch", "v1", "x", "cronjobs", "status", "c"),
        ),
        (&get, "/apis/no.such/v9/things/t", ("get", "no.such", "v9", "", "things", "", "t")),
        (&get, "/api/whatever/things", ("list", "", "whatever", "", "things", "", "")),
        (&get, "/%61pi/v1/n%6fdes", ("list", "", "v1", "", "nodes", "", "")),
        (&get, "/api/v1/nodes/", ("list", "", "v1", "", "nodes", "", "")),
    ];
    for (method, target, expected) in table {
        let info = read(method, target).unwrap_or_else(|error| panic!("{method} {target}: {error}"));
        assert!(info.is_resource, "{method} {target}");
        assert_eq!(row(&info), *expected, "{method} {target}");
    }
}

#[test]
fn other_paths_are_no_resource_requests() {
    for path in [
        "/",
        "/api",
        "/api/",
        "/api/v1",
        "/api/v1/",
        "/apis",
        "/apis/",
        "/apis/batch",
        "/apis/batch/v1",
        "/version",
        "/healthz",
        "/healthz/../api/v1/pods",
        "/openapi/v3/apis/batch/v1",
        "/apifoo/v1/pods",
        "/metrics",
        "/.well-known/openid-configuration",
        "/logs//x/%2F",
        "/./api/v1/pods",
    ] {
        let info = read(&Method::GET, path).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(!info.is_resource, "{path}");
        assert_eq!(info.verb, "get", "{path}");
    }
}

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    let table = [
        ("/api%2fv1/namespaces", PathError::EncodedSlash),
        ("/api/v1/namespaces/x%2Fy/pods", PathError::EncodedSlash),
        ("/api/v1/pods%00", PathError::Nul),
        ("//api/v1/pods", PathError::EmptySegment),
        ("/api//v1/pods", PathError::EmptySegment),
        ("/apis//v1/pods", PathError::EmptySegment),
        ("/api/v1/pods//", PathError::EmptySegment),
        ("/api/v1/namespaces/x//pods", PathError::EmptySegment),
        ("/api/../apis/batch/v1/cronjobs", PathError::DotSegment),
        ("/api/v1/namespaces/%2e%2e/pods", PathError::DotSegment),
        ("/api/v1/./pods", PathError::DotSegment),
        ("/api/v1/namespaces/x/pods/p/..", PathError::DotSegment),
        ("/api/v1/pods/%zz", PathError::BadEncoding),
        ("/api/v1/pods/%4", PathError::BadEncoding),
        ("/api/v1/pods/%ff", PathError::BadEncoding),
        ("/api/v1/watch", PathError::NoResource),
        ("/apis/batch/v1/proxy", PathError::NoResource),
    ];
    for (path, expected) in table {
        assert_eq!(read(&Method::GET, path).err(), Some(expected), "{path}");
    }
}

#[test]
fn behind_a_proxy_subresource_everything_passes() {
    for path in [
        "/api/v1/namespaces/x/services/s:80/proxy/a//b/../c/%2F/%00",
        "/api/v1/nodes/n/proxy//",
        "/api/v1/nodes/n/proxy/%2e%2e/x",
        "/api/v1/proxy/nodes/n/a//b",
    ] {
        assert!(read(&Method::GET, path).is_ok(), "{path}");
    }
    assert_eq!(read(&Method::GET, "/api/v1/nodes/n/log/..").err(), Some(PathError::DotSegment));
}

#[test]
fn a_request_without_end_is_one_by_kube_apiservers_predicate() {
    for (target, expected) in [
        ("/api/v1/pods?watch=1", true),
        ("/api/v1/namespaces/x/pods/p/log?follow=true", true),
        ("/api/v1/namespaces/x/pods/p/exec", true),
        ("/api/v1/nodes/n/proxy/metrics", true),
        ("/api/v1/pods", false),
        ("/api/v1/namespaces/x/pods/p/status", false),
        ("/apis", false),
    ] {
        assert_eq!(read(&Method::GET, target).unwrap().is_long_running(), expected, "{target}");
    }
}

#[test]
fn what_nodes_pods_and_services_answer_is_not_the_api_servers_word() {
    for (target, expected) in [
        ("/api/v1/nodes/n/proxy/metrics", true),
        ("/api/v1/namespaces/x/pods/http:p:80/proxy/", true),
        ("/api/v1/namespaces/x/pods/p/exec?command=true", true),
        ("/api/v1/namespaces/x/pods/p/attach", true),
        ("/api/v1/namespaces/x/pods/p/portforward", true),
        ("/api/v1/namespaces/x/pods/p/log", false),
        ("/api/v1/namespaces/x/pods/proxy", false),
        ("/api/v1/namespaces/x/pods/p", false),
        ("/proxy/x/y/proxy", false),
    ] {
        assert_eq!(read(&Method::GET, target).unwrap().is_answered_elsewhere(), expected, "{target}");
    }
}
