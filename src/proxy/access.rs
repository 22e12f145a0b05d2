//! What is remembered of a request while it runs, and the line it becomes: queued for the daemon, never waited for.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::h1::request::Request;
use super::limits::{ACCESS_PATH_BYTES, ACCESS_QUEUE};
use crate::base::clock::UnixMillis;
use crate::names::{AppName, Hostname, InstanceId};
use crate::wire::proxy::AccessLine;

/// The queue between workers and the control connection.
pub struct Queue {
    lines: mpsc::Sender<AccessLine>,
    out: Mutex<Option<mpsc::Receiver<AccessLine>>>,
    lost: AtomicU64,
}

impl Default for Queue {
    fn default() -> Self {
        let (lines, out) = mpsc::channel(ACCESS_QUEUE);
        Self { lines, out: Mutex::new(Some(out)), lost: AtomicU64::new(0) }
    }
}

impl Queue {
    /// Never blocks: without room the line is counted as lost.
    pub fn push(&self, line: AccessLine) {
        if self.lines.try_send(line).is_err() {
            self.lose(1);
        }
    }

    pub fn lose(&self, lines: u64) {
        self.lost.fetch_add(lines, Ordering::Relaxed);
    }

    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// The reading end, once.
    pub fn take_out(&self) -> Option<mpsc::Receiver<AccessLine>> {
        self.out.lock().map_or(None, |mut out| out.take())
    }
}

/// One request's story. Cells, because upload and answer move at the same time on one thread.
#[derive(Debug)]
pub struct Record {
    pub at: UnixMillis,
    pub started: Instant,
    pub client: IpAddr,
    pub id: String,
    pub method: String,
    pub path: String,
    pub host: String,
    pub app: RefCell<Option<AppName>>,
    pub target: Cell<Option<InstanceId>>,
    /// 0 until the head of an answer is written.
    pub status: Cell<u16>,
    pub bytes_in: Cell<u64>,
    pub bytes_out: Cell<u64>,
    pub first_byte: Cell<Option<Duration>>,
    pub held: Cell<Duration>,
    pub retries: Cell<u8>,
    /// A TLS connection that goes to the instance as it is.
    pub passed: bool,
}

impl Record {
    pub fn new(client: IpAddr, id: String, request: Option<&Request>) -> Self {
        let path = request.map(|r| &r.target()[..r.target().len().min(ACCESS_PATH_BYTES)]).unwrap_or_default();
        Self {
            at: UnixMillis::now(),
            started: Instant::now(),
            client: client.to_canonical(),
            id,
            method: request.map(|r| r.method().chars().take(32).collect()).unwrap_or_default(),
            path: String::from_utf8_lossy(path).into_owned(),
            host: request.map(|r| r.host.raw.chars().take(255).collect()).unwrap_or_default(),
            app: RefCell::default(),
            target: Cell::default(),
            status: Cell::default(),
            bytes_in: Cell::default(),
            bytes_out: Cell::default(),
            first_byte: Cell::default(),
            held: Cell::default(),
            retries: Cell::default(),
            passed: false,
        }
    }

    /// A connection that goes to the instance as it is.
    pub fn passed(client: IpAddr, id: String, host: &Hostname) -> Self {
        Self { method: "TLS".to_owned(), host: host.as_str().to_owned(), passed: true, ..Self::new(client, id, None) }
    }

    /// The head of an answer is about to be written.
    pub fn answered(&self, status: u16) {
        self.status.set(status);
        self.first_byte.set(Some(self.started.elapsed()));
    }

    pub fn retried(&self) {
        self.retries.set(self.retries.get().saturating_add(1));
    }

    pub fn into_line(self, error: Option<String>) -> AccessLine {
        AccessLine {
            at: self.at,
            app: self.app.into_inner(),
            target: self.target.get(),
            method: self.method,
            path: self.path,
            host: self.host,
            status: self.status.get(),
            bytes_in: self.bytes_in.get(),
            bytes_out: self.bytes_out.get(),
            micros_total: micros(self.started.elapsed()),
            micros_first_byte: self.first_byte.get().map(micros),
            client: self.client,
            request_id: self.id,
            held_ms: micros(self.held.get()) / 1000,
            retries: self.retries.get(),
            error,
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
