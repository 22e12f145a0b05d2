//! A target in this process: its counts, its claim, its drain.
//!
//! Claim, then look: a request counts itself in and only then reads `draining`; a drain sets `draining` and only then reads the count.
//! All four are sequentially consistent, so of a claim and a drain at the same time at least one sees the other: a request that was
//! let in is always waited for. The table without the target is published before `draining` is set, so a request that was turned
//! away finds the new table.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::access::Record;
use super::error::ProxyError;
use super::limits::{CLOSE_TIME, GOODBYE_SPREAD};
use super::meter::Meter;
use crate::names::InstanceId;
use crate::wire::metrics::Sums;
use crate::wire::proxy::{self as wire, DrainBudget, TargetCounts};

/// What must end now at a target: one that drains, or one of a process that leaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cut {
    pub requests: bool,
    /// The streams whose turn is at most this.
    pub streams: u8,
}

/// Streams end in so many turns over the last tenth of their budget: a thousand WebSockets that ended at once would come back at once.
const TURNS: u8 = 20;

/// Lives as long as the snapshot names it or something is in flight at it, across snapshots.
#[derive(Debug)]
pub struct Target {
    pub about: wire::Target,
    in_flight: AtomicU64,
    /// Requests that wait until it starts again; they are in flight nowhere.
    waiting: AtomicU64,
    streams: AtomicU64,
    next_turn: AtomicU8,
    draining: AtomicBool,
    cut: watch::Sender<Cut>,
    emptied: Notify,
    pub tally: Tally,
    pub meter: Meter,
}

/// The beginning of a drain.
#[derive(Debug, Clone, Copy)]
pub struct Begun {
    at: Instant,
    cut_before: u64,
}

impl Begun {
    pub fn now(target: &Target) -> Self {
        Self { at: Instant::now(), cut_before: target.tally.cut.load(Relaxed) }
    }
}

/// How a request that was let in ended: each ends in exactly one of these ways, so the counts add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The client has the instance's whole answer, or its tunnel ended by itself.
    Served,
    /// Ended by us at the end of a drain budget.
    Cut,
    /// The client got our page instead of an answer, or an answer that broke off.
    Dropped,
    /// The client went, or sent what nobody can answer.
    ClientLeft,
}

/// Cumulative counts; only reported, so their order does not matter. A request counts here before it counts out, so that what is read
/// when nothing is in flight any more is complete.
#[derive(Debug, Default)]
pub struct Tally {
    served: AtomicU64,
    held: AtomicU64,
    retried: AtomicU64,
    retried_draining: AtomicU64,
    failed: AtomicU64,
    failed_draining: AtomicU64,
    drained: AtomicU64,
    cut: AtomicU64,
    by_class: [AtomicU64; 6],
}

impl Tally {
    pub fn held(&self) {
        self.held.fetch_add(1, Relaxed);
    }
}

impl Target {
    pub fn new(about: wire::Target) -> Self {
        Self {
            about,
            in_flight: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
            streams: AtomicU64::new(0),
            next_turn: AtomicU8::new(0),
            draining: AtomicBool::new(false),
            cut: watch::Sender::new(Cut::default()),
            emptied: Notify::new(),
            tally: Tally::default(),
            meter: Meter::default(),
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
        let claim = Claim { target: Arc::clone(self), turn: Cell::new(0) };
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

    /// Closes, waits until nothing is in flight, and raises the cuts at the ends of the budgets, which count from `begun`. Gives how many
    /// were cut since then. Cancel-safe: yes, but then the cuts are not raised; `reopen` afterwards, or drain on.
    pub async fn drain(&self, budget: DrainBudget, begun: Begun) -> u64 {
        self.close();
        for (at, what) in ends(budget) {
            tokio::select! {
                biased;
                () = self.empty() => break,
                () = sleep_until(begun.at + at) => self.raise(what),
            }
        }
        // Those that were cut say a proper goodbye; one that can't is not waited for longer than that takes.
        let _ = timeout(CLOSE_TIME * 2, self.empty()).await;
        self.tally.cut.load(Relaxed) - begun.cut_before
    }

    /// Ends what must end now, beside what had to before.
    pub fn raise(&self, what: Cut) {
        self.cut.send_modify(|cut| {
            *cut = Cut { requests: cut.requests || what.requests, streams: cut.streams.max(what.streams) };
        });
    }

    async fn empty(&self) {
        while self.in_flight() > 0 {
            self.emptied.notified().await;
        }
    }

    pub fn cuts(&self) -> watch::Receiver<Cut> {
        self.cut.subscribe()
    }

    /// A request that was let in, or that waited for a restart, has ended; `status` is what the client saw, 0 for nothing.
    /// Whether it ended before or after the target was closed is read once, so no request stands on both sides of a deploy, or on none.
    pub fn end(&self, how: End, status: u16) {
        let (tally, draining) = (&self.tally, self.is_draining());
        match how {
            End::Served => {
                tally.served.fetch_add(1, Relaxed);
                tally.drained.fetch_add(u64::from(draining), Relaxed);
            }
            End::Cut if draining => {
                tally.cut.fetch_add(1, Relaxed);
            }
            // A cut without a drain: this process is told to end.
            End::Cut | End::Dropped => {
                tally.failed.fetch_add(1, Relaxed);
                tally.failed_draining.fetch_add(u64::from(draining), Relaxed);
            }
            End::ClientLeft => {}
        }
        if let Some(class) = tally.by_class.get(usize::from(status / 100)) {
            class.fetch_add(1, Relaxed);
        }
    }

    /// All that is measured of its requests.
    pub fn measured(&self) -> Sums {
        let tally = &self.tally;
        let by_class = std::array::from_fn(|i| tally.by_class[i].load(Relaxed));
        Sums { by_class, held: tally.held.load(Relaxed), retried: tally.retried.load(Relaxed), ..self.meter.read() }
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
            retried_draining: tally.retried_draining.load(Relaxed),
            failed: tally.failed.load(Relaxed),
            failed_draining: tally.failed_draining.load(Relaxed),
            drained: tally.drained.load(Relaxed),
            cut: tally.cut.load(Relaxed),
            by_class: std::array::from_fn(|i| tally.by_class[i].load(Relaxed)),
        }
    }
}

/// What ends when, counted from the beginning of a drain, in order.
fn ends(budget: DrainBudget) -> Vec<(Duration, Cut)> {
    let requests = (Duration::from_millis(budget.requests_ms), Cut { requests: true, streams: 0 });
    let mut ends: Vec<_> = turns(Duration::from_millis(budget.streams_ms)).chain([requests]).collect();
    ends.sort_by_key(|(at, _)| *at);
    ends
}

/// When the streams end that have `time`, in order.
pub fn turns(time: Duration) -> impl Iterator<Item = (Duration, Cut)> {
    let step = (time / 10).min(GOODBYE_SPREAD) / u32::from(TURNS);
    (1..=TURNS).map(move |n| (time - step * u32::from(TURNS - n), Cut { requests: false, streams: n }))
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
    /// When it ends at the end of a drain, if it is a stream; 0 for what is none.
    turn: Cell<u8>,
}

impl Claim {
    pub fn target(&self) -> &Arc<Target> {
        &self.target
    }

    /// From now on this is a stream: the longer drain budget holds for it.
    pub fn mark_stream(&self) {
        if !self.is_stream() {
            self.target.streams.fetch_add(1, Relaxed);
            // From the last turn down: few streams have nearly the whole budget.
            let before = self.target.next_turn.fetch_update(Relaxed, Relaxed, |n| Some((n + 1) % TURNS));
            self.turn.set(TURNS - before.unwrap_or(0));
        }
    }

    /// Whether it must end now.
    pub fn is_cut(&self, now: Cut) -> bool {
        if self.is_stream() { self.turn.get() <= now.streams } else { now.requests }
    }

    pub fn is_stream(&self) -> bool {
        self.turn.get() > 0
    }

    /// The request is sent again, here or first here.
    pub fn retried(&self) {
        let tally = &self.target.tally;
        tally.retried.fetch_add(1, Relaxed);
        if self.target.is_draining() {
            tally.retried_draining.fetch_add(1, Relaxed);
        }
    }

    /// The request has ended; `status` is what the client saw, 0 for nothing, `error` why that is not the instance's whole answer. To be called
    /// once per request, before the claim is dropped.
    pub fn end(&self, how: End, status: u16, record: &Record, error: Option<&ProxyError>) {
        self.target.meter.ended(record, status, self.is_stream(), error);
        self.target.end(how, status);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.is_stream() {
            self.target.streams.fetch_sub(1, Relaxed);
        }
        let was = self.target.in_flight.fetch_sub(1, SeqCst);
        // notify_one keeps a permit, so a drain that just looked and is about to wait is woken too.
        if was == 1 && self.target.is_draining() {
            self.target.emptied.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_end_one_after_another_over_the_last_tenth_of_their_budget() {
        let ms = |(at, cut): &(Duration, Cut)| (at.as_millis(), cut.requests, cut.streams);
        let short: Vec<_> = ends(DrainBudget { requests_ms: 1000, streams_ms: 2000 }).iter().map(ms).collect();
        assert_eq!((short[0], short[1], short[20]), ((1000, true, 0), (1810, false, 1), (2000, false, TURNS)));
        let long: Vec<_> = ends(DrainBudget { requests_ms: 30_000, streams_ms: 600_000 }).iter().map(ms).collect();
        assert_eq!((long[1], long[2], long[20]), ((590_500, false, 1), (591_000, false, 2), (600_000, false, TURNS)));

        let target = Arc::new(Target::new(super::super::tests::world::target(1, None)));
        let claims: Vec<Claim> = (0..60).map(|_| target.claim().expect("open")).collect();
        assert!(claims.iter().all(|claim| claim.is_cut(Cut { requests: true, streams: 0 })), "requests");
        claims.iter().for_each(Claim::mark_stream);
        let cut = |streams| claims.iter().filter(|claim| claim.is_cut(Cut { requests: true, streams })).count();
        assert!((0..=TURNS).all(|turn| cut(turn) == 3 * usize::from(turn)));
        assert!(!claims[0].is_cut(Cut { requests: true, streams: TURNS - 1 }), "the first has its whole budget");
    }
}
