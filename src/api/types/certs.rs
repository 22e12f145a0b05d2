//! `GET, POST /certs`, `GET, DELETE /certs/{host}`.

use serde::{Deserialize, Serialize};

use crate::base::clock::UnixMillis;
use crate::base::secret::Secret;
use crate::names::HostPattern;

/// A certificate that clients are shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cert {
    /// What it is shown for.
    pub hosts: Vec<HostPattern>,
    /// What it speaks for by itself.
    pub names: Vec<String>,
    pub issuer: String,
    /// `ECDSA P-256`, `RSA 2048`, …
    pub key_type: String,
    pub not_before: UnixMillis,
    pub not_after: UnixMillis,
    /// SHA-256, in hexadecimal digits.
    pub fingerprint: String,
    pub added_at: UnixMillis,
    /// It has ended or ends within three weeks.
    pub ends_soon: bool,
    /// Whole days until its end; below 0: it has ended.
    #[serde(default)]
    pub days_left: i64,
    /// Why it can't be used: clients get the self-signed one for these hosts. What can't be read of it is empty or 0 then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewCert {
    pub hosts: Vec<HostPattern>,
    /// PEM, the host's own certificate first.
    pub chain: String,
    /// PEM.
    pub key: Secret<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertQuery {
    #[serde(default)]
    pub with_key: bool,
}

/// One certificate as it can be taken elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportedCert {
    pub cert: Cert,
    pub chain: String,
    /// Only if it was asked for.
    pub key: Option<Secret<String>>,
}
