//! `releases`, `rollback [vN]`.

use super::deploys::cause;
use super::{Context, Outcome, ago, or_dash, rows, short, watch};
use crate::api::types::releases::Rollback;
use crate::names::ReleaseNumber;

pub async fn list(context: &Context) -> Outcome {
    let app = context.app()?;
    let releases = context.client()?.releases(&app).await?;
    let table = releases
        .iter()
        .map(|r| {
            let mark = match (r.live, r.image_kept) {
                (true, _) => "live",
                (false, true) => "",
                (false, false) => "image removed",
            };
            let what = r.what.clone().unwrap_or_else(|| cause(r.cause).to_owned());
            vec![
                r.number.to_string(),
                short(r.commit.as_ref()),
                r.deploy.to_string(),
                ago(r.created_at),
                or_dash(r.by.clone()),
                what,
                mark.to_owned(),
            ]
        })
        .collect();
    let heads = ["RELEASE", "COMMIT", "DEPLOY", "MADE", "BY", "WHAT", ""];
    rows(context, &releases, &heads, table, &format!("{app} has no releases yet; `git push deploy main` makes one"))
}

pub async fn rollback(context: &Context, to: Option<ReleaseNumber>) -> Outcome {
    let (app, client) = (context.app()?, context.client()?);
    let target = to.map_or_else(|| "the release before".to_owned(), |v| v.to_string());
    watch::step(context, &format!("Rolling {app} back to {target}"));
    let events = client.rollback(&app, &Rollback { to }).await?;
    watch::watch(context, &client, events, true).await
}
