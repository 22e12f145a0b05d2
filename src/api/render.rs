//! A deploy in words: the one rendering of [`DeployEvent`]s, for `paas deploy` and for the `remote:` lines of a push alike.
//!
//! The manner is Heroku's: `-----> ` begins a step, seven spaces indent what belongs to it, ` !     ` marks trouble. States are rendered
//! here, so whoever makes events need not add a step line for them.

use super::types::deploys::{DeployEvent, DeployStream, RequestCounts, StageTime};

const STEP: &str = "-----> ";
const DETAIL: &str = "       ";
const TROUBLE: &str = " !     ";

/// Columns of the bar that shows where the time went.
const BAR: usize = 40;

/// How many lines of a failed instance are shown.
pub const LAST_LINES: usize = 20;

/// The lines to print for one event; none for what only programs care about. Text of strangers is in them as it came.
pub fn lines(event: &DeployEvent) -> Vec<String> {
    match event {
        DeployEvent::Queued { position: 0, .. } => Vec::new(),
        DeployEvent::Queued { deploy, position, .. } => {
            let others = if *position == 1 { "1 other is".to_owned() } else { format!("{position} others are") };
            vec![format!("{STEP}Waiting as {deploy}: {others} ahead")]
        }
        DeployEvent::Line { stream, text, .. } => vec![format!("{}{text}", before(*stream))],
        DeployEvent::State { state, .. } => step_of(state).map(|s| format!("{STEP}{s}")).into_iter().collect(),
        DeployEvent::Live { release, commit, urls, stages, counts, .. } => {
            let of = commit.as_ref().map(|c| format!(", commit {}", c.short())).unwrap_or_default();
            let mut out = vec![format!("{STEP}Live: {release}{of}")];
            out.extend(urls.iter().map(|url| format!("{DETAIL}{url}")));
            out.extend(stage_lines(stages));
            out.extend(counts.as_ref().and_then(count_line));
            out
        }
        DeployEvent::Failed { deploy, stage, why, last_lines, still_serves, next } => {
            let mut out = vec![format!("{TROUBLE}{deploy} failed at {stage}: {why}")];
            if !last_lines.is_empty() {
                let shown = last_lines.len().min(LAST_LINES);
                let lines = if shown == 1 { "its last line:".to_owned() } else { format!("its last {shown} lines:") };
                out.push(format!("{TROUBLE}{lines}"));
                out.extend(last_lines[last_lines.len() - shown..].iter().map(|line| format!("{DETAIL}{line}")));
            }
            out.push(serving(still_serves.map(|v| v.to_string())));
            out.push(format!("{TROUBLE}next: {next}"));
            out
        }
        DeployEvent::Cancelled { deploy, still_serves } => {
            vec![format!("{TROUBLE}{deploy} was cancelled"), serving(still_serves.map(|v| v.to_string()))]
        }
        DeployEvent::Superseded { deploy, by } => {
            vec![
                format!("{TROUBLE}{deploy} was superseded by {by}, a newer one"),
                format!("{TROUBLE}next: paas deploys follow {by}"),
            ]
        }
        DeployEvent::Nothing { why } => vec![format!("{STEP}{why}")],
    }
}

fn before(stream: DeployStream) -> &'static str {
    match stream {
        DeployStream::Step => STEP,
        DeployStream::Build | DeployStream::Release | DeployStream::Instance => DETAIL,
        DeployStream::Warning | DeployStream::Error => TROUBLE,
    }
}

/// The steps that people see. Building speaks for itself; the rest of the states have their own events.
fn step_of(state: &str) -> Option<&'static str> {
    match state {
        "preparing" => Some("Preparing the new instances"),
        "probing" => Some("Waiting until the new instances are healthy"),
        "shifting" => Some("Switching over"),
        _ => None,
    }
}

fn serving(release: Option<String>) -> String {
    match release {
        Some(release) => format!("{TROUBLE}{release} still serves"),
        None => format!("{TROUBLE}nothing serves yet: this app has no live release"),
    }
}

fn stage_lines(stages: &[StageTime]) -> Vec<String> {
    let total: u64 = stages.iter().map(|s| s.ms).sum();
    if total == 0 {
        return Vec::new();
    }
    let each: Vec<String> = stages.iter().map(|s| format!("{} {}", spent_on(&s.stage), seconds(s.ms))).collect();
    vec![format!("{DETAIL}{} · total {}", each.join(" · "), seconds(total)), format!("{DETAIL}{}", bar(stages, total))]
}

/// What a state's time goes into, for people; each begins with a letter of its own.
fn spent_on(state: &str) -> &str {
    match state {
        "queued" => "queue",
        "building" => "build",
        "preparing" => "create",
        "starting" => "open",
        "probing" => "app boot",
        "shifting" => "switch",
        other => other,
    }
}

/// One letter per column, the first of the stage it belongs to: `bbbbbbbbbbbbppps`. A stage that took time has at least one.
fn bar(stages: &[StageTime], total: u64) -> String {
    let mut bar = String::new();
    for stage in stages.iter().filter(|s| s.ms > 0) {
        let columns = (stage.ms as usize * BAR / total.max(1) as usize).max(1);
        let letter = spent_on(&stage.stage).chars().next().unwrap_or('?');
        bar.extend(std::iter::repeat_n(letter, columns));
    }
    format!("[{bar}]")
}

/// Milliseconds as people say them: `0.04 s`, `1.3 s`, `2 min 5 s`.
pub fn seconds(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{:.2} s", ms as f64 / 1000.0),
        1_000..100_000 => format!("{:.1} s", ms as f64 / 1000.0),
        _ => format!("{} min {} s", ms / 60_000, ms / 1000 % 60),
    }
}

/// Only what is worth a word: a switch that nobody noticed has none.
fn count_line(counts: &RequestCounts) -> Option<String> {
    let RequestCounts { held, retried, cut, dropped, .. } = *counts;
    (held + retried + cut + dropped > 0).then(|| format!("{DETAIL}requests while changing over: {}", receipt(counts)))
}

/// The counts of a change-over in words, the same for a deploy and for a drill.
pub fn receipt(counts: &RequestCounts) -> String {
    let RequestCounts { served, held, retried, drained, cut, dropped, .. } = counts;
    format!("{served} served, {held} held, {retried} retried, {drained} drained, {cut} cut, {dropped} dropped")
}

#[cfg(test)]
mod tests;
