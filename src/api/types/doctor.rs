//! `GET /doctor`: what the daemon alone can see; `paas doctor` adds what it sees on the host.

use serde::{Deserialize, Serialize};

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub level: Level,
    pub area: String,
    pub found: String,
    /// What to do; empty if all is well.
    pub todo: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    Ok,
    Warning,
    Problem,
}

/// All of them, counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Findings {
    pub ok: usize,
    pub warnings: usize,
    pub problems: usize,
    pub findings: Vec<Finding>,
}

impl Findings {
    /// The worst first; within a level in the order in which things were looked at.
    pub fn of(mut findings: Vec<Finding>) -> Self {
        let count = |level| findings.iter().filter(|f| f.level == level).count();
        let (ok, warnings, problems) = (count(Level::Ok), count(Level::Warning), count(Level::Problem));
        findings.sort_by_key(|f| std::cmp::Reverse(f.level));
        Findings { ok, warnings, problems, findings }
    }
}
