//! A small client of HTTP/2. It asks again only what the proxy says that it did not and will not take (RFC 9113 §6.8): a request that could not
//! be sent because the connection is going away, and one above the last stream that a GOAWAY without an error names.

use std::io::{Error, Result};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use h2::client::SendRequest;
use h2::{Reason, SendStream};
use http::{Request, Response};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::door::trusting;
use super::http::Reply;

/// As long as the other client waits.
const PATIENCE: Duration = Duration::from_secs(120);

/// One connection at a time. It lives only while something is asked.
pub struct H2Client {
    runtime: Runtime,
    to: SocketAddr,
    host: String,
    send: SendRequest<bytes::Bytes>,
    /// How often the proxy said to come back on another connection.
    pub told_to_go: u64,
}

/// Why there is no answer.
enum Failed {
    /// The proxy says that it was not taken.
    NotTaken,
    Lost(Error),
}

impl From<h2::Error> for Failed {
    fn from(error: h2::Error) -> Failed {
        let going = error.is_go_away() && error.is_remote() && error.reason() == Some(Reason::NO_ERROR);
        if going { Failed::NotTaken } else { Failed::Lost(Error::other(error)) }
    }
}

impl H2Client {
    pub fn connect(to: SocketAddr, host: &str) -> Result<H2Client> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let send = runtime.block_on(connect(to, host))?;
        Ok(H2Client { runtime, to, host: host.to_owned(), send, told_to_go: 0 })
    }

    pub fn get(&mut self, path: &str) -> Result<Reply> {
        self.ask("GET", path, &[], Duration::ZERO)
    }

    /// Sends `parts` as the body, pausing `pause` before each.
    pub fn upload(&mut self, path: &str, parts: &[&[u8]], pause: Duration) -> Result<Reply> {
        self.ask("POST", path, parts, pause)
    }

    fn ask(&mut self, method: &str, path: &str, parts: &[&[u8]], pause: Duration) -> Result<Reply> {
        loop {
            let request = Request::builder().method(method).uri(format!("https://{}{path}", self.host));
            let request = request.body(()).map_err(Error::other)?;
            let asked =
                self.runtime.block_on(async { timeout(PATIENCE, exchange(self.send.clone(), request, parts, pause)).await });
            match asked.map_err(Error::other)? {
                Ok(reply) => return Ok(reply),
                Err(Failed::Lost(error)) => return Err(error),
                Err(Failed::NotTaken) => {
                    self.told_to_go += 1;
                    self.send = self.runtime.block_on(connect(self.to, &self.host))?;
                }
            }
        }
    }
}

async fn connect(to: SocketAddr, host: &str) -> Result<SendRequest<bytes::Bytes>> {
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from(host.to_owned()).map_err(Error::other)?;
    let tls = TlsConnector::from(Arc::new(trusting(b"h2"))).connect(name, stream).await?;
    let (send, connection) = h2::client::handshake(tls).await.map_err(Error::other)?;
    tokio::spawn(connection);
    Ok(send)
}

async fn exchange(
    send: SendRequest<bytes::Bytes>,
    request: Request<()>,
    parts: &[&[u8]],
    pause: Duration,
) -> std::result::Result<Reply, Failed> {
    let mut send = send.ready().await?;
    let (answer, mut body) = send.send_request(request, parts.is_empty())?;
    for (n, part) in parts.iter().enumerate() {
        sleep(pause).await;
        upload(&mut body, part, n + 1 == parts.len()).await?;
    }
    let (head, mut stream) = answer.await.map(Response::into_parts)?;
    let mut body = Vec::new();
    while let Some(piece) = stream.data().await {
        let piece = piece?;
        stream.flow_control().release_capacity(piece.len())?;
        body.extend_from_slice(&piece);
    }
    stream.trailers().await?;
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    Ok(Reply { status: head.status.as_u16(), headers, body })
}

/// As the windows allow.
async fn upload(body: &mut SendStream<bytes::Bytes>, part: &[u8], last: bool) -> std::result::Result<(), h2::Error> {
    let mut rest = bytes::Bytes::copy_from_slice(part);
    while !rest.is_empty() {
        body.reserve_capacity(rest.len());
        let room = match body.capacity() {
            0 => std::future::poll_fn(|cx| body.poll_capacity(cx)).await.transpose()?.unwrap_or(0),
            room => room,
        };
        let piece = rest.split_to(room.min(rest.len()));
        body.send_data(piece, last && rest.is_empty())?;
    }
    Ok(())
}
