//! An app, its domains and its scale.

use crate::base::clock::UnixMillis;
use crate::names::{AppName, DeployId, Hostname, ReleaseNumber};

#[derive(Debug, Clone)]
pub struct App {
    pub id: i64,
    pub name: AppName,
    pub created_at: UnixMillis,
    pub live: Option<ReleaseNumber>,
    /// Which of the pool's subnets is the app's network; never shared by two apps.
    pub subnet: u32,
    /// Requests are held at the proxy while this deploy replaces instances that cannot run twice.
    pub held_by: Option<DeployId>,
    /// `apps destroy` has begun: nothing new is admitted and the clean-up goes on after a restart.
    pub destroying: bool,
}

/// A host name that an app answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Domain {
    pub host: Hostname,
    pub app: AppName,
    /// Answer with a redirect to this host instead.
    pub redirect_to: Option<Hostname>,
    /// Comes from the live release's manifest and goes with it.
    pub from_manifest: bool,
}
