//! Crash files: what a dying app left for whoever looks for the reason.

use crate::base::clock::UnixMillis;
use crate::names::{CrashId, InstanceId, ProcessName, ReleaseNumber};

/// One that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrashFile {
    pub id: CrashId,
    pub at: UnixMillis,
    pub process: ProcessName,
    pub index: u32,
    pub release: ReleaseNumber,
    /// Where it lay in the instance.
    pub path: String,
    pub bytes: u64,
}

/// One that is about to be kept.
#[derive(Debug, Clone)]
pub struct NewCrashFile {
    pub at: UnixMillis,
    pub instance: InstanceId,
    pub process: ProcessName,
    pub index: u32,
    pub release: ReleaseNumber,
    pub path: String,
    /// Of the file itself, seconds since 1970.
    pub modified: i64,
    pub bytes: u64,
}

/// Which of the kept files have to go so that at most `count` of at most `bytes` together stay. Takes them newest first; the newest stays
/// even if it alone is larger.
pub fn surplus(kept: &[CrashFile], count: usize, bytes: u64) -> Vec<CrashId> {
    let mut sum = 0_u64;
    let mut gone = Vec::new();
    for (position, file) in kept.iter().enumerate() {
        sum = sum.saturating_add(file.bytes);
        if position > 0 && (position >= count || sum > bytes) {
            gone.push(file.id);
        }
    }
    gone
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_files_go_when_there_are_too_many_or_too_large_ones() {
        let file = |id, bytes| CrashFile {
            id: CrashId(id),
            at: UnixMillis(id),
            process: ProcessName::parse("web").expect("valid"),
            index: 1,
            release: ReleaseNumber(1),
            path: "/core".to_owned(),
            bytes,
        };
        let kept = [file(5, 10), file(4, 50), file(3, 30), file(2, 1)];
        assert_eq!(surplus(&kept, 3, 1000), [CrashId(2)]);
        assert_eq!(surplus(&kept, 10, 60), [CrashId(3), CrashId(2)]);
        assert_eq!(surplus(&kept[..1], 10, 1), Vec::<CrashId>::new());
    }
}
