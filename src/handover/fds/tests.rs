use std::fs::File;
use std::io::Read;
use std::os::unix::net::{UnixDatagram, UnixStream};

use super::*;

#[test]
fn a_descriptor_arrives_with_its_message_and_is_close_on_exec() {
    let (one, two) = UnixStream::pair().expect("pair");
    let file = File::open("/proc/self/status").expect("open");
    assert_eq!(send_with_fds(&one, b"hello", &[file.as_fd()]).expect("send"), 5);
    let mut buffer = [0; 16];
    let (length, mut fds) = recv_with_fds(&two, &mut buffer, 1).expect("receive");
    assert_eq!((&buffer[..length], fds.len()), (&b"hello"[..], 1));
    let fd = fds.remove(0);
    let flags = fcntl(&fd, FcntlArg::F_GETFD).expect("flags");
    assert!(FdFlag::from_bits_truncate(flags).contains(FdFlag::FD_CLOEXEC));
    let mut text = String::new();
    File::from(fd).read_to_string(&mut text).expect("read");
    assert!(text.starts_with("Name:"));
}

#[test]
fn too_many_descriptors_are_refused_and_none_stays_open() {
    let (one, two) = UnixDatagram::pair().expect("pair");
    // A pipe's reading end sees the end of file only when every copy of the writing end is closed.
    let (mut reader, writer) = std::io::pipe().expect("pipe");
    let many = vec![writer.as_fd(); MOST];
    send_with_fds(&one, b"x", &many).expect("send");
    drop(many);
    drop(writer);
    let error = recv_with_fds(&two, &mut [0; 4], 2).expect_err("must be refused");
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert_eq!(reader.read(&mut [0; 1]).expect("read"), 0, "all copies are closed");
}

#[test]
fn a_packet_longer_than_the_buffer_is_refused() {
    let (one, two) = UnixDatagram::pair().expect("pair");
    send_with_fds(&one, b"0123456789", &[]).expect("send");
    assert_eq!(recv_with_fds(&two, &mut [0; 4], 0).expect_err("must be refused").kind(), io::ErrorKind::InvalidData);
}

#[test]
fn a_message_without_descriptors_and_the_end_are_told_apart() {
    let (one, two) = UnixStream::pair().expect("pair");
    send_with_fds(&one, b"a", &[]).expect("send");
    drop(one);
    let mut buffer = [0; 4];
    assert_eq!(recv_with_fds(&two, &mut buffer, 0).map(|(n, fds)| (n, fds.len())).expect("receive"), (1, 0));
    assert_eq!(recv_with_fds(&two, &mut buffer, 0).map(|(n, fds)| (n, fds.len())).expect("end"), (0, 0));
}

#[test]
fn descriptors_of_a_list_that_was_cut_are_closed() {
    let (one, two) = UnixDatagram::pair().expect("pair");
    let (mut reader, writer) = std::io::pipe().expect("pipe");
    send_with_fds(&one, b"x", &[writer.as_fd(); 5]).expect("send");
    drop(writer);
    // Room for two of the five: what a process at its limit of open files gets looks the same.
    let mut control = nix::cmsg_space!([RawFd; 2]);
    let mut byte = [0; 1];
    let mut parts = [IoSliceMut::new(&mut byte)];
    let flags =
        recvmsg::<()>(two.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::MSG_CMSG_CLOEXEC).expect("receive").flags;
    assert!(flags.contains(MsgFlags::MSG_CTRUNC));
    let numbers = rights_in(&control);
    assert_eq!(numbers.len(), 2);
    numbers.into_iter().for_each(|fd| nix::unistd::close(fd).expect("close"));
    assert_eq!(reader.read(&mut [0; 1]).expect("read"), 0, "none is left");
}
