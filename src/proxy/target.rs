//! A target in this process: its counts, its claim, its drain.
//!
//! Claim, then look: a request counts itself in and only then reads `draining`; a drain sets `draining` and only then reads the count.
//! All four are sequentially consistent, so of a claim and a drain at the same time at least one sees the other: a request that was
//! let in is always waited for. The table without the target is published before `draining` is set, so a request that was turned
//! away finds the new table.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::limits::CLOSE_TIME;
use crate::names::InstanceId;
use crate::wire::proxy::{self as wire, DrainBudget, TargetCounts};

/// What must end now at a draining target.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cut {
    pub requests: bool,
    pub streams: bool,
}

/// Lives as long as the snapshot names it or something is in flight at it, across snapshots.
#[derive(Debug)]
pub struct Target {
    pub about: wire::Target,
    in_flight: AtomicU64,
    /// Requests that wait until it starts again; they are in flight nowhere.
    waiting: AtomicU64,
    streams: AtomicU64,
    draining: AtomicBool,
    cut: watch::Sender<Cut>,
    emptied: Notify,
    pub tally: Tally,
}

/// Cumulative counts; only reported, so their order does not matter.
#[derive(Debug, Default)]
pub struct Tally {
    served: AtomicU64,
    held: AtomicU64,
    retried: AtomicU64,
    failed: AtomicU64,
    drained: AtomicU64,
    cut: AtomicU64,
    by_class: [AtomicU64; 6],
}

impl Tally {
    /// The instance answered with this status; 0 if the answer did not come to its end.
    pub fn served(&self, status: u16) {
        self.served.fetch_add(1, Relaxed);
        self.class(status);
    }

    /// We answered in the instance's place.
    pub fn failed(&self, status: u16) {
        if matches!(status, 502 | 504) {
            self.failed.fetch_add(1, Relaxed);
        }
        self.class(status);
    }

    fn class(&self, status: u16) {
        if let Some(class) = self.by_class.get(usize::from(status / 100)) {
            class.fetch_add(1, Relaxed);
        }
    }

    pub fn held(&self) {
        self.held.fetch_add(1, Relaxed);
    }

    pub fn retried(&self) {
        self.retried.fetch_add(1, Relaxed);
    }

    pub fn cut(&self) {
        self.cut.fetch_add(1, Relaxed);
    }
}

impl Target {
    pub fn new(about: wire::Target) -> Self {
        Self {
            about,
            in_flight: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
            streams: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            cut: watch::Sender::new(Cut::default()),
            emptied: Notify::new(),
            tally: Tally::default(),
        }
    }

    pub fn id(&self) -> InstanceId {
        self.about.id
    }

    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(SeqCst)
    }

    /// Counts the caller in among those that wait for a restart, unless there are `most` already.
    pub fn wait_in_line(self: &Arc<Self>, most: u64) -> Option<InLine> {
        // Relaxed: only a bound, nothing is published by it.
        let mine = InLine(Arc::clone(self));
        if self.waiting.fetch_add(1, Relaxed) < most { Some(mine) } else { None }
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(SeqCst)
    }

    /// Counts the caller in, unless the target drains: then the caller must look at the table again.
    pub fn claim(self: &Arc<Self>) -> Option<Claim> {
        self.in_flight.fetch_add(1, SeqCst);
        let claim = Claim { target: Arc::clone(self), stream: Cell::new(false) };
        if self.draining.load(SeqCst) { None } else { Some(claim) }
    }

    /// Turns new claims away. The caller has published a table without this target.
    pub fn close(&self) {
        self.draining.store(true, SeqCst);
    }

    /// Takes a drain back: a later snapshot forwards to the target again.
    pub fn reopen(&self) {
        self.cut.send_replace(Cut::default());
        self.draining.store(false, SeqCst);
    }

    /// Closes, waits until nothing is in flight, and raises the cuts at the ends of the budgets. Gives how many were cut.
    /// Cancel-safe: yes, but then the cuts are not raised; `reopen` afterwards.
    pub async fn drain(&self, budget: DrainBudget) -> u64 {
        self.close();
        let (begin, cut_before) = (Instant::now(), self.tally.cut.load(Relaxed));
        let requests = (budget.requests_ms, Cut { requests: true, streams: false });
        let streams = (budget.streams_ms, Cut { requests: false, streams: true });
        let mut ends = [requests, streams];
        ends.sort_by_key(|(ms, _)| *ms);
        for (ms, what) in ends {
            let end = begin + Duration::from_millis(ms);
            tokio::select! {
                biased;
                () = self.empty() => break,
                () = sleep_until(end) => self.cut.send_modify(|cut| {
                    *cut = Cut { requests: cut.requests || what.requests, streams: cut.streams || what.streams };
                }),
            }
        }
        // Those that were cut say a proper goodbye; one that can't is not waited for longer than that takes.
        let _ = timeout(CLOSE_TIME * 2, self.empty()).await;
        self.tally.cut.load(Relaxed) - cut_before
    }

    async fn empty(&self) {
        while self.in_flight() > 0 {
            self.emptied.notified().await;
        }
    }

    pub fn cuts(&self) -> watch::Receiver<Cut> {
        self.cut.subscribe()
    }

    pub fn counts(&self) -> TargetCounts {
        let tally = &self.tally;
        TargetCounts {
            target: self.id(),
            in_flight: self.in_flight(),
            streams: self.streams.load(Relaxed),
            served: tally.served.load(Relaxed),
            held: tally.held.load(Relaxed),
            retried: tally.retried.load(Relaxed),
            failed: tally.failed.load(Relaxed),
            drained: tally.drained.load(Relaxed),
            cut: tally.cut.load(Relaxed),
            by_class: std::array::from_fn(|i| tally.by_class[i].load(Relaxed)),
        }
    }
}

/// A place among those that wait for a restart. Counts out when dropped.
#[derive(Debug)]
pub struct InLine(Arc<Target>);

impl Drop for InLine {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Relaxed);
    }
}

/// The right to send one request to the target. Counts out when dropped.
#[derive(Debug)]
pub struct Claim {
    target: Arc<Target>,
    stream: Cell<bool>,
}

impl Claim {
    pub fn target(&self) -> &Arc<Target> {
        &self.target
    }

    /// From now on this is a stream: the longer drain budget holds for it.
    pub fn mark_stream(&self) {
        if !self.stream.replace(true) {
            self.target.streams.fetch_add(1, Relaxed);
        }
    }

    pub fn is_stream(&self) -> bool {
        self.stream.get()
    }

    /// The request ended by itself; counted if the target drains.
    pub fn finished(&self) {
        if self.target.is_draining() {
            self.target.tally.drained.fetch_add(1, Relaxed);
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.stream.get() {
            self.target.streams.fetch_sub(1, Relaxed);
        }
        let was = self.target.in_flight.fetch_sub(1, SeqCst);
        // notify_one keeps a permit, so a drain that just looked and is about to wait is woken too.
        if was == 1 && self.target.is_draining() {
            self.target.emptied.notify_one();
        }
    }
}
