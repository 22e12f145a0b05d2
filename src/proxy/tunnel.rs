//! After the instance's own 101: bytes both ways, unread but for the boundaries of WebSocket frames, so that the end can be a proper one.

use bytes::BufMut;
use futures_util::future::{Either, select};
use tokio::time::{Instant, timeout, timeout_at};

use super::access::Record;
use super::conn::{Client, Reader, Upstream, Writer};
use super::forward::cut;
use super::frames::Frames;
use super::limits::{CLOSE_TIME, HALF_TUNNEL_TIME};
use super::target::{Claim, End};
use super::worker::{Stage, Worker, reached};

/// Close with status 1001, "going away" (RFC 6455 §7.4.1), as a server sends it.
const CLOSE_TO_CLIENT: &[u8] = &[0x88, 0x02, 0x03, 0xe9];
/// The same as a client sends it: masked, here with a mask of zeros, which changes nothing.
const CLOSE_TO_SERVER: &[u8] = &[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9];

/// One direction and where it stands in the frames.
struct Lane<'a> {
    from: &'a mut Reader,
    to: &'a mut Writer,
    frames: Frames,
    bytes: &'a std::cell::Cell<u64>,
}

/// `websocket`: the bytes are its frames. Carries bytes until both sides ended, or closes the tunnel at the end of the drain budget; gives which of the two.
pub async fn tunnel(
    worker: &Worker,
    client: &mut Client,
    upstream: &mut Upstream,
    claim: &Claim,
    websocket: bool,
    record: &Record,
) -> End {
    let mut up = Lane { from: &mut client.reader, to: &mut upstream.writer, frames: Frames::default(), bytes: &record.bytes_in };
    let mut down =
        Lane { from: &mut upstream.reader, to: &mut client.writer, frames: Frames::default(), bytes: &record.bytes_out };
    let (mut cuts, mut stages) = (claim.target().cuts(), worker.shared.stage.subscribe());
    let ended = tokio::select! {
        biased;
        () = both(&mut up, &mut down) => true,
        () = cut(&mut cuts, claim) => false,
        () = reached(&mut stages, Stage::Cutting) => false,
    };
    if ended {
        return End::Served;
    }
    let end = Instant::now() + CLOSE_TIME;
    if websocket {
        tokio::join!(down.say(CLOSE_TO_CLIENT, end), up.say(CLOSE_TO_SERVER, end));
    }
    down.to.end().await;
    up.to.end().await;
    // The client closes when it has our close frame; cutting it off before would be a reset.
    let reply = async {
        while matches!(up.from.fill().await, Ok(n) if n > 0) {
            up.frames.pass(&up.from.buf);
            up.from.buf.clear();
        }
    };
    let _ = timeout_at(end, reply).await;
    End::Cut
}

/// Both lanes until both end; one alone does not go on for long.
async fn both(up: &mut Lane<'_>, down: &mut Lane<'_>) {
    let (up, down) = (std::pin::pin!(up.carry()), std::pin::pin!(down.carry()));
    // Whatever the other side still has to say is given its time.
    match select(up, down).await {
        Either::Left((Ok(()), down)) => drop(timeout(HALF_TUNNEL_TIME, down).await),
        Either::Right((Ok(()), up)) => drop(timeout(HALF_TUNNEL_TIME, up).await),
        Either::Left((Err(_), _)) | Either::Right((Err(_), _)) => {}
    }
}

impl Lane<'_> {
    /// Carries until the sender ends, then ends the receiver's side. Cancel-safe: yes, what is counted by `frames` is sent or in `to.out`.
    async fn carry(&mut self) -> std::io::Result<()> {
        loop {
            self.shift(self.from.buf.len());
            self.to.flush().await?;
            if self.from.fill().await? == 0 {
                self.to.end().await;
                return Ok(());
            }
        }
    }

    fn shift(&mut self, n: usize) {
        let piece = self.from.buf.split_to(n);
        self.frames.pass(&piece);
        self.to.out.put_slice(&piece);
        self.bytes.set(self.bytes.get() + n as u64);
    }

    /// Goes on to the next boundary between frames and puts `close` there, unless the sender closed by itself.
    async fn say(&mut self, close: &[u8], end: Instant) {
        let said = async {
            loop {
                let n = self.frames.to_boundary(&self.from.buf);
                self.shift(n);
                if self.frames.at_boundary() {
                    break;
                }
                self.to.flush().await?;
                if self.from.fill().await? == 0 {
                    return Ok(());
                }
            }
            if !self.frames.closed() {
                self.to.out.put_slice(close);
            }
            self.to.flush().await
        };
        // A peer that can't take it in time is cut off.
        let _: Result<std::io::Result<()>, _> = timeout_at(end, said).await;
    }
}
