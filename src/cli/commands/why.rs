//! `why`: one screen that explains how an app is.

use std::process::ExitCode;

use super::{CliError, Context, Outcome, ago};
use crate::api::types::why::{Verdict, Why};
use crate::names::AppName;

pub async fn run(context: &Context, app: Option<AppName>) -> Outcome {
    let app = context.app_or(app)?;
    let why = context.client()?.why(&app).await?;
    if context.global.json {
        context.screen.json(&why).map_err(CliError::output)?;
        return Ok(ExitCode::SUCCESS);
    }
    show(context, &why).map_err(CliError::output)?;
    Ok(ExitCode::SUCCESS)
}

fn show(context: &Context, why: &Why) -> std::io::Result<()> {
    let screen = &context.screen;
    let mark = match why.verdict {
        Verdict::Well | Verdict::Nothing => "----->",
        Verdict::Recovered | Verdict::Troubled | Verdict::Down | Verdict::DeployFailed => " !    ",
    };
    screen.data(&format!("{mark} {}", why.summary))?;
    if let Some(end) = &why.end {
        let after = std::time::Duration::from_millis(end.ran_ms);
        let ran = if end.ran_ms == 0 { String::new() } else { format!(", after {}", humantime::format_duration(after)) };
        let row = if end.in_a_row > 1 { format!(" ({} times in a row)", end.in_a_row) } else { String::new() };
        let line = format!("{} of {} {}{row}: {}{ran}", end.name, end.release, end.how, ago(end.at));
        section(context, "How it ended", &[line])?;
    }
    section(context, "Its last lines", &why.last_lines)?;
    let title = why.since.map_or_else(|| "What changed".to_owned(), |release| format!("What changed since {release}"));
    if why.since.is_some() && why.changed.is_empty() {
        section(context, &title, &["nothing that paas knows of".to_owned()])?;
    }
    section(context, &title, &why.changed)?;
    section(context, "What paas did", &why.done)?;
    section(context, "What to do next", &why.next)
}

fn section(context: &Context, title: &str, lines: &[String]) -> std::io::Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    context.screen.data("")?;
    context.screen.data(title)?;
    for line in lines {
        context.screen.data(&format!("    {line}"))?;
    }
    Ok(())
}
