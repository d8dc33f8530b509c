//! port-forward, with an HTTP server behind.

use futures_util::future::join_all;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    process::Child,
    time,
};

use super::{
    super::{
        fleet,
        kit::{DEADLINE, kubelet::POD},
    },
    Scene, Way,
};

const LARGE: usize = 5_000_000;

/// Begins to forward, and tells the local port.
async fn forward(way: &Way, port: u16) -> (Child, u16) {
    let mut child = way.kubectl.command(&["port-forward", POD, &format!(":{port}")]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = time::timeout(DEADLINE, lines.next_line()).await.unwrap().unwrap();
    let Some(line) = line else {
        let mut err = String::new();
        child.stderr.take().unwrap().read_to_string(&mut err).await.unwrap();
        panic!("{}: {err}", way.name);
    };
    let local = line.strip_prefix("Forwarding from 127.0.0.1:").and_then(|rest| rest.split(' ').next());
    let local = local.unwrap_or_else(|| panic!("{}: {line}", way.name)).parse().unwrap();
    // Its other lines are read for as long as it runs: it would stop at a full pipe.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    (child, local)
}

/// Sends a body over a connection of its own while reading what comes back, up to the connection's end: HTTP/1.0
/// knows no other.
async fn echo(port: u16, body: &[u8]) -> Vec<u8> {
    let (mut reader, mut writer) = TcpStream::connect(("127.0.0.1", port)).await.unwrap().into_split();
    let head = format!("POST /echo HTTP/1.0\r\nHost: pod\r\nContent-Length: {}\r\n\r\n", body.len());
    let mut seen = Vec::new();
    let send = async {
        writer.write_all(head.as_bytes()).await.unwrap();
        writer.write_all(body).await.unwrap();
    };
    let both = async { tokio::join!(send, reader.read_to_end(&mut seen)).1 };
    time::timeout(DEADLINE, both).await.expect("an answer in time").unwrap();
    assert!(seen.starts_with(b"HTTP/1.0 200 OK\r\n"), "{}", String::from_utf8_lossy(&seen));
    let head = seen.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    seen.split_off(head)
}

#[tokio::test(flavor = "multi_thread")]
async fn port_forward_carries_many_connections_at_once_and_megabytes_both_ways() {
    let scene = fleet!(Scene::set().await);
    for way in scene.ways() {
        let (mut child, port) = forward(&way, scene.kubelet.pod_port).await;
        let bodies: Vec<Vec<u8>> = (0..12_usize)
            .map(|number| {
                let length = if number < 2 { LARGE } else { 100 * number };
                (0..length).map(|index| u8::try_from((index + number) % 251).unwrap()).collect()
            })
            .collect();
        let echoed = join_all(bodies.iter().map(|body| echo(port, body))).await;
        for (sent, came) in bodies.iter().zip(&echoed) {
            assert_eq!(came.len(), sent.len(), "{}", way.name);
            assert!(came == sent, "{}: other bytes", way.name);
        }
        assert!(child.try_wait().unwrap().is_none(), "{}: it ended", way.name);
        child.kill().await.unwrap();
    }
    scene.end().await;
}
