use std::future::pending;

use tokio::{io::DuplexStream, task::JoinHandle};

use super::*;
use crate::metrics::Metrics;

const HOUR: Duration = Duration::from_secs(3600);

/// A tunnel between two pipes of which the test holds the other ends.
struct Rig {
    client: DuplexStream,
    server: DuplexStream,
    task: JoinHandle<Ended>,
}

fn rig(idle: Option<Duration>, over: impl Future<Output = End> + Send + 'static) -> Rig {
    let (client, ours) = tokio::io::duplex(1024);
    let (server, theirs) = tokio::io::duplex(1024);
    let task = tokio::spawn(async move {
        let meter = Meter::new(Metrics::default().upgrades.opened("a".into()));
        let end = carry(ours, theirs, idle, &meter, over).await;
        meter.ended(end)
    });
    Rig { client, server, task }
}

async fn hears(io: &mut DuplexStream, wanted: &[u8]) {
    let mut heard = vec![0; wanted.len()];
    io.read_exact(&mut heard).await.unwrap();
    assert_eq!(heard, wanted);
}

async fn hears_the_end(io: &mut DuplexStream) {
    assert_eq!(io.read(&mut [0; 16]).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn either_side_may_end_first_and_still_hears_the_other() {
    for client_first in [true, false] {
        let Rig { mut client, mut server, task } = rig(Some(HOUR), pending());
        let (first, last) =
            if client_first { (&mut client, &mut server) } else { (&mut server, &mut client) };
        first.write_all(b"first").await.unwrap();
        first.shutdown().await.unwrap();
        hears(last, b"first").await;
        hears_the_end(last).await;
        last.write_all(b"last words").await.unwrap();
        last.shutdown().await.unwrap();
        hears(first, b"last words").await;
        hears_the_end(first).await;
        let ended = task.await.unwrap();
        let expected = if client_first {
            Ended { up: 5, down: 10, end: End::ClientClosed }
        } else {
            Ended { up: 10, down: 5, end: End::ServerClosed }
        };
        assert_eq!(ended, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_byte_in_either_direction_puts_off_the_idle_bound() {
    let Rig { mut client, mut server, task } = rig(Some(HOUR), pending());
    let started = Instant::now();
    for up in [true, false, true] {
        time::sleep(HOUR - Duration::from_secs(1)).await;
        let (from, to) = if up { (&mut client, &mut server) } else { (&mut server, &mut client) };
        from.write_all(b"x").await.unwrap();
        hears(to, b"x").await;
    }
    hears_the_end(&mut client).await;
    hears_the_end(&mut server).await;
    let waited = started.elapsed();
    assert!(waited >= HOUR * 4 - Duration::from_secs(3) && waited < HOUR * 4, "{waited:?}");
    drop((client, server));
    assert_eq!(task.await.unwrap().end, End::Idle);
}

#[tokio::test(start_paused = true)]
async fn without_an_idle_bound_silence_lasts() {
    let Rig { mut client, mut server, task } = rig(None, pending());
    time::sleep(HOUR * 24 * 365).await;
    client.write_all(b"still here").await.unwrap();
    hears(&mut server, b"still here").await;
    drop((client, server));
    task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn half_a_tunnel_may_be_silent_for_less_long() {
    for idle in [None, Some(HOUR)] {
        let Rig { mut client, mut server, task } = rig(idle, pending());
        client.shutdown().await.unwrap();
        hears_the_end(&mut server).await;
        // As long as the other half speaks it goes on.
        for _ in 0..3 {
            time::sleep(limits::TUNNEL_HALF_CLOSED - Duration::from_secs(1)).await;
            server.write_all(b"x").await.unwrap();
            hears(&mut client, b"x").await;
        }
        let silent = Instant::now();
        hears_the_end(&mut client).await;
        assert!(silent.elapsed() <= limits::TUNNEL_HALF_CLOSED);
        drop((client, server));
        task.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_side_that_takes_nothing_holds_up_the_other_and_fills_no_memory() {
    let Rig { client: _client, mut server, task } = rig(Some(HOUR), pending());
    let mut accepted = 0;
    while let Ok(written) = time::timeout(Duration::from_secs(60), server.write(&[0; 1000])).await {
        accepted += written.unwrap();
        assert!(accepted < 1 << 20, "more than the two pipes and a buffer hold");
    }
    assert!(accepted <= limits::TUNNEL_BUFFER + 2 * 1024, "{accepted}");
    task.abort();
}

#[tokio::test(start_paused = true)]
async fn a_side_that_does_not_take_the_end_is_not_waited_for() {
    let (over, end) = tokio::sync::oneshot::channel();
    let over_then = async move { end.await.unwrap_or(End::Drained) };
    let Rig { client: _client, mut server, task } = rig(None, over_then);
    // More than the client's pipe holds, so that the tunnel waits for the client.
    server.write_all(&[0; 3000]).await.unwrap();
    over.send(End::Drained).unwrap();
    let started = Instant::now();
    assert_eq!(task.await.unwrap().end, End::Drained);
    assert!(started.elapsed() <= limits::TUNNEL_GRACE * 2, "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_was_read_before_the_end_still_goes_out() {
    let (over, end) = tokio::sync::oneshot::channel();
    let over_then = async move { end.await.unwrap_or(End::Drained) };
    let Rig { mut client, mut server, task } = rig(None, over_then);
    server.write_all(&[7; 2000]).await.unwrap();
    // It has read everything by now, and could pass on a half.
    time::sleep(Duration::from_secs(1)).await;
    over.send(End::Drained).unwrap();
    let mut heard = Vec::new();
    client.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard.len(), 2000);
    drop((client, server));
    assert_eq!(task.await.unwrap(), Ended { up: 0, down: 2000, end: End::Drained });
}
