//! An instance: one container of a process type.

use crate::base::clock::UnixMillis;
use crate::names::{AppName, DeployId, InstanceId, ProcessName, ReleaseNumber};

/// What is wanted of an instance. Docker and its init say what is; the difference is what reconciling does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Made by a deploy that has not reached its commit point.
    Candidate,
    /// Belongs to the live release: runs with its gate open.
    Live,
    /// Belongs to the live release, but was stopped so that a deploy's instance can run alone; comes back if that deploy fails.
    Paused,
    /// Belongs to an older release: finishes its work, then goes.
    Retiring,
    /// Is to be removed now.
    Gone,
}

impl Wanted {
    pub const ALL: [Wanted; 5] = [Wanted::Candidate, Wanted::Live, Wanted::Paused, Wanted::Retiring, Wanted::Gone];

    pub fn as_str(self) -> &'static str {
        match self {
            Wanted::Candidate => "candidate",
            Wanted::Live => "live",
            Wanted::Paused => "paused",
            Wanted::Retiring => "retiring",
            Wanted::Gone => "gone",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|w| w.as_str() == text)
    }
}

/// One instance as stored.
#[derive(Debug, Clone)]
pub struct Instance {
    pub id: InstanceId,
    pub app_id: i64,
    pub app: AppName,
    pub release: ReleaseNumber,
    /// The deploy that made it; part of the container's name.
    pub deploy: DeployId,
    pub process: ProcessName,
    /// 1, 2, …: the number in `web.1`.
    pub index: u32,
    /// Where it is told to listen (PORT).
    pub port: u16,
    pub container: Option<String>,
    pub wanted: Wanted,
    /// The deploy that retires it, for the counts.
    pub retired_by: Option<DeployId>,
    /// Its streams are not waited for any longer: a third generation needs the place.
    pub cut_streams: bool,
    /// What it did is in its deploys' counts.
    pub counted: bool,
    pub created_at: UnixMillis,
}

impl Instance {
    /// `web.1`
    pub fn label(&self) -> String {
        format!("{}.{}", self.process, self.index)
    }

    pub fn takes_requests(&self) -> bool {
        self.process.as_str() == "web"
    }

    /// A live one of release 1 of `shop`, for tests to start from.
    #[cfg(test)]
    pub fn example(id: i64, process: &str) -> Self {
        Self {
            id: InstanceId(id),
            app_id: 1,
            app: AppName::parse("shop").expect("valid"),
            release: ReleaseNumber(1),
            deploy: DeployId(1),
            process: ProcessName::parse(process).expect("valid"),
            index: 1,
            port: 8080,
            container: None,
            wanted: Wanted::Live,
            retired_by: None,
            cut_streams: false,
            counted: false,
            created_at: UnixMillis(0),
        }
    }
}
