//! Accepting: one acceptor gives each connection to the worker with the fewest; every worker is one thread with its own runtime.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;
use tokio::time::{interval, sleep, timeout};

use super::conn::Client;
use super::dial::DialMaker;
use super::doors::Ticket;
use super::limits::{CLOSE_TIME, SHUTDOWN_TIME};
use super::pool::Pool;
use super::serve;
use super::worker::{Ids, Shared, Stage, Worker, reached};

/// A worker as the acceptor sees it.
pub struct Seat {
    inbox: mpsc::UnboundedSender<(TcpStream, Ticket)>,
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

/// Accepts until the shutdown, then lets the workers finish. `ready` is called when connections are taken.
pub async fn accept(
    listeners: Vec<TcpListener>,
    seats: Vec<Seat>,
    shared: &Arc<Shared>,
    ready: Box<dyn FnOnce() + Send>,
    mut shutdown: watch::Receiver<bool>,
) -> io::Result<()> {
    let (sender, mut accepted) = mpsc::channel(1);
    let mut tasks = tokio::task::JoinSet::new();
    for listener in listeners {
        listener.set_nonblocking(true)?;
        tasks.spawn(accept_from(tokio::net::TcpListener::from_std(listener)?, Arc::clone(shared), sender.clone()));
    }
    ready();
    loop {
        tokio::select! {
            biased;
            _ = shutdown.wait_for(|stop| *stop) => break,
            Some(guest) = accepted.recv() => give(&seats, guest),
        }
    }
    // Dropping the tasks closes our copies of the listening sockets; the kernel's queue lives on in whoever else holds one.
    tasks.shutdown().await;
    while let Ok(guest) = accepted.try_recv() {
        give(&seats, guest);
    }
    finish(seats, shared).await;
    Ok(())
}

async fn accept_from(listener: tokio::net::TcpListener, shared: Arc<Shared>, to: mpsc::Sender<(TcpStream, Ticket)>) {
    loop {
        // The place is taken first: a connection that was accepted is never dropped by a shutdown.
        let Ok(place) = to.reserve().await else { return };
        match listener.accept().await.and_then(|(stream, peer)| Ok((stream.into_std()?, peer))) {
            Ok((stream, peer)) => match shared.doors.enter(peer.ip(), false, &shared.table.load().limits) {
                Ok(ticket) => place.send((stream, ticket)),
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

fn give(seats: &[Seat], guest: (TcpStream, Ticket)) {
    let Some(seat) = seats.iter().min_by_key(|s| s.open.load(Ordering::Relaxed)) else { return };
    seat.open.fetch_add(1, Ordering::Relaxed);
    if seat.inbox.send(guest).is_err() {
        tracing::error!("a worker is gone; its connection is dropped");
    }
}

/// Closing, then Cutting shortly before the time is up, then Over; each ends early when no connection is left.
async fn finish(seats: Vec<Seat>, shared: &Shared) {
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

fn work(shared: &Arc<Shared>, dial: &DialMaker, inbox: mpsc::UnboundedReceiver<(TcpStream, Ticket)>, open: &Arc<AtomicUsize>) {
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
                Some((stream, ticket)) = inbox.recv() => welcome(&worker, stream, Guest { open: Arc::clone(open), _ticket: ticket }),
                _ = news.changed() => worker.pool.sweep(),
                _ = sweep.tick() => worker.pool.sweep(),
            }
        }
    });
}

/// Counts the connection out when it ends, however it ends.
struct Guest {
    open: Arc<AtomicUsize>,
    _ticket: Ticket,
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

fn welcome(worker: &Rc<Worker>, stream: TcpStream, guest: Guest) {
    // A client that left before it was looked at has no address any more.
    if let Ok(client) = tokio::net::TcpStream::from_std(stream).and_then(Client::new) {
        let worker = Rc::clone(worker);
        tokio::task::spawn_local(async move {
            let _guest = guest;
            serve::connection(&worker, client).await;
        });
    }
}

/// The addresses that clients reach.
pub fn addresses(listeners: &[TcpListener]) -> Vec<SocketAddr> {
    listeners.iter().filter_map(|l| l.local_addr().ok()).collect()
}
