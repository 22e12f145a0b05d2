//! `GET /apps/{app}/crashes`, and `GET /apps/{app}/crashes/{id}`, which answers with the file's bytes.

use serde::{Deserialize, Serialize};

use crate::base::clock::UnixMillis;
use crate::names::{CrashId, ReleaseNumber};

/// A file that an instance left when it died.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrashFile {
    pub id: CrashId,
    pub at: UnixMillis,
    /// Whose it is: `web.1`.
    pub name: String,
    pub release: ReleaseNumber,
    /// Where it lay in the instance.
    pub path: String,
    pub bytes: u64,
}
