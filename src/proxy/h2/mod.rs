//! HTTP/2 to clients (RFC 9113), on the `h2` crate.
//!
//! Owns: connections, their limits, the border between streams and the bytes of HTTP/1.1 that the rest of the proxy reads and writes.
//! Uses: `serve` for each stream. Never: judges a request by rules of its own beyond those of the version (there is one judge, `h1`), or
//! holds a whole body. Invariants: what is given to the judge says the same as the stream did; an answer that is not whole ends in a reset;
//! flow control is given back as bytes are used, so a slow side slows the other.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
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

/// Counts a stream out when it ends, however it ends.
struct Running {
    streams: Rc<Streams>,
    /// The process waits for the stream as for its connection.
    _guest: Rc<Guest>,
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
    let greeted = sending(io, builder(head_bytes).handshake::<_, Bytes>(watched));
    let Ok(Ok(Ok(mut connection))) = timeout(HANDSHAKE_TIME, greeted).await else {
        return Closed::CutOff;
    };
    let streams = Rc::new(Streams { running: Cell::new(0), quiet_since: Cell::new(Instant::now()) });
    let mut stages = worker.shared.stage.subscribe();
    // Once it is told to go, the client may finish what it has, and no more.
    let mut goodbye = None;
    loop {
        let wake = goodbye.unwrap_or_else(|| streams.quiet_since.get() + idle_time);
        tokio::select! {
            biased;
            () = alarm.raised() => {
                tracing::debug!(client = %ends.peer.ip(), "a flood of frames; the connection is closed");
                connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                let _ = timeout(LAST_CALL, sending(io, connection.accept())).await;
                return Closed::CutOff;
            }
            came = sending(io, connection.accept()) => match came {
                Ok(Some(Ok((request, respond)))) => {
                    streams.running.set(streams.running.get() + 1);
                    let running = Running { streams: Rc::clone(&streams), _guest: Rc::clone(guest) };
                    let (worker, secure) = (Rc::clone(worker), Rc::clone(&secure));
                    // In a box of its own: a task of several KiB would be moved more than once on its way.
                    tokio::task::spawn_local(Box::pin(async move {
                        serve_stream(&worker, request, respond, ends, secure).await;
                        drop(running);
                    }));
                }
                Ok(None) => return Closed::Properly,
                Ok(Some(Err(_))) | Err(_) => return Closed::CutOff,
            },
            () = reached(&mut stages, Stage::Leaving), if goodbye.is_none() => {
                // GOAWAY first names no last stream, and after a round trip the true one: no request is lost between the two.
                connection.graceful_shutdown();
                goodbye = Some(Instant::now() + goodbye_time(worker));
            }
            () = sleep_until(wake) => match (streams.running.get(), goodbye) {
                (0, Some(_)) => return Closed::CutOff,
                (0, None) if streams.quiet_since.get().elapsed() >= idle_time => {
                    connection.graceful_shutdown();
                    goodbye = Some(Instant::now() + goodbye_time(worker));
                }
                (_, Some(_)) => goodbye = Some(Instant::now() + goodbye_time(worker)),
                // The clock of the quiet starts when the last stream has ended.
                (_, None) => streams.quiet_since.set(Instant::now()),
            },
        }
    }
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

/// One stream: its request as a request of HTTP/1.1, through the same phases.
async fn serve_stream(
    worker: &Worker,
    request: http::Request<RecvStream>,
    respond: SendResponse<Bytes>,
    ends: Ends,
    secure: Rc<Secure>,
) {
    let (parts, body) = request.into_parts();
    let framing = fields::Framing::of(&parts, body.is_end_stream());
    let to_head = parts.method == http::Method::HEAD;
    let (incoming, mut outgoing) = stream::halves(body, framing, respond, to_head);
    match fields::head(&parts, framing) {
        Ok(head) => serve::stream(worker, Client::stream(head, incoming, outgoing, ends, secure)).await,
        // Malformed by the rules of the version (RFC 9113 §8.1.1).
        Err(fields::Malformed) => outgoing.refuse(),
    }
}
