//! A stream of events: one JSON value per line.

use std::marker::PhantomData;

use bytes::BytesMut;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

use super::ClientError;

/// Longer than any event: a log line has at most 64 KiB, which JSON can make six times as long.
const LONGEST_LINE: usize = 4 << 20;

/// Events of one type, in order. Dropping it ends the view, not the work behind it.
pub struct Events<T> {
    act: String,
    body: Incoming,
    buffer: BytesMut,
    /// Bytes of `buffer` that hold no line end, so that a long line is not searched again and again.
    searched: usize,
    ended: bool,
    of: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Events<T> {
    pub(super) fn new(act: String, body: Incoming) -> Self {
        Events { act, body, buffer: BytesMut::new(), searched: 0, ended: false, of: PhantomData }
    }

    /// The next event; `None` when the daemon closed the stream properly. Empty lines (which keep a connection alive) are passed over.
    /// Cancel-safe: yes, what was read stays in the buffer.
    pub async fn next(&mut self) -> Result<Option<T>, ClientError> {
        loop {
            if let Some(line) = self.take_line() {
                if line.is_empty() {
                    continue;
                }
                return serde_json::from_slice(&line).map(Some).map_err(|e| self.nonsense(e.to_string()));
            }
            if self.ended {
                // Half a line at the end is a connection that was cut, not an event.
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(self.broken("it ended in the middle of an event".to_owned()))
                };
            }
            if self.buffer.len() > LONGEST_LINE {
                return Err(self.nonsense(format!("an event is longer than {LONGEST_LINE} bytes")));
            }
            match self.body.frame().await {
                None => self.ended = true,
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(e)) => return Err(self.broken(e.to_string())),
            }
        }
    }

    fn take_line(&mut self) -> Option<BytesMut> {
        match self.buffer[self.searched..].iter().position(|b| *b == b'\n') {
            None => {
                self.searched = self.buffer.len();
                None
            }
            Some(at) => {
                let mut line = self.buffer.split_to(self.searched + at + 1);
                self.searched = 0;
                line.truncate(line.trim_ascii_end().len());
                Some(line)
            }
        }
    }

    fn broken(&self, why: String) -> ClientError {
        ClientError::Broken { act: self.act.clone(), why }
    }

    fn nonsense(&self, why: String) -> ClientError {
        ClientError::Nonsense { act: self.act.clone(), why }
    }
}
