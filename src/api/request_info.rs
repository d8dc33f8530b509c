//! Kubernetes' own reading of a request's method and path.
//!
//! The rules are those of `k8s.io/apiserver/pkg/endpoints/request/requestinfo.go`, on the percent-decoded
//! path, because that is what an API server decides by. Where an encoding could make two readers disagree
//! about what is asked for, the path is refused instead ([`PathError`]).

use std::borrow::Cow;

use http::Method;

/// What a request asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestInfo<'a> {
    /// `false` for discovery, health, OpenAPI and everything else that is not below a group-version.
    pub is_resource: bool,
    /// Kubernetes' verb for a resource request, else the method in lower case; empty for an unknown method.
    pub verb: Cow<'a, str>,
    /// Empty for the core group.
    pub group: &'a str,
    /// Whatever stands there, served or not.
    pub version: &'a str,
    /// Empty unless the path names one.
    pub namespace: &'a str,
    /// The plural name.
    pub resource: &'a str,
    /// Empty unless the path names one.
    pub subresource: &'a str,
    /// Empty for a collection. A `metadata.name` field selector counts, as upstream has it.
    pub name: Cow<'a, str>,
    /// How many path segments follow from the resource on: 1 is a collection, 2 an object, 3 a subresource.
    pub parts: usize,
}

/// A path that could be read in two ways, or not at all; answered with 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's message says it")]
pub enum PathError {
    #[error(
        "the path has a percent sign that no two hexadecimal digits follow, or is not UTF-8 when decoded"
    )]
    BadEncoding,
    #[error("the path has an empty segment (`//`) where it names an API object")]
    EmptySegment,
    #[error("the path has a dot segment (`.` or `..`) where it names an API object")]
    DotSegment,
    #[error("the path has an encoded slash (%2F) where it names an API object")]
    EncodedSlash,
    #[error("the path has a NUL byte (%00) where it names an API object")]
    Nul,
    #[error("the path ends after the `watch` or `proxy` prefix and names no resource")]
    NoResource,
}

/// Subresources of a namespace; anything else after a namespace's name is a resource inside it.
const NAMESPACE_SUBRESOURCES: [&str; 2] = ["status", "finalize"];

/// Percent-decodes a path as Go's `url.URL.Path` has it. Nothing is allocated for a path without `%`.
///
/// # Errors
/// [`PathError::BadEncoding`] if an escape is cut short or the result is not UTF-8.
pub fn decode(path: &str) -> Result<Cow<'_, str>, PathError> {
    if !path.contains('%') {
        return Ok(Cow::Borrowed(path));
    }
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        if byte != b'%' {
            bytes.push(byte);
            rest = tail;
            continue;
        }
        let escape = tail.get(..2).ok_or(PathError::BadEncoding)?;
        let digit = |b: u8| (b as char).to_digit(16).ok_or(PathError::BadEncoding);
        let value = digit(escape[0])? * 16 + digit(escape[1])?;
        bytes.push(u8::try_from(value).map_err(|_| PathError::BadEncoding)?);
        rest = &tail[2..];
    }
    String::from_utf8(bytes).map(Cow::Owned).map_err(|_| PathError::BadEncoding)
}

// === impl RequestInfo ===

impl<'a> RequestInfo<'a> {
    /// Reads a request. `raw` is the path as it came in, `decoded` what [`decode`] made of it.
    ///
    /// # Errors
    /// Whatever would make us and an API server read the path differently.
    pub fn parse(
        method: &Method,
        raw: &str,
        decoded: &'a str,
        query: Option<&str>,
    ) -> Result<Self, PathError> {
        let non_resource =
            || Self { verb: Cow::Owned(method.as_str().to_ascii_lowercase()), ..Self::default() };
        let segments: Vec<&'a str> = decoded.trim_matches('/').split('/').collect();
        let grouped = match segments[0] {
            "api" => false,
            "apis" => true,
            _ => return Ok(non_resource()),
        };
        check_segments(raw, grouped)?;

        // `/api/<version>/<resource>` and `/apis/<group>/<version>/<resource>` are the shortest resource paths.
        let (group, version, mut rest) = match (grouped, &segments[1..]) {
            (false, [version, rest @ ..]) if !rest.is_empty() => ("", *version, rest),
            (true, [group, version, rest @ ..]) if !rest.is_empty() => (*group, *version, rest),
            _ => return Ok(non_resource()),
        };
        let mut info = Self { is_resource: true, group, version, ..Self::default() };
        info.verb = Cow::Borrowed(match rest[0] {
            prefix @ ("watch" | "proxy") => {
                rest = &rest[1..];
                prefix
            }
            _ => method_verb(method),
        });
        if rest.is_empty() {
            return Err(PathError::NoResource);
        }
        if rest[0] == "namespaces"
            && let Some(namespace) = rest.get(1)
        {
            info.namespace = namespace;
            if rest.get(2).is_some_and(|next| !NAMESPACE_SUBRESOURCES.contains(next)) {
                rest = &rest[2..];
            }
        }
        info.parts = rest.len();
        info.resource = rest[0];
        info.name = Cow::Borrowed(rest.get(1).copied().unwrap_or_default());
        if info.verb != "watch" && info.verb != "proxy" {
            info.subresource = rest.get(2).copied().unwrap_or_default();
        }
        if info.name.is_empty() {
            info.read_collection_verb(query.unwrap_or_default());
        }
        Ok(info)
    }

    /// A get without a name is a list or a watch, a delete without a name deletes the collection.
    fn read_collection_verb(&mut self, query: &str) {
        match &*self.verb {
            "get" => {
                let watch = query_value(query, "watch")
                    .is_some_and(|value| !value.eq_ignore_ascii_case("false") && value != "0");
                self.verb = Cow::Borrowed(if watch { "watch" } else { "list" });
                if let Some(name) =
                    query_value(query, "fieldSelector").and_then(|selector| selected_name(&selector))
                {
                    self.name = Cow::Owned(name);
                }
            }
            "delete" => self.verb = Cow::Borrowed("deletecollection"),
            _ => {}
        }
    }

    /// Requests that kube-apiserver runs without a deadline (its long-running predicate).
    pub fn is_long_running(&self) -> bool {
        self.is_resource
            && (matches!(&*self.verb, "watch" | "proxy")
                || matches!(self.subresource, "attach" | "exec" | "proxy" | "log" | "portforward"))
    }

    /// Requests that an API server only carries to somebody else (a node, a pod, a service): whatever comes back
    /// may be his words, and says nothing about what the API server serves.
    pub fn is_answered_elsewhere(&self) -> bool {
        self.is_resource && matches!(self.subresource, "attach" | "exec" | "portforward" | "proxy")
    }
}

fn method_verb(method: &Method) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::GET | Method::HEAD => "get",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "",
    }
}

/// Refuses what could be read in two ways, in the segments that decide; behind `proxy` nothing decides.
fn check_segments(raw: &str, grouped: bool) -> Result<(), PathError> {
    let path = raw.strip_prefix('/').unwrap_or(raw);
    let path = path.strip_suffix('/').unwrap_or(path);
    // Prefix, group and version, an optional `namespaces/<ns>`, then resource/name/proxy.
    let first = if grouped { 3 } else { 2 };
    let mut resource_at = first;
    for (index, segment) in path.split('/').enumerate() {
        let decoded = decode(segment)?;
        match &*decoded {
            "" => return Err(PathError::EmptySegment),
            "." | ".." => return Err(PathError::DotSegment),
            text if text.contains('/') => return Err(PathError::EncodedSlash),
            text if text.contains('\0') => return Err(PathError::Nul),
            "watch" if index == first => resource_at += 1,
            // The old prefix form: what follows is passed to the object whole.
            "proxy" if index == first => return Ok(()),
            "namespaces" if index == resource_at && resource_at < first + 2 => resource_at += 2,
            "proxy" if index == resource_at + 2 => return Ok(()),
            _ => {}
        }
    }
    Ok(())
}

/// The first value of a query parameter, decoded; as Go, a pair with a semicolon does not count.
pub(crate) fn query_value(query: &str, key: &str) -> Option<String> {
    query
        .split('&')
        .filter(|pair| !pair.contains(';'))
        .flat_map(|pair| url::form_urlencoded::parse(pair.as_bytes()))
        .find(|(name, _)| name == key)
        .map(|(_, value)| value.into_owned())
}

/// The name that a field selector requires, if it is one that could stand in a path.
fn selected_name(selector: &str) -> Option<String> {
    let name = selector.split(',').find_map(|term| {
        let (field, value) = term.split_once('=')?;
        (field == "metadata.name").then(|| value.strip_prefix('=').unwrap_or(value))
    })?;
    let usable = !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '%']);
    usable.then(|| name.to_owned())
}

#[cfg(test)]
mod tests;
