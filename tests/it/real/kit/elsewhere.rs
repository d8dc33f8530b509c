//! Has programs that cannot choose come from another address of this machine.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpSocket},
};

/// A place that leads to `to`, where who came through it seems to come from `from`.
pub(crate) async fn lead(from: [u8; 4], to: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let here = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            tokio::spawn(async move {
                let socket = TcpSocket::new_v4()?;
                socket.bind((from, 0).into())?;
                let mut far = socket.connect(to).await?;
                copy_bidirectional(&mut near, &mut far).await
            });
        }
    });
    here
}
