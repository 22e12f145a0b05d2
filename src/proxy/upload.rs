//! From client to instance: the rest of the request, then watching whether the client is still there.

use std::cell::Cell;
use std::future::pending;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::access::Record;
use super::conn::{Reader, Writer};
use super::error::ProxyError;
use super::h1::body::{Decoder, Framing};
use super::limits::{HALF_CLOSED_TIME, READ_AHEAD_BYTES, SLIM_AFTER};
use super::pace::{Pace, TooSlow};
use crate::wire::limits::Limits;

/// What upload and answer tell each other.
#[derive(Debug)]
pub struct Flow {
    /// The whole request was read from the client.
    pub uploaded: Cell<bool>,
    /// The last moment when the instance was given something.
    pub given_at: Cell<Instant>,
    /// Grows with every write to the client.
    pub progress: Cell<u64>,
    /// How fast the body has to come.
    pub pace: Cell<Pace>,
    /// The client waits for a 100 and will send nothing before.
    pub expects_continue: bool,
    pub stall: Duration,
}

impl Flow {
    pub fn new(limits: &Limits, expects_continue: bool) -> Self {
        Self {
            uploaded: Cell::new(false),
            given_at: Cell::new(Instant::now()),
            progress: Cell::new(0),
            pace: Cell::new(Pace::new(limits)),
            expects_continue,
            stall: limits.stall_time(),
        }
    }
}

/// Sends what waits in `to` and the body after it. Comes back only with a reason to give the request up; a connection that takes no more
/// is none, as the instance may have answered early. Cancel-safe: yes, when both connections are dropped or done.
pub async fn upload(
    from: &mut Reader,
    body: &mut Decoder,
    framing: Framing,
    to: &mut Writer,
    flow: &Flow,
    record: &Record,
) -> ProxyError {
    match send(from, body, framing, to, flow, record).await {
        Ok(()) => {
            gone(from, &flow.progress).await;
            ProxyError::ClientGone
        }
        Err(Some(error)) => error,
        Err(None) => pending().await,
    }
}

/// None: the instance takes no more.
async fn send(
    from: &mut Reader,
    body: &mut Decoder,
    framing: Framing,
    to: &mut Writer,
    flow: &Flow,
    record: &Record,
) -> Result<(), Option<ProxyError>> {
    let limit = record.max_body();
    loop {
        let moved = body.transfer(&mut from.buf, &mut to.out, framing).map_err(|e| Some(ProxyError::BadBody(e)))?;
        record.bytes_in.set(record.bytes_in.get() + moved);
        // Before it is written: nothing beyond the limit reaches the instance, and the request has no end for it.
        if let Some(limit) = limit.filter(|limit| record.bytes_in.get() > *limit) {
            return Err(Some(ProxyError::TooLarge(limit)));
        }
        flow.uploaded.set(body.is_done());
        to.flush().await.map_err(|_| None)?;
        flow.given_at.set(Instant::now());
        if body.is_done() {
            to.slim();
            return Ok(());
        }
        wait_for_more(from, to, flow, record).await?;
    }
}

/// Reads once, within the time that the client has. The rate holds only until the instance answers: what flows both ways after that, or waits for
/// a 100, comes when there is something to say. Nothing waits in `to`: it keeps no room for long.
async fn wait_for_more(from: &mut Reader, to: &mut Writer, flow: &Flow, record: &Record) -> Result<(), Option<ProxyError>> {
    let begun = Instant::now();
    let mut slim = false;
    loop {
        let mut pace = flow.pace.get();
        let paced = record.status.get() == 0 && (record.bytes_in.get() > 0 || !flow.expects_continue);
        let limit = flow.stall.saturating_sub(begun.elapsed());
        let limit = pace.left().filter(|_| paced).map_or(limit, |left| left.min(limit));
        let limit = if slim { limit } else { limit.min(SLIM_AFTER) };
        let waited = Instant::now();
        let filled = timeout(limit, from.fill()).await;
        let came = match &filled {
            Err(_) if begun.elapsed() >= flow.stall => return Err(Some(ProxyError::ClientSlow)),
            Err(_) => {
                from.slim();
                to.slim();
                slim = true;
                0
            }
            Ok(Err(_) | Ok(0)) => return Err(Some(ProxyError::ClientGone)),
            Ok(Ok(n)) => *n,
        };
        // Asked again: the answer may have begun meanwhile.
        if paced && record.status.get() == 0 {
            pace.add(waited.elapsed(), came).map_err(|TooSlow| Some(ProxyError::ClientSlow))?;
            flow.pace.set(pace);
        }
        if came > 0 {
            if slim {
                to.prepare();
            }
            return Ok(());
        }
    }
}

/// Waits until the client is gone, reading a little ahead. A client that only ended its side still gets an answer that comes or flows soon:
/// it can't be told from one that closed (both send FIN), so it is given up after a moment without progress. Cancel-safe: yes.
pub async fn gone(from: &mut Reader, progress: &Cell<u64>) {
    if let Some(stream) = from.stream() {
        return stream.reset().await;
    }
    while !from.ended {
        if from.buf.len() >= READ_AHEAD_BYTES {
            pending::<()>().await;
        }
        if from.fill().await.is_err() {
            return;
        }
    }
    loop {
        let before = progress.get();
        sleep(HALF_CLOSED_TIME).await;
        if progress.get() == before {
            return;
        }
    }
}
