//! Logs: to standard error, as text for people or as one JSON object a line for machines.
//!
//! What is logged about a request's headers goes through [`DebugHeaders`] (I12).

use std::io::IsTerminal;

use tracing::Subscriber;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt};

pub use crate::redact::{DebugHeaders, REDACTED};

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter is none.
    #[error("the log filter can't be read: {0}")]
    Filter(#[from] ParseError),
    /// Somebody else was first.
    #[error("logging was set up already: {0}")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// How it is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One object a line.
    Json,
}

/// Sets up logging for the process. `filter` is a level (`info`) or directives as in `RUST_LOG`
/// (`info,kube_peer_proxy::discovery=debug`); which of flag, environment and file it comes from was settled by
/// the configuration.
///
/// # Errors
/// If the filter can't be read, or logging was set up before.
pub fn init(filter: &str, format: LogFormat) -> Result<(), Error> {
    let colour = std::io::stderr().is_terminal();
    subscriber(filter, format, colour, std::io::stderr)?.try_init()?;
    Ok(())
}

/// A subscriber that writes to `writer`, for [`init`] and for tests that look at what was logged.
///
/// # Errors
/// If the filter can't be read.
pub fn subscriber<W>(
    filter: &str,
    format: LogFormat,
    colour: bool,
    writer: W,
) -> Result<Box<dyn Subscriber + Send + Sync>, Error>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let builder = fmt().with_env_filter(EnvFilter::try_new(filter)?).with_writer(writer).with_ansi(colour);
    Ok(match format {
        LogFormat::Text => Box::new(builder.finish()),
        LogFormat::Json => Box::new(
            builder.json().flatten_event(true).with_current_span(false).with_span_list(false).finish(),
        ),
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use http::{HeaderMap, HeaderValue, header};

    use super::*;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(filter: &str, format: LogFormat, work: impl FnOnce()) -> String {
        let captured = Captured::default();
        let writer = captured.clone();
        let subscriber = subscriber(filter, format, false, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, work);
        String::from_utf8(captured.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn json_logs_are_one_object_a_line_with_the_fields_on_top() {
        let text = logged("info", LogFormat::Json, || {
            tracing::info!(server = "a", attempts = 2, "rerouted");
            tracing::warn!("second");
        });
        let lines: Vec<serde_json::Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["server"], "a");
        assert_eq!(lines[0]["attempts"], 2);
        assert_eq!(lines[0]["message"], "rerouted");
        assert_eq!(lines[1]["level"], "WARN");
    }

    #[test]
    fn the_filter_decides_by_level_and_by_module() {
        let text = logged("warn,special=debug", LogFormat::Text, || {
            tracing::info!("too quiet");
            tracing::debug!(target: "special", "asked for");
        });
        assert!(!text.contains("too quiet") && text.contains("asked for"), "{text}");
    }

    #[test]
    fn a_filter_that_is_none_is_an_error() {
        assert!(matches!(
            subscriber("info,=!", LogFormat::Text, false, std::io::sink),
            Err(Error::Filter(_))
        ));
    }

    #[test]
    fn i12_a_token_in_a_header_never_reaches_the_log() {
        const CANARY: &str = "canary-7f3a";
        for format in [LogFormat::Text, LogFormat::Json] {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer canary-7f3a"));
            headers.insert(
                header::SEC_WEBSOCKET_PROTOCOL,
                HeaderValue::from_static("base64url.bearer.authorization.k8s.io.canary-7f3a"),
            );
            headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
            let text = logged("trace", format, || {
                tracing::info!(headers = ?DebugHeaders(&headers), "request");
            });
            assert!(text.contains("application/json") && text.contains(REDACTED), "{text}");
            assert!(!text.contains(CANARY), "{text}");
        }
    }
}
