//! Whether the engine answers. One watcher asks and notes it here; every other call reads it, so that none waits for an engine that hangs.

use std::time::{Duration, Instant};

use super::client::Docker;
use super::error::{DockerError, root_cause};

/// An engine that takes a connection and gives no sign of life for so long hangs. It answers a ping without any lock, within milliseconds.
pub const PING_LIMIT: Duration = Duration::from_secs(5);

/// What is known of the engine.
#[derive(Debug, Clone)]
pub enum Health {
    /// Nobody has asked yet.
    Unknown,
    Answers,
    /// Its socket is not there, or refuses.
    Away {
        since: Instant,
        why: String,
    },
    /// It takes connections and does not answer.
    Hangs {
        since: Instant,
    },
}

impl Health {
    pub fn is_bad(&self) -> bool {
        matches!(self, Health::Away { .. } | Health::Hangs { .. })
    }

    /// One phrase for people; None while there is nothing to tell.
    pub fn complaint(&self) -> Option<String> {
        let ago = |since: &Instant| humantime::format_duration(Duration::from_secs(since.elapsed().as_secs())).to_string();
        match self {
            Health::Unknown | Health::Answers => None,
            Health::Away { since, why } => Some(format!("Docker is not running or not reachable since {} ({why})", ago(since))),
            Health::Hangs { since } => Some(format!("Docker hangs: it takes calls and answers none since {}", ago(since))),
        }
    }
}

impl Docker {
    pub fn health(&self) -> Health {
        self.noted().borrow().clone()
    }

    /// Asks for a sign of life and notes the answer for everybody. To be called by the one who watches; the state before it is given.
    /// Cancel-safe: yes; what was not answered is not noted.
    pub async fn ping(&self) -> (Health, Health) {
        let before = self.health();
        let path = self.socket().to_string_lossy().into_owned();
        let asked = async {
            // Without a version: the one thing that every engine answers.
            bollard::Docker::connect_with_unix(&path, PING_LIMIT.as_secs(), bollard::API_DEFAULT_VERSION)?.ping().await
        };
        let since = || match &before {
            Health::Away { since, .. } | Health::Hangs { since } => *since,
            Health::Unknown | Health::Answers => Instant::now(),
        };
        let now = match tokio::time::timeout(PING_LIMIT, asked).await {
            Ok(Ok(_)) => Health::Answers,
            Err(_) => Health::Hangs { since: since() },
            Ok(Err(error)) => match DockerError::from_bollard(error, "asking for a sign of life", PING_LIMIT) {
                DockerError::TimedOut { .. } => Health::Hangs { since: since() },
                DockerError::Unavailable(why) => Health::Away { since: since(), why },
                // It answers, if only with an error.
                DockerError::Api { .. } | DockerError::NotFound(_) => Health::Answers,
                other => Health::Away { since: since(), why: root_cause(&other) },
            },
        };
        // Another engine may answer now: its version is asked for anew.
        if now.is_bad() || before.is_bad() {
            self.forget_version();
        }
        self.noted().send_replace(now.clone());
        (before, now)
    }

    /// Ends when the watcher has found that the engine hangs or is away; at once if it is so now.
    pub(super) async fn found_bad(&self) -> DockerError {
        let mut noted = self.noted().subscribe();
        // The sender lives as long as this handle.
        let _ = noted.wait_for(Health::is_bad).await;
        let why = noted.borrow().complaint();
        DockerError::Unavailable(why.unwrap_or_else(|| "it did not answer a moment ago".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_said_with_how_long_it_is_so() {
        let since = Instant::now().checked_sub(Duration::from_secs(75)).expect("the machine runs for longer");
        assert_eq!(Health::Answers.complaint(), None);
        let away = Health::Away { since, why: "no socket at /x".to_owned() };
        assert_eq!(away.complaint().as_deref(), Some("Docker is not running or not reachable since 1m 15s (no socket at /x)"));
        assert!(Health::Hangs { since }.complaint().is_some_and(|c| c.contains("hangs") && c.contains("1m 15s")));
    }
}
