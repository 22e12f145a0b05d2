//! The client's side of a WebSocket, as far as the tests need it: text frames, and the code with which it was closed.

use std::io::{Error, Result};

use super::door::Door;
use super::http::Client;

pub struct Socket(Client);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    Text(String),
    Closed(u16),
}

impl Socket {
    pub fn connect(to: impl Into<Door>, host: &str, path: &str) -> Result<Socket> {
        let mut client = Client::connect(to, host)?;
        let key = "dGhlIHNhbXBsZSBub25jZQ==";
        let headers =
            [("upgrade", "websocket"), ("connection", "Upgrade"), ("sec-websocket-version", "13"), ("sec-websocket-key", key)];
        client.send("GET", path, &headers, &[])?;
        let reply = client.reply()?;
        // The answer to this key is the example of RFC 6455, section 1.3.
        match (reply.status, reply.header("sec-websocket-accept")) {
            (101, Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")) => Ok(Socket(client)),
            _ => Err(Error::other(format!("no WebSocket: {reply:?}"))),
        }
    }

    pub fn send(&mut self, text: &str) -> Result<()> {
        assert!(text.len() < 126, "the tests send short frames only");
        let mask = [1u8, 2, 3, 4];
        let mut frame = vec![0x81, 0x80 | text.len() as u8];
        frame.extend(mask);
        frame.extend(text.bytes().enumerate().map(|(i, b)| b ^ mask[i % 4]));
        self.0.raw(&frame)
    }

    /// The next text frame, or the close frame; a connection that ends without one is an error.
    pub fn receive(&mut self) -> Result<Message> {
        let mut start = [0u8; 2];
        self.0.read_exact(&mut start)?;
        let mut payload = vec![0u8; usize::from(start[1] & 0x7f)];
        self.0.read_exact(&mut payload)?;
        Ok(match start[0] & 0x0f {
            8 if payload.len() >= 2 => Message::Closed(u16::from_be_bytes([payload[0], payload[1]])),
            8 => Message::Closed(1005),
            _ => Message::Text(String::from_utf8_lossy(&payload).into_owned()),
        })
    }
}
