//! `GET, POST /apps`, `GET, DELETE /apps/{app}`.

use serde::{Deserialize, Serialize};

use super::domains::Domain;
use crate::base::clock::UnixMillis;
use crate::names::{AppName, CommitSha, DeployId, ProcessName, ReleaseNumber};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewApp {
    pub name: AppName,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct App {
    pub name: AppName,
    pub created_at: UnixMillis,
    /// Where it answers, the best one first.
    pub urls: Vec<String>,
    /// What `git remote add deploy …` takes.
    pub git_url: Option<String>,
    /// The live release; none before the first deploy.
    pub release: Option<ReleaseNumber>,
    pub commit: Option<CommitSha>,
    pub released_at: Option<UnixMillis>,
    /// The deploy that is under way.
    pub deploy: Option<DeployId>,
    pub processes: Vec<ProcessCount>,
    pub domains: Vec<Domain>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessCount {
    pub process: ProcessName,
    pub wanted: u32,
    pub running: u32,
}

/// The answer to `DELETE /apps/{app}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destroyed {
    pub app: AppName,
    pub instances: u32,
}
