//! A port that stays ours while nobody listens at it.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// A TCP port that nobody else gets as long as this lives, not even for an outgoing connection: who is down for a
/// while has it back when it comes again, and whoever connects meanwhile is refused and never meets himself.
#[derive(Debug)]
pub struct Port {
    address: SocketAddr,
    /// Bound, and never listening.
    _held: Socket,
}

// === impl Port ===

impl Port {
    /// Takes the port of an address; any free one for port 0.
    ///
    /// # Errors
    /// If somebody else has it, or the address is not of this machine.
    pub fn take(address: SocketAddr) -> io::Result<Self> {
        if address.port() != 0 {
            // A plain socket first: sharing is for us, not for two that happen to want the same port. A free one that
            // the system picks is nobody else's, and there is no moment in which it could become somebody's.
            drop(std::net::TcpListener::bind(address)?);
        }
        let held = bound(address)?;
        let address = held.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { address, _held: held })
    }

    /// Which it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Listens at it, until that is dropped.
    ///
    /// # Errors
    /// If the system has none left of what that takes.
    pub fn listen(&self) -> io::Result<TcpListener> {
        let socket = bound(self.address)?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        TcpListener::from_std(socket.into())
    }
}

fn bound(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // What lets the one that listens stand beside the one that holds.
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn a_port_at_which_nobody_listens_refuses_and_stays_taken() {
        let port = Port::take(([127, 0, 0, 1], 0).into()).unwrap();
        for _ in 0..2 {
            assert_eq!(
                TcpStream::connect(port.address()).await.unwrap_err().kind(),
                io::ErrorKind::ConnectionRefused
            );
            assert_eq!(Port::take(port.address()).unwrap_err().kind(), io::ErrorKind::AddrInUse);
            let outgoing = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            assert_eq!(outgoing.bind(&port.address().into()).unwrap_err().kind(), io::ErrorKind::AddrInUse);

            let listener = port.listen().unwrap();
            let (there, here) = tokio::join!(TcpStream::connect(port.address()), listener.accept());
            assert_eq!(there.unwrap().local_addr().unwrap(), here.unwrap().1);
        }
    }
}
