//! `/alerts`

use axum::Json;
use axum::extract::State;

use super::Server;
use super::access::Who;
use super::fail::Fail;
use crate::api::types::alerts::{Alert, Sent};
use crate::model;
use crate::model::access::Right;

/// How many of those that are over are shown.
const RECENT: u32 = 20;

pub async fn list(State(server): State<Server>, who: Who) -> Result<Json<Vec<Alert>>, Fail> {
    who.must(Right::Administer, None)?;
    Ok(Json(server.world.alerts.list(RECENT).await?.into_iter().map(shown).collect()))
}

pub async fn test(State(server): State<Server>, who: Who) -> Result<Json<Vec<Sent>>, Fail> {
    who.must(Right::Administer, None)?;
    let sent = server.world.alerts.test().await;
    if sent.is_empty() {
        return Err(Fail::invalid("the host config names nobody who is told of alerts")
            .hint("set `webhook` or `exec` under [alerts] in /etc/paas/paas.toml, then restart paas-daemon"));
    }
    Ok(Json(sent.into_iter().map(|(sink, done)| Sent { to: sink.as_str().to_owned(), error: done.err() }).collect()))
}

pub(super) fn shown(alert: model::alert::Alert) -> Alert {
    Alert {
        id: alert.id,
        kind: alert.kind.as_str().to_owned(),
        subject: alert.subject,
        text: alert.text,
        hint: alert.hint,
        raised_at: alert.raised_at,
        cleared_at: alert.cleared_at,
    }
}
