//! One dial: the ways to reach an app inside its namespace, tried one after the other, never waiting.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, getsockopt, setsockopt, socket, sockopt,
};
use std::os::fd::AsFd;

use super::namespace::{self, Home, Own, Target};
use super::peer::Peer;
use crate::wire::dialer::{Answer, DialError};

/// How long an app may leave a connection in its backlog before the dial fails.
const CONNECT_LIMIT: Duration = Duration::from_secs(1);

/// How many dials of one target may wait at the same time; one more is answered at once. Waiting costs a descriptor, no thread.
const WAITING_LIMIT: usize = 256;

/// The pause before the first new try of a connect that waits; doubled each time. The kernel's own next try would come after a second, and a
/// short backlog (python's is 5) has room again long before.
const FIRST_RETRY: Duration = Duration::from_millis(5);

/// Loopback of IPv4, loopback of IPv6, the instance's own address (an app that binds its host name's address listens only there).
const WAYS: u8 = 3;

/// A dial under way. It answers its peer exactly once.
pub struct Attempt {
    target: Arc<Target>,
    peer: Arc<Peer>,
    id: u64,
    deadline: Instant,
    /// When to try anew if the connect that is under way has not ended, and the pause before that.
    retry_at: Instant,
    pause: Duration,
    /// The way that worked last for this target, when the dial began; and how many were tried, beginning with it.
    first: u8,
    tried: u8,
    /// The connect that is under way.
    pub socket: Option<OwnedFd>,
    /// True if some way ended with a reset: nothing listens there. Other errors (no IPv6, no address) say less.
    refused: bool,
    last_error: Option<Errno>,
}

impl Attempt {
    pub fn new(target: Arc<Target>, peer: Arc<Peer>, id: u64) -> Self {
        let now = Instant::now();
        let first = target.way.load(Ordering::Relaxed);
        let (deadline, retry_at) = (now + CONNECT_LIMIT, now + FIRST_RETRY);
        Self {
            target,
            peer,
            id,
            deadline,
            retry_at,
            pause: FIRST_RETRY,
            first,
            tried: 0,
            socket: None,
            refused: false,
            last_error: None,
        }
    }

    /// When [`Attempt::look`] must be called even if the socket has not become ready.
    pub fn wake_at(&self) -> Instant {
        self.deadline.min(self.retry_at)
    }

    /// Tries the ways that are left. Answers and gives None, or gives itself back when a connect is under way: then the caller polls `socket`.
    pub fn go_on(mut self, home: &Home) -> Option<Self> {
        let target = self.target.clone();
        match home.inside(&target, || self.try_ways()) {
            Err(e) => self.fail(DialError::Other, &format!("entering the namespace: {e}")),
            Ok(Tried::Connected(socket)) => self.succeed(&socket),
            Ok(Tried::UnderWay(socket)) => {
                if target.waiting.fetch_add(1, Ordering::Relaxed) >= WAITING_LIMIT {
                    target.waiting.fetch_sub(1, Ordering::Relaxed);
                    return self.fail(DialError::TimedOut, "its backlog is full, and others wait already");
                }
                self.socket = Some(socket);
                Some(self)
            }
            Ok(Tried::Nothing) if self.refused => {
                self.fail(DialError::Refused, &format!("nothing listens on port {}", target.port))
            }
            Ok(Tried::Nothing) => {
                let why = self.last_error.map_or_else(|| "no way to connect".to_owned(), |e| e.to_string());
                self.fail(DialError::Other, &why)
            }
        }
    }

    /// To be called when the socket is ready, or at [`Attempt::wake_at`]. Gives itself back if there is more to wait for.
    pub fn look(mut self, home: &Home) -> Option<Self> {
        self.target.waiting.fetch_sub(1, Ordering::Relaxed);
        let socket = self.socket.take().expect("only attempts with a connect under way are waited for");
        match outcome(&socket) {
            Some(Ok(())) => return self.succeed(&socket),
            Some(Err(e)) => self.note(e),
            None if Instant::now() >= self.deadline => {
                return self.fail(DialError::TimedOut, "the app does not accept connections: its backlog is full");
            }
            None => {
                // The same way once more, with a connect of its own.
                self.tried -= 1;
                self.pause *= 2;
                self.retry_at = Instant::now() + self.pause;
            }
        }
        self.go_on(home)
    }

    fn try_ways(&mut self) -> Tried {
        let own = match own_of(&self.target, false) {
            Ok(own) => own,
            Err(e) => {
                self.note(e);
                return Tried::Nothing;
            }
        };
        while self.tried < WAYS {
            let way = (self.first + self.tried) % WAYS;
            self.tried += 1;
            match connect_by(way, self.target.port, own).or_else(|e| match e {
                // The address was taken away: the instance was connected to another network.
                Errno::EADDRNOTAVAIL => connect_by(way, self.target.port, own_of(&self.target, true)?),
                other => Err(other),
            }) {
                Ok(socket) => match outcome(&socket) {
                    Some(Ok(())) => {
                        self.target.way.store(way, Ordering::Relaxed);
                        return Tried::Connected(socket);
                    }
                    Some(Err(e)) => self.note(e),
                    None => return Tried::UnderWay(socket),
                },
                Err(e) => self.note(e),
            }
        }
        Tried::Nothing
    }

    fn note(&mut self, error: Errno) {
        self.refused |= error == Errno::ECONNREFUSED;
        self.last_error = Some(error);
    }

    fn succeed(self, socket: &OwnedFd) -> Option<Self> {
        self.peer.answer(self.id, Answer::Connected, Some(socket));
        None
    }

    fn fail(self, kind: DialError, why: &str) -> Option<Self> {
        let why = format!("connecting to {}: {why}", self.target.id);
        self.peer.answer(self.id, Answer::Failed { kind, why }, None);
        None
    }
}

enum Tried {
    Connected(OwnedFd),
    UnderWay(OwnedFd),
    Nothing,
}

/// The instance's addresses, remembered; looked up again when there were none, or when `anew`.
/// An error is no reason to connect without a source: that would make the internet local.
fn own_of(target: &Target, anew: bool) -> Result<Own, Errno> {
    let mut own = super::lock(&target.own);
    if anew || *own == Own::default() {
        *own = namespace::own_addresses()?;
    }
    Ok(*own)
}

/// Begins a connect without waiting. The source is the instance's own address, if it has one of that family: an app must not take what comes from
/// the internet for local (facts: web servers open status pages to 127.0.0.1).
fn connect_by(way: u8, port: u16, own: Own) -> Result<OwnedFd, Errno> {
    let (to, from): (IpAddr, Option<IpAddr>) = match way {
        0 => (Ipv4Addr::LOCALHOST.into(), own.v4.map(IpAddr::from)),
        1 => (Ipv6Addr::LOCALHOST.into(), own.v6.map(IpAddr::from)),
        _ => (own.v4.ok_or(Errno::ENETUNREACH)?.into(), own.v4.map(IpAddr::from)),
    };
    let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = socket(family, SockType::Stream, SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&fd, sockopt::TcpNoDelay, &true)?;
    if let Some(from) = from {
        // The port is chosen at connect, so that it can be shared by connections to different ports.
        setsockopt(&fd, sockopt::IpBindAddressNoPort, &true)?;
        bind(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(from, 0)))?;
    }
    match connect(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(to, port))) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(fd),
        Err(e) => Err(e),
    }
}

/// How a begun connect ended; None: it has not. On loopback the handshake is over when connect returns, unless the backlog is full.
fn outcome(socket: &OwnedFd) -> Option<Result<(), Errno>> {
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
    match poll(&mut fds, PollTimeout::ZERO) {
        Ok(0) | Err(Errno::EINTR) => None,
        Ok(_) => match getsockopt(socket, sockopt::SocketError) {
            Ok(0) => Some(Ok(())),
            Ok(error) => Some(Err(Errno::from_raw(error))),
            Err(e) => Some(Err(e)),
        },
        Err(e) => Some(Err(e)),
    }
}
