//! How a running process is asked to give its place to a successor: by a Unix socket in the abstract namespace that carries its process id.
//! No file, as the proxy may write none. Both sides look at who the other is.

use std::io::{self, BufRead, BufReader, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::{Pid, Uid};

use super::READY_LIMIT;

/// The words of one exchange are short, and both sides run.
const WORD_LIMIT: Duration = Duration::from_secs(2);
const ASK: &str = "hand over\n";

fn address(pid: u32) -> io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(format!("paas/successor/{pid}"))
}

/// Where this process is asked.
pub struct Asks(UnixListener);

impl Asks {
    pub fn listen() -> io::Result<Self> {
        Ok(Self(UnixListener::bind_addr(&address(std::process::id())?)?))
    }

    /// Does `hand_over` for each that may ask (root and our own user), and tells it what came of it; returns when it worked once and was told.
    /// Blocks the thread for ever otherwise.
    pub fn serve(self, mut hand_over: impl FnMut() -> Result<Pid, String>) {
        loop {
            let asked = self.0.accept().and_then(|(stream, _)| listen_to(stream));
            let mut stream = match asked {
                Ok(stream) => stream,
                Err(error) => {
                    tracing::warn!("somebody who asked for a successor: {error}");
                    // Out of descriptors, most likely: do not spin.
                    std::thread::sleep(Duration::from_millis(50));
                    continue;
                }
            };
            let done = hand_over();
            let answer = match &done {
                Ok(pid) => format!("done {pid}\n"),
                Err(why) => format!("failed {}\n", why.replace('\n', " ")),
            };
            // Who asked may have given up; what was done stays done.
            let _ = stream.write_all(answer.as_bytes());
            if done.is_ok() {
                return;
            }
        }
    }
}

fn listen_to(stream: UnixStream) -> io::Result<UnixStream> {
    let uid = Uid::from_raw(getsockopt(&stream, sockopt::PeerCredentials)?.uid());
    if !uid.is_root() && uid != Uid::effective() {
        // Before it has said a word, for which this thread would have to wait.
        let _ = (&stream).write_all(format!("failed user {uid} may not ask\n").as_bytes());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("user {uid} may not ask")));
    }
    stream.set_read_timeout(Some(WORD_LIMIT))?;
    stream.set_write_timeout(Some(WORD_LIMIT))?;
    let mut said = String::new();
    BufReader::new(&stream).read_line(&mut said)?;
    match said.as_str() {
        ASK => Ok(stream),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "it did not ask for anything")),
    }
}

/// Asks process `pid` to give its place to a successor, and waits for the outcome: the successor's process id, or why the old one serves on.
/// Blocks for up to 15 s.
pub fn ask(pid: u32) -> Result<u32, String> {
    let asked = || -> io::Result<String> {
        let mut stream = UnixStream::connect_addr(&address(pid)?)?;
        // The credentials of who listens: anybody may take a name in the abstract namespace.
        if getsockopt(&stream, sockopt::PeerCredentials)?.pid().cast_unsigned() != pid {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "somebody else answers in its place"));
        }
        stream.set_write_timeout(Some(WORD_LIMIT))?;
        stream.set_read_timeout(Some(READY_LIMIT + WORD_LIMIT * 2))?;
        // One that refuses us says so and closes, perhaps before this.
        let asked = stream.write_all(ASK.as_bytes());
        let mut said = String::new();
        BufReader::new(&stream).read_line(&mut said)?;
        if said.is_empty() {
            asked?;
        }
        Ok(said.trim_end().to_owned())
    };
    let said = asked().map_err(|e| format!("asking process {pid} for a successor: {e}"))?;
    match said.split_once(' ') {
        Some(("done", new)) => new.parse().map_err(|_| format!("process {pid} gave its place to `{new}`")),
        Some(("failed", why)) => Err(why.to_owned()),
        _ => Err(format!("process {pid} ended before it told what came of it")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_took_the_name_of_another_process_is_not_believed() {
        // No process has such a number, so the name is free.
        let pid = u32::try_from(i32::MAX).expect("positive");
        let listener = UnixListener::bind_addr(&address(pid).expect("an address")).expect("the name is free");
        std::thread::spawn(move || {
            if let Ok((mut stream, _)) = listener.accept() {
                let _ = stream.write_all(b"done 7\n");
            }
        });
        let answer = ask(pid);
        assert!(answer.as_ref().is_err_and(|why| why.contains("somebody else")), "{answer:?}");
    }
}
