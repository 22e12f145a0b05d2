//! The socket of one instance, and who is listened to.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

use super::session;
use super::{Entry, Links};

/// More connections than this at once are no init that reconnects but an app that plays; the newest are closed.
const MOST_CONNECTIONS: usize = 4;

/// Pause after an accept that failed (no descriptors left), so that it does not spin.
const AFTER_FAILURE: Duration = Duration::from_millis(200);

/// Makes the folder and the socket. The socket appears whole: an init never meets one without its mode or its listener.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
    // The image's user, whoever that is, must be able to enter it; the folder above is the daemon's alone.
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    let fresh = folder.join(".init.sock.new");
    let _ = fs::remove_file(&fresh);
    let listener = UnixListener::bind(&fresh)?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o666))?;
    fs::rename(&fresh, path)?;
    Ok(listener)
}

/// Serves connections until it is aborted; with it end all of them.
pub async fn accept(listener: UnixListener, links: Arc<Links>, entry: Arc<Entry>) {
    let mut connections = JoinSet::new();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(e) => {
                tracing::warn!(instance = %entry.instance, error = %e, "a connection of {} could not be accepted", entry.instance);
                tokio::time::sleep(AFTER_FAILURE).await;
                continue;
            }
        };
        while connections.try_join_next().is_some() {}
        if connections.len() < MOST_CONNECTIONS && speaks_for_init(&stream, links.is_init) {
            connections.spawn(session::serve(stream, links.clone(), entry.clone()));
        }
    }
}

fn speaks_for_init(stream: &UnixStream, is_init: fn(i32) -> bool) -> bool {
    stream.peer_cred().ok().and_then(|peer| peer.pid()).is_some_and(is_init)
}

/// Whether the process is PID 1 of a process namespace directly below ours: the kernel says so, no process can pretend.
pub fn is_init(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| is_first_of_namespace(&status))
}

/// `NSpid:` lists the process's number in each namespace, from ours inwards.
fn is_first_of_namespace(status: &str) -> bool {
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or("");
    let mut numbers = numbers.split_whitespace().skip(1);
    (numbers.next(), numbers.next()) == (Some("1"), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_process_of_a_namespace_below_ours_is_an_init() {
        assert!(is_first_of_namespace("Name:\tpaas\nNSpid:\t4711\t1\n"));
        for other in ["NSpid:\t1\n", "NSpid:\t4711\n", "NSpid:\t4712\t7\n", "NSpid:\t4713\t8\t1\n", "Name:\tx\n"] {
            assert!(!is_first_of_namespace(other), "{other}");
        }
        assert!(!is_init(i32::try_from(std::process::id()).expect("pid")));
    }
}
