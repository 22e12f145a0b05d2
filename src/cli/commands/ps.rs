//! `ps`, `ps scale`, `ps restart`.

use std::process::ExitCode;

use super::super::args::PsAct;
use super::super::print::bytes;
use super::{CliError, Context, Outcome, ago, or_dash, pair, short, watch};
use crate::api::types::processes::{Instance, InstanceState, Process, Ps, Restart, Scale};
use crate::names::ProcessName;

pub async fn run(context: &Context, act: Option<PsAct>) -> Outcome {
    match act {
        None => {
            let ps = context.client()?.ps(&context.app()?).await?;
            show(context, &ps)
        }
        Some(PsAct::Scale { counts }) if counts.is_empty() => {
            let ps = context.client()?.ps(&context.app()?).await?;
            show_numbers(context, &ps)
        }
        Some(PsAct::Scale { counts }) => scale(context, &counts).await,
        Some(PsAct::Restart { process }) => {
            let (app, client) = (context.app()?, context.client()?);
            let events = client.restart(&app, &Restart { process }).await?;
            watch::watch(context, &client, events, true).await
        }
    }
}

async fn scale(context: &Context, counts: &[String]) -> Outcome {
    let mut asked = Scale::new();
    for given in counts {
        let (name, number) = pair(given)?;
        let process = ProcessName::parse(name).map_err(|e| CliError::usage(e.to_string()))?;
        let number = number.parse::<u32>().ok().filter(|n| *n <= 100);
        let number =
            number.ok_or_else(|| CliError::usage(format!("`{}`: the number must be from 0 to 100", given.escape_debug())))?;
        asked.insert(process, number);
    }
    let (app, client) = (context.app()?, context.client()?);
    let events = client.scale(&app, &asked).await?;
    watch::watch(context, &client, events, true).await
}

fn show_numbers(context: &Context, ps: &Ps) -> Outcome {
    if context.global.json {
        let numbers: Scale = ps.processes.iter().map(|p| (p.process.clone(), p.wanted)).collect();
        context.screen.json(&numbers).map_err(CliError::output)?;
    } else {
        let line = ps.processes.iter().map(|p| format!("{}={}", p.process, p.wanted)).collect::<Vec<_>>().join(" ");
        context.screen.data(&line).map_err(CliError::output)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show(context: &Context, ps: &Ps) -> Outcome {
    let screen = &context.screen;
    if context.global.json {
        screen.json(ps).map_err(CliError::output)?;
        return Ok(ExitCode::SUCCESS);
    }
    for (index, process) in ps.processes.iter().enumerate() {
        if index > 0 {
            screen.data("").map_err(CliError::output)?;
        }
        let command = process.command.as_deref().unwrap_or("the image's own command");
        screen.data(&format!("=== {} ({}): {command}", process.process, process.wanted)).map_err(CliError::output)?;
        let table: Vec<Vec<String>> = process.instances.iter().map(|i| row(process, i)).collect();
        if table.is_empty() {
            continue;
        }
        for line in super::super::print::table(
            &["NAME", "STATE", "SINCE", "RELEASE", "COMMIT", "MEMORY", "REQUESTS", "RESTARTS", "ID", "LAST END"],
            &table,
        ) {
            screen.data(&line).map_err(CliError::output)?;
        }
    }
    if let Some(maintenance) = &ps.maintenance {
        screen.talk(&format!(" !     {}", super::maintenance::line(maintenance)));
    }
    if ps.release.is_none() {
        screen.talk(&format!("{} has no release yet; `git push deploy main` makes one", ps.app));
    }
    Ok(ExitCode::SUCCESS)
}

fn row(process: &Process, i: &Instance) -> Vec<String> {
    let memory = match (i.memory, i.memory_limit) {
        (Some(used), Some(limit)) => format!("{} of {}", bytes(used), bytes(limit)),
        (Some(used), None) => bytes(used),
        (None, _) => "-".to_owned(),
    };
    vec![
        format!("{}.{}", process.process, i.index),
        state(i.state).to_owned(),
        ago(i.since),
        i.release.to_string(),
        short(i.commit.as_ref()),
        memory,
        or_dash(i.in_flight),
        i.restarts.to_string(),
        i.id.to_string(),
        i.last_end.clone().unwrap_or_default(),
    ]
}

fn state(state: InstanceState) -> &'static str {
    match state {
        InstanceState::Gated => "gated",
        InstanceState::Starting => "starting",
        InstanceState::Running => "running",
        InstanceState::CrashLoop => "crash loop",
        InstanceState::Restarting => "restarting",
        InstanceState::BackingOff => "backing off",
        InstanceState::Draining => "draining",
        InstanceState::Stopping => "stopping",
        InstanceState::Ended => "ended",
        InstanceState::Unknown => "unknown",
    }
}
