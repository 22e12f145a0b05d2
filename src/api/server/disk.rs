//! `GET /disk`, and the refusal of what cannot be noted any more.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Server;
use super::access::Who;
use super::fail::Fail;
use crate::api::error::ErrorCode;
use crate::api::types::disk::{Disk, Filesystem, Use};
use crate::model::access::Right;
use crate::model::disk::{Full, Space};

pub async fn disk(State(server): State<Server>, who: Who) -> Result<Json<Disk>, Fail> {
    who.must(Right::Administer, None)?;
    let disk = &server.world.disk;
    let mut filesystems = Vec::new();
    for space in disk.spaces().await {
        let uses = disk.uses(&space).await;
        let uses = uses.into_iter().map(|u| Use { area: u.area.as_str().to_owned(), what: u.what.to_owned(), bytes: u.bytes });
        filesystems.push(shown(&space, uses.collect()));
    }
    Ok(Json(Disk { filesystems, rows: disk.rows().await? }))
}

/// With what is left to explain: files of others, and blocks that the filesystem keeps for root.
fn shown(space: &Space, mut uses: Vec<Use>) -> Filesystem {
    let known: u64 = uses.iter().filter_map(|u| u.bytes).sum();
    let rest = space.total.saturating_sub(space.free).saturating_sub(known);
    uses.push(Use { area: "other".to_owned(), what: "everything else".to_owned(), bytes: Some(rest) });
    Filesystem {
        path: space.path.display().to_string(),
        holds: space.holds.iter().map(|area| area.as_str().to_owned()).collect(),
        total: space.total,
        free: space.free,
        reserve: space.reserve,
        ok: !space.is_below_reserve(),
        uses,
    }
}

/// Refuses changes that the store has no room for. Questions are answered, and so is what gives space back or writes nothing itself.
pub async fn room_for_changes(State(server): State<Server>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let asks = matches!(*request.method(), Method::GET | Method::HEAD);
    // Both of git have their own check; a push may only want the rest of the events of a deploy.
    let has_its_own = path.starts_with("/git/");
    let frees = *request.method() == Method::DELETE || path.ends_with("/exec");
    if asks || has_its_own || frees || server.world.disk.store_has_room() {
        return next.run(request).await;
    }
    let message = "the disk of the server is full: the change could not be noted, so nothing was done";
    Fail::new(ErrorCode::Unavailable, message).hint(Full::HINT).into_response()
}

impl From<Full> for Fail {
    fn from(full: Full) -> Self {
        Self::new(ErrorCode::Unavailable, full.to_string()).hint(Full::HINT)
    }
}
