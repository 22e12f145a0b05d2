//! `status`.

use std::process::ExitCode;

use super::super::print::bytes;
use super::{CliError, Context, Outcome, ago, facts};
use crate::api::types::status::{AppState, AppStatus, Disk, FailedDeploy, Part, Status};

pub async fn run(context: &Context) -> Outcome {
    let client = context.client()?;
    let status = client.status().await?;
    let part = |part: &Part| format!("{} {}", if part.ok { "ok" } else { "NOT OK:" }, part.detail);
    let memory = status
        .memory
        .map(|m| format!("{} free of {}, {} promised to instances", bytes(m.available), bytes(m.total), bytes(m.promised)));
    let short: String = status.version.commit.chars().take(7).collect();
    facts(
        context,
        &status,
        &[
            ("server", client.place()),
            ("version", format!("{} ({short}), up since {}", status.version.version, ago(status.started_at))),
            ("docker", part(&status.docker)),
            ("proxy", part(&status.proxy)),
            ("dialer", part(&status.dialer)),
            ("domain", status.domain.clone().unwrap_or_default()),
            ("memory", memory.unwrap_or_default()),
            ("disk", disks(&status)),
            ("apps", apps(&status)),
            ("deploys", under_way(&status)),
            ("alerts", alerts(&status)),
        ],
    )?;
    if context.global.json {
        return Ok(ExitCode::SUCCESS);
    }
    for line in details(&status) {
        context.screen.data(&line).map_err(CliError::output)?;
    }
    for problem in &status.problems {
        context.screen.data(&format!(" !     {}", problem.what)).map_err(CliError::output)?;
        if let Some(hint) = &problem.hint {
            context.screen.data(&format!("       {hint}")).map_err(CliError::output)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn disks(status: &Status) -> String {
    let one = |d: &Disk| {
        let low = if d.free < d.reserve { " (LOW)" } else { "" };
        format!("{} free of {} at {}{low}", bytes(d.free), bytes(d.total), d.path)
    };
    // A daemon that is older than this command line tells one number.
    let old = || status.disk_free.map(|n| format!("{} free", bytes(n))).unwrap_or_default();
    if status.disks.is_empty() { old() } else { status.disks.iter().map(one).collect::<Vec<_>>().join("; ") }
}

/// `5 apps, 7 instances: 3 serving, 1 degraded, 1 empty`
fn apps(status: &Status) -> String {
    let mut by_state = std::collections::BTreeMap::new();
    for app in &status.app_states {
        *by_state.entry(app.state).or_insert(0) += 1;
    }
    let states: Vec<_> = by_state.into_iter().rev().map(|(state, n)| format!("{n} {}", word(state))).collect();
    let total = format!("{} apps, {} instances", status.apps, status.instances);
    if states.is_empty() { total } else { format!("{total}: {}", states.join(", ")) }
}

fn word(state: AppState) -> &'static str {
    match state {
        AppState::Down => "DOWN",
        AppState::Degraded => "DEGRADED",
        AppState::Destroying => "being destroyed",
        AppState::Empty => "without a release",
        AppState::Off => "scaled to nothing",
        AppState::Serving => "serving",
    }
}

fn under_way(status: &Status) -> String {
    let ids: Vec<_> = status.deploys_active.iter().map(ToString::to_string).collect();
    if ids.is_empty() { "none under way".to_owned() } else { format!("{} under way: {}", ids.len(), ids.join(", ")) }
}

fn alerts(status: &Status) -> String {
    match status.alerts.len() {
        0 => "none open".to_owned(),
        n => format!("{n} open"),
    }
}

/// What is below the facts: apps that do not serve as they should, the last failed deploys, open alerts. Empty if all is well.
fn details(status: &Status) -> Vec<String> {
    let mut lines = Vec::new();
    for app in status.app_states.iter().filter(|a| matches!(a.state, AppState::Down | AppState::Degraded)) {
        let AppStatus { app, state, wanted, running, .. } = app;
        lines.push(format!(" !     app {app} is {}: {running} of {wanted} instances run; `paas ps -a {app}`", word(*state)));
    }
    for app in status.app_states.iter().filter(|a| a.maintenance) {
        lines.push(format!("       app {} is in maintenance; `paas maintenance show -a {}`", app.app, app.app));
    }
    for failed in &status.deploys_failed {
        let FailedDeploy { deploy, app, at, why } = failed;
        lines.push(format!("       deploy {deploy} of {app} failed {} {why}", ago(*at)));
    }
    for alert in &status.alerts {
        lines.push(format!(" !     {} (since {})", alert.text, ago(alert.raised_at)));
        lines.push(format!("       to do: {}", alert.hint));
    }
    lines
}
