//! Starting, stopping and restarting a server.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use super::connection::{self, Signals};
use super::discovery::Discovery;
use super::faults::Faults;
use super::forms::Forms;
use super::log::RequestLog;
use super::port::Port;
use super::shared::Shared;
use super::store::Store;

/// A server could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The builder was given neither a PKI nor a serving certificate.
    #[error("the embedded server {0:?} has no serving certificate")]
    NoServingCertificate(String),
    /// A certificate or key is unusable.
    #[error("the embedded server {0:?}: {1}")]
    Tls(String, rustls::Error),
    /// The address could not be bound.
    #[error("the embedded server {0:?} can't listen on {1}: {2}")]
    Bind(String, SocketAddr, io::Error),
}

/// A server that was started; it stops when this is dropped.
pub struct RunningServer {
    shared: Arc<Shared>,
    port: Port,
    /// The task that accepts, while there is one.
    accepting: Mutex<Option<JoinHandle<()>>>,
    /// The task that renews the Lease, while there is one.
    renewing: Mutex<Option<JoinHandle<()>>>,
}

// === impl RunningServer ===

impl RunningServer {
    pub(super) async fn start(shared: Shared, address: SocketAddr) -> Result<Self, StartError> {
        let port =
            Port::take(address).map_err(|error| StartError::Bind(shared.id.clone(), address, error))?;
        shared.address.get_or_init(|| port.address());
        shared.store.register(&shared.discovery.own_group_versions());
        let server =
            Self { shared: Arc::new(shared), port, accepting: Mutex::new(None), renewing: Mutex::new(None) };
        server.listen().await?;
        Ok(server)
    }

    /// The name that the builder was given.
    pub fn id(&self) -> &str {
        &self.shared.id
    }

    /// Where it listens; stays the same over a restart.
    pub fn addr(&self) -> SocketAddr {
        self.shared.address()
    }

    /// `https://` and the address.
    pub fn url(&self) -> String {
        format!("https://{}", self.addr())
    }

    /// The objects.
    pub fn store(&self) -> &Arc<Store> {
        &self.shared.store
    }

    /// What it serves; may be changed while it runs.
    pub fn discovery(&self) -> &Discovery {
        &self.shared.discovery
    }

    /// The switches of its faults.
    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// Speaks these forms of discovery from the next request on, as after an upgrade or a downgrade.
    pub fn set_forms(&self, forms: Forms) {
        self.shared.forms.set(forms);
    }

    /// What it was asked.
    pub fn log(&self) -> &RequestLog {
        &self.shared.log
    }

    /// How many connections were ever accepted, those included whose handshake failed.
    pub fn connections_accepted(&self) -> u64 {
        self.shared.connections.accepted.load(Ordering::Relaxed)
    }

    /// How many connections are open now.
    pub fn connections_open(&self) -> usize {
        *self.shared.connections.open.borrow()
    }

    /// Waits until the number of open connections is as wanted; false after `within`.
    pub async fn wait_for_connections(&self, within: Duration, wanted: impl FnMut(&usize) -> bool) -> bool {
        let mut open = self.shared.connections.open.subscribe();
        tokio::time::timeout(within, open.wait_for(wanted)).await.is_ok_and(|open| open.is_ok())
    }

    /// Dies as by SIGKILL: the port closes, all connections drop at once, what the cluster knows of it stays. Comes back when that is so.
    pub async fn stop(&self) {
        self.close_port().await;
        self.drop_connections();
        let mut open = self.shared.connections.open.subscribe();
        // The sender is in `self`: this ends only when all are gone.
        let _ = open.wait_for(|open| *open == 0).await;
    }

    /// Shuts down as by SIGTERM: it takes back its Lease and its endpoint, the port closes, every connection gets GOAWAY and ends with its last request.
    /// Comes back when all are gone, or after `within`; what is open then is dropped.
    pub async fn shut_down(&self, within: Duration) {
        end(&self.renewing).await;
        self.shared.presence.leave(&self.shared.store, self.addr());
        self.close_port().await;
        self.send_goaway();
        self.wait_for_connections(within, |open| *open == 0).await;
        self.stop().await;
    }

    /// Starts again on the same address, after [`stop`](Self::stop) or without it.
    pub async fn restart(&self) -> Result<(), StartError> {
        self.stop().await;
        self.listen().await
    }

    /// Drops all connections at once; new ones are accepted.
    pub fn drop_connections(&self) {
        self.shared.connections.cut.send_modify(|count| *count += 1);
    }

    /// Sends GOAWAY on every connection; new ones are accepted.
    pub fn send_goaway(&self) {
        self.shared.connections.goaway.send_modify(|count| *count += 1);
    }

    async fn listen(&self) -> Result<(), StartError> {
        let failed = |error| StartError::Bind(self.shared.id.clone(), self.addr(), error);
        let listener = self.port.listen().map_err(failed)?;
        *self.accepting.lock().await = Some(tokio::spawn(accept(Arc::clone(&self.shared), listener)));
        let Shared { presence, store, .. } = &*self.shared;
        *self.renewing.lock().await = presence.appear(store, self.addr()).map(tokio::spawn);
        Ok(())
    }

    async fn close_port(&self) {
        end(&self.renewing).await;
        end(&self.accepting).await;
    }
}

impl Drop for RunningServer {
    fn drop(&mut self) {
        for task in [self.accepting.get_mut(), self.renewing.get_mut()].into_iter().flatten() {
            task.abort();
        }
        self.drop_connections();
    }
}

impl std::fmt::Debug for RunningServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunningServer").field("id", &self.id()).field("addr", &self.addr()).finish()
    }
}

async fn end(task: &Mutex<Option<JoinHandle<()>>>) {
    let task = task.lock().await.take();
    if let Some(task) = task {
        task.abort();
        // Cancelled is what we asked for; what the task held is gone when the task is.
        let _ = task.await;
    }
}

async fn accept(server: Arc<Shared>, listener: TcpListener) {
    let mut frozen = server.faults.frozen();
    loop {
        // The senders live in `server`, so waiting ends only by the switch.
        let _ = frozen.wait_for(|frozen| !frozen).await;
        let accepted = tokio::select! {
            _ = frozen.changed() => continue,
            accepted = listener.accept() => accepted,
        };
        let Ok((tcp, remote)) = accepted else {
            // Out of file descriptors, most likely: some come back when connections end.
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        // Only latency would suffer.
        let _ = tcp.set_nodelay(true);
        let connections = &server.connections;
        let number = connections.accepted.fetch_add(1, Ordering::Relaxed) + 1;
        let signals = Signals {
            cut: connections.cut.subscribe(),
            goaway: connections.goaway.subscribe(),
            frozen: server.faults.frozen(),
        };
        let open = Open::new(&server);
        let server = Arc::clone(&server);
        tokio::spawn(async move {
            connection::serve(server, tcp, remote, number, signals).await;
            drop(open);
        });
    }
}

/// Counts a connection as open while it lives, a panic included.
struct Open(Arc<Shared>);

// === impl Open ===

impl Open {
    fn new(server: &Arc<Shared>) -> Self {
        server.connections.open.send_modify(|open| *open += 1);
        Self(Arc::clone(server))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.open.send_modify(|open| *open -= 1);
    }
}
