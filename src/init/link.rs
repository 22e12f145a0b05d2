//! Init's end of the connection to the daemon. Everything here works without waiting; a daemon that is away is tried again.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};

use crate::base::backoff::Backoff;
use crate::handover::fds::recv_with_fds;
use crate::wire::frame;
use crate::wire::init::{FRAME_LIMIT, FromInit, ToInit};

/// A daemon that restarts is found again within a second.
const RETRY: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// If the daemon leaves that much unread it hangs; the connection is given up.
const UNSENT_LIMIT: usize = 2 * FRAME_LIMIT;

pub struct Link {
    path: PathBuf,
    stream: Option<UnixStream>,
    unsent: Vec<u8>,
    received: Vec<u8>,
    descriptors: VecDeque<OwnedFd>,
    backoff: Backoff,
    retry_at: Instant,
}

impl Link {
    pub fn new(path: PathBuf) -> Self {
        let backoff = Backoff::new(RETRY.0, RETRY.1);
        let retry_at = Instant::now();
        let (unsent, received, descriptors) = (Vec::new(), Vec::new(), VecDeque::new());
        Self { path, stream: None, unsent, received, descriptors, backoff, retry_at }
    }

    /// Connects if that is due. Gives true when a connection was just made: then `Hello` has to be sent.
    pub fn connect_if_due(&mut self, now: Instant) -> bool {
        if self.stream.is_some() || now < self.retry_at {
            return false;
        }
        match self.connect() {
            Ok(stream) => {
                self.stream = Some(stream);
                true
            }
            Err(_) => {
                self.disconnect(now);
                false
            }
        }
    }

    fn connect(&self) -> io::Result<UnixStream> {
        // Non-blocking from the start: a connect to a daemon that does not accept would wait for ever.
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let fd = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
        connect(fd.as_raw_fd(), &UnixAddr::new(&self.path)?)?;
        Ok(UnixStream::from(fd))
    }

    /// When [`connect_if_due`](Self::connect_if_due) is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.stream.is_none().then_some(self.retry_at)
    }

    /// What to poll, and whether also for writing.
    pub fn descriptor(&self) -> Option<(BorrowedFd<'_>, bool)> {
        self.stream.as_ref().map(|s| (s.as_fd(), !self.unsent.is_empty()))
    }

    /// Queues a message and sends what goes out at once. Without a connection it is dropped: the next `Hello` tells how things stand.
    pub fn send(&mut self, message: &FromInit) {
        if self.stream.is_none() {
            return;
        }
        if let Ok(bytes) = frame::encode(message) {
            self.unsent.extend_from_slice(&bytes);
        }
        self.flush();
    }

    pub fn flush(&mut self) {
        let Some(stream) = &mut self.stream else { return };
        while !self.unsent.is_empty() {
            match stream.write(&self.unsent) {
                Ok(n) => drop(self.unsent.drain(..n)),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock && self.unsent.len() <= UNSENT_LIMIT => return,
                Err(_) => return self.disconnect(Instant::now()),
            }
        }
    }

    /// Everything was sent, or nobody is there to take it.
    pub fn is_flushed(&self) -> bool {
        self.unsent.is_empty()
    }

    /// Reads what came. A segment comes with its descriptor; one without is given as an error and ends the connection.
    pub fn receive(&mut self) -> Vec<(ToInit, Option<OwnedFd>)> {
        let mut messages = Vec::new();
        if self.try_receive(&mut messages).is_err() {
            self.disconnect(Instant::now());
        }
        if !messages.is_empty() {
            self.backoff.reset();
        }
        messages
    }

    fn try_receive(&mut self, messages: &mut Vec<(ToInit, Option<OwnedFd>)>) -> io::Result<()> {
        let mut chunk = [0; 4096];
        loop {
            let Some(stream) = &self.stream else { return Ok(()) };
            match recv_with_fds(stream, &mut chunk, 4) {
                Ok((0, _)) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok((n, descriptors)) => {
                    self.received.extend_from_slice(&chunk[..n]);
                    self.descriptors.extend(descriptors);
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e),
            }
            while let Some(message) = self.next_message()? {
                // Descriptors come in the order of their messages.
                let descriptor = match message {
                    ToInit::Segment { .. } => Some(self.descriptors.pop_front().ok_or(ErrorKind::InvalidData)?),
                    ToInit::Open | ToInit::Stop { .. } | ToInit::Restart { .. } | ToInit::Limits { .. } => None,
                };
                messages.push((message, descriptor));
            }
        }
    }

    fn next_message(&mut self) -> io::Result<Option<ToInit>> {
        let Some(head) = self.received.first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_be_bytes(*head) as usize;
        if length > FRAME_LIMIT {
            return Err(ErrorKind::InvalidData.into());
        }
        let Some(body) = self.received.get(4..4 + length) else { return Ok(None) };
        let message = serde_json::from_slice(body)?;
        self.received.drain(..4 + length);
        Ok(Some(message))
    }

    fn disconnect(&mut self, now: Instant) {
        self.stream = None;
        self.unsent = Vec::new();
        self.received = Vec::new();
        self.descriptors.clear();
        self.retry_at = now + self.backoff.pause();
    }
}
