//! One connection of the daemon or the proxy.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};

use super::Rights;
use crate::handover::fds;
use crate::wire::dialer::{Answer, Ask, Numbered};

pub struct Peer {
    socket: OwnedFd,
    pub rights: Rights,
}

impl Peer {
    pub fn new(socket: OwnedFd, rights: Rights) -> io::Result<Self> {
        // Some hundred answers fit the buffer. A peer that does not read for longer is cut off (its client asks again): it may not hold up a thread.
        setsockopt(&socket, sockopt::SendTimeout, &TimeVal::milliseconds(10))?;
        setsockopt(&socket, sockopt::SndBuf, &(1 << 20))?;
        if rights == Rights::None {
            setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(1))?;
        }
        Ok(Self { socket, rights })
    }

    /// Waits for the next ask; None when the peer closed. An ask that we do not understand is an error: the connection ends.
    pub fn next_ask(&self, buffer: &mut [u8]) -> io::Result<Option<(u64, Ask)>> {
        let (length, _) = fds::recv_with_fds(&self.socket, buffer, 0)?;
        if length == 0 {
            return Ok(None);
        }
        let Numbered { id, body: ask } = serde_json::from_slice(&buffer[..length])?;
        Ok(Some((id, ask)))
    }

    /// Sends an answer, from any thread: a packet is sent whole or not at all. A peer that cannot take it is cut off.
    pub fn answer(&self, id: u64, answer: Answer, fd: Option<&OwnedFd>) {
        let fds: Vec<_> = fd.iter().map(|fd| fd.as_fd()).collect();
        let sent = serde_json::to_vec(&Numbered { id, body: answer })
            .map_err(io::Error::from)
            .and_then(|packet| fds::send_with_fds(&self.socket, &packet, &fds));
        if let Err(e) = sent {
            tracing::debug!(error = %e, "an answer could not be sent");
            self.close();
        }
    }

    /// Ends the connection; the thread that reads it sees the end.
    pub fn close(&self) {
        super::shut(&self.socket);
    }
}
