//! `POST /routes/explain`: what would happen to a request, and why.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::certs::Cert;
use super::domains::DomainOrigin;
use super::maintenance::Maintenance;
use crate::names::{AppName, CommitSha, Hostname, InstanceId, ProcessName, ReleaseNumber};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExplainRequest {
    /// `http://` where it has no scheme.
    pub url: String,
    pub method: String,
    /// Names and values; Host wins over the URL's.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// The address that the connection comes from.
    pub from: IpAddr,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    pub method: String,
    pub url: String,
    pub from: IpAddr,
    /// `from` is a trusted proxy.
    pub trusted: bool,
    /// Who the access line names.
    pub client: Option<IpAddr>,
    /// By what the snapshot says that the proxies serve.
    pub snapshot: Option<u64>,
    pub proxies: usize,
    pub host: Option<Hostname>,
    pub app: Option<AppName>,
    /// Who said that the app answers there.
    pub rule: Option<DomainOrigin>,
    pub outcome: Outcome,
    /// Why, in one sentence.
    pub why: String,
    /// Of the proxy's own answer; none: the app answers.
    pub status: Option<u16>,
    pub location: Option<String>,
    /// Every target of the app.
    pub targets: Vec<Target>,
    /// The head that the app gets, and what is taken away.
    pub request: Vec<HeaderChange>,
    /// What is added to the answer.
    pub answer: Vec<HeaderChange>,
    pub maintenance: Option<Maintenance>,
    /// What a client by TLS is shown; none with `self_signed`: the server's own.
    pub certificate: Option<Cert>,
    pub self_signed: bool,
    /// Bytes of a body.
    pub max_body: Option<u64>,
    /// Seconds.
    pub hsts: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Forwarded,
    /// The connection goes to the app undecrypted.
    PassedThrough,
    Redirected,
    /// By the app's maintenance.
    Maintenance,
    /// Waits for an instance.
    Held,
    NoInstance,
    TooLarge,
    UnknownHost,
    Refused,
    /// The proxy has no routes yet.
    NotReady,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    pub id: InstanceId,
    pub process: ProcessName,
    pub release: ReleaseNumber,
    pub commit: Option<CommitSha>,
    pub state: TargetState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetState {
    /// Takes new requests.
    Live,
    /// Finishes those it has.
    Draining,
    /// Is being restarted where it is.
    Suspended,
    /// A deploy replaces it, and requests wait.
    Held,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderChange {
    pub change: Change,
    pub name: String,
    pub value: String,
    /// For one that is removed.
    #[serde(default)]
    pub why: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    Kept,
    Added,
    Replaced,
    Removed,
}
