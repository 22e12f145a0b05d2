//! Accepting: the first worker accepts, and gives each connection to the worker with the fewest; every worker is one thread with its own
//! runtime. So on a host with one worker nothing changes threads.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, interval, sleep, sleep_until, timeout};

use super::Stop;
use super::conn::{Client, Ends, tune};
use super::dial::DialMaker;
use super::doors::{Full, Ticket};
use super::limits::{CLOSE_TIME, SHUTDOWN_TIME, UNSENT_BYTES};
use super::pool::Pool;
use super::serve;
use super::target::turns;
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
    peer: SocketAddr,
    kind: Kind,
    guest: Guest,
}

/// What a worker is given to do.
enum Work {
    Serve(Arrival),
    Accept(Acceptor),
}

/// A listening socket, and who its connections are for.
struct Acceptor {
    listener: TcpListener,
    kind: Kind,
    places: Arc<[Place]>,
    /// True: no more connections.
    over: watch::Receiver<bool>,
    /// Dropped when the socket is closed and all that it brought was given away.
    _ended: mpsc::Sender<()>,
}

/// A worker as the acceptor sees it.
#[derive(Clone)]
struct Place {
    inbox: mpsc::UnboundedSender<Work>,
    open: Arc<AtomicUsize>,
}

/// A worker as the process sees it.
pub struct Seat {
    place: Place,
    thread: JoinHandle<()>,
}

/// Starts `count` workers.
pub fn seat_workers(count: usize, shared: &Arc<Shared>, dial: &DialMaker) -> io::Result<Vec<Seat>> {
    (0..count)
        .map(|n| {
            let (inbox, given) = mpsc::unbounded_channel();
            let (shared, dial) = (Arc::clone(shared), Arc::clone(dial));
            let work = move || work(&shared, &dial, given);
            let thread = std::thread::Builder::new().name(format!("worker-{n}")).spawn(work)?;
            Ok(Seat { place: Place { inbox, open: Arc::default() }, thread })
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
    let places: Arc<[Place]> = seats.iter().map(|seat| seat.place.clone()).collect();
    let (close, over) = watch::channel(false);
    let (ended, mut all_ended) = mpsc::channel(1);
    for (listener, kind) in listeners {
        listener.set_nonblocking(true)?;
        // What it accepts has these too.
        tune(&listener, UNSENT_BYTES);
        let acceptor = Acceptor { listener, kind, places: Arc::clone(&places), over: over.clone(), _ended: ended.clone() };
        let first = places.first().ok_or(io::ErrorKind::InvalidInput)?;
        first.inbox.send(Work::Accept(acceptor)).map_err(|_| io::Error::other("the first worker is gone"))?;
    }
    drop(ended);
    let _ = stop.wait_for(|stop| *stop != Stop::Serve).await;
    close.send_replace(true);
    // Our copies of the listening sockets are closed then; the kernel's queue lives on in whoever else holds one.
    let _ = all_ended.recv().await;
    finish(seats, shared, &mut stop).await;
    Ok(())
}

/// Accepts until it is over. Runs on the worker of the first place.
async fn accept_from(worker: Rc<Worker>, Acceptor { listener, kind, places, mut over, _ended }: Acceptor) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "a listening socket can't be used"),
    };
    loop {
        // A connection that was accepted is never dropped by the end: the two are told apart without a wait in between.
        let accepted = tokio::select! {
            biased;
            _ = over.wait_for(|over| *over) => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => match admit(&worker.shared, peer.ip()) {
                Ok(ticket) => give(&worker, &places, stream, peer, kind, ticket),
                // Closed at once, without a word: an answer would cost more than what it is an answer to.
                Err(full) => worker.shared.drops.refused(full),
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

fn give(worker: &Rc<Worker>, places: &[Place], stream: tokio::net::TcpStream, peer: SocketAddr, kind: Kind, ticket: Ticket) {
    let Some((n, place)) = places.iter().enumerate().min_by_key(|(_, place)| place.open.load(Ordering::Relaxed)) else { return };
    place.open.fetch_add(1, Ordering::Relaxed);
    let guest = Guest { open: Arc::clone(&place.open), _ticket: ticket };
    if n == 0 {
        return welcome(worker, stream, peer, kind, guest);
    }
    let Ok(stream) = stream.into_std() else { return };
    if place.inbox.send(Work::Serve(Arrival { stream, peer, kind, guest })).is_err() {
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
            () = end_streams(shared, grace) => {}
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

/// Until the end of the grace; the streams of all targets end by turns over its last part, as those of a drain do. Cancel-safe: yes.
async fn end_streams(shared: &Shared, grace: Duration) {
    let begun = Instant::now();
    for (at, what) in turns(grace) {
        sleep_until(begun + at).await;
        // The table of this moment: targets come and go meanwhile.
        shared.table.load().targets.values().for_each(|target| target.raise(what));
    }
}

async fn none_open(seats: &[Seat]) {
    while seats.iter().any(|s| s.place.open.load(Ordering::Relaxed) > 0) {
        sleep(Duration::from_millis(5)).await;
    }
}

fn work(shared: &Arc<Shared>, dial: &DialMaker, mut given: mpsc::UnboundedReceiver<Work>) {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    let runtime = runtime.expect("a runtime needs only an epoll descriptor, at start");
    runtime.block_on(async {
        let worker = Rc::new(Worker { shared: Arc::clone(shared), pool: Pool::new(dial()), ids: Ids::new() });
        let (mut stages, mut news) = (shared.stage.subscribe(), shared.news.subscribe());
        let mut sweep = interval(Duration::from_millis(500));
        loop {
            tokio::select! {
                biased;
                () = reached(&mut stages, Stage::Over) => return,
                Some(work) = given.recv() => match work {
                    Work::Serve(Arrival { stream, peer, kind, guest }) => {
                        let Ok(stream) = tokio::net::TcpStream::from_std(stream) else { continue };
                        welcome(&worker, stream, peer, kind, guest);
                    }
                    Work::Accept(acceptor) => drop(tokio::task::spawn_local(accept_from(Rc::clone(&worker), acceptor))),
                },
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

fn welcome(worker: &Rc<Worker>, stream: tokio::net::TcpStream, peer: SocketAddr, kind: Kind, guest: Guest) {
    let worker = Rc::clone(worker);
    // A client that left before it was looked at may have no address any more.
    let Ok(local) = stream.local_addr() else { return };
    let ends = Ends { peer, local };
    match kind {
        Kind::Plain => {
            let mut client = Client::plain(stream, ends);
            tokio::task::spawn_local(async move {
                let _guest = guest;
                serve::connection(&worker, &mut client).await;
            });
        }
        Kind::Tls => {
            let guest = Rc::new(guest);
            tokio::task::spawn_local(async move { tls::connection(&worker, stream, ends, &guest).await });
        }
    }
}

/// The addresses that clients reach.
pub fn addresses(listeners: &[TcpListener]) -> Vec<SocketAddr> {
    listeners.iter().filter_map(|l| l.local_addr().ok()).collect()
}
