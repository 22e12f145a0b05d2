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
use crate::base::crash::{self, Point};
use crate::deploys::{source, uploads};
use crate::git::GitError;
use crate::manifest;
use crate::model::access::Right;
use crate::model::app::App;
use crate::model::deploy::{Deploy, Origin};
use crate::model::disk::Area;
use crate::names::{AppName, BranchName, CommitSha, DeployId};
use crate::store;

/// A paas.toml larger than this is not one.
const LARGEST_MANIFEST: usize = 256 << 10;

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
            let (sha256, part) = server.receive(&who, request.into_body()).await?;
            let new = server.new_deploy(&app, Origin::Tarball { sha256: sha256.clone() }, None, &who);
            server.world.admit_upload(&new, &sha256, &part).await?
        }
        None => {
            let body = axum::body::to_bytes(request.into_body(), 64 << 10).await.map_err(|e| Fail::invalid(e.to_string()))?;
            let new: NewDeploy = serde_json::from_slice(&body).map_err(|e| Fail::invalid(format!("the body: {e}")))?;
            match new {
                NewDeploy::Image(reference) => {
                    // Any image of the engine, another app's among them.
                    who.must(Right::Administer, Some(&name))?;
                    server.admit(&app, Origin::Image { reference }, None, &who).await?
                }
                NewDeploy::Restart(_) => {
                    who.must(Right::Operate, Some(&name))?;
                    server.admit(&app, Origin::Restart { process: None }, None, &who).await?
                }
                NewDeploy::Commit(commit) => {
                    server.world.disk.refuse("a build", Area::Docker, 0).await?;
                    server.deploy_commit(&app, commit, &who).await?
                }
            }
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

    /// Whether a change of the app's settings that has just been stored needs a deploy of its own: something serves without it, or may be about to.
    pub async fn goes_live_without(&self, app: &App) -> Result<bool, Fail> {
        // In this order. What is admitted after the first question reads what is stored, and what has gone live by then is seen by the second.
        let active = self.world.store.deploys_active_of(app.id).await?;
        Ok(!active.is_empty() || self.world.store.app_by_id(app.id).await?.live.is_some())
    }

    fn new_deploy(&self, app: &App, origin: Origin, commit: Option<CommitSha>, who: &Who) -> store::NewDeploy {
        store::NewDeploy { app_id: app.id, origin, commit, by: who.0.key_id(), by_name: who.name(), push: None }
    }

    /// Admits the deploy of a commit and keeps the commit for it; asked again for the same `push` it gives the same deploy. A commit that can't be
    /// kept (the error beside the deploy) is not to go live: its deploy is cancelled.
    pub async fn admit_commit(
        &self,
        app: &App,
        origin: Origin,
        commit: CommitSha,
        who: &Who,
        push: Option<String>,
    ) -> Result<(Deploy, Option<GitError>), Fail> {
        let new = store::NewDeploy { push, ..self.new_deploy(app, origin, Some(commit.clone()), who) };
        let deploy = self.world.admit(&new).await?;
        // The branch keeps the commit once the deploy is live; until then this ref does. Git removes nothing that is younger than a day, so the
        // moment between admission and pin loses nothing that was just pushed.
        let unkept = self.world.repos.pin(&app.name, &commit, deploy.id).await.err();
        if unkept.is_some() {
            // A power cut could take the commit, or git has removed it. One that is over by now stays as it is.
            let _ = self.ask_cancel(&deploy, who).await;
        }
        crash::point(Point::CommitPinned);
        // One that was over in no time (or was asked for again) has been unpinned already.
        if self.world.store.deploy(deploy.id).await.is_ok_and(|now| now.state.is_over()) {
            self.world.unpin(&deploy).await;
        }
        Ok((deploy, unkept))
    }

    /// Conflict if it is over.
    pub async fn ask_cancel(&self, deploy: &Deploy, who: &Who) -> Result<Deploy, Fail> {
        let deploy = self.world.store.deploy_ask_cancel(deploy.id, &who.name()).await?;
        self.world.cancels.cancel(deploy.id);
        self.world.wakeups.wake(deploy.app_id);
        Ok(deploy)
    }

    /// Streams an upload through the strict reader into the builds folder; gives the name of its content, and where it lies.
    async fn receive(&self, who: &Who, body: Body) -> Result<(String, PathBuf), Fail> {
        let _place = self.world.uploads.take(&who.name()).await?;
        let bytes = body.into_data_stream().map_err(std::io::Error::other);
        let reader = tokio_util::io::StreamReader::new(bytes);
        let part = self.world.config.builds_dir().join(format!("upload-{}.tar", self.world.serial()));
        let reading = self.world.builder.receive_source(Box::pin(reader), &part, true);
        let Ok(received) = tokio::time::timeout(uploads::LIMIT, reading).await else {
            let fail = Fail::invalid(format!("the upload was not whole after {} hours", uploads::LIMIT.as_secs() / 3600));
            return Err(fail.hint("send less: leave out what can be built or fetched"));
        };
        let received = received.map_err(|e| {
            let fail = Fail::invalid(e.to_string());
            match e.hint() {
                Some(hint) => fail.hint(hint),
                None => fail,
            }
        })?;
        Ok((received.sha256, part))
    }

    /// Deploys a commit that was pushed before.
    async fn deploy_commit(&self, app: &App, commit: CommitSha, who: &Who) -> Result<Deploy, Fail> {
        if self.world.repos.require_commit(&app.name, &commit).await.is_err() {
            let fail = Fail::new(ErrorCode::NotFound, format!("app `{}` has no commit {commit}", app.name));
            return Err(fail.hint("push it first: git push deploy main"));
        }
        let branch = self.branch_of(&app.name, &commit).await;
        let old = self.branch(&app.name, &branch).await?;
        match self.admit_commit(app, Origin::Push { branch, old }, commit, who, None).await? {
            (deploy, None) => Ok(deploy),
            (deploy, Some(e)) => {
                let fail = Fail::new(ErrorCode::Internal, format!("the commit can't be kept: {e}"));
                Err(fail.hint(format!("`paas deploys info {}` tells what became of its deploy", deploy.id)))
            }
        }
    }

    /// The branch from which a commit is deployed: what its own paas.toml names, else `main`.
    pub async fn branch_of(&self, app: &AppName, commit: &CommitSha) -> BranchName {
        let read = self.world.repos.read_file(app, commit, "paas.toml", LARGEST_MANIFEST).await;
        let text = read.ok().flatten().and_then(|bytes| String::from_utf8(bytes).ok());
        // A manifest with a mistake deploys from the default branch, and fails there with the mistake named.
        let manifest = text.and_then(|paas_toml| manifest::deploy_branch(&paas_toml).ok().flatten());
        manifest.unwrap_or_else(source::default_branch)
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

#[cfg(test)]
mod tests;
