//! `/apps`

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};

use super::Server;
use super::access::Who;
use super::fail::{Fail, internal};
use crate::api::error::ErrorCode;
use crate::api::types::apps::{App, Destroyed, NewApp, ProcessCount};
use crate::base::crash::{self, Point};
use crate::instances::net;
use crate::model;
use crate::model::access::Right;
use crate::model::instance::Wanted;
use crate::model::release::default_count;
use crate::names::AppName;
use crate::routes::table;

pub async fn list(State(server): State<Server>, who: Who) -> Result<Json<Vec<App>>, Fail> {
    let mut apps = Vec::new();
    for app in server.world.store.apps().await? {
        if who.0.may(Right::Deploy, Some(&app.name)) {
            apps.push(server.show(&app).await?);
        }
    }
    Ok(Json(apps))
}

pub async fn create(State(server): State<Server>, who: Who, Json(new): Json<NewApp>) -> Result<Json<App>, Fail> {
    who.must(Right::Create, Some(&new.name))?;
    let app = server.create_app(&new.name, &who).await?;
    Ok(Json(server.show(&app).await?))
}

pub async fn info(State(server): State<Server>, who: Who, path: Path<String>) -> Result<Json<App>, Fail> {
    let app = server.app(&who, Right::Deploy, path).await?;
    Ok(Json(server.show(&app).await?))
}

pub async fn destroy(State(server): State<Server>, who: Who, path: Path<String>) -> Result<Json<Destroyed>, Fail> {
    let app = server.app(&who, Right::Operate, path).await?;
    let instances = server.world.store.instances_of(app.id).await?.len();
    server.world.destroy(&app, &who.name()).await?;
    // Draining is not waited for: the app's owner has said that it shall go.
    if !server.world.destroyed(&app, Duration::from_secs(120)).await {
        return Err(
            Fail::new(ErrorCode::Busy, format!("app `{}` is still being destroyed", app.name)).hint("it goes on by itself")
        );
    }
    Ok(Json(Destroyed { app: app.name, instances: u32::try_from(instances).unwrap_or(u32::MAX) }))
}

impl Server {
    /// The row, the repository, the routes (an app without a release answers that nothing serves yet).
    pub async fn create_app(&self, name: &AppName, who: &Who) -> Result<model::app::App, Fail> {
        if let Some(host) = table::own_host(name, self.world.config.domain.as_ref())
            && let Some(owner) = self.owner_of(&host).await?
        {
            // Of the app itself that is the plain word about its name, from the store.
            if owner != *name {
                return Err(
                    Fail::new(ErrorCode::Conflict, format!("`{host}` is a domain of another app")).hint("choose another name")
                );
            }
        }
        let capacity = net::capacity(self.world.config.docker.subnets.1);
        let app = self.world.store.app_create(name, &who.name(), capacity).await?;
        crash::point(Point::AppRecorded);
        self.world.repos.ensure(name).await.map_err(|e| internal(&e))?;
        crate::deploys::driver::drive(&self.world, app.id);
        if let Err(e) = self.world.publisher.publish().await {
            tracing::warn!(app = %name, "publishing the new app: {e}");
        }
        crash::point(Point::AppPublished);
        tracing::info!(app = %name, by = who.name(), "app {name} is created");
        Ok(app)
    }

    async fn show(&self, app: &model::app::App) -> Result<App, Fail> {
        let store = &self.world.store;
        let release = match app.live {
            Some(number) => Some(store.release(app.id, number).await?),
            None => None,
        };
        let rows = store.instances_of(app.id).await?;
        let scale = store.scale(app.id).await?;
        let processes = release.as_ref().map(model::release::Release::processes).unwrap_or_default();
        let processes = processes.iter().map(|process| ProcessCount {
            process: process.name.clone(),
            wanted: scale.get(&process.name).copied().unwrap_or_else(|| default_count(process)),
            running: u32::try_from(rows.iter().filter(|i| i.process == process.name && i.wanted == Wanted::Live).count())
                .unwrap_or(0),
        });
        let deploy = store.deploys_active_of(app.id).await?.first().map(|d| d.id);
        Ok(App {
            name: app.name.clone(),
            created_at: app.created_at,
            urls: self.world.urls(app).await,
            git_url: self.git_url(&app.name),
            release: app.live,
            commit: release.as_ref().and_then(|r| r.commit.clone()),
            released_at: release.as_ref().map(|r| r.created_at),
            deploy,
            processes: processes.collect(),
            domains: self.domains_of(app).await?,
        })
    }

    /// `paas@host:shop`, or with a port its long form.
    fn git_url(&self, app: &AppName) -> Option<String> {
        let config = &self.world.config;
        let host = config.ssh.host.as_ref()?;
        let login = &config.users.login;
        Some(match config.ssh.port {
            22 => format!("{login}@{host}:{app}"),
            port => format!("ssh://{login}@{host}:{port}/{app}"),
        })
    }
}
