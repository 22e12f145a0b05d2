//! How a worker gets a connection to an instance. The proxy knows target ids only; the dialer process knows where they are.

use std::future::Future;
use std::net::TcpStream;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use crate::names::InstanceId;

/// Connects to the target; the stream is non-blocking. Called and polled on one worker's thread.
pub type Dial = Rc<dyn Fn(InstanceId) -> Pin<Box<dyn Future<Output = Result<TcpStream, DialFailed>>>>>;

/// Makes the [`Dial`] of one worker, on that worker's thread and inside its runtime.
pub type DialMaker = Arc<dyn Fn() -> Dial + Send + Sync>;

/// A connection that did not come about. Nothing of the request was sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct DialFailed {
    pub kind: DialKind,
    pub why: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DialKind {
    /// Nothing listens on the port.
    Refused,
    /// The instance is gone, or the dialer does not know it.
    Gone,
    /// The deadline passed: a full backlog.
    TimedOut,
    Other,
}
