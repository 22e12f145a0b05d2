//! `/apps/{app}/crashes`

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use tokio_util::io::ReaderStream;

use super::Server;
use super::access::Who;
use super::fail::{Fail, internal};
use crate::api::error::ErrorCode;
use crate::api::types::crashes::CrashFile;
use crate::model::access::Right;
use crate::names::CrashId;

pub async fn list(State(server): State<Server>, who: Who, path: Path<String>) -> Result<Json<Vec<CrashFile>>, Fail> {
    let app = server.app(&who, Right::Deploy, path).await?;
    let kept = server.world.store.crash_files(app.id).await?;
    let show = |file: crate::model::crash::CrashFile| CrashFile {
        id: file.id,
        at: file.at,
        name: format!("{}.{}", file.process, file.index),
        release: file.release,
        path: file.path,
        bytes: file.bytes,
    };
    Ok(Json(kept.into_iter().map(show).collect()))
}

/// The right to operate, as a dump of memory holds config and users' data.
pub async fn get(State(server): State<Server>, who: Who, Path((app, id)): Path<(String, String)>) -> Result<Response, Fail> {
    let app = server.app(&who, Right::Operate, Path(app)).await?;
    let id = CrashId::parse(&id)?;
    let known = server.world.store.crash_files(app.id).await?.into_iter().any(|file| file.id == id);
    let gone = || {
        Fail::new(ErrorCode::NotFound, format!("app `{}` has no crash file {id}", app.name))
            .hint("`paas crashes list` shows them")
    };
    if !known {
        return Err(gone());
    }
    match tokio::fs::File::open(server.world.instances.crash_file_path(&app.name, id)).await {
        Ok(file) => Ok(Body::from_stream(ReaderStream::new(file)).into_response()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(gone()),
        Err(e) => Err(internal(&e)),
    }
}
