//! `GET /apps/{app}/releases`, `POST /apps/{app}/rollback` (answers with a stream of [`super::deploys::DeployEvent`]).

use serde::{Deserialize, Serialize};

use super::deploys::DeployCause;
use crate::base::clock::UnixMillis;
use crate::names::{CommitSha, DeployId, ReleaseNumber};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Release {
    pub number: ReleaseNumber,
    pub live: bool,
    pub commit: Option<CommitSha>,
    pub deploy: DeployId,
    pub cause: DeployCause,
    /// What changed, in a few words: "set DATABASE_URL", "rollback to v3".
    pub what: Option<String>,
    pub by: Option<String>,
    pub created_at: UnixMillis,
    /// Whether its image is still there, so that a rollback to it is possible.
    pub image_kept: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rollback {
    /// None: the release that was live before the present one.
    #[serde(default)]
    pub to: Option<ReleaseNumber>,
}
