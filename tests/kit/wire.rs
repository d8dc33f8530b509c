//! A wire between the proxy and a server that can be made bad while it is used.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use kube_peer_proxy::embedded::Port;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;

/// Forwards TCP to one address.
pub struct Wire {
    pub address: SocketAddr,
    port: Port,
    shared: Arc<Shared>,
    accepting: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    to: watch::Sender<Option<SocketAddr>>,
    fault: watch::Sender<Fault>,
    /// Each change ends all connections that are open.
    cut: watch::Sender<u64>,
}

/// What happens to the bytes of all connections.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Fault {
    /// Nothing passes, nothing ends.
    swallow: bool,
    /// Before each piece that comes back.
    delay: Duration,
    /// Bytes that one piece has at most.
    piece: Option<usize>,
    /// The server's side ends when it is next heard, the client's stays open.
    half_close: bool,
}

// === impl Wire ===

impl Wire {
    pub async fn to(server: SocketAddr) -> Self {
        let wire = Self::loose().await;
        wire.lead_to(server);
        wire
    }

    /// Leads nowhere yet; who connects waits.
    pub async fn loose() -> Self {
        let port = Port::take(([127, 0, 0, 1], 0).into()).unwrap();
        let (address, listener) = (port.address(), port.listen().unwrap());
        let shared = Arc::new(Shared {
            to: watch::Sender::new(None),
            fault: watch::Sender::default(),
            cut: watch::Sender::default(),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { address, port, shared, accepting: Mutex::new(Some(accepting)) }
    }

    pub fn lead_to(&self, server: SocketAddr) {
        self.shared.to.send_replace(Some(server));
    }

    /// Who connects from now on waits; connections that are open go on.
    pub fn lead_nowhere(&self) {
        self.shared.to.send_replace(None);
    }

    /// New connections are refused; those that are open go on.
    pub async fn refuse(&self) {
        if let Some(task) = self.accepting.lock().await.take() {
            task.abort();
            let _ = task.await;
        }
    }

    /// New connections are accepted again.
    pub async fn accept_again(&self) {
        let listener = self.port.listen().unwrap();
        *self.accepting.lock().await = Some(tokio::spawn(accept(listener, Arc::clone(&self.shared))));
    }

    /// Resets every open connection.
    pub fn reset(&self) {
        self.shared.cut.send_modify(|count| *count += 1);
    }

    /// Nothing passes any more in either direction, and nobody is told.
    pub fn black_hole(&self, on: bool) {
        self.shared.fault.send_modify(|fault| fault.swallow = on);
    }

    /// What the server says arrives so much later.
    pub fn delay(&self, delay: Duration) {
        self.shared.fault.send_modify(|fault| fault.delay = delay);
    }

    /// What the server says arrives in pieces of so many bytes.
    pub fn drip(&self, bytes: usize) {
        self.shared.fault.send_modify(|fault| fault.piece = Some(bytes));
    }

    /// The next word of the server is its last: then its side is closed, without a word of TLS.
    pub fn half_close(&self) {
        self.shared.fault.send_modify(|fault| fault.half_close = true);
    }

    /// A good wire again, for new connections and those that still live.
    pub fn clear(&self) {
        self.shared.fault.send_replace(Fault::default());
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if let Some(task) = self.accepting.get_mut() {
            task.abort();
        }
        self.reset();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let (client, _) = listener.accept().await.unwrap();
        tokio::spawn(carry(client, Arc::clone(&shared)));
    }
}

async fn carry(client: TcpStream, shared: Arc<Shared>) {
    let mut cut = shared.cut.subscribe();
    let through = async {
        let mut to = shared.to.subscribe();
        let server = to.wait_for(Option::is_some).await.ok().and_then(|to| *to);
        let Some(server) = server else { return };
        let Ok(server) = TcpStream::connect(server).await else { return };
        for socket in [&client, &server] {
            // A reset, not an orderly end, when both halves are dropped.
            SockRef::from(socket).set_linger(Some(Duration::ZERO)).unwrap();
            socket.set_nodelay(true).unwrap();
        }
        let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
        let up = pass(from_client, to_server, &shared, false);
        let down = pass(from_server, to_client, &shared, true);
        tokio::join!(up, down);
    };
    tokio::select! {
        () = through => {}
        _ = cut.changed() => {}
    }
}

/// Carries one direction to its end.
async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, shared: &Shared, down: bool) {
    let mut faults = shared.fault.subscribe();
    let mut piece = [0; 16 * 1024];
    loop {
        let _ = faults.wait_for(|fault| !fault.swallow).await;
        let limit = faults.borrow().piece.filter(|_| down).unwrap_or(piece.len());
        let read = from.read(&mut piece[..limit]).await;
        let Ok(read @ 1..) = read else { break };
        let Ok(fault) = faults.wait_for(|fault| !fault.swallow).await.map(|fault| *fault) else { return };
        if down {
            tokio::time::sleep(fault.delay).await;
        }
        if to.write_all(&piece[..read]).await.is_err() {
            break;
        }
        if down && fault.half_close {
            let _ = to.shutdown().await;
            return std::future::pending().await;
        }
    }
    let _ = to.shutdown().await;
}
