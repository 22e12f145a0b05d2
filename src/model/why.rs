//! Why does it not work? From what is known of an app to what a person is told. Pure: the same facts give the same story.

use std::time::Duration;

use crate::base::clock::UnixMillis;
use crate::model::deploy::{Deploy, State};
use crate::model::end::{self, Cause, End, OFTEN_WITHIN, crash_loop_phrase, is_often, often_phrase, size};
use crate::model::maintenance::Maintenance;
use crate::model::release::{Config, Release, default_count};
use crate::names::{AppName, ReleaseNumber};

/// An end is still spoken of for so long.
const RECENT: Duration = Duration::from_secs(24 * 3600);
/// Processes and threads beyond this part of the limit are trouble.
const PIDS_FULL: f64 = 0.95;

/// The same of its disk.
const DISK_FULL: f64 = 0.9;

/// How an app is, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing was ever live.
    Nothing,
    Well,
    /// All runs, but something ended within the last day.
    Recovered,
    /// Something is wrong, and the app still answers.
    Troubled,
    /// No instance that takes requests runs.
    Down,
    /// The newest deploy failed; what served before serves.
    DeployFailed,
}

/// How one instance stands.
#[derive(Debug, Clone)]
pub struct Standing {
    /// `web.1`
    pub label: String,
    pub takes_requests: bool,
    pub standing: Phase,
    pub restarts: u32,
    pub in_a_row: u32,
    /// When it ended last.
    pub ended_at: Option<UnixMillis>,
    pub next_try: Option<UnixMillis>,
    /// Now, and the limit.
    pub pids: Option<(u64, u64)>,
    /// Its writable layer when it was last measured, and the limit: bytes.
    pub disk: Option<(u64, u64)>,
    /// Its liveness check has failed so often in a row, and what it said.
    pub unanswered: Option<(u32, String)>,
    /// Why it can't be made to run, and what to do about it.
    pub stuck: Option<(String, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Running,
    /// Ended; its init waits before it starts it again.
    BackingOff,
    /// paas drains and restarts it, as it hung or filled its disk.
    Restarting,
    /// Not to be seen: the daemon has not heard of it, or its container does not run.
    Away,
}

impl Standing {
    /// It ends again and again without a healthy run between.
    pub fn loops(&self, now: UnixMillis) -> bool {
        end::loops(self.in_a_row, self.standing == Phase::BackingOff, self.ended_at, now)
    }
}

/// What is known.
pub struct Facts<'a> {
    pub app: &'a AppName,
    pub now: UnixMillis,
    pub live: Option<&'a Release>,
    /// The release that was live before it.
    pub before: Option<&'a Release>,
    pub instances: &'a [Standing],
    /// Newest first.
    pub ends: &'a [End],
    /// The newest one, over or not.
    pub deploy: Option<&'a Deploy>,
    /// From `before` to `live`, or from `live` to what failed.
    pub changed: Vec<String>,
    /// Lines that the app's log had to drop lately, in the words of its markers.
    pub dropped: Option<String>,
    pub crash_files: usize,
}

/// What a person is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Story {
    pub verdict: Verdict,
    /// One sentence.
    pub summary: String,
    /// The end that it is about.
    pub end: Option<End>,
    pub last_lines: Vec<String>,
    /// The release that `changed` is compared with.
    pub since: Option<ReleaseNumber>,
    pub changed: Vec<String>,
    pub done: Vec<String>,
    pub next: Vec<String>,
}

/// Tells the story of an app.
pub fn explain(facts: Facts<'_>) -> Story {
    let failed = facts.deploy.filter(|d| d.state == State::Failed);
    let trouble = trouble(&facts);
    // The candidate's own end belongs to the failed deploy, not to what serves.
    let end = if failed.is_some() && trouble.is_empty() {
        let of = |e: &&End| !e.live && failed.is_some_and(|d| d.release == Some(e.release));
        facts.ends.iter().find(of)
    } else {
        facts.ends.iter().find(|e| e.live && facts.live.is_some_and(|r| r.number == e.release))
    };
    let recent = end.filter(|e| facts.now.since(e.at) < RECENT);
    let serving = facts.instances.iter().filter(|i| i.takes_requests);
    let down = facts.live.is_some() && serving.clone().count() > 0 && serving.clone().all(|i| i.standing != Phase::Running);
    let verdict = match (facts.live, failed) {
        (Some(_), _) if down => Verdict::Down,
        (Some(_), _) if !trouble.is_empty() => Verdict::Troubled,
        (_, Some(_)) => Verdict::DeployFailed,
        (None, None) => Verdict::Nothing,
        (Some(_), None) if recent.is_some() => Verdict::Recovered,
        (Some(_), None) => Verdict::Well,
    };
    let about = match verdict {
        Verdict::Well | Verdict::Nothing => None,
        Verdict::Recovered => recent,
        Verdict::Troubled | Verdict::Down | Verdict::DeployFailed => end,
    };
    let last_lines = match (verdict, failed.and_then(|d| d.failure.as_ref()), about) {
        (Verdict::DeployFailed, Some(failure), _) => failure.last_lines.clone(),
        (_, _, Some(end)) => end.told.last_lines.clone(),
        (_, _, None) => Vec::new(),
    };
    let since = match verdict {
        Verdict::DeployFailed => facts.live.map(|r| r.number),
        Verdict::Down | Verdict::Troubled | Verdict::Recovered => facts.before.map(|r| r.number),
        Verdict::Well | Verdict::Nothing => None,
    };
    Story {
        verdict,
        summary: summary(&facts, verdict, &trouble, about),
        end: about.cloned(),
        last_lines,
        since,
        changed: if since.is_some() { facts.changed.clone() } else { Vec::new() },
        done: done(&facts, verdict, about),
        next: next(&facts, verdict, about),
    }
}

/// Adds to the story that nobody sees the app, however well it is.
pub fn in_maintenance(mut story: Story, app: &AppName, paused: &Maintenance) -> Story {
    story.summary = format!("{}; it is in maintenance (by {}), so clients get a page instead", story.summary, paused.by);
    story.next.insert(0, format!("paas maintenance off -a {app}     when the work is done"));
    story
}

/// What is wrong now, one phrase each.
fn trouble(facts: &Facts<'_>) -> Vec<String> {
    let mut found = Vec::new();
    for i in facts.instances {
        let label = &i.label;
        match i.standing {
            _ if i.loops(facts.now) => found.push(format!("{label} is {}", crash_loop_phrase(i.in_a_row))),
            Phase::BackingOff => found.push(format!("{label} has ended and is about to start again")),
            Phase::Restarting => found.push(format!("{label} is being restarted")),
            Phase::Away => match &i.stuck {
                Some((why, _)) => found.push(format!("{label} does not run and can't be started: {why}")),
                None => found.push(format!("{label} does not run")),
            },
            Phase::Running => {}
        }
        if let Some(ends) = often(facts, label).filter(|_| !i.loops(facts.now)) {
            found.push(format!("{label} {}", often_phrase(ends)));
        }
        if let Some((now, limit)) = i.pids.filter(|(now, limit)| *now as f64 >= *limit as f64 * PIDS_FULL) {
            found
                .push(format!("{label} uses {now} of {limit} processes and threads: more are refused, so a fork bomb ends here"));
        }
        if let Some((bytes, limit)) = i.disk.filter(|(bytes, limit)| *bytes as f64 >= *limit as f64 * DISK_FULL) {
            found.push(format!("{label} has written {} to its disk, and is stopped at {}", size(bytes), size(limit)));
        }
        if let Some((times, why)) = i.unanswered.as_ref().filter(|_| i.standing == Phase::Running) {
            found.push(format!("{label} fails its liveness check ({times} times): {why}"));
        }
    }
    if let Some(dropped) = &facts.dropped {
        found.push(format!("it logs more than may be kept: {dropped}"));
    }
    found
}

/// Why one that does not run can't be made to, and what to do about it.
fn stuck<'a>(facts: &Facts<'a>) -> Option<&'a (String, String)> {
    facts.instances.iter().filter(|i| i.standing == Phase::Away).find_map(|i| i.stuck.as_ref())
}

/// How often the live release has ended at this place within the hour, if that is trouble now.
fn often(facts: &Facts<'_>, label: &str) -> Option<u32> {
    let live = facts.live?.number;
    let lately = |e: &&End| e.live && e.release == live && e.label() == label && facts.now.since(e.at) < OFTEN_WITHIN;
    let ends = u32::try_from(facts.ends.iter().filter(lately).count()).unwrap_or(u32::MAX);
    let last = facts.ends.iter().find(lately)?;
    is_often(ends, facts.now.since(last.at)).then_some(ends)
}

fn summary(facts: &Facts<'_>, verdict: Verdict, trouble: &[String], end: Option<&End>) -> String {
    let live = facts.live.map(|r| r.number.to_string()).unwrap_or_default();
    let how = end.map(|e| format!(": it {}", e.phrase())).unwrap_or_default();
    match verdict {
        Verdict::Nothing => format!("{} has no release yet", facts.app),
        Verdict::Well => {
            let n = facts.instances.len();
            let s = if n == 1 { "" } else { "s" };
            format!("all is well: {live} of {} runs in {n} instance{s}, and nothing has ended unexpectedly", facts.app)
        }
        Verdict::Recovered => {
            let end = end.map(|e| format!("{} {}", e.label(), e.phrase())).unwrap_or_default();
            format!("{live} of {} runs, but {end}", facts.app)
        }
        Verdict::Troubled => format!("{live} of {} still serves, but {}{how}", facts.app, trouble.join("; ")),
        Verdict::Down => format!("{} does not serve: {}{how}", facts.app, trouble.join("; ")),
        Verdict::DeployFailed => {
            let deploy = facts.deploy;
            let id = deploy.map(|d| d.id.to_string()).unwrap_or_default();
            let failure = deploy.and_then(|d| d.failure.as_ref());
            let why = failure.map(|f| format!(" at {}: {}", f.stage, f.why)).unwrap_or_default();
            let serves = if live.is_empty() { "nothing serves yet".to_owned() } else { format!("{live} still serves") };
            format!("deploy {id} of {} failed{why}; {serves}", facts.app)
        }
    }
}

/// What paas did about it.
fn done(facts: &Facts<'_>, verdict: Verdict, end: Option<&End>) -> Vec<String> {
    let mut done = Vec::new();
    for i in facts.instances.iter().filter(|i| i.restarts > 0) {
        let next = i.next_try.filter(|at| at.0 > facts.now.0 && i.standing == Phase::BackingOff);
        let next = next.map(|at| format!("; next try in {:.1} s", at.since(facts.now).as_secs_f64())).unwrap_or_default();
        let times = if i.restarts == 1 { "once".to_owned() } else { format!("{} times", i.restarts) };
        done.push(format!("started {} again {times}{next}", i.label));
    }
    match end.map(|e| e.told.cause) {
        Some(Cause::Hung) => done.push("let its requests finish, then restarted it".to_owned()),
        Some(Cause::Disk) => done.push("stopped it and started it again with an empty disk".to_owned()),
        Some(Cause::Lost) if stuck(facts).is_some() => done.push("tries to start it again, every 15 s at least".to_owned()),
        Some(Cause::Lost) => done.push("started its container again".to_owned()),
        Some(Cause::Exit | Cause::Signal | Cause::OutOfMemory | Cause::NotStarted) | None => {}
    }
    if verdict == Verdict::DeployFailed {
        done.push(match facts.live {
            Some(live) => format!("removed what the deploy had made; {} was not touched", live.number),
            None => "removed what the deploy had made".to_owned(),
        });
    }
    if let Some(deploy) = facts.deploy
        && deploy.origin.is_rollback()
        && deploy.state == State::Live
    {
        done.push(format!("{} ({})", deploy.origin.describe(), deploy.id));
    }
    if facts.crash_files > 0 && verdict != Verdict::Well {
        done.push(format!("kept {} crash file(s): `paas crashes list -a {}`", facts.crash_files, facts.app));
    }
    done
}

/// What to do next, the most helpful first.
fn next(facts: &Facts<'_>, verdict: Verdict, end: Option<&End>) -> Vec<String> {
    let app = facts.app;
    let mut next = Vec::new();
    match verdict {
        Verdict::Well => return next,
        Verdict::Nothing => return vec!["git push deploy main".to_owned()],
        Verdict::DeployFailed => next.extend(facts.deploy.and_then(|d| d.failure.as_ref()).map(|f| f.next.clone())),
        Verdict::Recovered | Verdict::Troubled | Verdict::Down => {}
    }
    next.extend(stuck(facts).map(|(_, next)| next.clone()).filter(|next| !next.is_empty()));
    if let Some(end) = end {
        let table = format!("[processes.{}] in paas.toml", end.process);
        match end.told.cause {
            Cause::OutOfMemory => {
                let limit = end.told.limit.map(|l| format!(", which is {}", size(l))).unwrap_or_default();
                next.push(format!("raise `memory` under {table}{limit}, or make it use less"));
            }
            Cause::Disk => next.push(format!("raise `disk` under {table}, or keep what it writes somewhere else")),
            Cause::NotStarted => next.push(format!("mend its `command` under {table} or in the Procfile")),
            Cause::Hung => next.push(format!("paas logs -a {app} -p {}     what it did before it hung", end.label())),
            Cause::Exit | Cause::Signal | Cause::Lost => {}
        }
        if end.told.pids_refused > 0 {
            next.push(format!("raise `pids` under {table} if it really needs so many processes and threads"));
        }
        if let Some(before) = facts.before.filter(|_| matches!(verdict, Verdict::Down | Verdict::Troubled)) {
            next.push(format!("paas rollback -a {app} {}     back to the release before", before.number));
        }
        let logs = format!("paas logs -a {app} -p {}", end.label());
        if end.told.cause != Cause::Hung && !next.iter().any(|n| n.starts_with(&logs)) {
            next.push(logs);
        }
    } else if verdict != Verdict::DeployFailed {
        next.push(format!("paas logs -a {app}"));
    }
    next
}

/// What is different in `new`, one line each. Names of config keys, never values.
pub fn changes(old: (&Release, &Config), new: (&Release, &Config), default_memory: u64) -> Vec<String> {
    let mut found = Vec::new();
    let ((old, old_config), (new, new_config)) = (old, new);
    if old.commit != new.commit {
        let short = |r: &Release| r.commit.as_ref().map_or("none".to_owned(), |c| c.short().to_owned());
        found.push(format!("commit {} → {} ({})", short(old), short(new), new.description));
    }
    if old.image.id != new.image.id {
        found.push("image: another one".to_owned());
    }
    let mut keys: Vec<String> = Vec::new();
    for key in old_config.keys().chain(new_config.keys()).collect::<std::collections::BTreeSet<_>>() {
        match (old_config.get(key), new_config.get(key)) {
            (None, Some(_)) => keys.push(format!("{key} added")),
            (Some(_), None) => keys.push(format!("{key} removed")),
            (Some(before), Some(after)) if before != after => keys.push(format!("{key} changed")),
            _ => {}
        }
    }
    if !keys.is_empty() {
        found.push(format!("config: {}", keys.join(", ")));
    }
    let processes = old.processes();
    for process in new.processes() {
        let Some(before) = processes.iter().find(|p| p.name == process.name) else {
            found.push(format!("{}: new", process.name));
            continue;
        };
        let memory = |p: &crate::model::release::Process| p.spec.memory.unwrap_or(default_memory);
        if memory(before) != memory(&process) {
            found.push(format!("{}: memory {} → {}", process.name, size(memory(before)), size(memory(&process))));
        }
        if before.command != process.command {
            found.push(format!("{}: another command", process.name));
        }
        if default_count(before) != default_count(&process) {
            found.push(format!("{}: {} → {} instances", process.name, default_count(before), default_count(&process)));
        }
        let rest = |p: &crate::model::release::Process| (p.spec.cpus, p.spec.pids, p.spec.port, p.spec.health.clone());
        if rest(before) != rest(&process) {
            found.push(format!("{}: other limits, port or health check", process.name));
        }
    }
    found
}

#[cfg(test)]
mod tests;
