//! What is remembered of a request while it runs, and the line it becomes: queued for the daemon, never waited for.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::forwarded::Origin;
use super::h1::request::Request;
use super::limits::{ACCESS_PATH_BYTES, ACCESS_QUEUE};
use super::routes::Route;
use super::rules::{self, Asked};
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
    pub asked: Asked,
    pub app: RefCell<Option<AppName>>,
    /// As it was looked up last.
    pub route: RefCell<Option<Arc<Route>>>,
    pub target: Cell<Option<InstanceId>>,
    /// 0 until the head of an answer is written.
    pub status: Cell<u16>,
    pub bytes_in: Cell<u64>,
    pub bytes_out: Cell<u64>,
    pub first_byte: Cell<Option<Duration>>,
    pub held: Cell<Duration>,
    pub retries: Cell<u8>,
}

impl Record {
    pub fn new(origin: Origin, id: String, request: Option<&Request>) -> Self {
        let path = request.map(|r| &r.target()[..r.target().len().min(ACCESS_PATH_BYTES)]).unwrap_or_default();
        Self {
            at: UnixMillis::now(),
            started: Instant::now(),
            client: origin.client,
            id,
            method: request.map(|r| r.method().chars().take(32).collect()).unwrap_or_default(),
            path: String::from_utf8_lossy(path).into_owned(),
            host: request.map(|r| r.host.raw.chars().take(255).collect()).unwrap_or_default(),
            asked: request.map(|r| Asked::of(r, &origin)).unwrap_or_default(),
            app: RefCell::default(),
            route: RefCell::default(),
            target: Cell::default(),
            status: Cell::default(),
            bytes_in: Cell::default(),
            bytes_out: Cell::default(),
            first_byte: Cell::default(),
            held: Cell::default(),
            retries: Cell::default(),
        }
    }

    /// A connection that goes to the instance as it is.
    pub fn passed(client: IpAddr, id: String, host: &Hostname) -> Self {
        let origin = Origin { client: client.to_canonical(), trusted: false, https: true };
        let asked = Asked { https: true, passed: true, ..Asked::default() };
        Self { method: "TLS".to_owned(), host: host.as_str().to_owned(), asked, ..Self::new(origin, id, None) }
    }

    /// The head of an answer is about to be written.
    pub fn answered(&self, status: u16) {
        self.status.set(status);
        self.first_byte.set(Some(self.started.elapsed()));
    }

    /// Seconds of Strict-Transport-Security for the answer.
    pub fn hsts(&self) -> Option<u64> {
        self.route.borrow().as_ref().and_then(|route| rules::hsts(&route.rules, self.asked))
    }

    /// Bytes that the request's body may have.
    pub fn max_body(&self) -> Option<u64> {
        self.route.borrow().as_ref().and_then(|route| route.rules.max_body)
    }

    /// The app's own words for its maintenance; empty: it has none.
    pub fn message(&self) -> String {
        let route = self.route.borrow();
        let maintenance = route.as_ref().and_then(|route| route.rules.maintenance.as_ref());
        maintenance.and_then(|m| m.message.clone()).unwrap_or_default()
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
