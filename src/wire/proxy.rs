//! Messages between daemon and proxy, as frames on a Unix stream. The proxy connects; the daemon answers its Hello with what it should serve.

use std::borrow::Cow;
use std::io;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::base::cidr::Cidr;
use crate::base::clock::UnixMillis;
use crate::base::secret::Secret;
use crate::names::{AppName, CommitSha, Hostname, InstanceId, ProcessName, ReleaseNumber};
use crate::wire::frame;
use crate::wire::limits::{DropCounts, Limits};
use crate::wire::metrics::Metrics;

mod heard;

pub use heard::{Asked, Heard, asked, heard, passed_over};

/// Raised when a message changes in a way that the other side must know.
pub const VERSION: u32 = 1;

/// The longest frame either side reads: some ten thousand routes.
pub const MAX_FRAME: usize = 32 * 1024 * 1024;

/// What a proxy process tells the daemon, which may be older: see [`heard()`]. Nothing here may refuse unknown fields.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum FromProxy {
    /// The first message of a connection. `generation` names this process; `active` is the snapshot version it serves.
    Hello {
        version: u32,
        pid: u32,
        generation: String,
        active: Option<u64>,
        listening: Vec<SocketAddr>,
        /// Where it ends TLS, or passes it on.
        #[serde(default)]
        listening_tls: Vec<SocketAddr>,
    },
    /// The snapshot is valid and kept until Activate.
    Prepared { version: u64 },
    /// The snapshot is not valid, or Activate named one that is not prepared; the old one stays.
    Rejected { version: u64, why: String },
    /// The snapshot serves now; its drains have begun.
    Activated { version: u64 },
    /// The targets whose counts changed; cumulative since the process started. All of them after a Hello.
    Counts(Vec<TargetCounts>),
    /// Finished requests. `lost` counts, since the process started, those that had no room to wait.
    Access { lines: Vec<AccessLine<'static>>, lost: u64 },
    /// Nothing is in flight at the draining target any more. Repeated after a Hello and after an Activate that names the target again.
    DrainEnded { target: InstanceId, forced: u64 },
    /// Clients that a limit turned away, when there are more of them: at most every ten seconds.
    Drops(DropCounts),
    /// At most once a second.
    Metrics(Metrics),
}

/// What the daemon tells a proxy process.
#[allow(clippy::large_enum_variant, reason = "a few messages a minute, each moved twice")]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum ToProxy {
    Prepare(Snapshot),
    Activate { version: u64 },
}

/// All that a proxy needs to serve: whole, immutable, swapped at once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    pub version: u64,
    pub routes: Vec<Route>,
    pub targets: Vec<Target>,
    /// Adds X-Paas-Commit and X-Paas-Release to answers.
    pub commit_header: bool,
    /// Absent in what a daemon of before kept: then all of it is as by default.
    #[serde(default)]
    pub front: Front,
}

/// What holds for every connection of a client, whatever it asks for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Front {
    /// Shown to clients that ask for one of their names by SNI: the exact name before a wildcard, ECDSA before others. One that can't be
    /// read is left out by the proxy, which says so in its log: a bad one must not hold up the routes of others.
    pub certs: Vec<Certificate>,
    /// Shown where none of `certs` fits: self-signed, the same for the life of the installation. `names` is empty.
    pub fallback: Option<Certificate>,
    /// Proxies of our own in front: what they say about the client is believed, and passed on.
    pub trusted: Vec<Cidr>,
    pub limits: Limits,
}

/// What the proxy needs to prove to a client that it speaks for a name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// Host names in lower case; `*.example.com` stands for every name with one label in its place.
    pub names: Vec<String>,
    /// PEM: the certificate of the names first, then those that lead from it to a root.
    pub chain: String,
    /// PEM: PKCS#8, SEC1 or PKCS#1.
    pub key: Secret<String>,
}

/// What is done with requests for one host name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    pub host: Hostname,
    pub app: AppName,
    pub action: Action,
    #[serde(default)]
    pub rules: Rules,
}

/// What an app wants of the requests for one of its host names, beyond where they go.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rules {
    /// On the TLS port the connection goes to the instance as it is, by the name in the ClientHello: the app has the certificate.
    pub passthrough: bool,
    /// 308 to https for requests that came without TLS.
    pub https_redirect: bool,
    /// Seconds that browsers shall ask for the host by TLS only (RFC 6797); told by TLS only.
    pub hsts: Option<u64>,
    /// Bytes of a request's body; more is refused with 413.
    pub max_body: Option<u64>,
    /// Set: the app is being worked on, and requests are not forwarded.
    pub maintenance: Option<Maintenance>,
    /// Not told as long as it is the default, so that a proxy of before takes the routes of apps that ask for nothing else.
    #[serde(skip_serializing_if = "AccessLines::are_all")]
    pub access: AccessLines,
}

/// Parts per million that are all.
pub const WHOLE: u32 = 1_000_000;

/// Which requests of an app get an access line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AccessLines {
    /// Of a million ordinary requests.
    pub sample_ppm: u32,
    /// Whether those that went wrong or took long all get one, or none.
    pub troubles: bool,
}

impl Default for AccessLines {
    fn default() -> Self {
        Self { sample_ppm: WHOLE, troubles: true }
    }
}

impl AccessLines {
    fn are_all(&self) -> bool {
        *self == Self::default()
    }
}

/// What a client gets instead of the app.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Maintenance {
    /// Plain text, at most [`MAX_MESSAGE`] bytes; none: a sentence of ours.
    pub message: Option<String>,
    /// Requests wait so long for its end before they get the page.
    pub hold_ms: u64,
}

/// Bytes of the message of a maintenance page.
pub const MAX_MESSAGE: usize = 1000;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Action {
    /// To the target with the least in flight; none means the page that says no instance serves.
    Forward { targets: Vec<InstanceId> },
    /// 308 to the same scheme, path and query at another name.
    Redirect { to: Hostname },
    /// Requests wait until a later snapshot forwards them, at most this long, then get 503 with Retry-After.
    Hold { limit_ms: u64 },
}

/// One instance's namespace and port, by id. The dialer knows where it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    pub id: InstanceId,
    pub app: AppName,
    pub process: ProcessName,
    pub release: ReleaseNumber,
    pub commit: Option<CommitSha>,
    /// Set: no new work, and what is in flight has this long. Such a target stands in no route.
    pub drain: Option<DrainBudget>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrainBudget {
    pub requests_ms: u64,
    /// WebSockets, other upgrades, event streams and long answers.
    pub streams_ms: u64,
}

/// Cumulative, except `in_flight` and `streams`, which are now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetCounts {
    pub target: InstanceId,
    pub in_flight: u64,
    pub streams: u64,
    /// Answered by the instance, to the end.
    pub served: u64,
    /// Waited for a snapshot first.
    pub held: u64,
    /// Sent again on another connection or first tried at another target.
    pub retried: u64,
    /// Of these, while the target drained.
    pub retried_draining: u64,
    /// Answered 502 or 504 by the proxy, or with an answer that broke off.
    pub failed: u64,
    /// Of these, while the target drained.
    pub failed_draining: u64,
    /// Of those served, the ones that were let in before the target drained and ended after.
    pub drained: u64,
    /// Closed at the end of a drain budget.
    pub cut: u64,
    /// Answers by first digit of the status; index 0 counts those without a whole answer.
    pub by_class: [u64; 6],
}

impl TargetCounts {
    /// Nothing counted yet.
    pub fn zero(target: InstanceId) -> Self {
        Self {
            target,
            in_flight: 0,
            streams: 0,
            served: 0,
            held: 0,
            retried: 0,
            retried_draining: 0,
            failed: 0,
            failed_draining: 0,
            drained: 0,
            cut: 0,
            by_class: [0; 6],
        }
    }

    /// Adds what another proxy process has counted for the same target.
    pub fn add(&mut self, other: &Self) {
        self.in_flight += other.in_flight;
        self.streams += other.streams;
        self.served += other.served;
        self.held += other.held;
        self.retried += other.retried;
        self.retried_draining += other.retried_draining;
        self.failed += other.failed;
        self.failed_draining += other.failed_draining;
        self.drained += other.drained;
        self.cut += other.cut;
        for (sum, more) in self.by_class.iter_mut().zip(other.by_class) {
            *sum += more;
        }
    }
}

/// One finished request. The proxy writes it from where its parts lie.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AccessLine<'a> {
    pub at: UnixMillis,
    pub app: Option<Cow<'a, AppName>>,
    pub target: Option<InstanceId>,
    pub method: Cow<'a, str>,
    /// Path and query, cut at 2 KiB.
    pub path: Cow<'a, str>,
    pub host: Cow<'a, str>,
    /// 0: closed without an answer.
    pub status: u16,
    /// Body bytes.
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub micros_total: u64,
    pub micros_first_byte: Option<u64>,
    pub client: IpAddr,
    pub request_id: Cow<'a, str>,
    pub held_ms: u64,
    pub retries: u8,
    pub error: Option<Cow<'a, str>>,
    /// Of a million requests like this one, so many have a line.
    #[serde(default = "whole")]
    pub sample_ppm: u32,
}

fn whole() -> u32 {
    WHOLE
}

/// A frame of [`FromProxy::Access`] that grows line by line, each as JSON already: who ends a request does the work, a little each time,
/// and who sends the frame has none.
#[derive(Debug)]
pub struct AccessFrame {
    bytes: Vec<u8>,
    pub lines: u64,
}

impl Default for AccessFrame {
    fn default() -> Self {
        let mut bytes = vec![0; 4];
        bytes.extend_from_slice(br#"{"Access":{"lines":["#);
        Self { bytes, lines: 0 }
    }
}

impl AccessFrame {
    /// Takes an [`AccessLine`] as JSON.
    pub fn push(&mut self, line: &[u8]) {
        if self.lines > 0 {
            self.bytes.push(b',');
        }
        self.bytes.extend_from_slice(line);
        self.lines += 1;
    }

    /// Bytes so far.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The frame as it goes out. Errors: over 4 GiB.
    pub fn end(mut self, lost: u64) -> io::Result<Vec<u8>> {
        self.bytes.extend_from_slice(format!("],\"lost\":{lost}}}}}").as_bytes());
        frame::set_length(&mut self.bytes)?;
        Ok(self.bytes)
    }
}

#[cfg(test)]
mod tests;
