//! Messages between the daemon and the `paas init` of one instance, over the Unix socket in the instance's own directory.
//!
//! Init speaks first (`Hello`). The daemon answers with what it wishes: a segment to log into (one descriptor beside the message),
//! limits, and, when the instance may run, `Open`. Fields may be added; a peer ignores fields it does not know. A new message is sent
//! only to a peer whose `version` knows it, because an old init lives as long as its instance.

use serde::{Deserialize, Serialize};

use crate::names::InstanceId;

pub mod record;

/// What this code speaks. Raise it when a message is added, and send that message only to a peer of at least that version.
pub const VERSION: u32 = 2;

/// The first version that knows [`ToInit::Restart`].
pub const KNOWS_RESTART: u32 = 2;

/// The longest message either side accepts, in bytes: [`LAST_LINES`] lines of [`LAST_LINE_BYTES`] bytes that JSON may write six times
/// as long, and room for the rest.
pub const FRAME_LIMIT: usize = 96 * 1024;

/// How many of the app's last lines an [`EndReport`] carries.
pub const LAST_LINES: usize = 20;

/// How much of each of them, in bytes.
pub const LAST_LINE_BYTES: usize = 500;

/// From the instance to the daemon. The daemon believes it about this one instance only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromInit {
    /// The first message of every connection: how things stand now.
    Hello(Hello),
    /// The app was started.
    Started { pid: u32, restarts: u32 },
    /// The app ended, or could not be started.
    Ended(EndReport),
    /// A new segment is wanted: there is none, or the one in use has reached its size. Repeated until one comes.
    SegmentFull { segment: Option<u64>, bytes: u64 },
    /// All records go to this segment from now on; nothing more is written to an earlier one.
    SegmentTaken { segment: u64 },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    pub version: u32,
    pub instance: InstanceId,
    pub phase: Phase,
    /// How often the app was started again since this init began.
    pub restarts: u32,
    /// The number that the next log record will get.
    pub next_record: u64,
    /// The segment that records go to now, and its size.
    #[serde(default)]
    pub segment: Option<u64>,
    #[serde(default)]
    pub segment_bytes: u64,
    /// How the app ended last, for a daemon that was away when it did.
    #[serde(default)]
    pub last_end: Option<EndReport>,
}

/// What the app of an instance is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Not started: the gate is closed.
    Gated,
    /// Running as this process of the instance's own numbering.
    Running { pid: u32 },
    /// It ended and will be started again after a pause.
    BackingOff,
    /// It was told to stop and has not ended yet.
    Stopping,
    /// It ended and will not be started again.
    Ended,
}

/// How the app ended. All of it is told from inside the instance: show it, decide nothing about other instances by it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct EndReport {
    /// The exit code; 127 or 126 if it could not be started; none if a signal ended it.
    pub code: Option<i32>,
    pub signal: Option<i32>,
    /// The kernel killed a process of the instance for want of memory while the app ran.
    pub out_of_memory: bool,
    pub ran_ms: u64,
    /// The end of what it wrote, oldest first; never more than [`LAST_LINES`].
    pub last_lines: Vec<String>,
    pub will_restart_in_ms: Option<u64>,
    /// What went wrong, where more is known than the code says.
    pub reason: Option<String>,
    /// When it ended, in milliseconds since 1970: tells one end from the next. An init of version 1 does not say.
    #[serde(default)]
    pub at_ms: Option<i64>,
    /// How many runs have ended like this without a longer one between them, this one included.
    #[serde(default)]
    pub in_a_row: u32,
    /// The daemon had it restarted, as it hung.
    #[serde(default)]
    pub hung: bool,
    /// How often the kernel refused it another process or thread while it ran.
    #[serde(default)]
    pub pids_refused: u64,
}

impl EndReport {
    /// One phrase for people: `exited with code 1`, `was killed for using too much memory`.
    pub fn summary(&self) -> String {
        if self.hung {
            let why = self.reason.as_deref().unwrap_or("it did not answer its liveness check");
            return format!("hung and was restarted: {why}");
        }
        if self.out_of_memory {
            return "was killed because it used more memory than its limit".to_owned();
        }
        let how = match (self.code, self.signal) {
            (_, Some(signal)) => format!("was ended by signal {signal}"),
            (Some(code), None) => format!("exited with code {code}"),
            (None, None) => "ended".to_owned(),
        };
        match &self.reason {
            Some(reason) => format!("{how}: {reason}"),
            None => how,
        }
    }
}

/// From the daemon to the instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToInit {
    /// Append records to the descriptor that comes with this message. At `rotate_at` bytes ask for the next one; at `cap` bytes stop
    /// writing and count what is lost.
    Segment { segment: u64, rotate_at: u64, cap: u64 },
    /// Start the app, unless it was started before.
    Open,
    /// Send `signal` to the app's process group, SIGKILL after `timeout_ms`, then exit with the app's code.
    Stop { signal: i32, timeout_ms: u64 },
    /// As `Stop`, but the app is started again afterwards; `why` is what people read. Only for inits of [`KNOWS_RESTART`].
    Restart { signal: i32, timeout_ms: u64, why: String },
    /// How much the app may log: this many lines per second on average, and `burst` at once. A line counts once per started 4 KiB.
    Limits { lines_per_second: u32, burst: u32 },
}
