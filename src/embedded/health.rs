//! `/livez`, `/readyz` and `/healthz`.

use http::StatusCode;

use super::answer::{self, Answer};
use super::faults::Faults;
use super::target::Query;

/// `None` if the path is no health check.
pub(super) fn answer(faults: &Faults, path: &str, query: Option<&str>) -> Option<Answer> {
    let (name, good) = match path {
        "/livez" => ("livez", faults.is_alive()),
        "/healthz" => ("healthz", faults.is_alive()),
        "/readyz" => ("readyz", faults.is_ready()),
        _ => return None,
    };
    Some(match (good, Query::parse(query).flag("verbose")) {
        (true, false) => answer::text(StatusCode::OK, "ok"),
        (true, true) => answer::text(StatusCode::OK, &format!("[+]ping ok\n{name} check passed\n")),
        (false, _) => {
            let text = format!("[+]ping ok\n[-]told-to-fail failed: reason withheld\n{name} check failed\n");
            answer::text(StatusCode::INTERNAL_SERVER_ERROR, &text)
        }
    })
}
