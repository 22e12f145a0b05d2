//! What a worker thread has at hand for every request.

use std::cell::Cell;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::access::{Queue, Record, Subject};
use super::doors::Doors;
use super::drops::Drops;
use super::error::ProxyError;
use super::forwarded::Origin;
use super::h1::head::Fields;
use super::held::Held;
use super::pool::Pool;
use super::routes::{Choice, Table};
use super::rules::Step;
use super::target::{Claim, End};
use crate::names::{AppName, Hostname, InstanceId};
use crate::wire::limits::Limits;
use crate::wire::proxy::WHOLE;

/// How far the end of the process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    Open,
    /// No new connections, as another process has them; all that is here goes on, each connection to the end of its next answer.
    Leaving,
    /// No new connections; idle ones close, requests finish.
    Closing,
    /// What is left is cut, streams with a proper end.
    Cutting,
    Over,
}

/// What all threads of the proxy share.
pub struct Shared {
    pub table: ArcSwap<Table>,
    /// Changes after the table did: wakes held requests and the pools' sweeps.
    pub news: watch::Sender<u64>,
    pub stage: watch::Sender<Stage>,
    /// The daemon has this process among those that it tells of every change, or is not there to ask.
    pub followed: watch::Sender<bool>,
    pub access: Queue,
    /// The port that clients reach by https; None if there is none.
    pub https_port: Option<u16>,
    pub doors: Arc<Doors>,
    pub drops: Drops,
    pub held: Held,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            table: ArcSwap::default(),
            news: watch::Sender::new(0),
            stage: watch::Sender::new(Stage::Open),
            followed: watch::Sender::new(false),
            access: Queue::default(),
            https_port: None,
            doors: Arc::default(),
            drops: Drops::default(),
            held: Held::default(),
        }
    }
}

/// What the routes say to do with a request.
#[derive(Debug)]
pub enum Placement {
    Forward {
        claim: Claim,
        commit_header: bool,
    },
    Redirect(Hostname),
    /// To the same host by TLS, at this port.
    Secure(u16),
    /// The page of the app's maintenance, after waiting so long for its end.
    Maintenance(std::time::Duration),
    /// The body is larger than this.
    TooLarge(u64),
    /// The app ends TLS itself, and this request did not come that way.
    Passthrough,
    Hold(std::time::Duration),
    /// No instance (that was not tried yet).
    Nothing,
    UnknownHost,
    NotReady,
}

impl Shared {
    /// Where a request came from, after what trusted proxies say.
    pub fn origin(&self, fields: &Fields, peer: std::net::IpAddr, tls: bool) -> Origin {
        Origin::of(fields, peer, tls, &self.table.load().trusted)
    }

    /// A request to `app` was held for as long as one may be. It counts as dropped at a target that the hold closed: there the deploy finds it.
    pub fn held_in_vain(&self, app: Option<&AppName>) {
        let table = self.table.load();
        let closed = table.targets.values().find(|target| Some(&target.about.app) == app && target.is_draining());
        if let Some(target) = closed {
            target.end(End::Dropped, 503);
        }
    }

    /// Looks the host up and claims a target. Looks again when the chosen target has begun to drain, as the table without it is published first.
    pub fn place(&self, host: &Hostname, tried: &[InstanceId], record: &Record) -> Placement {
        loop {
            let table = self.table.load();
            let Some((route, step)) = table.decide(host, record.asked, self.https_port) else {
                return if table.version.is_some() { Placement::UnknownHost } else { Placement::NotReady };
            };
            record.route.replace(Some(Arc::clone(route)));
            let targets = match step {
                Step::Forward(targets) => targets,
                Step::Redirect(to) => return Placement::Redirect(to.clone()),
                Step::Secure(port) => return Placement::Secure(port),
                Step::Passthrough => return Placement::Passthrough,
                Step::Maintenance(hold) => return Placement::Maintenance(hold),
                Step::TooLarge(limit) => return Placement::TooLarge(limit),
                Step::Hold(limit) => return Placement::Hold(limit),
            };
            match route.choose(targets, tried) {
                Choice::Claimed(claim) => return Placement::Forward { claim, commit_header: table.commit_header },
                Choice::Nothing => return Placement::Nothing,
                Choice::LookAgain => {}
            }
        }
    }
}

pub struct Worker {
    pub shared: Arc<Shared>,
    pub pool: Pool,
    pub ids: Ids,
}

impl Worker {
    pub fn stage(&self) -> Stage {
        *self.shared.stage.borrow()
    }

    /// Phase 7: the request is over, and `error` is why it got no whole answer of an instance. What reached no target is measured here, what did
    /// was at its claim's end; then the access line, if the app's rules want one.
    pub fn account(&self, record: &Record, of: Subject<'_>, error: Option<&ProxyError>) {
        record.count_own(error);
        let share = record.share(error);
        if self.ids.chance(share) {
            record.tell(&self.shared.access, of, error, share);
        }
    }

    /// Waits for the first snapshot: a TLS connection that comes before it could be shown nothing. Cancel-safe: yes.
    pub async fn first_snapshot(&self) {
        let mut news = self.shared.news.subscribe();
        while self.shared.table.load().version.is_none() && news.changed().await.is_ok() {}
    }

    /// Those of the snapshot that is active now.
    pub fn limits(&self) -> Limits {
        self.shared.table.load().limits
    }
}

/// Waits until the process is at `stage` or beyond. Cancel-safe: yes.
pub async fn reached(stages: &mut watch::Receiver<Stage>, stage: Stage) {
    if stages.wait_for(|now| *now >= stage).await.is_err() {
        // The sender lives in Shared, as long as any worker.
        std::future::pending::<()>().await;
    }
}

/// Makes request ids: unique, not secret.
pub struct Ids {
    seed: u64,
    next: Cell<u64>,
    rolled: Cell<u64>,
}

impl Ids {
    pub fn new() -> Self {
        let random = || getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id()));
        Self { seed: random(), next: Cell::new(random()), rolled: Cell::new(random()) }
    }

    /// True for `ppm` of a million calls, by chance.
    pub fn chance(&self, ppm: u32) -> bool {
        if ppm >= WHOLE {
            return true;
        }
        self.rolled.set(self.rolled.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
        mix(self.rolled.get()) % u64::from(WHOLE) < u64::from(ppm)
    }

    pub fn make(&self) -> String {
        self.next.set(self.next.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
        let mut id = String::with_capacity(32);
        for half in [self.seed, mix(self.next.get())] {
            // Sixteen digits, the highest first.
            id.extend((0..16).rev().map(|digit| char::from(b"0123456789abcdef"[(half >> (4 * digit)) as usize & 15])));
        }
        id
    }
}

/// The finaliser of SplitMix64: spreads a counter over all bits, one to one.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
