//! What is remembered of a request while it runs, and the line it becomes: queued for the daemon, never waited for.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::error::ProxyError;
use super::forwarded::Origin;
use super::h1::request::Request;
use super::limits::{ACCESS_PATH_BYTES, ACCESS_QUEUE, ACCESS_QUEUE_BYTES, ACCESS_SLOW};
use super::routes::Route;
use super::rules::{self, Asked};
use crate::base::clock::UnixMillis;
use crate::names::{Hostname, InstanceId};
use crate::wire::proxy::{AccessFrame, AccessLine, WHOLE};

/// The lines between workers and the control connection.
pub struct Queue {
    waiting: Mutex<AccessFrame>,
    some: Notify,
    lost: AtomicU64,
}

impl Default for Queue {
    fn default() -> Self {
        Self { waiting: Mutex::new(AccessFrame::default()), some: Notify::new(), lost: AtomicU64::new(0) }
    }
}

impl Queue {
    /// Never waits for the daemon: without room the line is counted as lost.
    pub fn push(&self, line: &AccessLine<'_>) {
        thread_local! {
            static TEXT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        TEXT.with_borrow_mut(|text| {
            text.clear();
            // Written before the lock is taken, which is held for the time of a copy only.
            let added = serde_json::to_writer(&mut *text, line).is_ok() && self.add(text);
            if !added {
                self.lose(1);
            }
        });
    }

    fn add(&self, line: &[u8]) -> bool {
        let Ok(mut waiting) = self.waiting.lock() else { return false };
        if waiting.lines >= ACCESS_QUEUE || waiting.size() >= ACCESS_QUEUE_BYTES {
            return false;
        }
        waiting.push(line);
        let first = waiting.lines == 1;
        drop(waiting);
        if first {
            self.some.notify_one();
        }
        true
    }

    pub fn lose(&self, lines: u64) {
        self.lost.fetch_add(lines, Ordering::Relaxed);
    }

    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// All that wait, if any do.
    pub fn take(&self) -> Option<AccessFrame> {
        let mut waiting = self.waiting.lock().ok()?;
        (waiting.lines > 0).then(|| std::mem::take(&mut *waiting))
    }

    /// [`Queue::take`] as soon as there are some. For one task only. Cancel-safe: yes.
    pub async fn next(&self) -> AccessFrame {
        loop {
            if let Some(lines) = self.take() {
                return lines;
            }
            self.some.notified().await;
        }
    }
}

/// Whose story it is.
#[derive(Debug, Clone, Copy)]
pub enum Subject<'a> {
    Request(&'a Request),
    /// A connection that went to the instance of this host as it was.
    Passed(&'a Hostname),
    /// What was no request.
    Nothing,
}

/// One request's story. Cells, because upload and answer move at the same time on one thread.
#[derive(Debug)]
pub struct Record {
    pub at: UnixMillis,
    pub started: Instant,
    pub client: IpAddr,
    pub id: String,
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
    pub fn passed(client: IpAddr, id: String) -> Self {
        let origin = Origin { client: client.to_canonical(), trusted: false, https: true };
        let asked = Asked { https: true, passed: true, ..Asked::default() };
        Self { asked, ..Self::new(origin, id, None) }
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

    /// Gives the line of the request, which has ended, to `queue`; `sample_ppm` is its [`Record::share`].
    pub fn tell(&self, queue: &Queue, of: Subject<'_>, error: Option<&ProxyError>, sample_ppm: u32) {
        let route = self.route.borrow();
        let (method, path, host) = match of {
            Subject::Request(r) => (r.method(), &r.target()[..r.target().len().min(ACCESS_PATH_BYTES)], r.host.raw.as_str()),
            Subject::Passed(host) => ("TLS", &b""[..], host.as_str()),
            Subject::Nothing => ("", &b""[..], ""),
        };
        queue.push(&AccessLine {
            at: self.at,
            app: route.as_ref().map(|route| Cow::Borrowed(&route.app)),
            target: self.target.get(),
            method: begin(method, 32),
            path: String::from_utf8_lossy(path),
            host: begin(host, 255),
            status: self.status.get(),
            bytes_in: self.bytes_in.get(),
            bytes_out: self.bytes_out.get(),
            micros_total: micros(self.started.elapsed()),
            micros_first_byte: self.first_byte.get().map(micros),
            client: self.client,
            request_id: Cow::Borrowed(&self.id),
            held_ms: micros(self.held.get()) / 1000,
            retries: self.retries.get(),
            error: error.map(|error| Cow::Owned(error.to_string())),
            sample_ppm,
        });
    }
}

/// At most so many characters; both the method and the host are ASCII.
fn begin(text: &str, most: usize) -> Cow<'_, str> {
    Cow::Borrowed(text.get(..most).unwrap_or(text))
}

pub fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
