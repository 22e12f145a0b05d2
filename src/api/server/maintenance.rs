//! `/apps/{app}/maintenance`

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};

use super::Server;
use super::access::Who;
use super::fail::Fail;
use crate::api::types::maintenance::{LONGEST_HOLD, LONGEST_MESSAGE, Maintenance, SetMaintenance};
use crate::base::clock::UnixMillis;
use crate::model;
use crate::model::access::Right;
use crate::names::AppName;

pub async fn show(State(server): State<Server>, who: Who, path: Path<String>) -> Result<Json<Maintenance>, Fail> {
    let app = server.app(&who, Right::Deploy, path).await?;
    let found = server.world.store.maintenance(app.id).await?;
    Ok(Json(shown(&app.name, found.as_ref())))
}

pub async fn set(
    State(server): State<Server>,
    who: Who,
    path: Path<String>,
    Json(asked): Json<SetMaintenance>,
) -> Result<Json<Maintenance>, Fail> {
    let app = server.app(&who, Right::Operate, path).await?;
    let store = &server.world.store;
    if asked.on {
        let message = asked.message.map(|m| m.trim().to_owned()).filter(|m| !m.is_empty());
        let plain = |m: &String| m.len() <= LONGEST_MESSAGE && !m.chars().any(|c| c.is_control() && c != '\n');
        if !message.as_ref().is_none_or(plain) {
            return Err(Fail::invalid(format!("the message must be plain text of at most {LONGEST_MESSAGE} bytes")));
        }
        if asked.hold_ms > LONGEST_HOLD {
            return Err(Fail::invalid(format!("requests can be held for at most {} minutes", LONGEST_HOLD / 60_000)));
        }
        let hold = Duration::from_millis(asked.hold_ms);
        let wanted = model::maintenance::Maintenance { message, hold, since: UnixMillis::now(), by: who.name() };
        store.maintenance_set(&app, &wanted).await?;
    } else {
        store.maintenance_clear(&app, &who.name()).await?;
    }
    server.publish_routes().await?;
    let found = store.maintenance(app.id).await?;
    Ok(Json(shown(&app.name, found.as_ref())))
}

pub fn shown(app: &AppName, found: Option<&model::maintenance::Maintenance>) -> Maintenance {
    Maintenance {
        app: app.clone(),
        since: found.map(|m| m.since),
        by: found.map(|m| m.by.clone()).unwrap_or_default(),
        message: found.and_then(|m| m.message.clone()),
        hold_ms: found.map_or(0, |m| u64::try_from(m.hold.as_millis()).unwrap_or(u64::MAX)),
    }
}
