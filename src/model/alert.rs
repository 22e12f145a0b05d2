//! An alert: one thing that somebody should know now, raised once and cleared when it is over.

use crate::base::clock::UnixMillis;

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A disk that paas needs has less free than its reserve.
    DiskLow,
    /// An instance ends again and again soon after its start.
    CrashLoop,
    /// An instance ends many times in an hour, with healthy runs between.
    EndsOften,
    /// The kernel killed an app because it used more memory than its limit.
    OutOfMemory,
    /// An instance that should run can't be made to.
    CannotRun,
    DeployFailed,
    /// The engine does not answer.
    DockerDown,
    /// Daemon, proxy or dialer.
    RoleDown,
    /// A certificate ends soon, or has ended.
    CertificateEnds,
    /// A certificate of the store can't be shown, as it or its key can't be read.
    CertificateSpoilt,
}

impl Kind {
    pub const ALL: [Kind; 10] = [
        Kind::DiskLow,
        Kind::CrashLoop,
        Kind::EndsOften,
        Kind::OutOfMemory,
        Kind::CannotRun,
        Kind::DeployFailed,
        Kind::DockerDown,
        Kind::RoleDown,
        Kind::CertificateEnds,
        Kind::CertificateSpoilt,
    ];

    /// The word in rows, in JSON and in what receivers are sent.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::DiskLow => "disk_low",
            Kind::CrashLoop => "crash_loop",
            Kind::EndsOften => "ends_often",
            Kind::OutOfMemory => "out_of_memory",
            Kind::CannotRun => "cannot_run",
            Kind::DeployFailed => "deploy_failed",
            Kind::DockerDown => "docker_down",
            Kind::RoleDown => "role_down",
            Kind::CertificateEnds => "certificate_ends",
            Kind::CertificateSpoilt => "certificate_spoilt",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|k| k.as_str() == text)
    }
}

/// One alert as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    pub id: i64,
    pub kind: Kind,
    /// What it is about: `docker`, `proxy`, a path, `shop`, `shop/web`.
    pub subject: String,
    /// Which one of several in a row: the deploy's id. Empty for a state that is either there or not.
    pub occurrence: String,
    /// One line: what is.
    pub text: String,
    /// One line: what to do.
    pub hint: String,
    pub raised_at: UnixMillis,
    /// None: open.
    pub cleared_at: Option<UnixMillis>,
}

/// What a receiver is told of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Raised,
    Recovered,
}

impl Event {
    pub fn as_str(self) -> &'static str {
        match self {
            Event::Raised => "raised",
            Event::Recovered => "recovered",
        }
    }
}
