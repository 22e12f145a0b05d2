//! How a run of an app ended without being asked to: what is kept of it after the instance is gone.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::clock::UnixMillis;
use crate::names::{AppName, InstanceId, ProcessName, ReleaseNumber};

/// Ends that are kept per app: a crash loop makes two a minute, so this is more than an hour of one.
pub const KEPT: u32 = 200;

/// A run that lasted so long was healthy.
pub const HEALTHY_MS: u64 = 60_000;

/// So many ends in a row, without a healthy run between them, are a crash loop. Init's log, `ps`, `why`, events and alerts all mean this.
pub const CRASH_LOOP: u32 = 3;

/// Whether an end that is the `in_a_row`th is one of a crash loop.
pub fn is_crash_loop(in_a_row: u32) -> bool {
    in_a_row >= CRASH_LOOP
}

/// Whether an app whose newest end was the `in_a_row`th is in a crash loop at `now`: it waits for its next start, or its present run is too
/// short to be called healthy.
pub fn loops(in_a_row: u32, backing_off: bool, ended_at: Option<UnixMillis>, now: UnixMillis) -> bool {
    // An end that lies in the future was noted before the clock was set back.
    let is_young = || ended_at.is_some_and(|at| now.0.abs_diff(at.0) < HEALTHY_MS);
    is_crash_loop(in_a_row) && (backing_off || is_young())
}

/// So many ends of one place (`web.1`) within [`OFTEN_WITHIN`] are too many, however long each run was; below the second number it is over.
pub const OFTEN: u32 = 6;
pub const SELDOM: u32 = 3;
pub const OFTEN_WITHIN: Duration = Duration::from_secs(3600);

/// What has run for so long since its last end, however often it ended before, is no trouble now.
pub const CALM: Duration = Duration::from_secs(600);

/// Whether so many ends within [`OFTEN_WITHIN`], the last one so long ago, are something to tell of.
pub fn is_often(ends: u32, since_last: Duration) -> bool {
    ends >= OFTEN && since_last < CALM
}

/// To stand after a name.
pub fn often_phrase(ends: u32) -> String {
    format!("has ended {ends} times within an hour")
}

/// To stand after a name and `is`.
pub fn crash_loop_phrase(in_a_row: u32) -> String {
    format!("in a crash loop ({in_a_row} ends in a row)")
}

/// What ended it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// It exited by itself.
    Exit,
    /// A signal that paas did not send.
    Signal,
    /// The kernel killed it for using more memory than its limit.
    OutOfMemory,
    /// It did not answer its liveness check; paas restarted it.
    Hung,
    /// It wrote more than its limit, or the host's reserve, allows; paas stopped it and gave it a fresh disk.
    Disk,
    /// It could not be started at all.
    NotStarted,
    /// Its container was stopped or removed by something else than paas: a person, a restart of Docker or of the host.
    Lost,
}

/// How often the runs at one place (`web.1`) of an app have ended within some time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ends {
    pub app_id: i64,
    pub app: AppName,
    pub process: ProcessName,
    pub index: u32,
    pub ends: u32,
    pub last: UnixMillis,
}

impl Ends {
    /// `web.1`
    pub fn label(&self) -> String {
        format!("{}.{}", self.process, self.index)
    }

    /// What an alert is about: `shop/web`.
    pub fn subject(&self) -> String {
        format!("{}/{}", self.app, self.process)
    }
}

/// One end as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    pub at: UnixMillis,
    pub instance: InstanceId,
    pub process: ProcessName,
    pub index: u32,
    pub release: ReleaseNumber,
    /// It served, or was meant to: not the candidate of a deploy.
    pub live: bool,
    pub told: Told,
}

/// What is known of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    pub cause: Cause,
    pub code: Option<i32>,
    pub signal: Option<i32>,
    /// The limit that it met (bytes of memory or disk).
    pub limit: Option<u64>,
    pub ran_ms: u64,
    /// Ends like this one without a longer run between them, this one included.
    pub in_a_row: u32,
    /// How often its init had started it again before.
    pub restarts: u32,
    /// The pause before the next start; none: something else than its init starts it.
    pub restart_in_ms: Option<u64>,
    /// In words, where more is known than the code says.
    pub reason: Option<String>,
    pub pids_refused: u64,
    pub last_lines: Vec<String>,
}

impl Told {
    /// Nothing known but the cause.
    pub fn of(cause: Cause) -> Self {
        Self {
            cause,
            code: None,
            signal: None,
            limit: None,
            ran_ms: 0,
            in_a_row: 1,
            restarts: 0,
            restart_in_ms: None,
            reason: None,
            pids_refused: 0,
            last_lines: Vec::new(),
        }
    }
}

impl End {
    /// `web.1`
    pub fn label(&self) -> String {
        format!("{}.{}", self.process, self.index)
    }

    /// One phrase for people, to stand after a name: `exited with code 3`.
    pub fn phrase(&self) -> String {
        let Told { cause, code, signal, limit, reason, pids_refused, .. } = &self.told;
        let because = reason.as_ref().map(|r| format!(": {r}")).unwrap_or_default();
        match cause {
            Cause::OutOfMemory => {
                let limit = limit.map(|bytes| format!(" of {}", size(bytes))).unwrap_or_default();
                format!("was killed because it used more memory than its limit{limit}")
            }
            Cause::Hung => format!("hung and was restarted{because}"),
            Cause::Disk => format!("was stopped because it filled the disk{because}"),
            Cause::Lost => format!("lost its container{because}"),
            Cause::NotStarted => reason.clone().unwrap_or_else(|| "could not be started".to_owned()),
            Cause::Exit | Cause::Signal => {
                let how = match (code, signal) {
                    (_, Some(signal)) => format!("was ended by signal {}", signal_name(*signal)),
                    (Some(code), None) => format!("exited with code {code}"),
                    (None, None) => "ended".to_owned(),
                };
                let refused = match pids_refused {
                    0 => String::new(),
                    n => format!("; the kernel had refused it another process or thread {n} times (its limit)"),
                };
                format!("{how}{because}{refused}")
            }
        }
    }
}

/// `11 (SIGSEGV)` for the signals that people look up.
pub fn signal_name(number: i32) -> String {
    let name = match number {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        _ => return number.to_string(),
    };
    format!("{number} ({name})")
}

/// Bytes as people write limits: exact in binary units where that is short, else with one digit.
pub fn size(bytes: u64) -> String {
    let units = [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let Some((unit, factor)) = units.into_iter().find(|(_, factor)| bytes >= *factor) else { return format!("{bytes} B") };
    if bytes.is_multiple_of(factor) {
        format!("{} {unit}", bytes / factor)
    } else {
        format!("{:.1} {unit}", bytes as f64 / factor as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(told: Told) -> End {
        End {
            at: UnixMillis(0),
            instance: InstanceId(1),
            process: ProcessName::parse("web").expect("valid"),
            index: 1,
            release: ReleaseNumber(1),
            live: true,
            told,
        }
    }

    #[test]
    fn three_ends_in_a_row_are_a_crash_loop_until_a_run_of_a_minute() {
        let (now, ended) = (UnixMillis(1_000_000), |ago: i64| Some(UnixMillis(1_000_000 - ago)));
        assert_eq!([1, 2, 3, 4].map(is_crash_loop), [false, false, true, true]);
        assert!(!loops(2, true, ended(1000), now) && loops(3, true, ended(1000), now));
        assert!(
            loops(3, false, ended(59_999), now) && !loops(3, false, ended(60_000), now),
            "the present run is healthy by then"
        );
        assert!(loops(3, true, ended(60_000), now), "it does not run");
        assert!(!loops(3, false, None, now));
        assert!(!loops(3, false, ended(-3_600_000), now), "the clock was set back since");
    }

    #[test]
    fn every_cause_reads_as_a_sentence_after_its_name() {
        let oom = Told { limit: Some(64 << 20), signal: Some(9), ..Told::of(Cause::OutOfMemory) };
        assert_eq!(end(oom).phrase(), "was killed because it used more memory than its limit of 64 MiB");
        let segv = Told { signal: Some(11), ..Told::of(Cause::Signal) };
        assert_eq!(end(segv).phrase(), "was ended by signal 11 (SIGSEGV)");
        let forks = Told { code: Some(1), pids_refused: 7, ..Told::of(Cause::Exit) };
        assert!(
            end(forks).phrase().starts_with("exited with code 1; the kernel had refused"),
            "{}",
            end(Told::of(Cause::Exit)).phrase()
        );
        assert_eq!((size(3 << 29), size(64 << 20), size(7)), ("1.5 GiB".to_owned(), "64 MiB".to_owned(), "7 B".to_owned()));
    }
}
