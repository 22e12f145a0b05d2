//! Errors of the domains → the six words of the API. `internal` is written out where it is meant.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use crate::api::error::{ApiError, ErrorCode};
use crate::deploys::admit::UploadError;
use crate::deploys::uploads::NoPlace;
use crate::docker::DockerError;
use crate::instances::lifecycle::InstanceError;
use crate::model::disk::Full;
use crate::names::BadName;
use crate::store::StoreError;

/// An answer that is not a success.
#[derive(Debug)]
pub struct Fail(pub ApiError);

impl Fail {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self(ApiError::new(code, message))
    }

    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Invalid, message)
    }

    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self(self.0.hint(hint))
    }
}

/// A request whose body is not what its call takes. serde's own words repeat what was sent, which may be a secret: only the place is told.
impl From<JsonRejection> for Fail {
    fn from(e: JsonRejection) -> Self {
        let text = e.body_text();
        let place = text.rfind(" at line ").map_or("", |at| &text[at..]);
        Self::invalid(match e {
            JsonRejection::JsonSyntaxError(_) => format!("the body is no JSON{place}"),
            JsonRejection::JsonDataError(_) => format!("the body is JSON, but not what this call takes{place}"),
            _ => "the body must be JSON, with its content type, and not too large".to_owned(),
        })
    }
}

impl IntoResponse for Fail {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(self.0)).into_response()
    }
}

impl From<BadName> for Fail {
    fn from(e: BadName) -> Self {
        Self::invalid(e.to_string())
    }
}

impl From<StoreError> for Fail {
    fn from(e: StoreError) -> Self {
        match e {
            StoreError::NotFound(what) => Self::new(ErrorCode::NotFound, what),
            StoreError::Conflict(why) => Self::new(ErrorCode::Conflict, why),
            StoreError::Taken { what } => Self::new(ErrorCode::Conflict, format!("{what} is taken")),
            StoreError::NoRoom => Self::new(ErrorCode::Unavailable, e.to_string()).hint(Full::HINT),
            other => internal(&other),
        }
    }
}

impl From<UploadError> for Fail {
    fn from(e: UploadError) -> Self {
        match e {
            UploadError::Store(e) => e.into(),
            UploadError::Keep { .. } => internal(&e),
        }
    }
}

impl From<NoPlace> for Fail {
    fn from(e: NoPlace) -> Self {
        Self::new(ErrorCode::Busy, e.to_string()).hint("send it again when one of them has ended")
    }
}

impl From<DockerError> for Fail {
    fn from(e: DockerError) -> Self {
        match e {
            e if e.is_unavailable() => Self::new(ErrorCode::Unavailable, e.to_string())
                .hint("`systemctl status docker` on the server; apps that run are served on"),
            DockerError::NotFound(what) => Self::new(ErrorCode::NotFound, what),
            DockerError::Conflict(why) => Self::new(ErrorCode::Conflict, why),
            // What was asked for cannot be started: the program is not in the image, or may not be run.
            DockerError::Api { status: 400, message, .. } => Self::invalid(message),
            other => internal(&other),
        }
    }
}

impl From<InstanceError> for Fail {
    fn from(e: InstanceError) -> Self {
        match e {
            InstanceError::Docker(e) => e.into(),
            InstanceError::Store(e) => e.into(),
            InstanceError::ImageGone { ref again, .. } => Self::new(ErrorCode::Conflict, e.to_string()).hint(again),
            other => Self::new(ErrorCode::Conflict, other.to_string()),
        }
    }
}

/// A defect or a broken host: logged here with its cause, told to the client in one line.
pub fn internal(error: &dyn std::error::Error) -> Fail {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    tracing::error!("an API call failed: {text}");
    Fail::new(ErrorCode::Internal, text).hint("the daemon's log on the server has more: `journalctl -u paas-daemon`")
}
