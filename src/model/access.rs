//! Who may do what. The identity is the peer's uid or the ssh key that the forced command announced.

use crate::base::clock::UnixMillis;
use crate::names::{AppName, KeyId, KeyName};

/// One ssh key as stored.
#[derive(Debug, Clone)]
pub struct SshKey {
    pub id: KeyId,
    pub name: KeyName,
    /// `ssh-ed25519`, …
    pub algorithm: String,
    /// The key in base64, as in an authorized_keys line.
    pub blob: String,
    pub fingerprint: String,
    /// `None`: every app, and new ones.
    pub apps: Option<Vec<AppName>>,
    pub deploy_only: bool,
    pub created_at: UnixMillis,
    pub last_used_at: Option<UnixMillis>,
}

/// Who asks.
#[derive(Debug, Clone)]
pub enum Identity {
    /// root, the daemon's user or a member of the admin group, on the host itself.
    Admin {
        name: String,
    },
    Key(SshKey),
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// Push, upload a tarball, follow and cancel deploys, see releases and instances, read logs.
    Deploy,
    /// Change or read config, scale, run, exec, roll back, domains; destroy the app.
    Operate,
    /// Create an app.
    Create,
    /// Keys, images of the engine, the host itself.
    Administer,
}

impl Identity {
    /// May this identity do `right` on `app` (`None`: on the host as a whole)?
    pub fn may(&self, right: Right, app: Option<&AppName>) -> bool {
        let key = match self {
            Identity::Admin { .. } => return true,
            Identity::Key(key) => key,
        };
        let in_scope = match (&key.apps, app) {
            (None, _) => true,
            (Some(apps), Some(app)) => apps.contains(app),
            (Some(_), None) => false,
        };
        let by_kind = match right {
            Right::Deploy => true,
            Right::Operate | Right::Create => !key.deploy_only,
            Right::Administer => !key.deploy_only && key.apps.is_none(),
        };
        in_scope && by_kind
    }

    pub fn key_id(&self) -> Option<KeyId> {
        match self {
            Identity::Admin { .. } => None,
            Identity::Key(key) => Some(key.id),
        }
    }

    pub fn describe(&self) -> String {
        match self {
            Identity::Admin { name } => name.clone(),
            Identity::Key(key) => format!("key {}", key.name),
        }
    }
}

#[cfg(test)]
mod tests;
