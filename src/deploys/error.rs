//! Why a step cannot go on, in the terms of the driver.

use crate::builds::BuildError;
use crate::docker::{DockerError, is_no_space};
use crate::instances::lifecycle::InstanceError;
use crate::model::disk::Full;
use crate::routes::publisher::PublishError;
use crate::store::StoreError;

/// Why a step cannot go on. The driver turns it into Failed, or waits where the engine is away.
#[derive(Debug)]
pub enum StepError {
    Failed {
        why: String,
        last_lines: Vec<String>,
        next: String,
    },
    Cancelled,
    /// There is nothing left for it to do, and nothing is wrong with it: it ends as Cancelled, with this reason.
    Moot(String),
    /// Docker does not answer: nothing is wrong with the deploy.
    EngineAway(String),
    /// Somebody else moved the row: look again.
    Raced(String),
}

impl StepError {
    pub fn new(why: &str, next: &str) -> Self {
        Self::Failed { why: why.to_owned(), last_lines: Vec::new(), next: next.to_owned() }
    }

    /// What is wrong and what to do about it, each in a line; nothing to be done is empty.
    pub fn told(&self) -> (String, String) {
        match self {
            Self::Failed { why, next, .. } => (why.clone(), next.clone()),
            Self::Cancelled => ("it was cancelled".to_owned(), String::new()),
            Self::Moot(why) | Self::EngineAway(why) | Self::Raced(why) => (why.clone(), String::new()),
        }
    }
}

impl From<StoreError> for StepError {
    fn from(e: StoreError) -> Self {
        match e {
            StoreError::Conflict(why) => Self::Raced(why),
            // The next look waits for room.
            StoreError::NoRoom => Self::Raced(e.to_string()),
            StoreError::Taken { what } => Self::new(&format!("{what} is taken"), "paas domains list"),
            other => Self::new(&other.to_string(), "paas status"),
        }
    }
}

impl From<Full> for StepError {
    fn from(full: Full) -> Self {
        Self::new(&full.to_string(), Full::HINT)
    }
}

impl From<DockerError> for StepError {
    fn from(e: DockerError) -> Self {
        match e {
            DockerError::Unavailable(why) => Self::EngineAway(why),
            // One that was busy for too long is asked again, as every step looks before it makes.
            DockerError::TimedOut { .. } => Self::EngineAway(e.to_string()),
            full if is_no_space(&full.to_string()) => Self::new(&full.to_string(), Full::HINT),
            other => Self::new(&other.to_string(), "push again; if it stays, look at `paas status` on the server"),
        }
    }
}

impl From<InstanceError> for StepError {
    fn from(e: InstanceError) -> Self {
        match e {
            InstanceError::Docker(e) => e.into(),
            InstanceError::Store(e) => e.into(),
            InstanceError::ImageGone { ref again, .. } => Self::new(&e.to_string(), again),
            other => Self::new(&whole(&other), "push again; if it stays, look at `paas status` on the server"),
        }
    }
}

/// With what lies behind it: an error of the system says the most.
fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

impl From<PublishError> for StepError {
    fn from(e: PublishError) -> Self {
        match e {
            PublishError::Store(e) => e.into(),
            // As a full store: the next look waits for room.
            PublishError::NoRoom => Self::Raced(e.to_string()),
            PublishError::Proxy(e) => {
                Self::new(&e.to_string(), "check the proxy on the server with `paas status`, then push again")
            }
        }
    }
}

impl From<BuildError> for StepError {
    fn from(e: BuildError) -> Self {
        if e.is_cancelled() {
            return Self::Cancelled;
        }
        if let Some(why) = e.engine_away() {
            return Self::EngineAway(why);
        }
        let next = e.hint().unwrap_or_else(|| "mend it and push again".to_owned());
        Self::Failed { why: e.to_string(), last_lines: e.last_lines(), next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_fills_in_the_middle_of_a_step_fails_no_deploy() {
        for error in
            [StepError::from(StoreError::NoRoom), PublishError::NoRoom.into(), PublishError::Store(StoreError::NoRoom).into()]
        {
            assert!(matches!(error, StepError::Raced(_)), "{error:?}");
        }
    }
}
