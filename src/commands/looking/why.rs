//! Why a server could not be asked, in sentences that say what to do.

use std::{error::Error, io, time::Duration};

use http::StatusCode;
use kube::client::AuthError;

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
        kube::Error::Auth(auth) => plugin(auth),
        kube::Error::RustlsTls(tls) => {
            format!("the kubeconfig's certificates cannot be used: {}", deepest(tls))
        }
        other => format!("the kubeconfig cannot be used: {}", deepest(other)),
    }
}

/// A credential plugin's output may hold secrets, and its environment too; what it complained of is told.
fn plugin(error: &AuthError) -> String {
    const NONE: &str = "the kubeconfig's user has no credentials that can be used";
    match error {
        AuthError::AuthExecRun { out, .. } => {
            let said = String::from_utf8_lossy(&out.stderr);
            let said = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
            format!("{NONE}: its plugin failed ({}): {}", out.status, said.trim())
        }
        // That error shows the lines around what it stumbled over.
        AuthError::AuthExecParse(_) => format!("{NONE}: what its plugin printed is no ExecCredential"),
        AuthError::AuthExecStart(error) => format!("{NONE}: its plugin cannot be run: {error}"),
        other => format!("{NONE}: {}", deepest(other)),
    }
}

/// Why a request did not get its answer.
pub(super) fn unsent(path: String, error: &kube::Error) -> FetchError {
    let text = deepest(error);
    if causes(error).any(is_tls) {
        FetchError::Untrusted { path, error: text }
    } else if let Some(auth) = causes(error).find_map(|cause| cause.downcast_ref::<AuthError>()) {
        FetchError::NoAnswer { path, error: plugin(auth) }
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

/// An error of TLS. Errors of I/O carry others inside, and do not count them among their causes.
fn is_tls(error: &(dyn Error + 'static)) -> bool {
    if error.is::<rustls::Error>() {
        return true;
    }
    let inside = error.downcast_ref::<io::Error>().and_then(|error| error.get_ref());
    inside.is_some_and(|inside| is_tls(inside))
}

/// The last cause, which is what happened; those above tell where.
fn deepest(error: &(dyn Error + 'static)) -> String {
    let text = causes(error).last().map(ToString::to_string).unwrap_or_default();
    text.trim().trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_tls_is_known_however_deep_it_lies() {
        let tls = || rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let within = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        assert!(is_tls(&tls()) && is_tls(&within(tls())));
        assert!(is_tls(&io::Error::other(within(tls()))));
        assert!(!is_tls(&io::Error::other("something else")));
    }

    #[test]
    fn each_failure_says_what_to_look_at() {
        let refused = |code: u16| {
            let status = StatusCode::from_u16(code).unwrap();
            direct(FetchError::Refused { path: "/apis".to_owned(), status }, "https://a")
        };
        assert!(refused(401).contains("expired"));
        assert!(refused(403).contains("system:discovery"));
        let untrusted = FetchError::Untrusted { path: "/apis".to_owned(), error: "UnknownIssuer".to_owned() };
        assert!(direct(untrusted, "https://a").contains("certificate-authority"));
        let silence = FetchError::Silence { path: "/apis".to_owned(), error: "refused".to_owned() };
        assert!(direct(silence, "https://a").contains("nobody answers at https://a: refused"));
        assert!(timeout(Duration::from_millis(1500)).contains("1.5 s"));
    }
}
