//! The ClientHello, read without answering it: who is asked for decides who answers.

use std::io;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::rustls::server::{Accepted, Acceptor};

use crate::proxy::limits::HELLO_BYTES;

/// Reads up to the end of the ClientHello; `seen` then holds every byte that was read. What is no ClientHello is answered with the alert that
/// rustls has for it, and is an error. Cancel-safe: no, the connection is useless afterwards.
pub async fn read(stream: &mut TcpStream, seen: &mut BytesMut) -> io::Result<Box<Accepted>> {
    let mut acceptor = Acceptor::default();
    loop {
        let before = seen.len();
        if stream.read_buf(seen).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut new = &seen[before..];
        while !new.is_empty() {
            acceptor.read_tls(&mut new)?;
            match acceptor.accept() {
                Ok(Some(accepted)) => return Ok(Box::new(accepted)),
                Ok(None) => {}
                Err((error, mut alert)) => {
                    let mut answer = Vec::new();
                    alert.write_all(&mut answer)?;
                    stream.write_all(&answer).await?;
                    return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                }
            }
        }
        if seen.len() > HELLO_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the ClientHello is too long"));
        }
    }
}
