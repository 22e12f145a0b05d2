//! The one way into an instance: enters the network namespace that the daemon registered, connects there, and gives the descriptor away.
//!
//! Owns: the registered namespaces. Uses: wire, handover, names. Never: talks to anyone but daemon, proxy and root (by the uid of the peer), touches
//! an address that it was told (a target is a namespace and a port), reads a file but the sandbox key and `/proc/thread-self/net`.
//! Invariant: nothing here waits for an app. A connect that is not done at once goes to the one thread that waits for all of them; so one
//! app's full backlog delays nobody else's dial.
//!
//! Threads: the caller of [`run`] accepts; one per connection reads asks and does them; one waits for slow connects. All live in an empty network
//! namespace of their own and enter a target's for the moment of one ask. None ever goes back to the host's.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::socket::{Shutdown, SockType, getsockopt, sockopt};
use nix::unistd::Uid;

use crate::handover::systemd::Parent;
use crate::names::InstanceId;
use crate::wire::dialer::{Answer, Ask, DialError};

mod connect;
mod namespace;
mod peer;
mod waiting;

use connect::Attempt;
use namespace::{Home, Target};
use peer::Peer;
use waiting::Waiting;

/// The most targets; each is a descriptor here and one in our parent's store (of `paas up` 1024, of our unit 4096).
const TARGET_LIMIT: usize = 1000;

/// The most connections at once. The proxy has one per worker, as has each process of it that an upgrade left with streams; the daemon a few.
const PEER_LIMIT: usize = 512;

/// The most connections of users without rights, which are told so and closed.
const STRANGER_LIMIT: usize = 4;

/// What the role is started with.
pub struct DialerRun {
    /// A listening SOCK_SEQPACKET socket.
    pub listener: OwnedFd,
    /// Namespaces that an earlier process of this role left in the fd store, by name.
    pub restored: Vec<(String, OwnedFd)>,
    /// May ask everything, as root may.
    pub daemon: Uid,
    /// May only dial.
    pub proxy: Uid,
    /// Where Docker keeps its sandbox keys: the only folders out of which a namespace may be registered.
    pub key_dirs: Vec<PathBuf>,
}

/// Serves until the process is ended. Says READY to our parent once it accepts. Moves the calling thread into an empty network namespace.
/// Needs CAP_SYS_ADMIN. Errors: only what makes serving impossible.
pub fn run(run: DialerRun) -> io::Result<()> {
    run_with(run, Parent::from_env())
}

/// [`run`] with its surroundings given; a test ends it by shutting the listener down.
fn run_with(run: DialerRun, parent: Parent) -> io::Result<()> {
    if getsockopt(&run.listener, sockopt::SockType)? != SockType::SeqPacket || !getsockopt(&run.listener, sockopt::AcceptConn)? {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the dialer's socket is no listening packet socket"));
    }
    let home = Home::move_in()?;
    let waiting = Waiting::start(home.clone(), parent.clone())?;
    let shared = Arc::new(Dialer {
        targets: Mutex::new(BTreeMap::new()),
        registering: Mutex::new(()),
        waiting,
        home,
        parent,
        key_dirs: run.key_dirs,
    });
    for (name, namespace) in run.restored {
        shared.restore(&name, namespace);
    }
    shared.parent.ready(&format!("{} targets", lock(&shared.targets).len()));
    // The kernel accepts the same way for streams and packets; only the type's name says stream.
    let listener = UnixListener::from(run.listener);
    let (peers, strangers) = (Arc::new((AtomicUsize::new(0), PEER_LIMIT)), Arc::new((AtomicUsize::new(0), STRANGER_LIMIT)));
    loop {
        let socket = match listener.accept() {
            Ok((socket, _)) => OwnedFd::from(socket),
            Err(e) if e.raw_os_error() == Some(nix::libc::EINVAL) => return Ok(()),
            Err(e) => {
                tracing::warn!(error = %e, "cannot accept");
                std::thread::sleep(Duration::from_millis(50)); // Out of descriptors, most likely: do not spin.
                continue;
            }
        };
        let uid = Uid::from_raw(getsockopt(&socket, sockopt::PeerCredentials)?.uid());
        let rights = match uid {
            uid if uid.is_root() || uid == run.daemon => Rights::All,
            uid if uid == run.proxy => Rights::Dial,
            _ => Rights::None,
        };
        let seat = Seat::take(if rights == Rights::None { &strangers } else { &peers });
        let Some(seat) = seat else {
            tracing::warn!(%uid, "a connection to the dialer was closed: there are too many");
            continue;
        };
        let (shared, peer) = (shared.clone(), Arc::new(Peer::new(socket, rights)?));
        std::thread::Builder::new().name("ask".to_owned()).stack_size(256 * 1024).spawn(move || {
            if let Err(e) = shared.serve(&peer) {
                tracing::warn!(%uid, error = %e, "a connection to the dialer ended badly");
            }
            peer.close();
            drop(seat);
        })?;
    }
}

/// What a peer may ask.
/// At most so many listening ports of a target are told: some 20 KiB.
const MOST_LISTENING: usize = 500;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rights {
    All,
    Dial,
    /// It is told so, once.
    None,
}

/// One of a limited number of connections; given back when dropped.
struct Seat(Arc<(AtomicUsize, usize)>);

impl Seat {
    fn take(of: &Arc<(AtomicUsize, usize)>) -> Option<Self> {
        // Relaxed: only the number counts. A seat that was taken too much is given back by the drop.
        let before = of.0.fetch_add(1, Ordering::Relaxed);
        let seat = Self(of.clone());
        (before < of.1).then_some(seat)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Dialer {
    targets: Mutex<BTreeMap<InstanceId, Arc<Target>>>,
    /// Held while one is put in place or taken away, with the telling of our parent; taken before `targets`.
    registering: Mutex<()>,
    waiting: Waiting,
    home: Arc<Home>,
    parent: Parent,
    key_dirs: Vec<PathBuf>,
}

/// A no, on its way to the peer.
type Refusal = (DialError, String);

impl Dialer {
    fn serve(&self, peer: &Arc<Peer>) -> io::Result<()> {
        let mut buffer = vec![0; 4096];
        while let Some((id, ask)) = peer.next_ask(&mut buffer)? {
            let answer = match ask {
                _ if peer.rights == Rights::None => {
                    tracing::warn!("a user without rights asked the dialer");
                    peer.answer(
                        id,
                        Answer::Failed { kind: DialError::Denied, why: "this user may not ask the dialer".to_owned() },
                        None,
                    );
                    return Ok(());
                }
                Ask::Dial { target } => self.dial(peer, id, target),
                _ if peer.rights != Rights::All => Err((DialError::Denied, "only the daemon may ask this".to_owned())),
                Ask::Register { target, sandbox_key, port } => self.register(target, &sandbox_key, port).map(Some),
                Ask::Unregister { target } => {
                    self.unregister(target);
                    Ok(Some(Answer::Done))
                }
                Ask::List => Ok(Some(Answer::Targets(lock(&self.targets).keys().copied().collect()))),
                Ask::Listening { target } => self.listening(target).map(Some),
            };
            match answer {
                Ok(Some(answer)) => peer.answer(id, answer, None),
                Ok(None) => {}
                Err((kind, why)) => peer.answer(id, Answer::Failed { kind, why }, None),
            }
        }
        Ok(())
    }

    /// Ok(None): the answer has been sent, or will be by the thread that waits.
    fn dial(&self, peer: &Arc<Peer>, id: u64, target: InstanceId) -> Result<Option<Answer>, Refusal> {
        let attempt = Attempt::new(self.target(target)?, peer.clone(), id);
        if let Some(slow) = attempt.go_on(&self.home) {
            self.waiting.add(slow);
        }
        Ok(None)
    }

    fn listening(&self, target: InstanceId) -> Result<Answer, Refusal> {
        let target = self.target(target)?;
        let read = self.home.inside(&target, namespace::listening_ports).and_then(|read| read);
        let mut ports = read.map_err(|e| (DialError::Other, format!("reading the listening ports of {}: {e}", target.id)))?;
        // An app may listen on thousands, and an answer is one packet. The one that is asked for is among those that are told.
        ports.sort_by_key(|listens| listens.port != target.port);
        ports.truncate(MOST_LISTENING);
        Ok(Answer::Listening(ports))
    }

    fn register(&self, id: InstanceId, sandbox_key: &Path, port: u16) -> Result<Answer, Refusal> {
        let namespace = namespace::open_key(sandbox_key, &self.key_dirs, &self.home)?;
        if port == 0 {
            return Err((DialError::Other, "port 0 is no port".to_owned()));
        }
        // The whole of it under one lock of its own: two registrations of one target must leave the same one here and in the store, and no
        // dial waits for our parent.
        let _registering = lock(&self.registering);
        let old = {
            let targets = lock(&self.targets);
            if targets.len() >= TARGET_LIMIT && !targets.contains_key(&id) {
                return Err((DialError::Other, format!("the dialer holds {TARGET_LIMIT} targets, that is its limit")));
            }
            targets.get(&id).cloned()
        };
        let target = match &old {
            Some(old) if old.is(port, &namespace) => old.clone(),
            Some(old) => Arc::new(Target::new(id, port, namespace).after(old)),
            None => Arc::new(Target::new(id, port, namespace)),
        };
        // Never a moment without it, here or in the store, whenever a dial comes or this process ends: two in the store are put right at the
        // next start. What is as before is stored once more under its name, in case our parent has lost it.
        self.parent.store_fd(&target.kept_name(), target.namespace.as_fd());
        lock(&self.targets).insert(id, target.clone());
        if let Some(old) = old.filter(|old| !Arc::ptr_eq(old, &target)) {
            self.parent.remove_fd(&old.kept_name());
        }
        Ok(Answer::Done)
    }

    fn unregister(&self, id: InstanceId) {
        let _registering = lock(&self.registering);
        let old = lock(&self.targets).remove(&id);
        if let Some(old) = old {
            self.parent.remove_fd(&old.kept_name());
        }
    }

    /// Takes back what an earlier process had stored. Of two of one target the later is taken: that process ended while it replaced it.
    fn restore(&self, name: &str, namespace: OwnedFd) {
        let target = match Target::from_kept(name, namespace, &self.home) {
            Ok(target) => Arc::new(target),
            Err(why) => return tracing::warn!(name, why, "a kept descriptor is not taken back"),
        };
        let mut targets = lock(&self.targets);
        let stale = match targets.get(&target.id) {
            Some(other) if other.generation > target.generation => Some(target),
            Some(_) | None => targets.insert(target.id, target),
        };
        if let Some(stale) = stale {
            self.parent.remove_fd(&stale.kept_name());
        }
    }

    fn target(&self, id: InstanceId) -> Result<Arc<Target>, Refusal> {
        let unknown = || (DialError::UnknownTarget, format!("{id} is not registered"));
        lock(&self.targets).get(&id).cloned().ok_or_else(unknown)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is under these locks is whole between any two statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends both directions of a socket; that it is ended already is fine.
fn shut(socket: &impl AsFd) {
    let _ = nix::sys::socket::shutdown(std::os::fd::AsRawFd::as_raw_fd(&socket.as_fd()), Shutdown::Both);
}

#[cfg(test)]
mod tests;
