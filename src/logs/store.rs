//! The logs of all apps.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::follow::Follow;
use super::merge::Merge;
use super::query;
use super::segments::Segments;
use super::source::Source;
use super::writer::LineWriter;
use super::{Cursor, LogError, Page, Query};
use crate::config::LogsConfig;
use crate::names::{AppName, InstanceId};

pub struct LogStore {
    dir: PathBuf,
    rotate_at: u64,
    cap: u64,
    max_bytes_per_app: u64,
    apps: Mutex<HashMap<AppName, Arc<Segments>>>,
    writers: Mutex<HashMap<Source, Arc<LineWriter>>>,
    /// Apps whose log could not be maintained in the last round.
    troubled: Mutex<HashSet<AppName>>,
}

/// A fresh segment for an instance, to be handed to its init.
pub struct NewSegment {
    pub number: u64,
    /// Opened for appending.
    pub file: File,
    /// At this size (bytes) the next one should be asked for.
    pub rotate_at: u64,
    /// Beyond this size nothing may be written.
    pub cap: u64,
}

/// The size at which a segment is followed by the next: small enough to read whole, large enough to compress well.
const ROTATE_AT: u64 = 4 * 1024 * 1024;
/// For a small share: never fewer than about this many segments in it, so that removing the oldest takes only a part.
const SEGMENTS_IN_SHARE: u64 = 16;
const SMALLEST_ROTATE_AT: u64 = 64 * 1024;
/// How much larger a segment may grow while the daemon is away.
const CAP_OVER_ROTATE: u64 = 4;

/// Every instance has at least one segment, however little it says: without a limit small ones would gather over years of deploys, and each
/// takes a block of disk and a place in memory.
const MOST_SEGMENTS: usize = 2000;

/// How often finished segments are compressed and sizes looked at.
const MAINTAIN_EVERY: Duration = Duration::from_secs(5);

impl LogStore {
    /// Nothing is read until an app's log is first used.
    pub fn open(dir: PathBuf, config: &LogsConfig) -> Arc<Self> {
        let rotate_at = (config.max_bytes_per_app / SEGMENTS_IN_SHARE).clamp(SMALLEST_ROTATE_AT, ROTATE_AT);
        Arc::new(Self {
            dir,
            rotate_at,
            cap: rotate_at * CAP_OVER_ROTATE,
            max_bytes_per_app: config.max_bytes_per_app,
            apps: Mutex::default(),
            writers: Mutex::default(),
            troubled: Mutex::default(),
        })
    }

    /// Makes a new active segment. The one before it stays active until [`finish_before`](Self::finish_before).
    pub fn segment(&self, source: &Source) -> Result<NewSegment, LogError> {
        let (number, file) = self.segments(&source.app)?.create(source)?;
        Ok(NewSegment { number, file, rotate_at: self.rotate_at, cap: self.cap })
    }

    /// Whether the instance may go on writing to that segment.
    pub fn is_active(&self, source: &Source, segment: u64) -> bool {
        let Some(instance) = source.instance else { return false };
        self.segments(&source.app).is_ok_and(|s| s.active_of(instance).contains(&segment))
    }

    /// Size at which a segment is to be replaced, in bytes.
    pub fn rotate_at(&self) -> u64 {
        self.rotate_at
    }

    /// The segment's real size, whatever an instance says of it.
    pub fn size(&self, app: &AppName, segment: u64) -> Option<u64> {
        let segments = self.segments(app).ok()?;
        fs::metadata(super::segments::raw_path(segments.folder(), segment)).ok().map(|m| m.len())
    }

    /// The instance writes to no segment but `keep` any more; with `None`, to none at all (it is gone).
    pub fn finish_others(&self, app: &AppName, instance: InstanceId, keep: Option<u64>) -> Result<(), LogError> {
        self.finish_where(app, instance, |number| Some(number) != keep)
    }

    /// The instance has gone over to that segment and writes to no older one any more.
    pub fn finish_before(&self, app: &AppName, instance: InstanceId, segment: u64) -> Result<(), LogError> {
        self.finish_where(app, instance, |number| number < segment)
    }

    fn finish_where(&self, app: &AppName, instance: InstanceId, wanted: impl Fn(u64) -> bool) -> Result<(), LogError> {
        let segments = self.segments(app)?;
        segments.active_of(instance).into_iter().filter(|number| wanted(*number)).for_each(|number| segments.finish(number));
        Ok(())
    }

    /// Finishes the segments of all instances of the app that are not among those that `live`: after a start, when some went meanwhile.
    pub fn finish_gone(&self, app: &AppName, live: &HashSet<InstanceId>) -> Result<(), LogError> {
        let segments = self.segments(app)?;
        for number in segments.active(|source| source.instance.is_some_and(|i| !live.contains(&i))) {
            segments.finish(number);
        }
        Ok(())
    }

    /// The writer for the daemon's own lines of this source; always the same one.
    pub fn writer(&self, source: &Source) -> Result<Arc<LineWriter>, LogError> {
        if let Some(writer) = self.writers().get(source) {
            return Ok(writer.clone());
        }
        let segments = self.segments(&source.app)?;
        let mut writers = self.writers();
        if let Some(writer) = writers.get(source) {
            return Ok(writer.clone());
        }
        // Under the lock: two writers must never go on in the same segment.
        let writer = Arc::new(LineWriter::open(source.clone(), segments, self.rotate_at, self.cap)?);
        writers.insert(source.clone(), writer.clone());
        Ok(writer)
    }

    /// Lines that are there now. With a cursor: those after it, page by page while `more`. Without: the last `num`, or without `num` all
    /// from the oldest on. Blocking.
    pub fn query(&self, query: &Query, cursor: Option<&Cursor>) -> Result<Page, LogError> {
        let segments = self.segments(&query.app)?;
        match (cursor, query.num) {
            (Some(cursor), _) => Merge::new(segments, query.clone(), cursor)?.page(),
            (None, Some(num)) => query::last(&segments, query, num),
            (None, None) => Merge::new(segments, query.clone(), &Cursor::default())?.page(),
        }
    }

    /// Lines after the cursor, for ever. Blocking for a moment: it finds its place in the segments.
    pub fn follow(&self, query: &Query, cursor: Cursor) -> Result<Follow, LogError> {
        let merge = Merge::new(self.segments(&query.app)?, query.clone(), &cursor)?;
        Ok(Follow::new(merge, cursor))
    }

    /// Forgets an app and removes its log.
    pub fn remove_app(&self, app: &AppName) -> Result<(), LogError> {
        self.writers().retain(|source, _| source.app != *app);
        self.apps().remove(app);
        let path = self.dir.join(app.as_str());
        match fs::remove_dir_all(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(LogError::File { act: "removing the log folder", path, source })
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Compresses finished segments and removes the oldest of apps that have more than their share. Blocking.
    pub fn maintain(&self) {
        let apps: Vec<(AppName, Arc<Segments>)> = self.apps().iter().map(|(a, s)| (a.clone(), s.clone())).collect();
        for (app, segments) in apps {
            // Both in any case: on a full disk nothing can be compressed, and what is over the share must go.
            let done = [segments.pack(), segments.shrink(self.max_bytes_per_app, MOST_SEGMENTS)];
            let failed = done.into_iter().find_map(Result::err);
            let mut troubled = self.troubled.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            match failed {
                None => _ = troubled.remove(&app),
                // Once, and not in every round for as long as a disk is full.
                Some(e) if troubled.insert(app.clone()) => {
                    let source = std::error::Error::source(&e).map(ToString::to_string);
                    tracing::warn!(%app, error = %e, cause = source, "the log of {app} could not be compressed or shortened");
                }
                Some(_) => {}
            }
        }
    }

    /// [`maintain`](Self::maintain) every few seconds, until the future is dropped. Cancel-safe: yes, a round that began ends by itself.
    pub async fn maintain_forever(self: Arc<Self>) {
        loop {
            tokio::time::sleep(MAINTAIN_EVERY).await;
            let store = self.clone();
            // A panic in it was reported by the panic hook; the next round tries again.
            let _ = tokio::task::spawn_blocking(move || store.maintain()).await;
        }
    }

    fn segments(&self, app: &AppName) -> Result<Arc<Segments>, LogError> {
        let mut apps = self.apps();
        if let Some(segments) = apps.get(app) {
            return Ok(segments.clone());
        }
        let segments = Arc::new(Segments::load(self.dir.join(app.as_str()))?);
        apps.insert(app.clone(), segments.clone());
        Ok(segments)
    }

    // Each change under these locks is one insert or remove, so a panic elsewhere leaves no half of it.
    fn apps(&self) -> MutexGuard<'_, HashMap<AppName, Arc<Segments>>> {
        self.apps.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn writers(&self) -> MutexGuard<'_, HashMap<Source, Arc<LineWriter>>> {
        self.writers.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
