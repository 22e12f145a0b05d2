//! `/apps/{app}/releases` and `/apps/{app}/rollback`

use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;

use super::Server;
use super::access::Who;
use super::deploys::cause;
use super::fail::Fail;
use crate::api::error::ErrorCode;
use crate::api::types::releases::{Release, Rollback};
use crate::model::access::Right;
use crate::model::deploy::Origin;
use crate::model::release::Status;

pub async fn list(State(server): State<Server>, who: Who, path: Path<String>) -> Result<Json<Vec<Release>>, Fail> {
    let app = server.app(&who, Right::Deploy, path).await?;
    let mut shown = Vec::new();
    // What Docker cannot be asked about is as the store says: kept. It is not asked again and again while it does not answer.
    let mut docker_answers = true;
    for release in server.world.store.releases(app.id, 50).await? {
        let deploy = server.world.store.deploy(release.deploy).await?;
        let by = server.asked_by(&deploy).await?;
        let image_kept = !docker_answers
            || match server.world.docker.image(&release.image.id).await {
                Ok(image) => image.is_some(),
                Err(e) => {
                    docker_answers = !e.is_unavailable();
                    !docker_answers
                }
            };
        shown.push(Release {
            number: release.number,
            live: release.status == Status::Live,
            commit: release.commit,
            deploy: release.deploy,
            cause: cause(&deploy.origin),
            what: Some(match release.status {
                Status::Failed => format!("{} (failed)", release.description),
                Status::Pending | Status::Live | Status::Retired => release.description,
            }),
            by,
            created_at: release.created_at,
            image_kept,
        });
    }
    Ok(Json(shown))
}

/// Without a number: the newest release before the live one that was live once.
pub async fn rollback(
    State(server): State<Server>,
    who: Who,
    path: Path<String>,
    Json(ask): Json<Rollback>,
) -> Result<Response, Fail> {
    let app = server.app(&who, Right::Operate, path).await?;
    let Some(live) = app.live else {
        return Err(Fail::new(ErrorCode::Conflict, format!("app `{}` has no release yet", app.name)).hint("git push deploy main"));
    };
    let releases = server.world.store.releases(app.id, 1000).await?;
    let target = match ask.to {
        Some(number) => releases.iter().find(|r| r.number == number),
        None => releases.iter().find(|r| r.number < live && r.status == Status::Retired),
    };
    let Some(target) = target else {
        let what = ask
            .to
            .map_or_else(|| "there is no earlier release to go back to".to_owned(), |n| format!("release {n} does not exist"));
        let good = releases.iter().filter(|r| matches!(r.status, Status::Live | Status::Retired)).take(10);
        let good: Vec<String> = good.map(|r| r.number.to_string()).collect();
        return Err(
            Fail::new(ErrorCode::NotFound, what).hint(format!("there are {}; `paas releases` tells more", good.join(", ")))
        );
    };
    if target.number == live {
        return Err(Fail::new(ErrorCode::Conflict, format!("{live} is the live release already")));
    }
    if target.status == Status::Failed {
        return Err(Fail::new(ErrorCode::Conflict, format!("{} never became live: its deploy failed", target.number))
            .hint("`paas releases` shows the good ones"));
    }
    let commit = target.commit.clone();
    let deploy = server.admit(&app, Origin::Rollback { to: target.number }, commit, &who).await?;
    Ok(server.events(&deploy, true))
}
