//! A client that speaks HTTP/2.

use std::sync::Arc;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::{Offer, World};

pub struct H2 {
    pub send: SendRequest<Bytes>,
    /// Ends with the connection.
    pub connection: JoinHandle<Result<(), h2::Error>>,
}

/// A whole answer.
#[derive(Debug)]
pub struct H2Answer {
    pub head: Response<()>,
    pub body: Vec<u8>,
    pub trailers: Option<HeaderMap>,
}

impl H2Answer {
    pub fn status(&self) -> u16 {
        self.head.status().as_u16()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.headers().get(name).map(|value| value.to_str().expect("text"))
    }
}

impl World {
    /// A connection for `shop.test`.
    pub async fn h2(&self) -> H2 {
        self.h2_with(h2::client::Builder::new()).await
    }

    pub async fn h2_with(&self, builder: h2::client::Builder) -> H2 {
        let tls = self.h2_socket().await;
        let (send, connection) = builder.handshake(tls).await.expect("preface");
        H2 { send, connection: tokio::spawn(connection) }
    }

    /// TLS with HTTP/2 agreed on, and nothing said yet.
    pub async fn h2_socket(&self) -> tokio_rustls::client::TlsStream<tokio::net::TcpStream> {
        let config = Offer { alpn: &[b"h2", b"http/1.1"], ..Offer::default() }.config();
        let stream = tokio::net::TcpStream::connect(self.tls_address).await.expect("the proxy accepts");
        let name = ServerName::try_from("shop.test").expect("name");
        let tls = TlsConnector::from(Arc::clone(&config)).connect(name, stream).await.expect("handshake");
        assert_eq!(tls.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
        tls
    }
}

pub fn request(method: &str, path: &str) -> http::request::Builder {
    Request::builder().method(method).uri(format!("https://shop.test{path}"))
}

impl H2 {
    /// Sends a head; the body follows by the stream unless `ended`.
    pub async fn open(&mut self, request: http::request::Builder, ended: bool) -> (ResponseFuture, SendStream<Bytes>) {
        self.send = self.send.clone().ready().await.expect("room for a stream");
        self.send.send_request(request.body(()).expect("request"), ended).expect("sent")
    }

    pub async fn ask(&mut self, request: http::request::Builder, body: &[u8]) -> Result<H2Answer, h2::Error> {
        let (answer, mut stream) = self.open(request, body.is_empty()).await;
        if !body.is_empty() {
            upload(&mut stream, body, true).await?;
        }
        whole(answer.await?).await
    }

    pub async fn get(&mut self, path: &str) -> H2Answer {
        self.ask(request("GET", path), b"").await.expect("a whole answer")
    }
}

/// Sends as the windows allow.
pub async fn upload(stream: &mut SendStream<Bytes>, body: &[u8], last: bool) -> Result<(), h2::Error> {
    let mut rest = Bytes::copy_from_slice(body);
    while !rest.is_empty() {
        stream.reserve_capacity(rest.len());
        let room = match stream.capacity() {
            0 => std::future::poll_fn(|cx| stream.poll_capacity(cx)).await.transpose()?.unwrap_or(0),
            room => room,
        };
        let piece = rest.split_to(room.min(rest.len()));
        stream.send_data(piece, last && rest.is_empty())?;
    }
    Ok(())
}

pub async fn whole(answer: Response<RecvStream>) -> Result<H2Answer, h2::Error> {
    let (parts, mut stream) = answer.into_parts();
    let mut body = Vec::new();
    while let Some(piece) = stream.data().await {
        let piece = piece?;
        stream.flow_control().release_capacity(piece.len())?;
        body.extend_from_slice(&piece);
    }
    let trailers = stream.trailers().await?;
    Ok(H2Answer { head: Response::from_parts(parts, ()), body, trailers })
}
