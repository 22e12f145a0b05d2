//! What of the measurements was told to the daemon: only what changed is told again.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::meter::Own;
use super::routes::Table;
use super::target::Target;
use crate::names::{AppName, InstanceId};
use crate::wire::metrics::{AppMetrics, Metrics, Sums, TargetMetrics};

#[derive(Default)]
pub struct Report {
    /// All targets of the table, and those that left it with something in flight; with what was told last.
    targets: BTreeMap<InstanceId, (Arc<Target>, Sums)>,
    apps: BTreeMap<AppName, (Arc<Own>, Sums)>,
}

impl Report {
    /// After a table was published.
    pub fn begin(&mut self, table: &Table) {
        for (id, target) in &table.targets {
            let known = self.targets.get(id).is_some_and(|(known, _)| Arc::ptr_eq(known, target));
            if !known {
                self.targets.insert(*id, (Arc::clone(target), Sums::default()));
            }
        }
        for (app, own) in &table.own {
            self.apps.entry(app.clone()).or_insert_with(|| (Arc::clone(own), Sums::default()));
        }
    }

    /// A new daemon knows nothing.
    pub fn repeat_all(&mut self) {
        self.targets.values_mut().for_each(|(_, told)| *told = Sums::default());
        self.apps.values_mut().for_each(|(_, told)| *told = Sums::default());
    }

    /// What differs from what was told last; it counts as told. Who left the table is forgotten after the last of it.
    pub fn changed(&mut self, table: &Table) -> Metrics {
        let mut changed = Metrics::default();
        self.targets.retain(|id, (target, told)| {
            let now = target.measured();
            let same = *told == now;
            if !same {
                let about = &target.about;
                let (app, process, release) = (about.app.clone(), about.process.clone(), about.release);
                changed.targets.push(TargetMetrics { target: *id, app, process, release, sums: now.clone() });
                *told = now;
            }
            table.targets.contains_key(id) || target.in_flight() > 0 || !same
        });
        self.apps.retain(|app, (own, told)| {
            let now = own.read();
            let same = *told == now;
            if !same {
                changed.apps.push(AppMetrics { app: app.clone(), sums: now.clone() });
                *told = now;
            }
            table.own.get(app).is_some_and(|current| Arc::ptr_eq(current, own)) || !same
        });
        changed
    }
}
