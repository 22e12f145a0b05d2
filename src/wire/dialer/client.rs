//! The asking side: one connection, many asks in flight, made anew when it breaks.

use std::collections::HashMap;
use std::io;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use std::os::fd::AsRawFd;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::AbortHandle;

use super::{Answer, Ask, DialError, LARGEST_PACKET, ListeningPort, Numbered};
use crate::base::backoff::Backoff;
use crate::handover::fds;
use crate::names::InstanceId;

/// The most asks that one client has unanswered: so many that apps which do not accept (256 dials of each may wait) do not use them up,
/// and yet a bound.
const IN_FLIGHT_LIMIT: usize = 4096;

/// How long one ask may take, reconnecting included. The dialer itself answers within a second; the rest covers its restart.
const ASK_LIMIT: Duration = Duration::from_secs(3);

/// An ask that was answered with no, or not at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct DialFailure {
    pub kind: DialError,
    pub why: String,
}

/// Asks the dialer; cheap to clone. Connects with the first ask and again whenever the connection broke; every ask is safe to repeat, and is
/// repeated then. Must be used inside one tokio runtime (of any kind), in which it spawns the one task that reads answers.
#[derive(Debug, Clone)]
pub struct DialClient {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    socket: PathBuf,
    link: Mutex<Option<(Arc<Link>, AbortHandle)>>,
    next_id: AtomicU64,
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some((_, reader)) = lock(&self.link).take() {
            reader.abort();
        }
    }
}

/// One connection. `waiting` is None once it is broken.
#[derive(Debug)]
struct Link {
    socket: UnixStream,
    waiting: Mutex<Option<HashMap<u64, Waiting>>>,
    permits: Arc<Semaphore>,
}

/// Someone waits for this answer, or did and left: the permit stays until the answer came, so that the limit holds for the dialer too.
#[derive(Debug)]
struct Waiting {
    to: oneshot::Sender<Reply>,
    _permit: OwnedSemaphorePermit,
}

type Reply = (Answer, Option<OwnedFd>);

impl DialClient {
    /// `socket` is the dialer's. Nothing is connected yet.
    pub fn new(socket: PathBuf) -> Self {
        Self { shared: Arc::new(Shared { socket, link: Mutex::new(None), next_id: AtomicU64::new(1) }) }
    }

    /// Makes a target known, see [`Ask::Register`]. Cancel-safe: yes, but the dialer may have done it.
    pub async fn register(&self, target: InstanceId, sandbox_key: PathBuf, port: u16) -> Result<(), DialFailure> {
        self.done(Ask::Register { target, sandbox_key, port }).await
    }

    /// Forgets a target. Cancel-safe: yes, but the dialer may have done it.
    pub async fn unregister(&self, target: InstanceId) -> Result<(), DialFailure> {
        self.done(Ask::Unregister { target }).await
    }

    /// All targets that the dialer knows. Cancel-safe: yes.
    pub async fn list(&self) -> Result<Vec<InstanceId>, DialFailure> {
        match self.ask(Ask::List).await? {
            (Answer::Targets(targets), _) => Ok(targets),
            other => Err(unexpected(&other)),
        }
    }

    /// What processes in the target's namespace listen on (without the engine's own resolver). Cancel-safe: yes.
    pub async fn listening(&self, target: InstanceId) -> Result<Vec<ListeningPort>, DialFailure> {
        match self.ask(Ask::Listening { target }).await? {
            (Answer::Listening(ports), _) => Ok(ports),
            other => Err(unexpected(&other)),
        }
    }

    /// A new connection to the target: non-blocking, close-on-exec, TCP_NODELAY set. Answers within about a second, even when the app's backlog
    /// is full. Cancel-safe: yes, a connection that comes too late is closed.
    pub async fn dial(&self, target: InstanceId) -> Result<TcpStream, DialFailure> {
        match self.ask(Ask::Dial { target }).await? {
            (Answer::Connected, Some(fd)) => Ok(TcpStream::from(fd)),
            other => Err(unexpected(&other)),
        }
    }

    async fn done(&self, ask: Ask) -> Result<(), DialFailure> {
        match self.ask(ask).await? {
            (Answer::Done, _) => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    async fn ask(&self, ask: Ask) -> Result<Reply, DialFailure> {
        let mut last = String::from("no answer");
        let asked = tokio::time::timeout(ASK_LIMIT, async {
            let mut pause = Backoff::new(Duration::from_millis(2), Duration::from_millis(100));
            loop {
                match self.ask_once(&ask).await {
                    Ok(reply) => return reply,
                    Err(broken) => last = broken.to_string(),
                }
                tokio::time::sleep(pause.pause()).await;
            }
        });
        match asked.await {
            Ok((Answer::Failed { kind, why }, _)) => Err(DialFailure { kind, why }),
            Ok(reply) => Ok(reply),
            Err(_) => {
                let why = format!("the dialer at {} does not answer: {last}", self.shared.socket.display());
                Err(DialFailure { kind: DialError::Unavailable, why })
            }
        }
    }

    /// One try on one connection. An error means: the connection broke, ask again.
    async fn ask_once(&self, ask: &Ask) -> io::Result<Reply> {
        let link = self.link()?;
        let permit = link.permits.clone().acquire_owned().await.map_err(|_| broken())?;
        // Relaxed: only the number's uniqueness matters.
        let id = self.shared.next_id.fetch_add(1, Ordering::Relaxed);
        let packet = serde_json::to_vec(&Numbered { id, body: ask })?;
        let (to, answer) = oneshot::channel();
        // Enters itself before it sends: the answer cannot come before its waiter is known.
        lock(&link.waiting).as_mut().ok_or_else(broken)?.insert(id, Waiting { to, _permit: permit });
        if let Err(e) = link.socket.async_io(Interest::WRITABLE, || fds::send_with_fds(&link.socket, &packet, &[])).await {
            link.break_up();
            return Err(e);
        }
        answer.await.map_err(|_| broken())
    }

    /// The living connection, or a new one.
    fn link(&self) -> io::Result<Arc<Link>> {
        let mut current = lock(&self.shared.link);
        if let Some((link, _)) = current.as_ref().filter(|(link, _)| lock(&link.waiting).is_some()) {
            return Ok(link.clone());
        }
        let fd = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC, None)?;
        // On a Unix socket this is done at once, or fails with EAGAIN when the dialer's backlog is full.
        connect(fd.as_raw_fd(), &UnixAddr::new(&self.shared.socket)?)?;
        let link = Arc::new(Link {
            // The runtime only waits for it to be readable or writable; that it keeps packets apart is between us and the kernel.
            socket: UnixStream::from_std(fd.into())?,
            waiting: Mutex::new(Some(HashMap::new())),
            permits: Arc::new(Semaphore::new(IN_FLIGHT_LIMIT)),
        });
        let reading = link.clone();
        let reader = tokio::spawn(async move {
            if let Err(e) = reading.read_answers().await {
                tracing::debug!(error = %e, "the connection to the dialer broke");
            }
            reading.break_up();
        });
        *current = Some((link.clone(), reader.abort_handle()));
        Ok(link)
    }
}

impl Link {
    async fn read_answers(&self) -> io::Result<()> {
        let mut buffer = vec![0; LARGEST_PACKET];
        loop {
            let (length, mut fds) =
                self.socket.async_io(Interest::READABLE, || fds::recv_with_fds(&self.socket, &mut buffer, 1)).await?;
            if length == 0 {
                return Ok(());
            }
            let Numbered { id, body: answer } = serde_json::from_slice(&buffer[..length])?;
            let waiting = lock(&self.waiting).as_mut().and_then(|all| all.remove(&id));
            if let Some(waiting) = waiting {
                // An error means that nobody waits any more: the reply, and with it the descriptor, is dropped here.
                let _ = waiting.to.send((answer, fds.pop()));
            }
        }
    }

    /// Wakes everyone who waits for an answer on this connection, or for a permit.
    fn break_up(&self) {
        lock(&self.waiting).take();
        self.permits.close();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is under these locks is whole between any two statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn broken() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

fn unexpected(reply: &Reply) -> DialFailure {
    DialFailure { kind: DialError::Unavailable, why: format!("the dialer gave an answer that does not fit: {:?}", reply.0) }
}
