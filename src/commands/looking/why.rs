//! Why a server could not be asked, in sentences that say what to do.

use std::{error::Error, io, time::Duration};

use http::StatusCode;

use crate::discovery::fetch::FetchError;

/// No whole answer in time.
pub(super) fn timeout(limit: Duration) -> String {
    format!(
        "no whole answer within {} s: is it overloaded, or is the way there cut? (--timeout)",
        limit.as_secs_f64()
    )
}

/// What is wrong with a kubeconfig shows when a client is made of it.
pub(super) fn client(error: &kube::Error) -> String {
    match error {
        kube::Error::Auth(auth) => {
            format!("the kubeconfig's user has no credentials that can be used: {}", deepest(auth))
        }
        kube::Error::RustlsTls(tls) => {
            format!("the kubeconfig's certificates cannot be used: {}", deepest(tls))
        }
        other => format!("the kubeconfig cannot be used: {}", deepest(other)),
    }
}

/// Why a request did not get its answer.
pub(super) fn unsent(path: String, error: &kube::Error) -> FetchError {
    let text = deepest(error);
    if causes(error).any(is_tls) {
        FetchError::Untrusted { path, error: text }
    } else if causes(error).any(|cause| cause.is::<kube::client::AuthError>()) {
        FetchError::NoAnswer { path, error: format!("the credential plugin failed: {text}") }
    } else {
        FetchError::Silence { path, error: text }
    }
}

/// What came of asking a server in the name of a kubeconfig's user.
pub(super) fn direct(error: FetchError, address: &str) -> String {
    match error {
        FetchError::Timeout(limit) => timeout(limit),
        FetchError::Silence { error, .. } => {
            format!("nobody answers at {address}: {error}. Is the server up, and the address right?")
        }
        FetchError::NoAnswer { error, .. } => error,
        FetchError::Untrusted { error, .. } => format!(
            "its certificate is not to be trusted: {error}. Does the context's certificate-authority belong to this \
             server, and is the certificate for this name (--tls-server-name)?"
        ),
        FetchError::Refused { path, status: StatusCode::UNAUTHORIZED } => format!(
            "answered 401 to {path}: it does not know these credentials. Have they expired, or are they another \
             cluster's?"
        ),
        FetchError::Refused { path, status } => format!(
            "answered {} to {path}: this user may not read discovery. The ClusterRole system:discovery allows it",
            status.as_u16()
        ),
        FetchError::MediaType { path, content_type } => {
            format!("answered {content_type:?} to {path}, which is no discovery: is this an API server?")
        }
        FetchError::Status { path, status: StatusCode::NOT_FOUND } => {
            format!("answered 404 to {path}: is this an API server?")
        }
        FetchError::Status { path, status } => {
            format!("answered {status} to {path}: look at the server's log")
        }
        other => other.to_string(),
    }
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

/// An error of TLS; I/O carries them inside.
fn is_tls(error: &(dyn Error + 'static)) -> bool {
    let inside = || error.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref::<rustls::Error>();
    error.is::<rustls::Error>() || inside().is_some()
}

/// The last cause, which is what happened; those above tell where.
fn deepest(error: &(dyn Error + 'static)) -> String {
    let text = causes(error).last().map(ToString::to_string).unwrap_or_default();
    text.trim().trim_end_matches('.').to_owned()
}
