//! One worker's connections to instances: idle ones by target, and new ones.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::conn::Upstream;
use super::dial::{Dial, DialFailed, DialKind};
use super::limits::{DIAL_TIME, DIALS_AT_ONCE, POOL_FRESH_TIME, POOL_IDLE_COUNT, POOL_IDLE_TIME};
use super::target::Target;
use crate::names::InstanceId;

pub struct Pool {
    dial: Dial,
    lines: RefCell<HashMap<InstanceId, Line>>,
}

struct Line {
    target: Arc<Target>,
    idle: Vec<(Instant, Box<Upstream>)>,
    dialing: Rc<Semaphore>,
}

impl Pool {
    pub fn new(dial: Dial) -> Self {
        Self { dial, lines: RefCell::default() }
    }

    /// The connection that idled least and still lives. A request that may not be sent twice gets only one that was just used:
    /// an app server that closes idle connections will not do it in that very moment.
    pub fn take(&self, target: &Arc<Target>, repeatable: bool) -> Option<Box<Upstream>> {
        let limit = if repeatable { POOL_IDLE_TIME } else { POOL_FRESH_TIME };
        let mut lines = self.lines.borrow_mut();
        let line = lines.get_mut(&target.id())?;
        while let Some((since, mut upstream)) = line.idle.pop() {
            if since.elapsed() >= limit {
                // Older ones lie below it; the sweep takes them if no repeatable request does.
                line.idle.push((since, upstream));
                return None;
            }
            if upstream.reader.is_quiet() {
                return Some(upstream);
            }
        }
        None
    }

    /// Keeps a connection whose last answer ended cleanly.
    pub fn put(&self, target: &Arc<Target>, mut upstream: Box<Upstream>) {
        if target.is_draining() || !upstream.reader.is_quiet() {
            return;
        }
        upstream.reader.slim();
        let mut lines = self.lines.borrow_mut();
        let line = lines.entry(target.id()).or_insert_with(|| Line::new(target));
        if line.idle.len() < POOL_IDLE_COUNT {
            line.idle.push((Instant::now(), upstream));
        }
    }

    /// A new connection. Waits for its turn if many dials to the same target are under way. Cancel-safe: yes, the dial is given up.
    pub async fn dial(&self, target: &Arc<Target>) -> Result<Box<Upstream>, DialFailed> {
        let begun = Instant::now();
        let turn = Rc::clone(&self.lines.borrow_mut().entry(target.id()).or_insert_with(|| Line::new(target)).dialing);
        let dialed = async {
            let _turn = turn.acquire().await;
            (self.dial)(target.id()).await
        };
        let stream = timeout(DIAL_TIME, dialed).await.unwrap_or_else(|_| {
            Err(DialFailed { kind: DialKind::TimedOut, why: format!("no connection within {} s", DIAL_TIME.as_secs()) })
        })?;
        target.meter.dialed(begun.elapsed());
        Upstream::new(stream)
            .map(Box::new)
            .map_err(|e| DialFailed { kind: DialKind::Other, why: format!("setting up the connection: {e}") })
    }

    /// Closes what idled too long, died, or belongs to a target that drains.
    pub fn sweep(&self) {
        self.lines.borrow_mut().retain(|_, line| {
            let draining = line.target.is_draining();
            line.idle.retain_mut(|(since, upstream)| !draining && since.elapsed() < POOL_IDLE_TIME && upstream.reader.is_quiet());
            !line.idle.is_empty() || Rc::strong_count(&line.dialing) > 1
        });
    }
}

impl Line {
    fn new(target: &Arc<Target>) -> Self {
        Self { target: Arc::clone(target), idle: Vec::new(), dialing: Rc::new(Semaphore::new(DIALS_AT_ONCE)) }
    }
}
