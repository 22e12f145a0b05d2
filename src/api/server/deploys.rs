//! `/apps/{app}/deploys` and `/deploys/{deploy}`

use std::path::PathBuf;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::response::Response;
use futures_util::TryStreamExt;

use super::Server;
use super::access::Who;
use super::events::counts;
use super::fail::Fail;
use crate::api::error::ErrorCode;
use crate::api::types::deploys::{self as api, BodySource, DeployQuery, NewDeploy};
use crate::deploys::source;
use crate::model::access::Right;
use crate::model::app::App;
use crate::model::deploy::{Deploy, Origin};
use crate::model::disk::Area;
use crate::names::{AppName, BranchName, CommitSha, DeployId};
use crate::store;

pub async fn list(State(server): State<Server>, who: Who, path: Path<String>) -> Result<Json<Vec<api::Deploy>>, Fail> {
    let app = server.app(&who, Right::Deploy, path).await?;
    let mut shown = Vec::new();
    for deploy in server.world.store.deploys(app.id, 50).await? {
        shown.push(server.show_deploy(&deploy).await?);
    }
    Ok(Json(shown))
}

pub async fn info(State(server): State<Server>, who: Who, Path(id): Path<String>) -> Result<Json<api::DeployInfo>, Fail> {
    let deploy = server.deploy(&who, &id).await?;
    let stages = server.world.stage_times(&deploy).await;
    let image = match deploy.release {
        // The deploy may be remembered longer than a release that it did not make.
        Some(release) => server.world.store.release(deploy.app_id, release).await.ok().map(|r| r.image.id),
        None => None,
    };
    Ok(Json(api::DeployInfo {
        deploy: server.show_deploy(&deploy).await?,
        stages: stages.into_iter().map(|s| api::StageTime { stage: s.stage.to_string(), ms: s.ms }).collect(),
        counts: deploy.counts.map(counts),
        failed_stage: deploy.failure.as_ref().map(|f| f.stage.to_string()),
        last_lines: deploy.failure.map(|f| f.last_lines).unwrap_or_default(),
        image,
        built_by: None,
    }))
}

pub async fn follow(State(server): State<Server>, who: Who, Path(id): Path<String>) -> Result<Response, Fail> {
    let deploy = server.deploy(&who, &id).await?;
    Ok(server.events(&deploy, true))
}

pub async fn cancel(State(server): State<Server>, who: Who, Path(id): Path<String>) -> Result<Json<api::Deploy>, Fail> {
    let deploy = server.deploy(&who, &id).await?;
    let deploy = server.ask_cancel(&deploy, &who).await?;
    Ok(Json(server.show_deploy(&deploy).await?))
}

pub async fn create(
    State(server): State<Server>,
    who: Who,
    Path(app): Path<String>,
    Query(query): Query<DeployQuery>,
    request: Request,
) -> Result<Response, Fail> {
    let name = AppName::parse(&app)?;
    who.must(Right::Deploy, Some(&name))?;
    if query.source.is_some() {
        server.world.disk.refuse("an upload", Area::State, 0).await?;
        server.world.disk.refuse("an upload", Area::Docker, 0).await?;
    }
    let app = server.app_or_new(&name, &who).await?;
    let deploy = match query.source {
        Some(BodySource::Tarball) => {
            let (sha256, part) = server.receive(request.into_body()).await?;
            let new = server.new_deploy(&app, Origin::Tarball { sha256: sha256.clone() }, None, &who);
            server.world.admit_upload(&new, &sha256, &part).await?
        }
        None => {
            let body = axum::body::to_bytes(request.into_body(), 64 << 10).await.map_err(|e| Fail::invalid(e.to_string()))?;
            let new: NewDeploy = serde_json::from_slice(&body).map_err(|e| Fail::invalid(format!("the body: {e}")))?;
            match new {
                // Any image of the engine, another app's among them.
                NewDeploy::Image(_) => who.must(Right::Administer, Some(&name))?,
                NewDeploy::Restart(_) => who.must(Right::Operate, Some(&name))?,
                NewDeploy::Commit(_) => server.world.disk.refuse("a build", Area::Docker, 0).await?,
            }
            let (origin, commit) = server.origin(&app, new).await?;
            server.admit(&app, origin, commit, &who).await?
        }
    };
    Ok(server.events(&deploy, query.wait))
}

impl Server {
    /// The app, made now if it does not exist and the caller may make it.
    pub async fn app_or_new(&self, name: &AppName, who: &Who) -> Result<App, Fail> {
        match self.world.store.app(name).await {
            Err(store::StoreError::NotFound(_))
                if self.world.config.limits.create_by_push && who.0.may(Right::Create, Some(name)) =>
            {
                self.create_app(name, who).await
            }
            found => Ok(found?),
        }
    }

    pub async fn admit(&self, app: &App, origin: Origin, commit: Option<CommitSha>, who: &Who) -> Result<Deploy, Fail> {
        Ok(self.world.admit(&self.new_deploy(app, origin, commit, who)).await?)
    }

    fn new_deploy(&self, app: &App, origin: Origin, commit: Option<CommitSha>, who: &Who) -> store::NewDeploy {
        store::NewDeploy { app_id: app.id, origin, commit, by: who.0.key_id(), by_name: who.name(), push: None }
    }

    /// Admits a push; asked again for the same `push` it gives the same deploy.
    pub async fn admit_push(
        &self,
        app: &App,
        origin: Origin,
        commit: CommitSha,
        who: &Who,
        push: Option<String>,
    ) -> Result<Deploy, Fail> {
        let (by, by_name) = (who.0.key_id(), who.name());
        Ok(self.world.admit(&store::NewDeploy { app_id: app.id, origin, commit: Some(commit), by, by_name, push }).await?)
    }

    /// Conflict if it is over.
    pub async fn ask_cancel(&self, deploy: &Deploy, who: &Who) -> Result<Deploy, Fail> {
        let deploy = self.world.store.deploy_ask_cancel(deploy.id, &who.name()).await?;
        self.world.cancels.cancel(deploy.id);
        self.world.wakeups.wake(deploy.app_id);
        Ok(deploy)
    }

    /// Streams an upload through the strict reader into the builds folder; gives the name of its content, and where it lies.
    async fn receive(&self, body: Body) -> Result<(String, PathBuf), Fail> {
        let bytes = body.into_data_stream().map_err(std::io::Error::other);
        let reader = tokio_util::io::StreamReader::new(bytes);
        let part = self.world.config.builds_dir().join(format!("upload-{}.tar", self.world.serial()));
        let received = self.world.builder.receive_source(Box::pin(reader), &part, true).await;
        let received = received.map_err(|e| {
            let fail = Fail::invalid(e.to_string());
            match e.hint() {
                Some(hint) => fail.hint(hint),
                None => fail,
            }
        })?;
        Ok((received.sha256, part))
    }

    async fn origin(&self, app: &App, new: NewDeploy) -> Result<(Origin, Option<CommitSha>), Fail> {
        match new {
            NewDeploy::Image(reference) => Ok((Origin::Image { reference }, None)),
            NewDeploy::Restart(_) => Ok((Origin::Restart { process: None }, None)),
            NewDeploy::Commit(commit) => {
                let branch = source::default_branch();
                let old = self.branch(&app.name, &branch).await?;
                if self.world.repos.commit_info(&app.name, &commit).await.is_err() {
                    let fail = Fail::new(ErrorCode::NotFound, format!("app `{}` has no commit {commit}", app.name));
                    return Err(fail.hint("push it first: git push deploy main"));
                }
                Ok((Origin::Push { branch, old }, Some(commit)))
            }
        }
    }

    async fn branch(&self, app: &AppName, branch: &BranchName) -> Result<Option<CommitSha>, Fail> {
        self.world.repos.branch(app, branch).await.map_err(|e| super::fail::internal(&e))
    }

    async fn deploy(&self, who: &Who, id: &str) -> Result<Deploy, Fail> {
        let deploy = self.world.store.deploy(DeployId::parse(id)?).await?;
        who.must(Right::Deploy, Some(&deploy.app))?;
        Ok(deploy)
    }

    /// The key's name, or the user on the server.
    pub async fn asked_by(&self, deploy: &Deploy) -> Result<Option<String>, Fail> {
        let key = match deploy.by {
            Some(key) => self.world.store.key(key).await?.map(|k| k.name.to_string()),
            None => None,
        };
        Ok(key.or_else(|| who_asked(deploy.by_name.as_deref()?)))
    }

    async fn show_deploy(&self, deploy: &Deploy) -> Result<api::Deploy, Fail> {
        let by = self.asked_by(deploy).await?;
        Ok(api::Deploy {
            id: deploy.id,
            app: deploy.app.clone(),
            cause: cause(&deploy.origin),
            state: deploy.state.to_string(),
            commit: deploy.commit.clone(),
            release: deploy.release,
            by,
            created_at: deploy.created_at,
            ended_at: deploy.state.is_over().then_some(deploy.entered_at),
            why: deploy.failure.as_ref().map(|f| f.why.clone()),
        })
    }
}

/// A key that is gone is still known by its name.
fn who_asked(by_name: &str) -> Option<String> {
    Some(by_name.strip_prefix("key ").unwrap_or(by_name).to_owned()).filter(|name| !name.is_empty())
}

pub fn cause(origin: &Origin) -> api::DeployCause {
    match origin {
        Origin::Push { .. } => api::DeployCause::Push,
        Origin::Tarball { .. } => api::DeployCause::Tarball,
        Origin::Image { .. } => api::DeployCause::Image,
        Origin::Config => api::DeployCause::Config,
        Origin::Restart { .. } => api::DeployCause::Restart,
        Origin::Scale => api::DeployCause::Scale,
        Origin::Rollback { .. } => api::DeployCause::Rollback,
    }
}
