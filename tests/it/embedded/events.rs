//! A client's end of a watch.

use http::Method;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use kube_peer_proxy::body;
use serde_json::Value;

use super::DEADLINE;
use super::client::Client;

/// The events of one watch as they come.
pub(super) struct Events {
    body: Incoming,
    read: Vec<u8>,
}

// === impl Events ===

impl Events {
    /// Opens the watch at `path`, query included.
    pub(super) async fn of(client: &mut Client, path: &str, headers: &[(&str, &str)]) -> Self {
        let answer = client.send(Method::GET, path, headers, body::empty()).await.unwrap();
        assert_eq!(answer.status(), 200);
        Self { body: answer.into_body(), read: Vec::new() }
    }

    /// The next event; `None` when the watch ended.
    pub(super) async fn next(&mut self) -> Option<Value> {
        self.read().await.unwrap()
    }

    /// The next event, or what it broke off with.
    pub(super) async fn read(&mut self) -> hyper::Result<Option<Value>> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                return Ok(Some(serde_json::from_slice(&line).unwrap()));
            }
            let Some(frame) = tokio::time::timeout(DEADLINE, self.body.frame()).await.unwrap() else {
                return Ok(None);
            };
            self.read.extend_from_slice(&frame?.into_data().unwrap());
        }
    }

    /// What came of an event that is not whole yet.
    pub(super) fn rest(&self) -> &[u8] {
        &self.read
    }

    pub(super) async fn next_kind_and_name(&mut self) -> (String, String) {
        let event = self.next().await.unwrap();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (text(&event["type"]), text(&event["object"]["metadata"]["name"]))
    }
}
