//! `maintenance on|off|show`.

use std::process::ExitCode;
use std::time::Duration;

use super::super::args::MaintenanceAct;
use super::{CliError, Context, Outcome, ago};
use crate::api::types::maintenance::{Maintenance, SetMaintenance};

pub async fn run(context: &Context, act: Option<MaintenanceAct>) -> Outcome {
    let (app, client) = (context.app()?, context.client()?);
    let now = match act.unwrap_or(MaintenanceAct::Show) {
        MaintenanceAct::On { message, hold } => {
            let hold_ms = hold.map_or(0, |hold| u64::try_from(hold.as_millis()).unwrap_or(u64::MAX));
            client.set_maintenance(&app, &SetMaintenance { on: true, message, hold_ms }).await?
        }
        MaintenanceAct::Off => client.set_maintenance(&app, &SetMaintenance { on: false, message: None, hold_ms: 0 }).await?,
        MaintenanceAct::Show => client.maintenance(&app).await?,
    };
    if context.global.json {
        context.screen.json(&now).map_err(CliError::output)?;
    } else {
        context.screen.data(&line(&now)).map_err(CliError::output)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// One line for people; also below `ps`.
pub fn line(now: &Maintenance) -> String {
    let app = &now.app;
    let Some(since) = now.since else { return format!("{app} is not in maintenance") };
    let held = match now.hold_ms {
        0 => String::new(),
        ms => format!(", after a wait of {}", humantime::format_duration(Duration::from_millis(ms))),
    };
    let words = now.message.as_deref().map(|m| format!(": {m}")).unwrap_or_default();
    format!("{app} is in maintenance since {} (by {}); clients get a page{held}{words}", ago(since), now.by)
}
