//! The API over stdin and stdout: what `paas -H paas@server` talks through.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::thread;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{UNREACHABLE, say};
use crate::names::KeyId;

/// Binds the connection to the key, then passes bytes both ways until the daemon closes. What the client sends after the first line of ours
/// is HTTP: it can't announce another key.
pub(super) fn run(socket: &Path, key: KeyId) -> ExitCode {
    let bound = UnixStream::connect(socket).and_then(|mut stream| {
        stream.write_all(format!("key {key}\n").as_bytes())?;
        Ok((stream.try_clone()?, stream.try_clone()?, stream))
    });
    let (mut to_daemon, whole, mut from_daemon) = match bound {
        Ok(three) => three,
        Err(error) => {
            let message = format!("the daemon can't be reached at `{}`: {error}", socket.display());
            return say::refuse(
                UNREACHABLE,
                &message,
                Some("whoever runs this server can start it: `sudo systemctl start paas`, or `paas up`"),
            );
        }
    };
    let (Ok(input), Ok(output)) = (io::stdin().as_fd().try_clone_to_owned(), io::stdout().as_fd().try_clone_to_owned()) else {
        return say::refuse(UNREACHABLE, "the session has no stdin or stdout", Some("run ssh with both open"));
    };
    // Neither is joined: they end with this process.
    thread::spawn(move || {
        until_nobody_reads();
        let _ = whole.shutdown(Shutdown::Both);
    });
    thread::spawn(move || {
        pass(&mut File::from(input), &mut to_daemon);
        let _ = to_daemon.shutdown(Shutdown::Write);
    });
    pass(&mut from_daemon, &mut File::from(output));
    ExitCode::SUCCESS
}

/// A client that is gone while the daemon takes nothing more from it is not found out by reading or writing. No event is asked for: then the
/// kernel tells errors and hang-ups only (poll(2)), not a client that ended its own side.
fn until_nobody_reads() {
    let stdout = io::stdout();
    let mut ends = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
    while !matches!(poll(&mut ends, PollTimeout::NONE), Ok(n) if n > 0) {}
}

fn pass(from: &mut impl Read, to: &mut impl Write) {
    let mut piece = [0; 16 << 10];
    loop {
        match from.read(&mut piece) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => return,
            Ok(n) => {
                if to.write_all(&piece[..n]).is_err() {
                    return;
                }
            }
        }
    }
}
