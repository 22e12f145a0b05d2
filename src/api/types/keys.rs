//! `GET, POST /keys`, `DELETE /keys/{name}`.

use serde::{Deserialize, Serialize};

use crate::base::clock::UnixMillis;
use crate::names::{AppName, KeyId, KeyName};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    pub name: KeyName,
    /// One line as in an `id_ed25519.pub`.
    pub public_key: String,
    /// Only these apps; none: all.
    #[serde(default)]
    pub apps: Option<Vec<AppName>>,
    /// May push and deploy, but not read config, run commands or change anything else.
    #[serde(default)]
    pub deploy_only: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    pub id: KeyId,
    pub name: KeyName,
    /// `ssh-ed25519`, …
    pub kind: String,
    /// `SHA256:…` as ssh-keygen prints it.
    pub fingerprint: String,
    pub apps: Option<Vec<AppName>>,
    pub deploy_only: bool,
    pub added_at: UnixMillis,
    pub last_used_at: Option<UnixMillis>,
}
