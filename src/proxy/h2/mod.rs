//! HTTP/2 to clients (RFC 9113), on the `h2` crate.
//!
//! Owns: connections, their limits, the border between streams and the bytes of HTTP/1.1 that the rest of the proxy reads and writes.
//! Uses: `serve` for each stream. Never: judges a request by rules of its own beyond those of the version (there is one judge, `h1`), or
//! holds a whole body. Invariants: what is given to the judge says the same as the stream did; an answer that is not whole ends in a reset;
//! flow control is given back as bytes are used, so a slow side slows the other.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

mod fields;
mod flood;
mod gather;
pub mod stream;

use super::conn::{Client, Ends};
use super::limits::{
    H2_BUFFERED_BYTES, H2_CONNECTION_WINDOW, H2_GOODBYE_TIME, H2_LOCAL_RESETS, H2_SHORT_GOODBYE_TIME, H2_STREAM_WINDOW,
    H2_STREAMS, HANDSHAKE_TIME, LAST_CALL, LINGER_TIME,
};
use super::listen::Guest;
use super::serve;
use super::tls::Secure;
use super::worker::{Stage, Worker, reached};
use flood::Watched;
use gather::{Gather, sending};

/// Streams of one connection: how many run, and since when none does.
struct Streams {
    running: Cell<usize>,
    quiet_since: Cell<Instant>,
}

/// What is due when a connection's clock has rung.
enum Ring {
    Again(Instant),
    Goodbye,
    CutOff,
}

impl Streams {
    fn are_running(&self) -> bool {
        self.running.get() > 0
    }

    /// The clock is set seldom: no request moves it, so it may ring too early. `goodbye`: the client was told to go,
    /// and is looked at again after so long.
    fn after_ring(&self, goodbye: Option<Duration>, idle_time: Duration) -> Ring {
        // Counts from the end of the last stream: the end of its answer may still be on its way.
        let quiet_until = self.quiet_since.get() + goodbye.unwrap_or(idle_time);
        match (self.are_running(), goodbye) {
            (true, Some(time)) => Ring::Again(Instant::now() + time),
            // The clock of the quiet starts when the last stream has ended.
            (true, None) => Ring::Again(Instant::now() + idle_time),
            (false, _) if quiet_until > Instant::now() => Ring::Again(quiet_until),
            (false, Some(_)) => Ring::CutOff,
            (false, None) => Ring::Goodbye,
        }
    }
}

/// Counts a stream out when it ends, however it ends.
struct Running {
    streams: Rc<Streams>,
    /// The process waits for the stream as for its connection.
    _guest: Rc<Guest>,
}

impl Running {
    fn new(streams: &Rc<Streams>, guest: &Rc<Guest>) -> Self {
        streams.running.set(streams.running.get() + 1);
        Self { streams: Rc::clone(streams), _guest: Rc::clone(guest) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let streams = &self.streams;
        streams.running.set(streams.running.get() - 1);
        streams.quiet_since.set(Instant::now());
    }
}

/// Serves the connection until one side is done with it, and closes it so that the client sees all we wrote: what the client still has on
/// its way (its own goodbye, a PING) must not meet a closed socket, whose reset would take the end of an answer with it.
pub async fn connection<T>(worker: &Rc<Worker>, io: T, ends: Ends, secure: Rc<Secure>, guest: &Rc<Guest>)
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let io = Rc::new(RefCell::new(Gather::new(io)));
    if let Closed::Properly = serve_all(worker, &io, ends, secure, guest).await {
        let drained = async {
            let mut sink = [0; 1024];
            // The clock alone ends a client that sends on and on; what it sends costs us little for so long.
            while poll_fn(|cx| {
                let mut buf = ReadBuf::new(&mut sink);
                let read = ready!(Pin::new(&mut *io.borrow_mut()).poll_read(cx, &mut buf));
                Poll::Ready(read.is_ok() && !buf.filled().is_empty())
            })
            .await
            {}
        };
        let _ = timeout(LINGER_TIME, drained).await;
    }
}

/// How the streams of a connection came to their end.
enum Closed {
    /// By both sides' leave.
    Properly,
    /// The client broke the rules, vanished or did not go when told to.
    CutOff,
}

/// Each stream runs in a task of its own on this worker.
async fn serve_all<T>(
    worker: &Rc<Worker>,
    io: &Rc<RefCell<Gather<T>>>,
    ends: Ends,
    secure: Rc<Secure>,
    guest: &Rc<Guest>,
) -> Closed
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let (watched, mut alarm) = Watched::new(io);
    let limits = worker.limits();
    let idle_time = limits.idle_time();
    let head_bytes = u32::try_from(limits.head_bytes).unwrap_or(u32::MAX);
    let greeted = sending(io, || false, builder(head_bytes).handshake::<_, Bytes>(watched));
    let Ok(Ok(Ok(mut connection))) = timeout(HANDSHAKE_TIME, greeted).await else {
        return Closed::CutOff;
    };
    let streams = Rc::new(Streams { running: Cell::new(0), quiet_since: Cell::new(Instant::now()) });
    let mut told = pin!(next_stage(worker.shared.stage.subscribe(), Stage::Leaving));
    let mut closing = false;
    let mut wake = pin!(sleep_until(streams.quiet_since.get() + idle_time));
    // Once it is told to go, the client may finish what it has, and no more.
    let mut goodbye = false;
    loop {
        tokio::select! {
            biased;
            () = alarm.raised() => {
                tracing::debug!(client = %ends.peer.ip(), "a flood of frames; the connection is closed");
                connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                let _ = timeout(LAST_CALL, sending(io, || false, connection.accept())).await;
                return Closed::CutOff;
            }
            came = sending(io, || streams.are_running(), connection.accept()) => match came {
                Ok(Some(Ok((request, respond)))) => {
                    let Some(client) = client_of(request, respond, ends, &secure) else { continue };
                    begin(worker, client, Running::new(&streams, guest));
                }
                Ok(None) => return Closed::Properly,
                Ok(Some(Err(_))) | Err(_) => return Closed::CutOff,
            },
            stages = told.as_mut(), if !closing => {
                let end = Instant::now() + goodbye_time(worker);
                // Who was told before has the time of now, and no more than it had.
                let end = if goodbye { end.min(wake.deadline()) } else { end };
                // GOAWAY first names no last stream, and after a round trip the true one: no request is lost between the two.
                connection.graceful_shutdown();
                goodbye = true;
                wake.as_mut().reset(end);
                closing = *stages.borrow() >= Stage::Closing;
                if !closing {
                    told.set(next_stage(stages, Stage::Closing));
                }
            }
            () = wake.as_mut() => match streams.after_ring(goodbye.then(|| goodbye_time(worker)), idle_time) {
                Ring::CutOff => return Closed::CutOff,
                Ring::Again(at) => wake.as_mut().reset(at),
                Ring::Goodbye => {
                    connection.graceful_shutdown();
                    goodbye = true;
                    wake.as_mut().reset(Instant::now() + goodbye_time(worker));
                }
            },
        }
    }
}

fn begin(worker: &Rc<Worker>, mut client: Client, running: Running) {
    let worker = Rc::clone(worker);
    // In a box of its own: a task of some KiB would be moved more than once on its way.
    tokio::task::spawn_local(Box::pin(async move {
        serve::stream(&worker, &mut client).await;
        drop(running);
    }));
}

/// Waits as [`reached`], and gives the receiver back for the next stage. Cancel-safe: yes.
async fn next_stage(mut stages: watch::Receiver<Stage>, stage: Stage) -> watch::Receiver<Stage> {
    reached(&mut stages, stage).await;
    stages
}

fn goodbye_time(worker: &Worker) -> Duration {
    if worker.stage() < Stage::Closing { H2_GOODBYE_TIME } else { H2_SHORT_GOODBYE_TIME }
}

fn builder(head_bytes: u32) -> Builder {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(H2_STREAMS)
        .max_header_list_size(head_bytes)
        .initial_window_size(H2_STREAM_WINDOW)
        .initial_connection_window_size(H2_CONNECTION_WINDOW)
        .max_send_buffer_size(H2_BUFFERED_BYTES)
        .max_local_error_reset_streams(Some(H2_LOCAL_RESETS));
    builder
}

/// One stream as a client that speaks HTTP/1.1. None: its request was refused.
fn client_of(
    request: http::Request<RecvStream>,
    respond: SendResponse<Bytes>,
    ends: Ends,
    secure: &Rc<Secure>,
) -> Option<Client> {
    let (parts, body) = request.into_parts();
    let framing = fields::Framing::of(&parts, body.is_end_stream());
    let to_head = parts.method == http::Method::HEAD;
    let (incoming, mut outgoing) = stream::halves(body, framing, respond, to_head);
    match fields::head(&parts, framing) {
        Ok(head) => Some(Client::stream(head, incoming, outgoing, ends, Rc::clone(secure))),
        // Malformed by the rules of the version (RFC 9113 §8.1.1).
        Err(fields::Malformed) => {
            outgoing.refuse();
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_was_told_to_go_has_its_time_from_the_end_of_its_last_answer() {
        let (time, idle) = (Duration::from_secs(60), Duration::from_secs(600));
        let now = Instant::now();
        let ring = |running: usize, quiet_since: Instant, goodbye: Option<Duration>| match (Streams {
            running: Cell::new(running),
            quiet_since: Cell::new(quiet_since),
        })
        .after_ring(goodbye, idle)
        {
            Ring::Again(at) => at.saturating_duration_since(now).as_secs(),
            Ring::Goodbye => 0,
            Ring::CutOff => u64::MAX,
        };
        let long_ago = now.checked_sub(Duration::from_secs(5)).expect("the machine runs that long");
        assert_eq!(ring(1, now, Some(time)), 60);
        assert_eq!((ring(0, now, Some(time)), ring(0, long_ago, Some(time))), (60, 55), "its last bytes may be on their way");
        assert_eq!(ring(0, long_ago, Some(Duration::from_secs(1))), u64::MAX);
        assert_eq!((ring(1, now, None), ring(0, now, None)), (600, 600));
    }
}
