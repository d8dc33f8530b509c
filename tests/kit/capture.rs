//! What was logged on this thread.

use std::io::Write;
use std::sync::{Arc, Mutex};

use kube_peer_proxy::ops::telemetry::{LogFormat, subscriber};
use tracing::subscriber::DefaultGuard;

/// The log of a test whose runtime has one thread, as long as it lives.
pub struct Capture {
    bytes: Bytes,
    _guard: DefaultGuard,
}

#[derive(Clone, Default)]
struct Bytes(Arc<Mutex<Vec<u8>>>);

// === impl Capture ===

impl Capture {
    pub fn start(filter: &str, format: LogFormat) -> Self {
        let bytes = Bytes::default();
        let writer = bytes.clone();
        let subscriber = subscriber(filter, format, false, move || writer.clone()).unwrap();
        Self { bytes, _guard: tracing::subscriber::set_default(subscriber) }
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.0.lock().unwrap()).into_owned()
    }

    /// The access line of a path, from a log in JSON.
    pub fn access_line(&self, path: &str) -> Option<serde_json::Value> {
        let text = self.text();
        let mut lines = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        lines.find(|line| line["target"] == "access" && line["path"] == path)
    }
}

impl Write for Bytes {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
