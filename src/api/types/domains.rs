//! `GET, POST /apps/{app}/domains`, `DELETE /apps/{app}/domains/{host}`.

use serde::{Deserialize, Serialize};

use crate::names::Hostname;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Domain {
    pub host: Hostname,
    pub origin: DomainOrigin,
    /// Requests are sent on to this host instead.
    pub redirect_to: Option<Hostname>,
}

/// Who said that the app answers here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DomainOrigin {
    /// `<app>.<host domain>`: always there.
    Host,
    /// `[domains]` in the live release's paas.toml.
    Manifest,
    /// `paas domains add`.
    Added,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewDomain {
    pub host: Hostname,
    #[serde(default)]
    pub redirect_to: Option<Hostname>,
}
