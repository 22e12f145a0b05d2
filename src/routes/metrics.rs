//! What the proxies measured, added up over all their processes, in total and over the last hour. In memory only.
//!
//! A proxy tells sums since its own start. Whatever is more than it told last is new; so one message less changes nothing, two processes at
//! the same time add up, and the end of one takes nothing away. The first message of a process that we did not know is what it counted while
//! nobody listened: it counts in the totals, but in no slice of time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::Serialize;

use crate::names::{AppName, InstanceId, ProcessName, ReleaseNumber};
use crate::wire::metrics::{AppMetrics, Metrics, Sums, TargetMetrics};

mod window;

pub use window::{SLICE, SPAN, Window};

/// Proxy processes whose last words are remembered: each restart of one is another.
const MOST_PROCESSES: usize = 32;
/// Instances that are gone, of which a proxy may still say something.
const MOST_GONE: usize = 1000;
/// Releases of one app without instances that are shown until their hour is over.
const MOST_RELEASES: usize = 20;

/// In total since the daemon heard of it, and lately.
#[derive(Debug, Default)]
pub struct Series {
    pub total: Sums,
    pub window: Window,
    /// When it was heard of first, in seconds of the clock that `take` is given.
    pub begun: u64,
}

#[derive(Debug)]
pub struct OfTarget {
    pub process: ProcessName,
    pub release: ReleaseNumber,
    pub series: Series,
}

#[derive(Debug, Default)]
pub struct OfApp {
    /// Requests that the proxy answered without an instance.
    pub own: Series,
    pub targets: BTreeMap<InstanceId, OfTarget>,
    /// Of instances that are gone, by release.
    pub gone: BTreeMap<ReleaseNumber, Series>,
    /// Of releases that are not remembered any more.
    before: Sums,
}

impl OfApp {
    pub fn all(&self) -> impl Iterator<Item = &Series> {
        self.targets.values().map(|t| &t.series).chain(self.gone.values()).chain([&self.own])
    }

    /// Everything that was ever counted.
    pub fn total(&self) -> Sums {
        let mut total = self.before.clone();
        self.all().for_each(|series| total.add(&series.total));
        total
    }

    fn tidy(&mut self, now: u64) {
        self.gone.values_mut().for_each(|series| series.window.tidy(now));
        let over: Vec<ReleaseNumber> = self.gone.iter().filter(|(_, s)| s.window.is_empty()).map(|(r, _)| *r).collect();
        let most = self.gone.len().saturating_sub(MOST_RELEASES);
        let oldest: Vec<ReleaseNumber> = self.gone.keys().take(most).copied().collect();
        for release in over.iter().chain(&oldest) {
            if let Some(series) = self.gone.remove(release) {
                self.before.add(&series.total);
            }
        }
    }
}

/// What a proxy process said last.
#[derive(Debug, Default)]
struct Last {
    targets: BTreeMap<InstanceId, Sums>,
    apps: BTreeMap<AppName, Sums>,
    turned_away: BTreeMap<String, u64>,
}

#[derive(Debug, Default)]
pub struct Meters {
    last: BTreeMap<String, Last>,
    /// Processes in the order in which they were heard of.
    order: VecDeque<String>,
    apps: BTreeMap<AppName, OfApp>,
    gone: BTreeSet<InstanceId>,
    /// Clients that a limit of the proxy turned away, by which.
    turned_away: BTreeMap<String, u64>,
}

impl Meters {
    /// Takes what the proxy process `generation` tells at `now`, in seconds of a clock that does not jump.
    pub fn take(&mut self, generation: &str, metrics: Metrics, now: u64) {
        let first = !self.last.contains_key(generation);
        self.remember(generation);
        let Some(last) = self.last.get_mut(generation) else { return };
        for TargetMetrics { target, app, process, release, sums } in metrics.targets {
            if self.gone.contains(&target) || !sums.is_sound() {
                continue;
            }
            let new = sums.since(&last.targets.insert(target, sums.clone()).unwrap_or_default());
            let of_app = self.apps.entry(app).or_default();
            let fresh = || OfTarget { process, release, series: Series { begun: now, ..Series::default() } };
            of_app.targets.entry(target).or_insert_with(fresh).series.add(&new, (!first).then_some(now));
        }
        for AppMetrics { app, sums } in metrics.apps {
            if sums.is_sound() {
                let new = sums.since(&last.apps.insert(app.clone(), sums.clone()).unwrap_or_default());
                self.apps.entry(app).or_default().own.add(&new, (!first).then_some(now));
            }
        }
    }

    /// Takes a proxy's counts of clients turned away, whatever they are called.
    pub fn take_turned_away(&mut self, generation: &str, counts: &impl Serialize) {
        let value = serde_json::to_value(counts).unwrap_or_default();
        let Some(last) = self.last.get_mut(generation) else { return };
        for (why, count) in value.as_object().into_iter().flatten().filter_map(|(why, n)| Some((why, n.as_u64()?))) {
            let before = last.turned_away.insert(why.clone(), count).unwrap_or_default();
            *self.turned_away.entry(why.clone()).or_default() += count.saturating_sub(before);
        }
    }

    fn remember(&mut self, generation: &str) {
        if self.last.contains_key(generation) {
            return;
        }
        self.last.insert(generation.to_owned(), Last::default());
        self.order.push_back(generation.to_owned());
        if self.order.len() > MOST_PROCESSES
            && let Some(oldest) = self.order.pop_front()
        {
            self.last.remove(&oldest);
        }
    }

    /// The instance is gone: what it counted stays with its release.
    pub fn forget(&mut self, target: InstanceId, now: u64) {
        self.last.values_mut().for_each(|last| drop(last.targets.remove(&target)));
        self.gone.insert(target);
        if self.gone.len() > MOST_GONE {
            self.gone.pop_first();
        }
        for app in self.apps.values_mut() {
            if let Some(of) = app.targets.remove(&target) {
                app.gone
                    .entry(of.release)
                    .or_insert_with(|| Series { begun: of.series.begun, ..Series::default() })
                    .merge(of.series);
            }
            app.tidy(now);
        }
    }

    pub fn forget_app(&mut self, app: &AppName) {
        let Some(of_app) = self.apps.remove(app) else { return };
        for last in self.last.values_mut() {
            last.apps.remove(app);
            last.targets.retain(|target, _| !of_app.targets.contains_key(target));
        }
    }

    pub fn app(&self, app: &AppName) -> Option<&OfApp> {
        self.apps.get(app)
    }

    pub fn turned_away(&self) -> &BTreeMap<String, u64> {
        &self.turned_away
    }
}

impl Series {
    fn add(&mut self, new: &Sums, now: Option<u64>) {
        self.total.add(new);
        if let Some(now) = now.filter(|_| !new.is_empty()) {
            self.window.add(now, new);
        }
    }

    fn merge(&mut self, other: Series) {
        self.total.add(&other.total);
        self.window.merge(other.window);
        self.begun = self.begun.min(other.begun);
    }
}

#[cfg(test)]
mod tests;
