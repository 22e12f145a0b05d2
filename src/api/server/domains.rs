//! `/apps/{app}/domains`

use axum::Json;
use axum::extract::{Path, State};

use super::Server;
use super::access::Who;
use super::fail::Fail;
use crate::api::error::ErrorCode;
use crate::api::types::domains::{Domain, DomainOrigin, NewDomain};
use crate::model;
use crate::model::access::Right;
use crate::names::{AppName, Hostname};

pub async fn list(State(server): State<Server>, who: Who, path: Path<String>) -> Result<Json<Vec<Domain>>, Fail> {
    let app = server.app(&who, Right::Deploy, path).await?;
    Ok(Json(server.domains_of(&app).await?))
}

pub async fn add(
    State(server): State<Server>,
    who: Who,
    path: Path<String>,
    Json(new): Json<NewDomain>,
) -> Result<Json<Domain>, Fail> {
    let app = server.app(&who, Right::Operate, path).await?;
    server.refuse_taken(&app, &new.host, &who).await?;
    if new.redirect_to.as_ref() == Some(&new.host) {
        return Err(Fail::invalid(format!("`{}` cannot redirect to itself", new.host)));
    }
    server.world.store.domain_add(&app, &new.host, new.redirect_to.as_ref(), &who.name()).await?;
    server.publish_routes().await?;
    Ok(Json(Domain { host: new.host, origin: DomainOrigin::Added, redirect_to: new.redirect_to }))
}

pub async fn remove(
    State(server): State<Server>,
    who: Who,
    Path((app, host)): Path<(String, String)>,
) -> Result<Json<Domain>, Fail> {
    let app = server.app(&who, Right::Operate, Path(app)).await?;
    let host = Hostname::parse(&host)?;
    let removed = server.domains_of(&app).await?.into_iter().find(|d| d.host == host);
    server.world.store.domain_remove(&app, &host, &who.name()).await?;
    server.publish_routes().await?;
    Ok(Json(removed.unwrap_or(Domain { host, origin: DomainOrigin::Added, redirect_to: None })))
}

impl Server {
    pub async fn domains_of(&self, app: &model::app::App) -> Result<Vec<Domain>, Fail> {
        let mut all = vec![Domain { host: self.world.own_host(app), origin: DomainOrigin::Host, redirect_to: None }];
        for domain in self.world.store.domains().await?.into_iter().filter(|d| d.app == app.name) {
            let origin = if domain.from_manifest { DomainOrigin::Manifest } else { DomainOrigin::Added };
            all.push(Domain { host: domain.host, origin, redirect_to: domain.redirect_to });
        }
        Ok(all)
    }

    /// The app that answers at `host`, by its own name or by a domain of its own.
    pub async fn owner_of(&self, host: &Hostname) -> Result<Option<AppName>, Fail> {
        let added = self.world.store.domains().await?.into_iter().find(|d| d.host == *host).map(|d| d.app);
        let apps = self.world.store.apps().await?;
        Ok(added.or_else(|| apps.into_iter().find(|app| self.world.own_host(app) == *host).map(|app| app.name)))
    }

    /// One host name, one app. Who may not see the owner is not told its name.
    async fn refuse_taken(&self, app: &model::app::App, host: &Hostname, who: &Who) -> Result<(), Fail> {
        match self.owner_of(host).await? {
            None => Ok(()),
            Some(owner) if owner == app.name && *host != self.world.own_host(app) => Ok(()),
            Some(owner) if owner == app.name => {
                Err(Fail::new(ErrorCode::Conflict, format!("app `{owner}` answers at `{host}` already")))
            }
            Some(owner) => {
                let named =
                    if who.0.may(Right::Deploy, Some(&owner)) { format!("app `{owner}`") } else { "another app".to_owned() };
                let fail = Fail::new(ErrorCode::Conflict, format!("the domain `{host}` belongs to {named}"));
                Err(fail.hint(format!("take it away there first: paas domains remove {host} -a …")))
            }
        }
    }

    pub async fn publish_routes(&self) -> Result<(), Fail> {
        let published = self.world.publisher.publish().await;
        published.map_err(|e| Fail::new(ErrorCode::Unavailable, format!("stored, but not routed yet: {e}")))
    }
}
