//! The data plane: takes requests from the internet and gives each to an instance of the app that owns its host name.
//!
//! Owns: the listening sockets, TLS and HTTP/2 to clients, HTTP/1.1 on both sides, the routes in memory, claims and drains. Uses: names, base, wire, the dialer's
//! connections. Never: talks to Docker or SQL, reads or writes a file, knows an address of an instance, waits for the daemon.
//! Invariants: what the instance gets was parsed and written anew (no byte goes through unread before a 101); a request that was let in
//! is waited for by a drain; a bad snapshot changes nothing; a full queue loses access lines, counted, and never time.
//!
//! The phases of a request, in the order of `serve.rs`:
//! 1. *Read*: bytes up to the end of the head, within a time and a size (`h1/head.rs`).
//! 2. *Judge*: one reading of target, Host, framing, Expect and Upgrade, or 400 and the end of the connection (`h1/request.rs`).
//! 3. *Route and claim*: host → route → the target with the least in flight; count in, then look whether it drains (`worker.rs`,
//!    `routes.rs`, `rules.rs`, `target.rs`). A route may also redirect, or hold the request until a later snapshot.
//! 4. *Connect*: an idle connection that still lives, else a new one from the dialer (`pool.rs`).
//! 5. *Send*: the head rewritten (`headers.rs`), the body framed anew, while the answer may already come (`upload.rs`).
//! 6. *Answer*: interim answers, head, body, trailers (`answer.rs`); or the tunnel after a 101 (`tunnel.rs`); or a page of ours
//!    (`pages.rs`, `error.rs`). What may be tried again is decided in `forward.rs`.
//! 7. *Account*: count out, tally, measure (`meter.rs`), perhaps an access line (`access.rs`).

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::runtime::Builder;
use tokio::sync::watch;

mod listen; // acceptor and workers

mod doors; // how many connections come in
mod drops; // who was turned away

mod serve; // one connection, one request

mod worker; // what a worker has at hand; placing a request

mod routes; // host → route
mod rules; // and what it says
mod target; // claim and drain

mod meter; // what is measured of requests
mod report; // and told

mod forward; // attempts and retries

mod answer;
mod conn;
pub mod dial;
mod h2;
mod passthrough;
mod tls;

mod frames; // boundaries of WebSocket frames
mod pool;
mod spare; // buffers for reading
mod pace; // how fast an upload must be
mod tunnel;
mod upload;

mod error;
mod h1;
mod forwarded; // where a request came from
mod headers;
mod decimal;
mod held; // how many requests wait
mod limits;
mod pages;

pub mod explain; // what would happen to a request

mod access;
mod control; // the daemon's connection
mod drains;

pub use control::Keep;
pub use dial::{Dial, DialFailed, DialKind, DialMaker};

/// Whether the process goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    Serve,
    /// Another process accepts by now: finish all that this one has, streams too, within `grace`, then go on as for [`Stop::Now`].
    Leave {
        grace: std::time::Duration,
    },
    /// Stop accepting, finish what runs (at most 10 s), return.
    Now,
}

/// All that the proxy process is given.
pub struct ProxyRun {
    /// Bound and listening.
    pub listeners: Vec<TcpListener>,
    /// The same for TLS.
    pub tls_listeners: Vec<TcpListener>,
    /// The daemon's socket; it need not be there yet.
    pub control_socket: PathBuf,
    pub dial: DialMaker,
    /// The snapshot that an earlier process kept.
    pub restored: Option<Vec<u8>>,
    /// Called with every snapshot that becomes active, before it serves.
    pub keep: Keep,
    /// Called once, when the kept snapshot serves and connections can be accepted: they are as soon as it returns. May block. Its error ends
    /// the run before anything was accepted.
    pub ready: Box<dyn FnOnce() -> io::Result<()> + Send>,
    /// Waits (at most 2 s) until the daemon follows this process too, before it is ready: for one that takes the place of another, so that no
    /// snapshot is missed between the two.
    pub in_step: bool,
    /// What it is to do; the sender dropped is [`Stop::Now`].
    pub stop: watch::Receiver<Stop>,
    /// Worker threads; 0 means one per core.
    pub workers: usize,
}

/// Serves until the shutdown. Blocks; makes its own runtimes and threads. Errors: a runtime, thread or listener that can't be set up.
pub fn run(run: ProxyRun) -> io::Result<()> {
    let (plain, by_tls) = (listen::addresses(&run.listeners), listen::addresses(&run.tls_listeners));
    let https_port = by_tls.first().map(SocketAddr::port);
    let shared = Arc::new(worker::Shared { https_port, ..worker::Shared::default() });
    let control = control::Control::new(Arc::clone(&shared), run.control_socket, (plain, by_tls), run.keep);
    let steering = steer(control, run.restored)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = if run.workers == 0 { cores } else { run.workers };
    let seats = listen::seat_workers(workers, &shared, &run.dial)?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let tls = run.tls_listeners.into_iter().map(|listener| (listener, listen::Kind::Tls));
    let listeners = run.listeners.into_iter().map(|listener| (listener, listen::Kind::Plain)).chain(tls).collect();
    let served = runtime.block_on(async {
        if run.in_step {
            control::followed(&shared).await;
        }
        listen::accept(listeners, seats, &shared, run.ready, run.stop).await
    });
    shared.stage.send_replace(worker::Stage::Over);
    if steering.join().is_err() {
        tracing::error!("the control thread panicked");
    }
    served
}

/// The control connection on a thread of its own: reading a big snapshot must not delay an accept. Returns when the kept snapshot serves.
fn steer(mut control: control::Control, restored: Option<Vec<u8>>) -> io::Result<std::thread::JoinHandle<()>> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    if let Some(bytes) = restored {
        let _inside = runtime.enter();
        control.restore(&bytes);
    }
    std::thread::Builder::new().name("control".to_owned()).spawn(move || runtime.block_on(control.run()))
}

#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing; // what holds for any bytes

#[cfg(test)]
mod tests;
