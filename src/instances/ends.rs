//! How instances end: told by their inits or found out, kept in the store, so that `why` can answer later.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};

use crate::base::clock::UnixMillis;
use crate::docker::ContainerState;
use crate::instances::lifecycle::Instances;
use crate::instances::link::Change;
use crate::model::end::{CRASH_LOOP, Cause, End, KEPT, Told, crash_loop_phrase, is_crash_loop};
use crate::model::instance::{Instance, Wanted};
use crate::names::InstanceId;
use crate::store::StoreError;
use crate::wire::init::EndReport;

/// Finding the same container stopped again so soon is one end, not two: starting it again may take several tries.
const SAME_LOSS_MS: u64 = 5 * 60 * 1000;

/// Between tries to keep an end for which there was no room.
const TRY_AGAIN: Duration = Duration::from_secs(3);

/// The newest end of each instance that could not be kept: an app may end of the same full disk that leaves no room for the row.
type Unkept = BTreeMap<InstanceId, EndReport>;

/// A subscription to what inits say. To be made before the first socket listens.
pub type Heard = broadcast::Receiver<(InstanceId, Change)>;

impl Instances {
    /// Keeps every end that inits tell, until `stop` becomes true. `ended` is called for each that was not known.
    pub async fn record_ends(
        self: Arc<Self>,
        mut heard: Heard,
        mut stop: watch::Receiver<bool>,
        ended: impl Fn(Instance, End) + Send + Sync,
    ) {
        let mut unkept = Unkept::new();
        loop {
            let change = tokio::select! {
                change = heard.recv() => Some(change),
                _ = stop.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(TRY_AGAIN), if !unkept.is_empty() => None,
            };
            match change {
                None => {
                    for (id, report) in std::mem::take(&mut unkept) {
                        self.told(id, report, &ended, &mut unkept).await;
                    }
                }
                Some(Ok((id, Change::Ended(report)))) => self.told(id, report, &ended, &mut unkept).await,
                // Of what ended while no daemon was there, the init tells the last.
                Some(Ok((id, Change::Connected))) => {
                    if let Some(report) = self.last_end(id) {
                        self.told(id, report, &ended, &mut unkept).await;
                    }
                }
                Some(Ok((_, Change::Disconnected | Change::Started { .. }))) => {}
                Some(Err(RecvError::Lagged(_))) => {
                    for row in self.store.instances().await.unwrap_or_default() {
                        if let Some(report) = self.last_end(row.id) {
                            self.told(row.id, report, &ended, &mut unkept).await;
                        }
                    }
                }
                Some(Err(RecvError::Closed)) => return,
            }
        }
    }

    fn last_end(&self, id: InstanceId) -> Option<EndReport> {
        self.links.state(id).and_then(|s| s.last_end).filter(|r| r.at_ms.is_some())
    }

    async fn told(&self, id: InstanceId, report: EndReport, ended: &(impl Fn(Instance, End) + Sync), unkept: &mut Unkept) {
        // It ended because it was told to: nothing to explain.
        if report.will_restart_in_ms.is_none() {
            return;
        }
        match self.keep_report(id, &report).await {
            Ok(Some((row, end))) => ended(row, end),
            Ok(None) => {}
            Err(e) => {
                tracing::warn!(instance = %id, "an end of {id} could not be kept: {e}; it is tried again");
                unkept.insert(id, report);
            }
        }
    }

    async fn keep_report(&self, id: InstanceId, report: &EndReport) -> Result<Option<(Instance, End)>, StoreError> {
        let Some(row) = self.store.instance(id).await? else { return Ok(None) };
        let cause = cause(report);
        let limit = if cause == Cause::OutOfMemory { Some(self.memory_limit(&row).await?) } else { None };
        let told = Told {
            cause,
            code: report.code,
            signal: report.signal,
            limit,
            ran_ms: report.ran_ms,
            in_a_row: report.in_a_row,
            restarts: self.links.state(id).map_or(0, |s| s.restarts),
            restart_in_ms: report.will_restart_in_ms,
            reason: report.reason.clone(),
            pids_refused: report.pids_refused,
            last_lines: report.last_lines.clone(),
        };
        let end = end_of(&row, report.at_ms.map_or_else(UnixMillis::now, UnixMillis), told);
        Ok(self.keep(&row, &end).await?.then_some((row, end)))
    }

    /// Keeps an end; false if it was known. What happens now and then is an event, what repeats is one event per loop.
    pub async fn keep(&self, row: &Instance, end: &End) -> Result<bool, StoreError> {
        let app = self.store.app_by_id(row.app_id).await?;
        let is_loop = is_crash_loop(end.told.in_a_row) && !self.loop_is_known(row, end).await?;
        let notable = is_loop || (end.told.in_a_row <= 1 && !matches!(end.told.cause, Cause::Exit | Cause::NotStarted));
        let what = match is_loop {
            true => {
                format!("{} of {} is {}: it {}", end.label(), end.release, crash_loop_phrase(end.told.in_a_row), end.phrase())
            }
            false => format!("{} of {} {}", end.label(), end.release, end.phrase()),
        };
        let new = self.store.end_record(&app, end, notable.then_some(what.as_str())).await?;
        if new && notable {
            tracing::warn!(app = %row.app, instance = %row.id, release = %end.release, "{what}");
        }
        Ok(new)
    }

    /// Whether an earlier end of the same row of them was one of a crash loop already. The third itself may have been told to nobody.
    async fn loop_is_known(&self, row: &Instance, end: &End) -> Result<bool, StoreError> {
        if end.told.in_a_row == CRASH_LOOP {
            return Ok(false);
        }
        let before = self.store.ends(row.app_id, KEPT).await?.into_iter().find(|e| e.instance == row.id && e.at < end.at);
        Ok(before.is_some_and(|e| is_crash_loop(e.told.in_a_row) && e.told.in_a_row < end.told.in_a_row))
    }

    /// An instance that should run was found without a running container: that is an end too, though nobody told it.
    pub async fn keep_loss(&self, row: &Instance, state: Option<&ContainerState>) -> Result<(), StoreError> {
        let never_started = state.is_some_and(|s| s.started_at.is_none());
        let now = UnixMillis::now();
        // One in the future was noted before the clock was set back.
        let newest = self.store.ends(row.app_id, 20).await?.into_iter().find(|e| e.instance == row.id && e.at <= now);
        // What was stopped for a reason of ours is told already.
        let told = newest.is_some_and(|e| {
            matches!(e.told.cause, Cause::Lost | Cause::Disk | Cause::Hung) && now.0.abs_diff(e.at.0) < SAME_LOSS_MS
        });
        if never_started || told || row.container.is_none() {
            return Ok(());
        }
        let (cause, reason) = match state {
            Some(s) if s.oom_killed && s.exit_code == 137 => {
                (Cause::OutOfMemory, "the kernel killed its whole container".to_owned())
            }
            Some(s) => (Cause::Lost, format!("it was stopped (exit code {}), and not by paas", s.exit_code)),
            None => (Cause::Lost, "it was removed, and not by paas".to_owned()),
        };
        let limit = if cause == Cause::OutOfMemory { Some(self.memory_limit(row).await?) } else { None };
        let code = state.and_then(|s| i32::try_from(s.exit_code).ok());
        let told = Told { code, limit, reason: Some(reason), ..Told::of(cause) };
        self.keep(row, &end_of(row, now, told)).await?;
        Ok(())
    }

    /// Bytes.
    pub async fn memory_limit(&self, row: &Instance) -> Result<u64, StoreError> {
        let release = self.store.release(row.app_id, row.release).await?;
        let own = release.processes().into_iter().find(|p| p.name == row.process).and_then(|p| p.spec.memory);
        Ok(own.unwrap_or(self.config.limits.memory))
    }
}

/// The end of this instance now.
pub fn end_of(row: &Instance, at: UnixMillis, told: Told) -> End {
    End {
        at,
        instance: row.id,
        process: row.process.clone(),
        index: row.index,
        release: row.release,
        live: matches!(row.wanted, Wanted::Live | Wanted::Retiring | Wanted::Paused),
        told,
    }
}

fn cause(report: &EndReport) -> Cause {
    match (report.code, report.signal) {
        _ if report.hung => Cause::Hung,
        _ if report.out_of_memory => Cause::OutOfMemory,
        (_, Some(_)) => Cause::Signal,
        // Init says so itself, and then it did not run at all.
        (Some(126 | 127), None) if report.ran_ms == 0 && report.reason.is_some() => Cause::NotStarted,
        (_, None) => Cause::Exit,
    }
}
