//! The one place with `unsafe`: where raw descriptor numbers become owned descriptors, and where our environment is changed.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::libc;
use nix::sys::socket::{ControlMessage, MsgFlags, recvmsg, sendmsg};

/// The first inherited descriptor, SD_LISTEN_FDS_START of sd_listen_fds(3).
const FIRST: RawFd = 3;

/// The most descriptors that Linux puts into one message (SCM_MAX_FD of the kernel). Room for all of them is always given, so that the kernel
/// never installs a part of them and drops the rest.
const MOST: usize = 253;

/// Sends one message of `bytes` with `fds` attached (at most 253) over a Unix socket. On a stream socket fewer bytes than given may be
/// written; the descriptors go with the first one, so `bytes` must not be empty. Never raises SIGPIPE. EINTR is retried.
pub fn send_with_fds(socket: &impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control = if raw.is_empty() { &[][..] } else { &rights[..] };
    loop {
        let sent = sendmsg::<()>(socket.as_fd().as_raw_fd(), &[IoSlice::new(bytes)], control, MsgFlags::MSG_NOSIGNAL, None);
        match sent {
            Err(Errno::EINTR) => {}
            other => return Ok(other?),
        }
    }
}

/// Receives one message and the descriptors attached to it, which are close-on-exec. `Ok((0, []))` is the end of the stream. EINTR is retried.
/// Errors (and every descriptor that came is closed): more than `max_fds` descriptors, control data cut by the kernel, and on a packet
/// socket a message longer than `buffer` (all InvalidData); else what recvmsg(2) says.
pub fn recv_with_fds(socket: &impl AsFd, buffer: &mut [u8], max_fds: usize) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut control = nix::cmsg_space!([RawFd; MOST], nix::sys::socket::UnixCredentials);
    let mut parts = [IoSliceMut::new(buffer)];
    let (length, flags) = loop {
        match recvmsg::<()>(socket.as_fd().as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::MSG_CMSG_CLOEXEC) {
            Err(Errno::EINTR) => {}
            other => break other.map(|message| (message.bytes, message.flags))?,
        }
    };
    let fds: Vec<OwnedFd> = rights_in(&control)
        .into_iter()
        // SAFETY: the kernel has just made these descriptors for this process; nobody else knows their numbers.
        .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
        .collect();
    // Control data is also cut when this process may open no more descriptors: then some were installed, and are closed here.
    if flags.intersects(MsgFlags::MSG_CTRUNC | MsgFlags::MSG_TRUNC) || fds.len() > max_fds {
        let text = format!("a message with {} descriptors (allowed: {max_fds}) is too large or was cut", fds.len());
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    Ok((length, fds))
}

/// The descriptor numbers in a buffer of control messages (cmsg(3): length in a machine word, level, type, data, padded to words).
/// Walked here because nix refuses to look into a list that was cut, which would leave the installed descriptors open for ever.
/// The buffer was zeroed before the call, so a length of zero is the end.
fn rights_in(control: &[u8]) -> Vec<RawFd> {
    const WORD: usize = size_of::<usize>();
    let int = |at: usize| control.get(at..at + 4).and_then(|b| b.try_into().ok()).map(i32::from_ne_bytes);
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(length) = control.get(at..at + WORD).and_then(|b| b.try_into().ok()).map(usize::from_ne_bytes) {
        let data = at + (WORD + 8).next_multiple_of(WORD);
        let end = at.saturating_add(length).min(control.len());
        if end < data {
            break;
        }
        if (int(at + WORD), int(at + WORD + 4)) == (Some(libc::SOL_SOCKET), Some(libc::SCM_RIGHTS)) {
            found.extend((data..end).step_by(4).filter_map(int));
        }
        at = end.next_multiple_of(WORD);
    }
    found
}

/// Takes the descriptors that were passed to this process by LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES (sd_listen_fds_with_names(3)), in
/// their order, close-on-exec, and removes the variables, so that no child takes them for its own. Gives nothing if none were passed, if they
/// are for another process, and on every call after the first. A missing name is `unknown`, as in systemd.
/// Call it first thing in `main`: it changes the environment, which must not be read by another thread meanwhile.
/// Errors: a count that is no number, or a number that is no open descriptor (InvalidInput).
pub fn take_inherited() -> io::Result<Vec<(String, OwnedFd)>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    // SeqCst: this is the guard of an ownership, and costs nothing here.
    if TAKEN.swap(true, Ordering::SeqCst) {
        return Ok(Vec::new());
    }
    let [pid, count, names] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"].map(remove_env);
    if pid.and_then(|p| p.parse().ok()) != Some(std::process::id()) {
        return Ok(Vec::new());
    }
    let bad = |text: String| io::Error::new(io::ErrorKind::InvalidInput, text);
    let count = count.unwrap_or_default();
    let count: RawFd = count.parse().map_err(|_| bad(format!("LISTEN_FDS is `{count}`, not a number")))?;
    let names = names.unwrap_or_default();
    let mut names = names.split(':').filter(|n| !n.is_empty());
    let mut taken = Vec::new();
    for number in FIRST..FIRST.saturating_add(count) {
        // SAFETY: only looked at, by a call that fails with EBADF if the number is not open.
        let looked_at = unsafe { BorrowedFd::borrow_raw(number) };
        fcntl(looked_at, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))
            .map_err(|e| bad(format!("LISTEN_FDS says that descriptor {number} is open, but: {e}")))?;
        // SAFETY: it is open, it was given to this process by pid, and TAKEN makes us its only owner.
        let fd = unsafe { OwnedFd::from_raw_fd(number) };
        taken.push((names.next().unwrap_or("unknown").to_owned(), fd));
    }
    Ok(taken)
}

/// Takes the descriptors whose numbers stand in the variable `name` (`7,8,9`): how the supervisor of `paas up` hands descriptors to the step
/// between itself and a role. They become close-on-exec; the variable is removed. Gives nothing on every call after the first.
/// Only for the start of `main`, see [`take_inherited`]. Errors: something that is no number above 2, one twice, or one that is not open (InvalidInput).
pub fn take_passed(name: &str) -> io::Result<Vec<OwnedFd>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    let list = remove_env(name).unwrap_or_default();
    // SeqCst: this is the guard of an ownership, and costs nothing here.
    if TAKEN.swap(true, Ordering::SeqCst) {
        return Ok(Vec::new());
    }
    let bad = |text: String| io::Error::new(io::ErrorKind::InvalidInput, text);
    let mut numbers: Vec<RawFd> = Vec::new();
    for word in list.split(',').filter(|word| !word.is_empty()) {
        match word.parse() {
            Ok(number) if number >= FIRST && !numbers.contains(&number) => numbers.push(number),
            _ => return Err(bad(format!("`{word}` in {name} is no descriptor to take"))),
        }
    }
    let mut taken = Vec::new();
    for number in numbers {
        // SAFETY: only looked at, by a call that fails with EBADF if the number is not open.
        let looked_at = unsafe { BorrowedFd::borrow_raw(number) };
        fcntl(looked_at, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))
            .map_err(|e| bad(format!("{name} says that descriptor {number} is open, but: {e}")))?;
        // SAFETY: it is open, it is listed once, our parent opened it for this process, and TAKEN makes us its only owner.
        taken.push(unsafe { OwnedFd::from_raw_fd(number) });
    }
    Ok(taken)
}

/// Lets `fd` survive an exec. For a duplicate that is dropped right after the spawn that passes it on, in a process with one thread.
pub fn keep_over_exec(fd: &OwnedFd) -> io::Result<()> {
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
    Ok(())
}

/// Takes the descriptor that accept4(2) has just given.
pub fn adopt_accepted(raw: RawFd) -> OwnedFd {
    // SAFETY: documented for callers: the kernel has just made it and nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(raw) }
}

/// Removes a variable from the environment of this process and gives its value. Only for the start of `main`, see [`take_inherited`].
pub fn remove_env(name: &str) -> Option<String> {
    let value = std::env::var(name).ok();
    // SAFETY: documented for callers: no other thread runs yet, so none reads the environment.
    unsafe { std::env::remove_var(name) };
    value
}

/// Puts `fds` at descriptors 3, 4, … and lets them survive the exec that must follow at once: whatever this process had open at those
/// numbers is gone. On an error the process must exit.
pub fn place_for_exec(fds: Vec<OwnedFd>) -> io::Result<()> {
    let count = RawFd::try_from(fds.len()).map_err(|_| io::Error::from(Errno::EMFILE))?;
    // First all out of the way, so that placing one does not overwrite one that is still to be placed.
    let mut away = Vec::new();
    for fd in fds {
        let number = fcntl(&fd, FcntlArg::F_DUPFD_CLOEXEC(FIRST + count))?;
        // SAFETY: the kernel has just made this descriptor.
        away.push(unsafe { OwnedFd::from_raw_fd(number) });
        drop(fd);
    }
    for (fd, number) in away.into_iter().zip(FIRST..) {
        // SAFETY: documented for callers: only exec follows, so no owner of the old descriptor uses it again.
        let placed = unsafe { nix::unistd::dup2_raw(fd, number) }?;
        std::mem::forget(placed); // It belongs to the next program.
    }
    Ok(())
}

/// The descriptors that are open in this process, with what they point to (`socket:[123]`): for tests and diagnostics.
pub fn open_now() -> io::Result<BTreeMap<RawFd, String>> {
    let mut open = BTreeMap::new();
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let entry = entry?;
        if let (Some(number), Ok(to)) =
            (entry.file_name().to_str().and_then(|n| n.parse().ok()), std::fs::read_link(entry.path()))
        {
            open.insert(number, to.to_string_lossy().into_owned());
        }
    }
    Ok(open)
}

#[cfg(test)]
mod tests;
