//! What an experienced operator would look at on a host, and what to do about each thing that is not right.
//!
//! Owns: the judgements (pure, over collected facts) and the collecting of facts about the host. Uses: config, docker, store, the supervisor's status.
//! Never: changes anything; asks a shell; needs the daemon (what only the daemon knows is asked of it by `daemon::doctor`).
//! Invariant: every finding that is not fine says what to do, and a fact that could not be had is said to be unknown, not fine.

pub mod drift; // store, routes and Docker against each other
pub mod engine; // the Docker engine
pub mod host; // disk, clock, ports, kernel
pub mod login; // users, files, sshd
pub mod look; // collecting: files and programs of the host
pub mod running; // units, or the supervisor's roles

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Ok,
    /// It works, and could be better or is unknown.
    Warning,
    /// A promise of paas does not hold until this is mended.
    Problem,
}

impl Level {
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Warning => "warning",
            Level::Problem => "problem",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub level: Level,
    /// `docker`, `disk`, `clock`, `ports`, `ssh`, `users`, `files`, `processes`, `store`, `routes`, `kernel`, `security`, `alerts`, `certs`.
    pub area: String,
    /// What was found, in one line.
    pub found: String,
    /// What to do: one command where one will do. Empty only if all is well.
    pub todo: String,
}

pub fn ok(area: &str, found: impl Into<String>) -> Finding {
    Finding { level: Level::Ok, area: area.to_owned(), found: found.into(), todo: String::new() }
}

pub fn warning(area: &str, found: impl Into<String>, todo: impl Into<String>) -> Finding {
    Finding { level: Level::Warning, area: area.to_owned(), found: found.into(), todo: todo.into() }
}

pub fn problem(area: &str, found: impl Into<String>, todo: impl Into<String>) -> Finding {
    Finding { level: Level::Problem, area: area.to_owned(), found: found.into(), todo: todo.into() }
}

#[cfg(test)]
mod tests;
