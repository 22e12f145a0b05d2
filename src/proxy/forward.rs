//! Sends one request to an instance and its answer back: connect, relay, and the retry rule.

use std::cell::Cell;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::access::Record;
use super::answer::{Answer, Ended, end_events};
use super::conn::{Client, Upstream};
use super::dial::{DialFailed, DialKind};
use super::error::ProxyError;
use super::h1::body::{Decoder, Framing, Length};
use super::h1::head::Declared;
use super::h1::request::Request;
use super::headers::{self, Provenance};
use super::limits::{ANSWERED_SOON, DIAL_TARGETS, DIAL_TOTAL, RESTART_HELD, RESTART_HOLD, RESTART_PAUSE};
use super::target::{Claim, Cut, End, Target};
use super::tunnel::tunnel;
use super::upload::{Flow, gone, upload};
use super::worker::{Placement, Stage, Worker, reached};
use crate::names::Hostname;

/// What becomes of the client's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    Keep,
    Close,
    /// Close, but read on for a while: the client is still sending.
    Linger,
}

/// One request on its way.
pub struct Forward<'a> {
    pub worker: &'a Worker,
    pub client: &'a mut Client,
    pub request: &'a Request,
    pub host: &'a Hostname,
    pub record: &'a Record,
    pub commit_header: bool,
}

/// What few requests come to (a dial, a restart, a tunnel, news) has its room in a box: the others are small without it, and so is each idle
/// connection, which is as large as a request on it.
impl Forward<'_> {
    /// Tries until the request is answered or may not be tried again:
    /// a connection that could not be made proves that nothing was sent, so another target is tried, and if all refuse it waits a while
    /// for one that starts again;
    /// a reused connection that died without one byte of an answer is tried again on a new one, if that can do no harm.
    pub async fn run(mut self, mut claim: Claim) -> Result<After, ProxyError> {
        let mut body = Decoder::new(length_of(self.request));
        let mut tried = Vec::new();
        let mut fresh = false;
        let mut give_up = None;
        let mut hold = None;
        // Nothing was sent to anybody so far: such a request may wait for a restart. One that may have killed its instance must not meet the next.
        let mut unsent_so_far = true;
        loop {
            self.record.target.set(Some(claim.target().id()));
            let pooled = if fresh { None } else { self.worker.pool.take(claim.target(), self.request.is_repeatable()) };
            let reused = pooled.is_some();
            if !reused {
                give_up.get_or_insert_with(|| Instant::now() + DIAL_TOTAL);
            }
            let error = match self.attempt(&claim, pooled, &mut body).await {
                Ok(after) => return Ok(after),
                Err(error) => error,
            };
            match error {
                ProxyError::Died { unsent }
                    if reused && (self.request.is_repeatable() || (unsent && !self.request.has_body())) =>
                {
                    fresh = true;
                    unsent_so_far &= unsent;
                }
                ProxyError::Dial(failed) => {
                    tried.push(claim.target().id());
                    let may = tried.len() < DIAL_TARGETS
                        && give_up.is_none_or(|end| Instant::now() < end)
                        && failed.kind != DialKind::Other;
                    match self.worker.shared.place(self.host, &tried, self.record) {
                        Placement::Forward { claim: next, .. } if may => claim = next,
                        _ if !unsent_so_far => return Err(self.failed(claim.target(), false, ProxyError::Dial(failed))),
                        _ => {
                            tried.clear();
                            let until = *hold.get_or_insert_with(|| Instant::now() + RESTART_HOLD);
                            claim = Box::pin(self.wait_for_restart(claim, failed, until)).await?;
                            continue;
                        }
                    }
                }
                error => return Err(self.failed(claim.target(), claim.is_stream(), error)),
            }
            claim.retried();
            self.record.retried();
        }
    }

    async fn attempt(&mut self, claim: &Claim, pooled: Option<Box<Upstream>>, body: &mut Decoder) -> Result<After, ProxyError> {
        let mut upstream = match pooled {
            Some(upstream) => upstream,
            None => Box::pin(self.dial(claim)).await?,
        };
        let sent_before = upstream.writer.written;
        self.write_head(&mut upstream);
        let relayed = self.relay(claim, &mut upstream, body).await;
        let status = self.record.status.get();
        match relayed {
            Ok((Ended::Answered { close, reusable }, kept)) => {
                if reusable && kept {
                    self.worker.pool.put(claim.target(), upstream);
                }
                claim.end(End::Served, status, self.record, None);
                Ok(match (close || self.client.reader.is_over(), body.is_done()) {
                    (_, false) => After::Linger,
                    (true, true) => After::Close,
                    (false, true) => After::Keep,
                })
            }
            Ok((Ended::Switched, _)) => {
                let websocket = self.request.upgrade.as_deref() == Some("websocket");
                let tunnel = tunnel(self.worker, self.client, &mut upstream, claim, websocket, self.record);
                let end = Box::pin(tunnel).await;
                claim.end(end, status, self.record, (end == End::Cut).then_some(&ProxyError::Drained));
                Ok(After::Close)
            }
            Ok((Ended::Cut, _)) => {
                claim.end(End::Cut, status, self.record, Some(&ProxyError::Drained));
                Ok(After::Close)
            }
            Err(ProxyError::Died { .. }) => Err(ProxyError::Died { unsent: upstream.writer.written == sent_before }),
            Err(error) => Err(error),
        }
    }

    /// A new connection, unless the client goes or the drain budget ends first.
    async fn dial(&mut self, claim: &Claim) -> Result<Box<Upstream>, ProxyError> {
        let mut cuts = claim.target().cuts();
        let nothing = Cell::new(0);
        tokio::select! {
            biased;
            dialed = self.worker.pool.dial(claim.target()) => Ok(dialed.map_err(|e: DialFailed| ProxyError::Dial(e))?),
            () = gone(&mut self.client.reader, &nothing) => Err(ProxyError::ClientGone),
            () = cut(&mut cuts, claim) => Err(ProxyError::Drained),
        }
    }

    /// Every instance refused, and nothing was sent: one that ended is started again by its init within moments, so the request waits for
    /// it, or for whatever else the routes name by then. It is in flight nowhere meanwhile, so that it holds up no drain.
    async fn wait_for_restart(&mut self, claim: Claim, failed: DialFailed, until: Instant) -> Result<Claim, ProxyError> {
        let target = Arc::clone(claim.target());
        drop(claim);
        let comes_back = matches!(failed.kind, DialKind::Refused | DialKind::Gone);
        let in_line = target.wait_in_line(RESTART_HELD).filter(|_| comes_back);
        let (begun, before) = (Instant::now(), self.record.held.get());
        // The later the next try is, the longer it refused already: `until` is the same for all tries of this request.
        let waited = RESTART_HOLD.saturating_sub(until.saturating_duration_since(begun));
        let pause = waited.clamp(RESTART_PAUSE.0, RESTART_PAUSE.1);
        if in_line.is_none() || begun + pause > until {
            return Err(self.failed(&target, false, ProxyError::Dial(failed)));
        }
        // So many of its app may wait, whatever they wait for.
        let (shared, route) = (&self.worker.shared, self.record.route.borrow().clone());
        let place = route.and_then(|route| shared.held.take(&route.app, self.worker.limits().held_per_app));
        let Some(_place) = place else { return Err(self.failed(&target, false, ProxyError::HeldFull)) };
        let mut stages = self.worker.shared.stage.subscribe();
        let mut news = self.worker.shared.news.subscribe();
        let nothing = Cell::new(0);
        loop {
            let over = tokio::select! {
                biased;
                () = gone(&mut self.client.reader, &nothing) => Some(ProxyError::ClientGone),
                () = reached(&mut stages, Stage::Closing) => Some(ProxyError::NoInstance),
                () = sleep(pause) => None,
                _ = news.changed() => None,
            };
            self.record.held.set(before + begun.elapsed());
            let placed = match over {
                Some(error) => return Err(self.failed(&target, false, error)),
                None => self.worker.shared.place(self.host, &[], self.record),
            };
            match placed {
                Placement::Forward { claim, .. } => {
                    if before.is_zero() {
                        claim.target().tally.held();
                    }
                    return Ok(claim);
                }
                // The routes hold or have nothing yet: what the next snapshot names will do.
                _ if Instant::now() < until => {}
                _ => return Err(self.failed(&target, false, ProxyError::Dial(failed))),
            }
        }
    }

    /// Tallies what the client sees of the error: our page, or an answer that broke off.
    fn failed(&self, target: &Target, stream: bool, error: ProxyError) -> ProxyError {
        let page = if self.record.status.get() == 0 { error.status() } else { None };
        let how = match error {
            ProxyError::Drained => End::Cut,
            _ if error.is_the_clients() => End::ClientLeft,
            _ => End::Dropped,
        };
        let status = page.unwrap_or_else(|| self.record.status.get());
        target.meter.ended(self.record, status, stream, Some(&error));
        target.end(how, page.unwrap_or(0));
        error
    }

    fn write_head(&self, upstream: &mut Upstream) {
        let about = Provenance {
            client: self.client.peer.ip(),
            port: self.client.local.port(),
            https: self.client.secure.is_some(),
            trusted: self.record.asked.trusted,
            id: &self.record.id,
            at: self.record.at,
        };
        upstream.writer.prepare();
        headers::write_request(&mut upstream.writer.out, self.request, &about);
    }

    /// Both directions at once, until the answer is whole, the client is gone, or time is up.
    /// The flag says whether all of the request went out, without which the instance's connection can't be used again.
    async fn relay(&mut self, claim: &Claim, upstream: &mut Upstream, body: &mut Decoder) -> Result<(Ended, bool), ProxyError> {
        let flow = Flow::new(&self.worker.limits(), self.request.expects_continue);
        let answer = Answer {
            request: self.request,
            record: self.record,
            claim,
            flow: &flow,
            commit_header: self.commit_header,
            stopping: self.worker.stage() != Stage::Open,
            endable: Cell::new(false),
        };
        let framing = if self.request.body == Declared::Chunked { Framing::Chunked } else { Framing::Plain };
        let client = &mut *self.client;
        let result = tokio::select! {
            biased;
            ended = answer.relay(&mut upstream.reader, &mut client.writer) => ended,
            error = upload(&mut client.reader, body, framing, &mut upstream.writer, &flow, self.record) => Err(error),
            error = time_is_up(self.worker, &answer) => Err(error),
        };
        match result {
            Ok(ended) => Ok((ended, upstream.writer.out.is_empty())),
            Err(ProxyError::Drained) => {
                if !answer.endable.get() {
                    return Err(ProxyError::Drained);
                }
                end_events(&mut client.writer).await;
                Ok((Ended::Cut, false))
            }
            Err(error) => Err(error),
        }
    }
}

/// Waits for the end of a drain budget, of the process, or of the instance's time. Most requests are answered before it begins to listen, and
/// cost it no more than one timer; a younger one is cut when it begins. Cancel-safe: yes.
async fn time_is_up(worker: &Worker, answer: &Answer<'_>) -> ProxyError {
    sleep(ANSWERED_SOON).await;
    let claim = answer.claim;
    Box::pin(async {
        let (mut cuts, mut stages) = (claim.target().cuts(), worker.shared.stage.subscribe());
        tokio::select! {
            biased;
            () = cut(&mut cuts, claim) => ProxyError::Drained,
            () = reached(&mut stages, Stage::Cutting) => ProxyError::Drained,
            () = answer.overdue() => ProxyError::AnswerTime,
        }
    })
    .await
}

/// Waits until the end of the budget that holds for this claim. Cancel-safe: yes.
pub async fn cut(cuts: &mut watch::Receiver<Cut>, claim: &Claim) {
    loop {
        if claim.is_cut(*cuts.borrow_and_update()) {
            return;
        }
        if cuts.changed().await.is_err() {
            // The claim keeps the target and with it the sender.
            std::future::pending::<()>().await;
        }
    }
}

fn length_of(request: &Request) -> Length {
    match request.body {
        Declared::Nothing => Length::None,
        Declared::Length(n) => Length::Exact(n),
        Declared::Chunked => Length::Chunked,
    }
}
