//! A small client that hides nothing: it never retries, never follows, and tells a cut answer from a whole one. It speaks HTTP/1.1, plain or by
//! TLS, and by another hand HTTP/2.

use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConnection, StreamOwned};

use super::door::{Door, trusting};
use super::h2::H2Client;

#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(k, _)| k.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn closes(&self) -> bool {
        self.header("connection").is_some_and(|v| v.eq_ignore_ascii_case("close"))
    }
}

/// One connection to the proxy, kept alive between requests.
pub struct Client {
    stream: Stream,
    host: String,
    open: bool,
}

enum Stream {
    /// Plain or TLS.
    One(BufReader<Box<dyn Both>>),
    Two(Box<H2Client>),
}

trait Both: Read + Write + Send {}
impl<T: Read + Write + Send> Both for T {}

impl Client {
    pub fn connect(to: impl Into<Door>, host: &str) -> Result<Client> {
        let stream = match to.into() {
            Door::Plain(to) => Stream::One(BufReader::new(Box::new(tcp(to)?))),
            Door::Tls(to) => Stream::One(BufReader::new(Box::new(tls(to, host)?))),
            Door::H2(to) => Stream::Two(Box::new(H2Client::connect(to, host)?)),
        };
        Ok(Client { stream, host: host.to_owned(), open: true })
    }

    /// Whether the peer let this connection live on after the last answer.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// How often a client of HTTP/2 was told to come back on another connection.
    pub fn told_to_go(&self) -> u64 {
        if let Stream::Two(client) = &self.stream { client.told_to_go } else { 0 }
    }

    /// HTTP/1.1, which alone can be written by hand.
    fn one(&mut self) -> &mut BufReader<Box<dyn Both>> {
        match &mut self.stream {
            Stream::One(stream) => stream,
            Stream::Two(_) => panic!("over HTTP/2 there is `get` and `upload`"),
        }
    }

    pub fn get(&mut self, path: &str) -> Result<Reply> {
        if let Stream::Two(client) = &mut self.stream {
            return client.get(path);
        }
        self.send("GET", path, &[], &[])?;
        self.reply()
    }

    /// Sends a chunked upload of `parts`, pausing `pause` before each.
    pub fn upload(&mut self, path: &str, parts: &[&[u8]], pause: Duration) -> Result<Reply> {
        if let Stream::Two(client) = &mut self.stream {
            return client.upload(path, parts, pause);
        }
        self.send("POST", path, &[("transfer-encoding", "chunked")], &[])?;
        for part in parts {
            std::thread::sleep(pause);
            let mut chunk = format!("{:x}\r\n", part.len()).into_bytes();
            chunk.extend_from_slice(part);
            chunk.extend_from_slice(b"\r\n");
            self.raw(&chunk)?;
        }
        self.raw(b"0\r\n\r\n")?;
        self.reply()
    }

    pub fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<()> {
        let more: String = headers.iter().map(|(k, v)| format!("{k}: {v}\r\n")).collect();
        let mut all = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n{more}\r\n", self.host).into_bytes();
        all.extend_from_slice(body);
        self.raw(&all)
    }

    pub fn raw(&mut self, bytes: &[u8]) -> Result<()> {
        let to = self.one().get_mut();
        to.write_all(bytes)?;
        to.flush()
    }

    pub fn read_exact(&mut self, into: &mut [u8]) -> Result<()> {
        self.one().read_exact(into)
    }

    /// Reads one answer with its whole body (none after 101 or 204).
    pub fn reply(&mut self) -> Result<Reply> {
        let (status, headers) = self.head()?;
        let mut reply = Reply { status, headers, body: Vec::new() };
        if status == 101 || status == 204 || status == 304 {
            return Ok(reply);
        }
        if reply.header("transfer-encoding").is_some() {
            reply.body = self.chunks()?;
        } else if let Some(n) = reply.header("content-length").and_then(|v| v.parse::<usize>().ok()) {
            reply.body = vec![0; n];
            self.one().read_exact(&mut reply.body)?;
        } else {
            self.one().read_to_end(&mut reply.body)?;
            self.open = false;
        }
        self.open = self.open && !reply.closes();
        Ok(reply)
    }

    fn head(&mut self) -> Result<(u16, Vec<(String, String)>)> {
        let line = self.line()?;
        let status = line
            .split(' ')
            .nth(1)
            .and_then(|s| s.parse().ok())
            .ok_or_else(|| Error::other(format!("no status line: {line:?}")))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            match line.split_once(':') {
                None => return Ok((status, headers)),
                Some((k, v)) => headers.push((k.to_owned(), v.trim().to_owned())),
            }
        }
    }

    fn chunks(&mut self) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let size = usize::from_str_radix(line.split(';').next().unwrap_or("").trim(), 16).map_err(Error::other)?;
            if size == 0 {
                while !self.line()?.is_empty() {}
                return Ok(body);
            }
            let start = body.len();
            body.resize(start + size, 0);
            self.one().read_exact(&mut body[start..])?;
            self.line()?;
        }
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.one().read_line(&mut line)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }
}

fn tcp(to: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&to, Duration::from_secs(10))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(120)))?;
    Ok(stream)
}

/// With the whole handshake done, and no ticket of an earlier one.
fn tls(to: SocketAddr, host: &str) -> Result<StreamOwned<ClientConnection, TcpStream>> {
    let name = ServerName::try_from(host.to_owned()).map_err(Error::other)?;
    let client = ClientConnection::new(Arc::new(trusting(b"http/1.1")), name).map_err(Error::other)?;
    let mut stream = StreamOwned::new(client, tcp(to)?);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}
