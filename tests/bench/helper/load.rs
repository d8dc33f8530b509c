//! A closed loop of requests: each stream sends the next one when the last is through, as h2load does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use http::Response;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::json;
use tokio::task::JoinSet;

use crate::Result;
use crate::client::Target;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    target: Target,
    /// Requests, over all connections together
    #[arg(long, default_value_t = 1)]
    requests: usize,
}

/// Sends them, and prints what they took.
pub(crate) async fn run(args: Args) -> Result<()> {
    let Args { target, requests } = args;
    let tls = target.tls()?;
    let left = Arc::new(AtomicUsize::new(requests));
    let mut streams = JoinSet::new();
    let began = Instant::now();
    for _ in 0..target.connections {
        let sender = target.connect(&tls).await?;
        for _ in 0..target.streams {
            let (mut sender, left, request) = (sender.clone(), Arc::clone(&left), target.request());
            streams.spawn(async move {
                let mut seen = Seen::default();
                while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok() {
                    let sent = Instant::now();
                    let response = sender.send_request(request.clone()).await?;
                    let good = response.status().is_success() || response.status() == 304;
                    seen.failed += usize::from(!good);
                    seen.bytes += read(response).await?;
                    seen.micros.push(sent.elapsed().as_secs_f64() * 1e6);
                }
                Result::Ok(seen)
            });
        }
    }
    let mut all = Seen::default();
    while let Some(seen) = streams.join_next().await {
        let seen = seen??;
        all.failed += seen.failed;
        all.bytes += seen.bytes;
        all.micros.extend(seen.micros);
    }
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{}",
        json!({"seconds": seconds, "failed": all.failed, "bytes": all.bytes, "micros": all.micros})
    );
    Ok(())
}

/// What came of requests.
#[derive(Default)]
struct Seen {
    failed: usize,
    /// Of bodies.
    bytes: usize,
    micros: Vec<f64>,
}

/// Reads a body and throws it away; its length.
async fn read(response: Response<Incoming>) -> Result<usize> {
    let mut body = response.into_body();
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        bytes += frame?.data_ref().map_or(0, bytes::Bytes::len);
    }
    Ok(bytes)
}
