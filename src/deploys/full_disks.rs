//! Instances that fill the disk: measured now and then, stopped at their limit or at the host's reserve, started again with an empty one;
//! and the crash files of those that died.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::deploys::world::World;
use crate::model::disk::{Area, Space};
use crate::model::end::{CRASH_LOOP, Cause, End, Told, size};
use crate::model::instance::{Instance, Wanted};
use crate::model::release::Process;

/// Free space is looked at so often: one call of the kernel.
const LOOK: Duration = Duration::from_secs(5);
/// Free space that went since the last measurement makes the next one due: somebody writes quickly.
const FALLEN: u64 = 256 << 20;
/// Below the reserve nobody who wrote less than this is stopped: it would not help.
const WORTH_STOPPING: u64 = 256 << 20;
/// A measurement walks every layer; not more often than this even when space is short.
const LEAST_PAUSE: Duration = Duration::from_secs(10);

/// One instance with what it wrote.
#[derive(Debug, Clone)]
struct Layer {
    row: Instance,
    bytes: u64,
    limit: u64,
}

/// Who is to be stopped, and what for. Pure.
fn over<'l>(layers: &'l [Layer], space: Option<&Space>) -> Option<(&'l Layer, String)> {
    let largest = layers.iter().max_by_key(|l| l.bytes)?;
    if let Some(full) = layers.iter().filter(|l| l.bytes > l.limit).max_by_key(|l| l.bytes) {
        let why = format!("it had written {} to its disk, and {} are its limit", size(full.bytes), size(full.limit));
        return Some((full, why));
    }
    let short = space.filter(|s| s.is_below_reserve() && largest.bytes >= WORTH_STOPPING)?;
    let why = format!(
        "the host has {} of disk left, which is less than its reserve of {}, and this instance had written most: {}",
        size(short.free),
        size(short.reserve),
        size(largest.bytes)
    );
    Some((largest, why))
}

impl World {
    /// Measures what instances wrote, until the daemon stops.
    pub async fn watch_disks(self: Arc<Self>) {
        let mut stopping = self.crew.stopping();
        let interval = self.config.limits.disk_interval;
        let (mut last, mut free_then): (Option<Instant>, u64) = (None, u64::MAX);
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK.min(interval)) => {}
                _ = stopping.wait_for(|stop| *stop) => return,
            }
            let space = self.space_of(Area::Docker).await;
            let since = last.map_or(Duration::MAX, |at| at.elapsed());
            let hurry = space.as_ref().is_some_and(|s| s.is_below_reserve() || s.free < free_then.saturating_sub(FALLEN));
            if since < interval && !(hurry && since >= LEAST_PAUSE) {
                continue;
            }
            (last, free_then) = (Some(Instant::now()), space.as_ref().map_or(u64::MAX, |s| s.free));
            let layers = self.layers().await;
            if let Some((full, why)) = over(&layers, space.as_ref()) {
                self.empty_disk(full, &why).await;
            }
        }
    }

    async fn space_of(&self, area: Area) -> Option<Space> {
        self.disk.spaces().await.into_iter().find(|space| space.holds.contains(&area))
    }

    async fn layers(&self) -> Vec<Layer> {
        let sizes = match self.docker.layer_sizes().await {
            Ok(sizes) => sizes,
            Err(e) => {
                tracing::debug!("measuring the disks of instances: {e}");
                return Vec::new();
            }
        };
        let mut layers = Vec::new();
        for row in self.store.instances().await.unwrap_or_default().into_iter().filter(|i| i.wanted == Wanted::Live) {
            let name = self.instances.container_name(&row);
            let Some((_, bytes)) = sizes.iter().find(|(of, _)| *of == name) else { continue };
            self.instances.vitals.change(row.id, |v| v.layer = Some(*bytes));
            let process = self.process_of(&row).await;
            let limit = process.and_then(|p| p.spec.disk).unwrap_or(self.config.limits.disk);
            layers.push(Layer { row, bytes: *bytes, limit });
        }
        layers
    }

    async fn process_of(&self, row: &Instance) -> Option<Process> {
        let release = self.store.release(row.app_id, row.release).await.ok()?;
        release.processes().into_iter().find(|p| p.name == row.process)
    }

    async fn empty_disk(self: &Arc<Self>, full: &Layer, why: &str) {
        let row = &full.row;
        let health = self.process_of(row).await.map(|p| p.spec.health).unwrap_or_default();
        let told = Told { limit: Some(full.limit), reason: Some(why.to_owned()), ..Told::of(Cause::Disk) };
        // What it wrote is gone with its container; what tells of a crash is kept first.
        self.take_crash_files(row).await;
        if let Err(e) = self.restart_in_place(row, told, &health).await {
            tracing::error!(app = %row.app, instance = %row.id, "{} fills the disk and could not be restarted: {e:?}", row.label());
        }
        self.instances.vitals.change(row.id, |v| v.layer = None);
    }

    /// Keeps the crash files of an instance that has just ended, in the background.
    pub fn look_for_crash_files(self: &Arc<Self>, row: Instance, end: End) {
        // A loop leaves the same file each time; the first ends of it are enough.
        if end.told.in_a_row > CRASH_LOOP && !end.told.in_a_row.is_multiple_of(20) {
            return;
        }
        let world = Arc::clone(self);
        self.crew.start_once(&format!("crash files of {}", row.id), async move { world.take_crash_files(&row).await });
    }

    async fn take_crash_files(&self, row: &Instance) {
        let Ok(release) = self.store.release(row.app_id, row.release).await else { return };
        let short = self.space_of(Area::State).await.is_some_and(|s| s.is_below_reserve());
        if short {
            return tracing::warn!(app = %row.app, instance = %row.id, "crash files of {} are not kept: the disk is short", row.label());
        }
        match self.instances.keep_crash_files(row, &release.manifest.crash.files).await {
            Ok(kept) if kept.is_empty() => {}
            Ok(kept) => tracing::info!(app = %row.app, instance = %row.id, "kept of {}: {}", row.label(), kept.join(", ")),
            // A candidate of a deploy that failed may be gone by now.
            Err(e) => tracing::debug!(app = %row.app, instance = %row.id, "looking for crash files of {}: {e}", row.label()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::InstanceId;

    fn layer(id: i64, bytes: u64) -> Layer {
        let row = Instance::example(id, "web");
        Layer { row, bytes, limit: 2 << 30 }
    }

    #[test]
    fn one_over_its_limit_goes_and_at_the_reserve_the_largest() {
        let space = |free: u64| Space {
            path: "/".into(),
            holds: vec![Area::Docker],
            total: 100 << 30,
            free: free << 30,
            reserve: 5 << 30,
        };
        let (roomy, short) = (space(50), space(4));
        let small = [layer(1, 1 << 20), layer(2, 300 << 20)];
        assert!(over(&small, Some(&roomy)).is_none());
        let (chosen, why) = over(&small, Some(&short)).expect("the disk is short");
        assert!(chosen.row.id == InstanceId(2) && why.contains("reserve of 5 GiB"), "{why}");
        assert!(over(&small[..1], Some(&short)).is_none(), "what wrote next to nothing is not to blame");
        let full = [layer(1, 3 << 30), layer(2, 1 << 20)];
        let (chosen, why) = over(&full, Some(&roomy)).expect("over its limit");
        assert!(chosen.row.id == InstanceId(1) && why.contains("3 GiB") && why.contains("2 GiB"), "{why}");
        assert!(over(&[], Some(&short)).is_none());
    }
}
