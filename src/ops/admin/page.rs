//! The status page: one document, written whole for each look at it. Its script does nothing but look again.

use std::{sync::LazyLock, time::Duration};

use http::{HeaderValue, header};
use sha2::{Digest, Sha256};

use super::{
    html::{Html, put},
    reply::{Reply, with_type},
    view::View,
};
use crate::pki::base64;

mod decisions;
mod matrix;
mod servers;
mod summary;
#[cfg(test)]
mod tests;

const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");

/// Nothing that the page did not bring along may run, load or frame it. By hashes and not by nonces, because what the
/// script fetches comes with its style again, which has to be allowed where it is read.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = |part: &str| base64(&Sha256::digest(part));
    let (script, style) = (hash(SCRIPT), hash(STYLE));
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{script}'; style-src 'sha256-{style}'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    HeaderValue::from_str(&policy).expect("a policy and base64 are visible ASCII")
});

/// The page.
pub(super) fn reply(view: &View) -> Reply {
    let mut reply = with_type(render(view), "text/html; charset=utf-8");
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY.clone());
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::VARY, HeaderValue::from_static("accept"));
    reply
}

fn render(view: &View) -> String {
    let mut html = Html::default();
    let word = summary::word(view);
    put!(html;
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>" (word)
        " · kube-peer-proxy</title>\n"
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
        "<meta name=\"color-scheme\" content=\"light dark\">\n"
        "<link rel=\"icon\" href=\"data:,\">\n"
        "<noscript><meta http-equiv=\"refresh\" content=\"5\"></noscript>\n"
        "<style>");
    html.raw(STYLE);
    put!(html; "</style>\n</head>\n<body>\n");
    banner(&mut html);
    put!(html; "<main>\n");
    summary::write(&mut html, view);
    servers::write(&mut html, view);
    put!(html; "<div class=\"pair\">\n");
    matrix::write(&mut html, view);
    put!(html; "<div>\n");
    decisions::write(&mut html, &view.recent);
    put!(html; "</div>\n</div>\n</main>\n");
    footer(&mut html);
    put!(html; "<script>");
    html.raw(SCRIPT);
    put!(html; "</script>\n</body>\n</html>\n");
    html.finish()
}

fn banner(html: &mut Html) {
    put!(html;
        "<header>\n<h1>kube-peer-proxy</h1>\n<p class=\"build\">" (env!("CARGO_PKG_VERSION")) "</p>\n"
        "<p id=\"live\" role=\"status\"></p>\n"
        "<button id=\"pause\" type=\"button\" hidden>Pause</button>\n</header>\n");
}

fn footer(html: &mut Html) {
    put!(html; "<footer>\n<nav aria-label=\"Other pages\">\n");
    html.raw(
        "<a href=\"/readyz?verbose\">readyz</a> <a href=\"/metrics\">metrics</a> \
         <a href=\"/debug/servers\">servers</a> <a href=\"/debug/catalog\">catalog</a> \
         <a href=\"/debug/discovery/diff\">differences</a> <a href=\"/debug/decisions\">decisions</a>\n",
    );
    put!(html; "</nav>\n</footer>\n");
}

/// How long something is ago, in the largest unit that fits.
fn ago(since: Duration) -> String {
    match since.as_secs() {
        seconds @ 0..=99 => format!("{seconds} s"),
        seconds @ 100..=5_999 => format!("{} min", seconds / 60),
        seconds @ 6_000..=172_799 => format!("{} h", seconds / 3_600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

/// One thing, or several of it.
fn counted(many: usize, one: &str, more: &str) -> String {
    format!("{many} {}", if many == 1 { one } else { more })
}
