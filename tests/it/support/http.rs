//! A small HTTP/1.1 client that hides nothing: it never retries, never follows, and tells a cut answer from a whole one.

use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

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
    stream: BufReader<TcpStream>,
    host: String,
    open: bool,
}

impl Client {
    pub fn connect(to: SocketAddr, host: &str) -> Result<Client> {
        let stream = TcpStream::connect_timeout(&to, Duration::from_secs(10))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(120)))?;
        Ok(Client { stream: BufReader::new(stream), host: host.to_owned(), open: true })
    }

    /// Whether the peer let this connection live on after the last answer.
    pub fn is_open(&self) -> bool {
        self.open
    }

    pub fn get(&mut self, path: &str) -> Result<Reply> {
        self.send("GET", path, &[], &[])?;
        self.reply()
    }

    /// Sends a chunked upload of `parts`, pausing `pause` before each.
    pub fn upload(&mut self, path: &str, parts: &[&[u8]], pause: Duration) -> Result<Reply> {
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
        self.stream.get_mut().write_all(bytes)
    }

    pub fn read_exact(&mut self, into: &mut [u8]) -> Result<()> {
        self.stream.read_exact(into)
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
            self.stream.read_exact(&mut reply.body)?;
        } else {
            self.stream.read_to_end(&mut reply.body)?;
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
            self.stream.read_exact(&mut body[start..])?;
            self.line()?;
        }
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }
}
