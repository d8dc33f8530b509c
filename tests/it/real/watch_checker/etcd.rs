//! What really happened, from where everything is kept: etcd's own history, by its JSON gateway.

use std::collections::HashMap;
use std::net::SocketAddr;

use bytes::BytesMut;
use http::Request;
use http_body_util::BodyExt as _;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use kube_peer_proxy::body;
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};

use crate::{
    real::kit::DEADLINE,
    watch_checker::history::{Change, Kind, Revision},
};

/// Every write below a prefix after one revision and up to another one, at which there was one. Objects' names
/// are among `names`.
pub(super) async fn changes(
    etcd: SocketAddr,
    prefix: &str,
    names: &[String],
    after: Revision,
    end: Revision,
) -> Vec<Change> {
    let keys: HashMap<String, &String> =
        names.iter().map(|name| (base64(&format!("{prefix}{name}")), name)).collect();
    let (sender, connection) = {
        let tcp = TcpStream::connect(etcd).await.unwrap();
        http1::handshake(TokioIo::new(tcp)).await.unwrap()
    };
    let mut sender = sender;
    tokio::spawn(connection);
    assert!(prefix.ends_with('/'));
    let beyond = format!("{}0", &prefix[..prefix.len() - 1]);
    let question = json!({ "create_request": {
        "key": base64(prefix), "range_end": base64(&beyond), "start_revision": (after + 1).to_string(),
    } });
    let request = Request::post("/v3/watch").header("host", etcd.to_string());
    let request = request.body(body::full(question.to_string())).unwrap();
    let mut answer = sender.send_request(request).await.unwrap().into_body();
    let (mut rest, mut changes) = (BytesMut::new(), Vec::new());
    loop {
        let frame =
            timeout(DEADLINE, answer.frame()).await.expect("etcd tells its history").unwrap().unwrap();
        rest.extend_from_slice(&frame.into_data().unwrap_or_default());
        while let Some(newline) = rest.iter().position(|byte| *byte == b'\n') {
            let line = rest.split_to(newline + 1);
            let message: Value = serde_json::from_slice(&line).unwrap();
            let result = &message["result"];
            assert!(result.is_object() && result["canceled"] != true, "{message}");
            for event in result["events"].as_array().into_iter().flatten() {
                changes.push(change(event, &keys));
            }
        }
        if changes.last().is_some_and(|last| last.at >= end) {
            return changes;
        }
    }
}

fn change(event: &Value, keys: &HashMap<String, &String>) -> Change {
    let kv = &event["kv"];
    let key = kv["key"].as_str().unwrap();
    let name = keys.get(key).unwrap_or_else(|| panic!("somebody else writes here: {event}"));
    let kind = if event["type"] == "DELETE" {
        Kind::Deleted
    } else if kv["create_revision"] == kv["mod_revision"] {
        Kind::Added
    } else {
        Kind::Modified
    };
    let at = kv["mod_revision"].as_str().unwrap().parse().unwrap();
    Change { at, kind, name: (*name).clone(), value: None }
}

/// RFC 4648, 4: with padding.
fn base64(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut coded = String::new();
    for three in text.as_bytes().chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let value = (bits >> (18 - 6 * digit)) & 63;
            coded.push(if digit <= three.len() { DIGITS[value as usize] as char } else { '=' });
        }
    }
    coded
}

#[test]
fn base64_is_that_of_the_rfc() {
    let vectors = ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"];
    for (length, coded) in vectors.into_iter().enumerate() {
        assert_eq!(base64(&"foobar"[..length]), coded);
    }
}
