//! What is remembered of a request while it runs, and the line it becomes: queued for the daemon, never waited for.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::error::ProxyError;
use super::forwarded::Origin;
use super::h1::request::Request;
use super::limits::{ACCESS_PATH_BYTES, ACCESS_QUEUE, ACCESS_SLOW};
use super::routes::Route;
use super::rules::{self, Asked};
use crate::base::clock::UnixMillis;
use crate::names::{Hostname, InstanceId};
use crate::wire::proxy::{AccessLine, WHOLE};

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
    /// The host of a connection that goes to the instance as it is.
    pub passed: Option<String>,
    pub asked: Asked,
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
        Self {
            at: UnixMillis::now(),
            started: Instant::now(),
            client: origin.client,
            id,
            passed: None,
            asked: request.map(|r| Asked::of(r, &origin)).unwrap_or_default(),
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
        Self { passed: Some(host.as_str().to_owned()), asked, ..Self::new(origin, id, None) }
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

    /// Measures a request that reached no target with its app.
    pub fn count_own(&self, error: Option<&ProxyError>) {
        if self.target.get().is_none()
            && let Some(route) = self.route.borrow().as_ref()
        {
            route.own.ended(self.status.get(), error);
        }
    }

    /// Of a million requests that are as this one was, how many get an access line.
    pub fn share(&self, error: Option<&ProxyError>) -> u32 {
        let wanted = self.route.borrow().as_ref().map(|route| route.rules.access).unwrap_or_default();
        let slow = self.first_byte.get().is_some_and(|took| took >= ACCESS_SLOW);
        let trouble = slow || error.is_some() || self.status.get() >= 500;
        match (trouble, wanted.troubles) {
            (true, true) => WHOLE,
            (true, false) => 0,
            (false, _) => wanted.sample_ppm,
        }
    }

    /// `request` is None where its head was not understood, and for what is passed through.
    pub fn into_line(self, request: Option<&Request>, error: Option<&ProxyError>, sample_ppm: u32) -> AccessLine {
        let tls = if self.passed.is_some() { "TLS" } else { "" };
        let path = request.map(|r| &r.target()[..r.target().len().min(ACCESS_PATH_BYTES)]).unwrap_or_default();
        let host = request.map(|r| r.host.raw.chars().take(255).collect());
        AccessLine {
            at: self.at,
            app: self.route.borrow().as_ref().map(|route| route.app.clone()),
            target: self.target.get(),
            method: request.map_or_else(|| tls.to_owned(), |r| r.method().chars().take(32).collect()),
            path: String::from_utf8_lossy(path).into_owned(),
            host: host.or(self.passed).unwrap_or_default(),
            status: self.status.get(),
            bytes_in: self.bytes_in.get(),
            bytes_out: self.bytes_out.get(),
            micros_total: micros(self.started.elapsed()),
            micros_first_byte: self.first_byte.get().map(micros),
            client: self.client,
            request_id: self.id,
            held_ms: micros(self.held.get()) / 1000,
            retries: self.retries.get(),
            error: error.map(ToString::to_string),
            sample_ppm,
        }
    }
}

pub fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
