//! What stands before API servers today: TCP, round robin, `/readyz` every second.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::super::kit::{client::Dial, cluster::Cluster, files::Who};

const CHECK_EVERY: Duration = Duration::from_secs(1);
const CHECK_TAKES_AT_MOST: Duration = Duration::from_secs(2);

/// Carries connections to whoever is ready; those to one that is ready no longer are closed.
pub(super) struct Balancer {
    pub(super) addr: SocketAddr,
    _tasks: JoinSet<()>,
}

struct Backend {
    addr: SocketAddr,
    ready: watch::Receiver<bool>,
}

// === impl Balancer ===

impl Balancer {
    pub(super) async fn start(cluster: &'static Cluster) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        let mut backends = Vec::new();
        for server in &cluster.servers {
            let (tell, ready) = watch::channel(true);
            backends.push(Arc::new(Backend { addr: server.addr, ready }));
            tasks.spawn(check(cluster, server.addr, tell));
        }
        tasks.spawn(async move {
            let (mut sessions, mut next) = (JoinSet::new(), 0);
            while let Ok((near, _)) = listener.accept().await {
                let turn = (0..backends.len()).map(|step| (next + step) % backends.len());
                let Some(chosen) = turn.into_iter().find(|number| *backends[*number].ready.borrow()) else {
                    continue;
                };
                next = chosen + 1;
                sessions.spawn(carry(near, Arc::clone(&backends[chosen])));
                while sessions.try_join_next().is_some() {}
            }
        });
        Self { addr, _tasks: tasks }
    }
}

async fn check(cluster: &'static Cluster, addr: SocketAddr, tell: watch::Sender<bool>) {
    loop {
        let asked = async {
            let client = Dial::new(&cluster.files, addr, Who::Admin).h1().connect().await.ok()?;
            Some(client.get("/readyz").await.ok()?.status == 200)
        };
        let ready = timeout(CHECK_TAKES_AT_MOST, asked).await.ok().flatten().unwrap_or(false);
        tell.send_replace(ready);
        sleep(CHECK_EVERY).await;
    }
}

async fn carry(mut near: TcpStream, backend: Arc<Backend>) {
    let mut ready = backend.ready.clone();
    let Ok(mut far) = TcpStream::connect(backend.addr).await else { return };
    let (_, _) = (near.set_nodelay(true), far.set_nodelay(true));
    tokio::select! {
        _ = copy_bidirectional(&mut near, &mut far) => {}
        _ = ready.wait_for(|ready| !ready) => {}
    }
}
