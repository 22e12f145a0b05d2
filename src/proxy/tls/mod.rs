//! TLS to clients.
//!
//! Owns: the handshake, certificates by name, the choice between HTTP/1.1, HTTP/2 and passing through. Uses: rustls, the routes.
//! Never: reads a file, prints a key, does work for a name that is not asked for. Invariants: the certificates belong to the route table
//! and change with it in the same moment; a connection keeps what it began with; who does not finish the handshake in time is closed.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

pub mod certs;
pub mod config;
mod hello;
mod session;
mod socket;

pub use socket::TlsIo;

use super::conn::{Client, Ends};
use super::limits::{HANDSHAKE_TIME, HELLO_USUAL_BYTES};
use super::listen::Guest;
use super::worker::Worker;
use super::{h2, passthrough, serve};
use crate::names::Hostname;
use certs::Shown;
use session::Session;

/// What is known about a client's connection by TLS.
#[derive(Debug)]
pub struct Secure {
    /// The name that the client asked for, in lower case.
    sni: Option<String>,
    /// What was shown to it.
    shown: Option<Arc<Shown>>,
}

impl Secure {
    /// The client asked TLS for another name than it asks now, and what it was shown does not speak for this one: the answer belongs to
    /// another connection (421, RFC 9110 §15.5.20). Browsers use one connection for all names of a certificate; that is fine.
    pub fn is_misdirected(&self, host: &Hostname) -> bool {
        let other = self.sni.as_ref().is_some_and(|sni| sni != host.as_str());
        other && !self.shown.as_ref().is_some_and(|shown| shown.covers(host.as_str()))
    }
}

/// What the first bytes of a connection decide.
enum Greeted {
    /// The handshake is done; `h2` was agreed on.
    Ours { tls: Box<Session>, secure: Secure, h2: bool },
    /// The app ends TLS itself. `seen` is all that was read so far.
    Passed { stream: TcpStream, seen: BytesMut, host: Hostname },
}

/// Serves one connection that came in on a TLS port.
pub async fn connection(worker: &Rc<Worker>, stream: TcpStream, ends: Ends, guest: &Rc<Guest>) {
    let deadline = Instant::now() + HANDSHAKE_TIME;
    // What only some connections or moments need has its room in a box, so that an idle connection of HTTP/1.1 is small.
    match Box::pin(timeout_at(deadline, greet(worker, stream))).await {
        Ok(Ok(Greeted::Ours { tls, secure, h2: true })) => {
            Box::pin(h2::connection(worker, *tls, ends, Rc::new(secure), guest)).await;
        }
        Ok(Ok(Greeted::Ours { tls, secure, h2: false })) => {
            let mut client = Client::tls(TlsIo::new(*tls), ends, Rc::new(secure));
            serve::connection(worker, &mut client).await;
        }
        Ok(Ok(Greeted::Passed { stream, seen, host })) => {
            Box::pin(passthrough::connection(worker, stream, ends, seen, &host)).await;
        }
        Ok(Err(error)) => tracing::debug!(%error, client = %ends.peer.ip(), "a TLS handshake failed"),
        Err(_) => tracing::debug!(client = %ends.peer.ip(), "a TLS handshake did not end in time"),
    }
}

/// Reads the ClientHello, then either passes it on or answers it. Cancel-safe: no; to be dropped with the connection.
async fn greet(worker: &Worker, mut stream: TcpStream) -> io::Result<Greeted> {
    // Room for a usual one: it is read at once then.
    let mut seen = BytesMut::with_capacity(HELLO_USUAL_BYTES);
    let accepted = hello::read(&mut stream, &mut seen).await?;
    worker.first_snapshot().await;
    let table = worker.shared.table.load_full();
    let hello = accepted.client_hello();
    let sni = hello.server_name().map(str::to_ascii_lowercase);
    let host = sni.as_deref().and_then(|name| Hostname::parse(name).ok());
    if let Some(host) = host.filter(|host| table.route(host).is_some_and(|route| route.passthrough)) {
        return Ok(Greeted::Passed { stream, seen, host });
    }
    let shown = table.certs.choose(sni.as_deref(), hello.signature_schemes()).cloned();
    let server = Arc::clone(table.tls.fitting(hello.cipher_suites()));
    let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
    // The ClientHello is read once more by the connection, which is made only now that it is known for whom.
    let mut tls = Box::new(Session::new(server, stream, seen).map_err(invalid)?);
    // What is held during a round trip, many connections hold at the same time.
    drop((accepted, table));
    poll_fn(|cx| tls.poll_handshake(cx)).await?;
    let h2 = tls.protocol() == Some(config::H2);
    Ok(Greeted::Ours { tls, secure: Secure { sni, shown }, h2 })
}
