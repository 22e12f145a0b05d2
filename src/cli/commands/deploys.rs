//! `deploys list|follow|cancel|info`.

use std::process::ExitCode;

use super::super::args::DeploysAct;
use super::{CliError, Context, Outcome, ago, facts, or_dash, rows, short, watch};
use crate::api::client::Client;
use crate::api::render::{receipt, seconds};
use crate::api::types::deploys::{Deploy, DeployCause, DeployInfo};
use crate::names::DeployId;

pub async fn run(context: &Context, act: Option<DeploysAct>) -> Outcome {
    let client = context.client()?;
    match act.unwrap_or(DeploysAct::List) {
        DeploysAct::List => list(context, &client).await,
        DeploysAct::Follow { deploy } => {
            let deploy = latest(context, &client, deploy).await?;
            let events = client.follow(deploy).await?;
            watch::watch(context, &client, events, true).await
        }
        DeploysAct::Cancel { deploy } => {
            let cancelled = client.cancel(latest(context, &client, deploy).await?).await?;
            if context.global.json {
                context.screen.json(&cancelled).map_err(CliError::output)?;
            } else {
                context.screen.talk(&format!("{} of {} is being cancelled", cancelled.id, cancelled.app));
            }
            Ok(ExitCode::SUCCESS)
        }
        DeploysAct::Info { deploy } => {
            let info = client.deploy_info(latest(context, &client, deploy).await?).await?;
            show(context, &info)
        }
    }
}

async fn latest(context: &Context, client: &Client, given: Option<DeployId>) -> Result<DeployId, CliError> {
    if let Some(deploy) = given {
        return Ok(deploy);
    }
    let app = context.app()?;
    let all = client.deploys(&app).await?;
    all.iter()
        .map(|d| d.id)
        .max()
        .ok_or_else(|| CliError::failed(format!("{app} has no deploys yet")).hint("`git push deploy main` makes one"))
}

async fn list(context: &Context, client: &Client) -> Outcome {
    let app = context.app()?;
    let deploys = client.deploys(&app).await?;
    let table = deploys
        .iter()
        .map(|d| {
            let took = d.ended_at.map(|end| seconds(u64::try_from(end.since(d.created_at).as_millis()).unwrap_or(u64::MAX)));
            vec![
                d.id.to_string(),
                d.state.clone(),
                or_dash(d.release),
                short(d.commit.as_ref()),
                cause(d.cause).to_owned(),
                or_dash(d.by.clone()),
                ago(d.created_at),
                or_dash(took),
                d.why.clone().unwrap_or_default(),
            ]
        })
        .collect();
    let heads = ["DEPLOY", "STATE", "RELEASE", "COMMIT", "CAUSE", "BY", "BEGUN", "TOOK", "WHY"];
    rows(context, &deploys, &heads, table, &format!("{app} has no deploys yet; `git push deploy main` makes one"))
}

fn show(context: &Context, info: &DeployInfo) -> Outcome {
    let Deploy { id, app, cause: why_made, state, commit, release, by, created_at, why, .. } = &info.deploy;
    let stages = info.stages.iter().map(|s| format!("{} {}", s.stage, seconds(s.ms))).collect::<Vec<_>>().join(" · ");
    let counts = info.counts.map(|c| {
        let so_far = if c.complete { "" } else { " so far: the old release finishes its work" };
        format!("{}{so_far}", receipt(&c))
    });
    facts(
        context,
        info,
        &[
            ("deploy", id.to_string()),
            ("app", app.to_string()),
            ("state", state.clone()),
            ("failed at", info.failed_stage.clone().unwrap_or_default()),
            ("why", why.clone().unwrap_or_default()),
            ("release", release.map(|r| r.to_string()).unwrap_or_default()),
            ("commit", commit.as_ref().map(ToString::to_string).unwrap_or_default()),
            ("cause", format!("{} by {}, {}", cause(*why_made), or_dash(by.clone()), ago(*created_at))),
            ("image", info.image.clone().unwrap_or_default()),
            ("built by", info.built_by.clone().unwrap_or_default()),
            ("stages", stages),
            ("requests", counts.unwrap_or_default()),
        ],
    )?;
    if !context.global.json && !info.last_lines.is_empty() {
        context.screen.data("last lines:").map_err(CliError::output)?;
        for line in &info.last_lines {
            context.screen.data(&format!("  {line}")).map_err(CliError::output)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn cause(cause: DeployCause) -> &'static str {
    match cause {
        DeployCause::Push => "push",
        DeployCause::Tarball => "tarball",
        DeployCause::Image => "image",
        DeployCause::Config => "config",
        DeployCause::Scale => "scale",
        DeployCause::Restart => "restart",
        DeployCause::Rollback => "rollback",
    }
}
