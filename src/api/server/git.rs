//! `POST /git/session`: may this key push to (or fetch from) this app, and where is its repository?

use axum::Json;
use axum::extract::State;

use super::Server;
use super::access::Who;
use super::fail::{Fail, internal};
use crate::api::error::ErrorCode;
use crate::api::types::git::{GitService, Session, SessionRequest};
use crate::base::crash::{self, Point};
use crate::model::access::Right;
use crate::model::disk::Area;

/// Bytes that any push may bring.
const LEAST_PUSH: u64 = 1 << 20;

pub async fn session(State(server): State<Server>, who: Who, Json(ask): Json<SessionRequest>) -> Result<Json<Session>, Fail> {
    who.must(Right::Deploy, Some(&ask.app))?;
    crash::point(Point::KeyChecked);
    let known = server.world.store.app(&ask.app).await.is_ok();
    if ask.service == GitService::ReceivePack {
        // Before the app is made and git reads its first byte. How much will come, nobody knows: the rest is git's limit below.
        server.world.disk.refuse("a push", Area::State, LEAST_PUSH).await?;
        server.world.disk.refuse("a push", Area::Docker, 0).await?;
    }
    let app = match ask.service {
        GitService::ReceivePack => server.app_or_new(&ask.app, &who).await?,
        GitService::UploadPack => server.world.store.app(&ask.app).await?,
    };
    if app.destroying {
        return Err(Fail::new(ErrorCode::Conflict, format!("app `{}` is being destroyed", app.name)));
    }
    server.world.repos.ensure(&app.name).await.map_err(|e| internal(&e))?;
    crash::point(Point::RepoMade);
    // A fetch writes nothing else: it works on a full disk too.
    if let Some(key) = who.0.key_id()
        && server.world.disk.store_has_room()
    {
        server.world.store.key_used(key).await?;
    }
    let config = &server.world.config;
    Ok(Json(Session {
        repo: config.repo(&app.name),
        hooks: config.hooks_dir(),
        push_bytes: config.limits.push_bytes.min(server.world.disk.room_for_state()).max(LEAST_PUSH),
        created: !known,
    }))
}
