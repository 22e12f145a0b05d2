//! `status`.

use std::process::ExitCode;

use super::super::print::bytes;
use super::{CliError, Context, Outcome, ago, facts};
use crate::api::types::status::Part;

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
            ("disk", status.disk_free.map(|n| format!("{} free", bytes(n))).unwrap_or_default()),
            (
                "apps",
                format!(
                    "{} apps, {} instances, {} deploys under way",
                    status.apps,
                    status.instances,
                    status.deploys_active.len()
                ),
            ),
        ],
    )?;
    if context.global.json {
        return Ok(ExitCode::SUCCESS);
    }
    for problem in &status.problems {
        context.screen.data(&format!(" !     {}", problem.what)).map_err(CliError::output)?;
        if let Some(hint) = &problem.hint {
            context.screen.data(&format!("       {hint}")).map_err(CliError::output)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
