//! What can go wrong with the engine, by what a caller does about it.

use std::time::Duration;

use bollard::errors::Error as Bollard;

/// An engine call that did not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DockerError {
    /// The engine cannot be reached. Callers wait and try again; nothing is known about what the call did.
    #[error("the Docker engine is not reachable: {0}")]
    Unavailable(String),
    /// The object does not exist.
    #[error("not found: {0}")]
    NotFound(String),
    /// The name is taken by an object that is not ours, or the object is in the wrong state.
    #[error("conflict: {0}")]
    Conflict(String),
    /// A network's subnet overlaps with one that exists. Callers allot another.
    #[error("the subnet is in use: {0}")]
    SubnetTaken(String),
    /// The engine did not answer in time. The call may still take effect.
    #[error("{act}: no answer from the Docker engine within {} s", .after.as_secs())]
    TimedOut { act: String, after: Duration },
    /// The engine refused, with its HTTP status and its own words.
    #[error("{act}: the Docker engine answered {status}: {message}")]
    Api { status: u16, message: String, act: String },
    /// The engine's answer could not be understood, or its stream broke off.
    #[error("{act}: {message}")]
    Protocol { message: String, act: String },
}

impl DockerError {
    /// Whether waiting and asking again can help.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, DockerError::Unavailable(_) | DockerError::TimedOut { .. })
    }

    pub fn is_not_found(&self) -> bool {
        matches!(self, DockerError::NotFound(_))
    }

    /// Maps an HTTP status of the engine. 409 is also "container is not running" for exec and kill.
    pub(super) fn from_status(status: u16, message: String, act: &str) -> Self {
        match status {
            404 => DockerError::NotFound(message),
            409 => DockerError::Conflict(message),
            503 => DockerError::Unavailable(message),
            _ => DockerError::Api { status, message, act: act.to_owned() },
        }
    }

    pub(super) fn from_bollard(error: Bollard, act: &str, after: Duration) -> Self {
        match error {
            Bollard::DockerResponseServerError { status_code, message } => Self::from_status(status_code, message, act),
            Bollard::RequestTimeoutError => DockerError::TimedOut { act: act.to_owned(), after },
            Bollard::SocketNotFoundError(path) => DockerError::Unavailable(format!("no socket at {path}")),
            Bollard::HyperLegacyError { err } if err.is_connect() => DockerError::Unavailable(root_cause(&err)),
            Bollard::HyperLegacyError { err } => DockerError::Unavailable(format!("{act}: {}", root_cause(&err))),
            Bollard::HyperResponseError { err } => DockerError::Unavailable(format!("{act}: {}", root_cause(&err))),
            Bollard::IOError { err } => DockerError::Unavailable(format!("{act}: {err}")),
            Bollard::DockerStreamError { error } => DockerError::Protocol { message: error, act: act.to_owned() },
            other => DockerError::Protocol { message: other.to_string(), act: act.to_owned() },
        }
    }
}

/// The innermost message: the outer ones only say "client error".
pub(super) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(next) = inner.source() {
        inner = next;
    }
    inner.to_string()
}
