//! Log lines of apps, builds, deploys and the router: kept, found, followed.
//!
//! Owns: `logs/<app>/`, the segments in it and their life: written to, finished, compressed, removed oldest first when an app has more
//! than its share. Uses: names, base, config, wire (records), init (the appender). Never: reads an instance, decides who may read.
//! Invariants: a segment's number is given once; only one process writes to a segment; what was read once is found again by the same
//! cursor, also after the segment was compressed or the daemon started anew; a torn record costs that record alone.

mod cursor; // where a reader stands
mod follow; // what comes next, for ever
mod merge; // many segments, one order
mod query; // what to look for, the last n
mod read; // one segment, raw or compressed
mod segments; // the files of one app
mod source; // who wrote a segment
mod store; // all apps
mod writer; // the daemon's own lines

pub use crate::wire::init::record::Stream;
pub use cursor::Cursor;
pub use follow::Follow;
pub use query::{Asker, LogLine, Page, Query, Stay};
pub use source::{Kind, Source};
pub use store::{LogStore, NewSegment};
pub use writer::LineWriter;

/// What went wrong with a log file.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("{act} `{}`", path.display())]
    File { act: &'static str, path: std::path::PathBuf, source: std::io::Error },
    #[error("`{given}` is no log cursor")]
    BadCursor { given: String },
    #[error("nobody waits for these lines any more")]
    NobodyWaits,
}
