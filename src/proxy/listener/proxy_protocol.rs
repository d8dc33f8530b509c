//! The PROXY protocol, versions 1 and 2: how a balancer in TCP mode tells for whom it connects.
//!
//! Source: <https://www.haproxy.org/download/2.8/doc/proxy-protocol.txt>.

use std::{io, net::SocketAddr};

use crate::limits;
use ppp::{HeaderResult, PartialResult as _, v1, v2};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// How version 2 begins.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The longest line of version 1, with its end.
const MAX_V1: usize = 107;

/// Reads the header at the beginning of a connection, and not a byte more. `None` if the balancer speaks for
/// itself (its health check) or does not know for whom.
///
/// # Errors
/// If there is no such header, or one that cannot be read.
pub(super) async fn read<R: AsyncRead + Unpin>(stream: &mut R) -> io::Result<Option<SocketAddr>> {
    let mut header = vec![0; SIGNATURE.len()];
    stream.read_exact(&mut header).await?;
    if header == SIGNATURE {
        header.resize(16, 0);
        stream.read_exact(&mut header[12..]).await?;
        let length = usize::from(u16::from_be_bytes([header[14], header[15]]));
        if length > limits::MAX_PROXY_HEADER {
            let most = limits::MAX_PROXY_HEADER;
            return Err(malformed(format_args!("it has {length} bytes, more than {most}")));
        }
        header.resize(16 + length, 0);
        stream.read_exact(&mut header[16..]).await?;
    } else if header.starts_with(b"PROXY ") {
        while header.last() != Some(&b'\n') {
            if header.len() == MAX_V1 {
                return Err(malformed(format_args!("its line is longer than {MAX_V1} bytes")));
            }
            header.push(stream.read_u8().await?);
        }
    } else {
        return Err(malformed("the connection does not begin with one"));
    }
    let parsed = HeaderResult::parse(&header);
    if parsed.is_incomplete() {
        return Err(malformed("it is incomplete"));
    }
    match parsed {
        HeaderResult::V1(Ok(v1)) => Ok(match v1.addresses {
            v1::Addresses::Tcp4(told) => Some((told.source_address, told.source_port).into()),
            v1::Addresses::Tcp6(told) => Some((told.source_address, told.source_port).into()),
            v1::Addresses::Unknown => None,
        }),
        HeaderResult::V2(Ok(v2)) => Ok(match (v2.command, v2.addresses) {
            (v2::Command::Proxy, v2::Addresses::IPv4(told)) => {
                Some((told.source_address, told.source_port).into())
            }
            (v2::Command::Proxy, v2::Addresses::IPv6(told)) => {
                Some((told.source_address, told.source_port).into())
            }
            _ => None,
        }),
        HeaderResult::V1(Err(error)) => Err(malformed(error)),
        HeaderResult::V2(Err(error)) => Err(malformed(error)),
    }
}

fn malformed(why: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("no readable PROXY protocol header: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const V2_TCP4: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x0a\x01\x02\x03\x7f\0\0\x01\x30\x39\x01\xbb";

    /// What is read, and what is left for TLS.
    async fn told(bytes: &[u8]) -> (Result<Option<String>, String>, Vec<u8>) {
        let mut stream = bytes;
        let told = read(&mut stream).await;
        let told = told.map(|client| client.map(|client| client.to_string())).map_err(|e| e.to_string());
        (told, stream.to_vec())
    }

    #[tokio::test]
    async fn both_versions_are_read_to_their_last_byte_and_no_further() {
        let v1: &[u8] = b"PROXY TCP4 10.1.2.3 10.0.0.1 12345 443\r\n";
        for header in [v1, V2_TCP4] {
            let sent = [header, b"\x16\x03\x01"].concat();
            let (client, rest) = told(&sent).await;
            assert_eq!(client.unwrap().as_deref(), Some("10.1.2.3:12345"));
            assert_eq!(rest, b"\x16\x03\x01");
        }
        let (client, _) = told(b"PROXY TCP6 2001:db8::1 ::1 9 443\r\n").await;
        assert_eq!(client.unwrap().as_deref(), Some("[2001:db8::1]:9"));
        let with_tlv = [&V2_TCP4[..15], b"\x10", &V2_TCP4[16..], b"\x04\0\x01\0", b"rest"].concat();
        assert_eq!(told(&with_tlv).await, (Ok(Some("10.1.2.3:12345".into())), b"rest".to_vec()));
    }

    #[tokio::test]
    async fn a_balancers_own_connection_is_from_the_balancer() {
        let local = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\0\0";
        assert_eq!(told(local).await, (Ok(None), Vec::new()));
        assert_eq!(told(b"PROXY UNKNOWN\r\nx").await, (Ok(None), b"x".to_vec()));
    }

    #[tokio::test]
    async fn what_is_no_header_is_an_error() {
        let long = [b"PROXY TCP4 ".as_slice(), &[b'1'; 200], b"\r\n"].concat();
        let huge = [SIGNATURE.as_slice(), b"\x21\x11\xff\xff"].concat();
        let cases: [&[u8]; 7] = [
            b"\x16\x03\x01\0\xc8\x01\0\0\xc4\x03\x03\0\0",
            b"GET / HTTP/1.1\r\n",
            b"PROXY TCP4 10.1.2.3\r\n",
            b"PROXY TCP4 a b c d\r\n",
            &long,
            &huge,
            &V2_TCP4[..20],
        ];
        for bytes in cases {
            assert!(told(bytes).await.0.is_err(), "{bytes:?}");
        }
    }
}
