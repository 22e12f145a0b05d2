//! `alerts list|test`.

use std::process::ExitCode;

use super::super::args::AlertsAct;
use super::super::exit::FAILED;
use super::{CliError, Context, Outcome, ago, or_dash, rows};

pub async fn run(context: &Context, act: Option<AlertsAct>) -> Outcome {
    match act.unwrap_or(AlertsAct::List) {
        AlertsAct::List => {
            let alerts = context.client()?.alerts().await?;
            let table = alerts.iter().map(|a| {
                let what = if a.cleared_at.is_none() { format!("{}; to do: {}", a.text, a.hint) } else { a.text.clone() };
                vec![a.kind.clone(), a.subject.clone(), ago(a.raised_at), or_dash(a.cleared_at.map(ago)), what]
            });
            let none = "nothing was raised";
            rows(context, &alerts, &["ALERT", "ABOUT", "RAISED", "OVER", "WHAT"], table.collect(), none)
        }
        AlertsAct::Test => test(context).await,
    }
}

async fn test(context: &Context) -> Outcome {
    let sent = context.client()?.test_alerts().await?;
    if context.global.json {
        context.screen.json(&sent).map_err(CliError::output)?;
    }
    for one in sent.iter().filter(|_| !context.global.json) {
        let outcome = one.error.as_ref().map_or_else(|| "took the message".to_owned(), |why| format!("NOT delivered: {why}"));
        context.screen.data(&format!("{}: {outcome}", one.to)).map_err(CliError::output)?;
    }
    Ok(if sent.iter().all(|one| one.error.is_none()) { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}
