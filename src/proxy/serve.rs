//! One client connection: requests one after another, each through the phases of `mod.rs`.

use std::cell::Cell;
use std::future::pending;
use std::pin::{Pin, pin};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::access::{Record, Subject};
use super::conn::Client;
use super::error::ProxyError;
use super::forward::{After, Forward};
use super::forwarded::Origin;
use super::h1::head::HeadScan;
use super::h1::request::Request;
use super::headers::given_id;
use super::limits::{LAST_CALL, STALL_TIME};
use super::pages::{Page, wants_json};
use super::rules::location;
use super::target::Claim;
use super::upload::gone;
use super::worker::{Placement, Stage, Worker, reached};
use crate::names::Hostname;

/// Serves the connection until one side is done with it.
pub async fn connection(worker: &Worker, client: &mut Client) {
    let mut stages = worker.shared.stage.subscribe();
    // Made once: it moves on only while a request is waited for.
    let mut last_call = pin!(async {
        reached(&mut stages, Stage::Closing).await;
        sleep(LAST_CALL).await;
    });
    loop {
        let after = match next_request(worker, client, last_call.as_mut()).await {
            Ok(Some(request)) => exchange(worker, client, &request).await,
            Ok(None) => return,
            Err(error) => Box::pin(refuse(worker, client, error)).await,
        };
        match after {
            Some(After::Keep) => {
                client.reader.slim();
                client.writer.slim();
            }
            Some(After::Close) => return Box::pin(client.writer.end()).await,
            Some(After::Linger) => return Box::pin(client.linger()).await,
            None => return,
        }
    }
}

/// Serves one request that is a stream of its own: its head is there already.
pub async fn stream(worker: &Worker, client: &mut Client) {
    let after = match next_request(worker, client, pin!(pending())).await {
        Ok(Some(request)) => exchange(worker, client, &request).await,
        Ok(None) => None,
        Err(error) => Box::pin(refuse(worker, client, error)).await,
    };
    if after.is_none() {
        client.writer.cut_off();
    }
}

/// Phase 1 and 2: waits for a request, reads its head, judges it. None: the connection is over, at the latest at the `last_call`.
async fn next_request(
    worker: &Worker,
    client: &mut Client,
    last_call: Pin<&mut impl Future<Output = ()>>,
) -> Result<Option<Request>, ProxyError> {
    // Asked for each request, so that a connection of old keeps to new limits too.
    let limits = worker.limits();
    client.writer.stall = limits.stall_time();
    let reader = &mut client.reader;
    if reader.buf.is_empty() {
        let first = tokio::select! {
            biased;
            first = timeout(limits.idle_time(), reader.fill()) => first,
            () = last_call => return Ok(None),
        };
        if !matches!(first, Ok(Ok(n)) if n > 0) {
            return Ok(None);
        }
    }
    let mut deadline = None;
    let mut scan = HeadScan::default();
    let mut first_line = false;
    loop {
        // One empty line before a request is allowed (RFC 9112 §2.2).
        if !first_line && reader.buf.len() >= 2 {
            first_line = true;
            if reader.buf.starts_with(b"\r\n") {
                let _ = reader.buf.split_to(2);
            }
        }
        if let Some(length) = scan_from(&mut scan, &reader.buf, first_line, limits.head_bytes())? {
            return Request::take(&mut reader.buf, length).map(Some).map_err(ProxyError::BadRequest);
        }
        // Most heads come whole, and need no clock.
        let deadline = *deadline.get_or_insert_with(|| Instant::now() + limits.head_time());
        match timeout_at(deadline, reader.fill()).await {
            Err(_) => return Err(ProxyError::HeadSlow),
            Ok(Ok(n)) if n > 0 => {}
            Ok(_) => return Ok(None),
        }
    }
}

fn scan_from(scan: &mut HeadScan, buf: &[u8], begun: bool, limit: usize) -> Result<Option<usize>, ProxyError> {
    if begun { scan.scan(buf, limit).map_err(ProxyError::BadRequest) } else { Ok(None) }
}

/// Phases 3 to 7 for one request. None: the connection is to be cut off.
async fn exchange(worker: &Worker, client: &mut Client, request: &Request) -> Option<After> {
    let origin = worker.shared.origin(&request.fields, client.peer.ip(), client.secure.is_some());
    let given = given_id(request).filter(|_| origin.trusted);
    let id = given.map_or_else(|| worker.ids.make(), str::to_owned);
    let record = Record::new(origin, id, Some(request));
    let result = answer(worker, client, request, &record).await;
    if let Err(error) = &result {
        worker.shared.drops.count(error);
    }
    let after = match &result {
        Ok(after) => Some(*after),
        Err(error) if record.status.get() == 0 => Box::pin(own_answer(worker, client, Some(request), error, &record)).await,
        Err(_) => {
            client.writer.cut_off();
            None
        }
    };
    worker.account(&record, Subject::Request(request), result.err().as_ref());
    after
}

async fn answer(worker: &Worker, client: &mut Client, request: &Request, record: &Record) -> Result<After, ProxyError> {
    let host = request.host.name.as_ref().ok_or(ProxyError::UnknownHost)?;
    if client.secure.as_ref().is_some_and(|secure| secure.is_misdirected(host)) {
        return Err(ProxyError::Misdirected);
    }
    match admit(worker, client, host, record).await? {
        Admitted::Forward { claim, commit_header } => {
            Forward { worker, client, request, host, record, commit_header }.run(claim).await
        }
        Admitted::Redirect(to) => {
            let location = location(record.asked.https, &to, request.host.port, request.target());
            Ok(Box::pin(redirect(client, request, location, record)).await)
        }
        Admitted::Secure(port) => {
            let location = location(true, host, Some(port), request.target());
            Ok(Box::pin(redirect(client, request, location, record)).await)
        }
    }
}

pub enum Admitted {
    Forward {
        claim: Claim,
        commit_header: bool,
    },
    Redirect(Hostname),
    /// To the same host by TLS, at this port.
    Secure(u16),
}

/// Why a request waits: how long it may, and what it is told if that was in vain, or if too many wait.
struct Wait {
    limit: Duration,
    too_long: ProxyError,
    full: ProxyError,
}

/// Phase 3: route and claim; waits while the route holds.
pub async fn admit(worker: &Worker, client: &mut Client, host: &Hostname, record: &Record) -> Result<Admitted, ProxyError> {
    match try_to_admit(worker, host, record)? {
        Ok(admitted) => Ok(admitted),
        Err(wait) => Box::pin(wait_for_place(worker, client, host, record, wait)).await,
    }
}

fn try_to_admit(worker: &Worker, host: &Hostname, record: &Record) -> Result<Result<Admitted, Wait>, ProxyError> {
    match worker.shared.place(host, &[], record) {
        Placement::Forward { claim, commit_header } => Ok(Ok(Admitted::Forward { claim, commit_header })),
        Placement::Redirect(to) => Ok(Ok(Admitted::Redirect(to))),
        Placement::Secure(port) => Ok(Ok(Admitted::Secure(port))),
        Placement::Passthrough => Err(ProxyError::Misdirected),
        Placement::TooLarge(limit) => Err(ProxyError::TooLarge(limit)),
        Placement::Maintenance(hold) if hold.is_zero() => Err(ProxyError::Maintenance),
        Placement::Nothing => Err(ProxyError::NoInstance),
        Placement::UnknownHost => Err(ProxyError::UnknownHost),
        Placement::NotReady => Err(ProxyError::NotReady),
        Placement::Hold(limit) => Ok(Err(Wait { limit, too_long: ProxyError::HeldTooLong(limit), full: ProxyError::HeldFull })),
        Placement::Maintenance(limit) => {
            Ok(Err(Wait { limit, too_long: ProxyError::Maintenance, full: ProxyError::Maintenance }))
        }
    }
}

async fn wait_for_place(
    worker: &Worker,
    client: &mut Client,
    host: &Hostname,
    record: &Record,
    mut wait: Wait,
) -> Result<Admitted, ProxyError> {
    let (begun, no_progress) = (Instant::now(), Cell::new(0));
    let route = record.route.borrow().clone();
    let place = route.and_then(|route| worker.shared.held.take(&route.app, worker.limits().held_per_app));
    let _place = place.ok_or(wait.full)?;
    let (mut news, mut stages) = (worker.shared.news.subscribe(), worker.shared.stage.subscribe());
    loop {
        // Looked at again after subscribing, so that no snapshot is missed in between.
        wait = match try_to_admit(worker, host, record)? {
            Err(wait) => wait,
            Ok(admitted) => {
                if let Admitted::Forward { claim, .. } = &admitted {
                    claim.target().tally.held();
                }
                return Ok(admitted);
            }
        };
        let waited = tokio::select! {
            _ = news.changed() => Ok(()),
            () = sleep(wait.limit.saturating_sub(begun.elapsed())) => Err(wait.too_long),
            () = gone(&mut client.reader, &no_progress) => Err(ProxyError::ClientGone),
            () = reached(&mut stages, Stage::Closing) => Err(ProxyError::NoInstance),
        };
        record.held.set(begun.elapsed());
        if matches!(waited, Err(ProxyError::HeldTooLong(_))) {
            worker.shared.held_in_vain(record.route.borrow().as_ref().map(|route| &route.app));
        }
        waited?;
    }
}

async fn redirect(client: &mut Client, request: &Request, location: String, record: &Record) -> After {
    let page = Page { status: 308, location: Some(location), ..page_of(Some(request), record) };
    send(client, page, record).await.unwrap_or(After::Close)
}

/// A request whose head was not accepted: said so, and the connection is over, as no one knows where the next request would begin.
async fn refuse(worker: &Worker, client: &mut Client, error: ProxyError) -> Option<After> {
    worker.shared.drops.count(&error);
    let origin = Origin { client: client.peer.ip().to_canonical(), trusted: false, https: false };
    let record = Record::new(origin, worker.ids.make(), None);
    let after = own_answer(worker, client, None, &error, &record).await;
    worker.account(&record, Subject::Nothing, Some(&error));
    after
}

/// The page for an error, if there is someone to show it to.
async fn own_answer(
    worker: &Worker,
    client: &mut Client,
    request: Option<&Request>,
    error: &ProxyError,
    record: &Record,
) -> Option<After> {
    let status = error.status()?;
    let base = page_of(request, record);
    // A body that broke its framing leaves no next request to find; neither does the end of the process.
    let close = base.close || matches!(status, 400 | 408) || worker.stage() != Stage::Open || record.bytes_in.get() > 0;
    let maintenance = matches!(error, ProxyError::Maintenance).then(|| record.message());
    let page = Page { status, close, retry_after: error.retry_after(), maintenance, ..base };
    send(client, page, record).await
}

fn page_of<'a>(request: Option<&Request>, record: &'a Record) -> Page<'a> {
    Page {
        status: 0,
        request_id: &record.id,
        json: request.is_some_and(|r| wants_json(&r.fields)),
        head_only: request.is_some_and(Request::is_head),
        retry_after: None,
        hsts: record.hsts(),
        maintenance: None,
        // With a body on its way the connection could only go on by reading all of it.
        close: request.is_none_or(|r| !r.keep_alive || r.has_body()),
        say_keep_alive: request.is_some_and(|r| !r.http11),
        location: None,
    }
}

async fn send(client: &mut Client, page: Page<'_>, record: &Record) -> Option<After> {
    record.answered(page.status);
    record.bytes_out.set(page.write(&mut client.writer.out));
    let written = timeout(STALL_TIME, client.writer.flush()).await;
    match written {
        Ok(Ok(())) if page.close || client.reader.is_over() => Some(After::Linger),
        Ok(Ok(())) => Some(After::Keep),
        _ => None,
    }
}
