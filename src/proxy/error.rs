//! All that can go wrong with a request: who is to blame, and what the client is told.

use std::time::Duration;

use super::dial::{DialFailed, DialKind};
use super::h1::body::BodyError;
use super::h1::head::HeadError;

#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    // The client's.
    #[error("bad request: {0}")]
    BadRequest(HeadError),
    #[error("bad request body: {0}")]
    BadBody(BodyError),
    #[error("the request's body is larger than the app's limit of {0} bytes")]
    TooLarge(u64),
    #[error("the connection was made for another host")]
    Misdirected,
    #[error("the client sent the head too slowly")]
    HeadSlow,
    #[error("the client sent the body too slowly")]
    ClientSlow,
    #[error("the client did not take the answer in time")]
    ReaderSlow,
    #[error("the client went away")]
    ClientGone,
    // Nobody's: what the routes say.
    #[error("no route for this host")]
    UnknownHost,
    #[error("no snapshot yet")]
    NotReady,
    #[error("no instance serves")]
    NoInstance,
    #[error("held for {0:?}, and still no instance")]
    HeldTooLong(Duration),
    #[error("as many requests of the app as may wait for it do so already")]
    HeldFull,
    #[error("the app is in maintenance")]
    Maintenance,
    // The instance's.
    #[error("connecting to the instance: {0}")]
    Dial(#[from] DialFailed),
    #[error("the instance closed the connection without an answer")]
    Died { unsent: bool },
    #[error("the instance's answer is malformed: {0}")]
    BadAnswer(&'static str),
    #[error("the instance's answer is malformed: {0}")]
    BadAnswerHead(HeadError),
    #[error("the instance did not answer in time")]
    AnswerTime,
    #[error("the instance's answer broke off: {0}")]
    AnswerBroke(BodyError),
    #[error("cut at the end of the drain budget")]
    Drained,
}

impl ProxyError {
    /// The status of the page for it, if nothing was answered yet. None: there is no one to tell.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::BadRequest(HeadError::TooLarge) => Some(431),
            Self::BadRequest(HeadError::Version) => Some(505),
            Self::BadRequest(HeadError::Method) => Some(405),
            Self::BadRequest(HeadError::Expectation) => Some(417),
            Self::BadRequest(HeadError::Malformed(_)) | Self::BadBody(_) => Some(400),
            Self::TooLarge(_) => Some(413),
            Self::Misdirected => Some(421),
            Self::HeadSlow | Self::ClientSlow => Some(408),
            Self::ClientGone | Self::ReaderSlow => None,
            Self::UnknownHost => Some(404),
            Self::NotReady | Self::NoInstance | Self::HeldTooLong(_) | Self::HeldFull | Self::Maintenance => Some(503),
            Self::Dial(DialFailed { kind: DialKind::TimedOut, .. }) | Self::AnswerTime | Self::Drained => Some(504),
            Self::Dial(_) | Self::Died { .. } | Self::BadAnswer(_) | Self::BadAnswerHead(_) | Self::AnswerBroke(_) => Some(502),
        }
    }

    /// The client's own doing: nobody lost an answer by it.
    pub fn is_the_clients(&self) -> bool {
        matches!(
            self,
            Self::BadRequest(_)
                | Self::BadBody(_)
                | Self::TooLarge(_)
                | Self::Misdirected
                | Self::HeadSlow
                | Self::ClientSlow
                | Self::ReaderSlow
                | Self::ClientGone
        )
    }

    /// After how many seconds the client may come back.
    pub fn retry_after(&self) -> Option<u32> {
        match self {
            Self::NotReady | Self::NoInstance | Self::HeldTooLong(_) | Self::HeldFull => Some(1),
            // Somebody is at work: minutes rather than seconds.
            Self::Maintenance => Some(30),
            _ => None,
        }
    }
}
