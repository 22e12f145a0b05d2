//! Accepting: one acceptor gives each connection to the worker with the fewest; every worker is one thread with its own runtime.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;
use tokio::time::{interval, sleep, timeout};

use super::Stop;
use super::conn::Client;
use super::dial::DialMaker;
use super::doors::{Full, Ticket};
use super::limits::{CLOSE_TIME, SHUTDOWN_TIME};
use super::pool::Pool;
use super::serve;
use super::tls;
use super::worker::{Ids, Shared, Stage, Worker, reached};

/// What clients speak on a listening socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Plain,
    Tls,
}

/// A connection that was accepted.
struct Arrival {
    stream: TcpStream,
    kind: Kind,
    ticket: Ticket,
}

/// A worker as the acceptor sees it.
pub struct Seat {
    inbox: mpsc::UnboundedSender<Arrival>,
    open: Arc<AtomicUsize>,
    thread: JoinHandle<()>,
}

/// Starts `count` workers.
pub fn seat_workers(count: usize, shared: &Arc<Shared>, dial: &DialMaker) -> io::Result<Vec<Seat>> {
    (0..count)
        .map(|n| {
            let (inbox, connections) = mpsc::unbounded_channel();
            let open = Arc::new(AtomicUsize::new(0));
            let (shared, dial, counted) = (Arc::clone(shared), Arc::clone(dial), Arc::clone(&open));
            let work = move || work(&shared, &dial, connections, &counted);
            let thread = std::thread::Builder::new().name(format!("worker-{n}")).spawn(work)?;
            Ok(Seat { inbox, open, thread })
        })
        .collect()
}

/// Accepts until it is told to stop, then lets the workers finish. `ready` is called right before connections are taken.
pub async fn accept(
    listeners: Vec<(TcpListener, Kind)>,
    seats: Vec<Seat>,
    shared: &Arc<Shared>,
    ready: Box<dyn FnOnce() -> io::Result<()> + Send>,
    mut stop: watch::Receiver<Stop>,
) -> io::Result<()> {
    if let Err(error) = ready() {
        finish(seats, shared, &mut stop).await;
        return Err(error);
    }
    // Each listener holds a place while it waits, so there must be one for each: an idle one must not keep the others waiting.
    let (sender, mut accepted) = mpsc::channel(listeners.len().max(1));
    let mut tasks = tokio::task::JoinSet::new();
    for (listener, kind) in listeners {
        listener.set_nonblocking(true)?;
        tasks.spawn(accept_from(tokio::net::TcpListener::from_std(listener)?, kind, Arc::clone(shared), sender.clone()));
    }
    loop {
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop != Stop::Serve) => break,
            Some(arrival) = accepted.recv() => give(&seats, arrival),
        }
    }
    // Dropping the tasks closes our copies of the listening sockets; the kernel's queue lives on in whoever else holds one.
    tasks.shutdown().await;
    while let Ok(arrival) = accepted.try_recv() {
        give(&seats, arrival);
    }
    finish(seats, shared, &mut stop).await;
    Ok(())
}

async fn accept_from(listener: tokio::net::TcpListener, kind: Kind, shared: Arc<Shared>, to: mpsc::Sender<Arrival>) {
    loop {
        // The place is taken first: a connection that was accepted is never dropped by a shutdown.
        let Ok(place) = to.reserve().await else { return };
        match listener.accept().await.and_then(|(stream, peer)| Ok((stream.into_std()?, peer))) {
            Ok((stream, peer)) => match admit(&shared, peer.ip()) {
                Ok(ticket) => place.send(Arrival { stream, kind, ticket }),
                // Closed at once, without a word: an answer would cost more than what it is an answer to.
                Err(full) => shared.drops.refused(full),
            },
            Err(error) => {
                // Out of descriptors, or a client that left at once; the first needs a moment, the second does no harm.
                tracing::warn!(%error, "accepting a connection");
                sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

/// Counts a connection in. All clients of a trusted proxy come from its address, so that only the sum limits it.
fn admit(shared: &Shared, peer: IpAddr) -> Result<Ticket, Full> {
    let table = shared.table.load();
    let known = table.trusted.iter().any(|net| net.contains(peer));
    shared.doors.enter(peer, known, &table.limits)
}

fn give(seats: &[Seat], arrival: Arrival) {
    let Some(seat) = seats.iter().min_by_key(|s| s.open.load(Ordering::Relaxed)) else { return };
    seat.open.fetch_add(1, Ordering::Relaxed);
    if seat.inbox.send(arrival).is_err() {
        tracing::error!("a worker is gone; its connection is dropped");
    }
}

/// Leaving where another process accepts, Closing, then Cutting shortly before the time is up, then Over; each ends early when no connection
/// is left.
async fn finish(seats: Vec<Seat>, shared: &Shared, stop: &mut watch::Receiver<Stop>) {
    let told = *stop.borrow_and_update();
    if let Stop::Leave { grace } = told {
        shared.stage.send_replace(Stage::Leaving);
        tokio::select! {
            () = none_open(&seats) => {}
            () = sleep(grace) => {}
            _ = stop.wait_for(|stop| *stop == Stop::Now) => {}
        }
    }
    shared.stage.send_replace(Stage::Closing);
    if timeout(SHUTDOWN_TIME - CLOSE_TIME, none_open(&seats)).await.is_err() {
        shared.stage.send_replace(Stage::Cutting);
        // Who has not closed by now is cut off with the process.
        let _ = timeout(CLOSE_TIME, none_open(&seats)).await;
    }
    shared.stage.send_replace(Stage::Over);
    for seat in seats {
        if seat.thread.join().is_err() {
            tracing::error!("a worker panicked");
        }
    }
}

async fn none_open(seats: &[Seat]) {
    while seats.iter().any(|s| s.open.load(Ordering::Relaxed) > 0) {
        sleep(Duration::from_millis(5)).await;
    }
}

fn work(shared: &Arc<Shared>, dial: &DialMaker, inbox: mpsc::UnboundedReceiver<Arrival>, open: &Arc<AtomicUsize>) {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime needs only an epoll descriptor, at start");
    let local = LocalSet::new();
    local.block_on(&runtime, async {
        let worker = Rc::new(Worker { shared: Arc::clone(shared), pool: Pool::new(dial()), ids: Ids::new() });
        let (mut stages, mut news) = (shared.stage.subscribe(), shared.news.subscribe());
        let mut sweep = interval(Duration::from_millis(500));
        let mut inbox = inbox;
        loop {
            tokio::select! {
                biased;
                () = reached(&mut stages, Stage::Over) => return,
                Some(arrival) = inbox.recv() => welcome(&worker, arrival, open),
                _ = news.changed() => worker.pool.sweep(),
                _ = sweep.tick() => worker.pool.sweep(),
            }
        }
    });
}

/// Counts the connection out when it ends, however it ends.
pub struct Guest {
    open: Arc<AtomicUsize>,
    _ticket: Ticket,
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

fn welcome(worker: &Rc<Worker>, Arrival { stream, kind, ticket }: Arrival, open: &Arc<AtomicUsize>) {
    let guest = Guest { open: Arc::clone(open), _ticket: ticket };
    let worker = Rc::clone(worker);
    let Ok(stream) = tokio::net::TcpStream::from_std(stream) else { return };
    match kind {
        // A client that left before it was looked at has no address any more.
        Kind::Plain => {
            let Ok(client) = Client::plain(stream) else { return };
            tokio::task::spawn_local(async move {
                let _guest = guest;
                serve::connection(&worker, client).await;
            });
        }
        Kind::Tls => {
            let guest = Rc::new(guest);
            tokio::task::spawn_local(async move { tls::connection(&worker, stream, &guest).await });
        }
    }
}

/// The addresses that clients reach.
pub fn addresses(listeners: &[TcpListener]) -> Vec<SocketAddr> {
    listeners.iter().filter_map(|l| l.local_addr().ok()).collect()
}
