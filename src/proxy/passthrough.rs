//! A TLS connection for an app that ends TLS itself: by the name in its ClientHello to an instance, undecrypted, claimed and drained as a
//! stream.

use std::cell::Cell;

use bytes::{BufMut, BytesMut};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use super::access::{Record, Subject};
use super::conn::{Client, Ends, Upstream};
use super::error::ProxyError;
use super::forward::cut;
use super::limits::{RESTART_HOLD, RESTART_PAUSE};
use super::serve::{Admitted, admit};
use super::target::{Claim, End};
use super::tunnel::tunnel;
use super::upload::gone;
use super::worker::{Stage, Worker, reached};
use crate::names::Hostname;

/// Serves the connection; `seen` is what was read of it so far. There is no page for what goes wrong: we have no certificate for the name,
/// so the connection just ends.
pub async fn connection(worker: &Worker, stream: TcpStream, ends: Ends, seen: BytesMut, host: &Hostname) {
    let mut client = Client::plain(stream, ends);
    client.reader.buf = seen;
    let record = Record::passed(client.peer.ip(), worker.ids.make());
    let error = carry(worker, &mut client, host, &record).await.err();
    worker.account(&record, Subject::Passed(host), error.as_ref());
}

async fn carry(worker: &Worker, client: &mut Client, host: &Hostname, record: &Record) -> Result<(), ProxyError> {
    let (claim, mut upstream) = connect(worker, client, host, record).await?;
    claim.mark_stream();
    upstream.writer.out.put_slice(&client.reader.buf.split());
    record.bytes_in.set(upstream.writer.out.len() as u64);
    let end = tunnel(worker, client, &mut upstream, &claim, false, record).await;
    claim.end(end, 0, record, (end == End::Cut).then_some(&ProxyError::Drained));
    Ok(())
}

/// Claims a target and connects to it. Nothing was sent so far, so whatever refuses may be tried again, or another target, for as long as a
/// restart takes.
async fn connect(
    worker: &Worker,
    client: &mut Client,
    host: &Hostname,
    record: &Record,
) -> Result<(Claim, Box<Upstream>), ProxyError> {
    let give_up = Instant::now() + RESTART_HOLD;
    let mut pause = RESTART_PAUSE.0;
    loop {
        let Admitted::Forward { claim, .. } = admit(worker, client, host, record).await? else {
            return Err(ProxyError::UnknownHost);
        };
        record.target.set(Some(claim.target().id()));
        let (mut cuts, mut stages) = (claim.target().cuts(), worker.shared.stage.subscribe());
        let nothing = Cell::new(0);
        let dialed = tokio::select! {
            biased;
            dialed = worker.pool.dial(claim.target()) => dialed.map_err(ProxyError::Dial),
            () = gone(&mut client.reader, &nothing) => Err(ProxyError::ClientGone),
            () = cut(&mut cuts, &claim) => Err(ProxyError::Drained),
            () = reached(&mut stages, Stage::Cutting) => Err(ProxyError::Drained),
        };
        match dialed {
            Ok(upstream) => return Ok((claim, upstream)),
            Err(ProxyError::Dial(_)) if Instant::now() + pause < give_up => {
                claim.retried();
                record.retried();
            }
            Err(error) => {
                let how = match error {
                    ProxyError::Drained => End::Cut,
                    _ if error.is_the_clients() => End::ClientLeft,
                    _ => End::Dropped,
                };
                claim.end(how, 0, record, Some(&error));
                return Err(error);
            }
        }
        drop(claim);
        sleep(pause).await;
        pause = (pause * 2).min(RESTART_PAUSE.1);
    }
}
