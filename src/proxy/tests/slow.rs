//! What peers that take or bring nothing make the kernel and the proxy hold.

use std::io::{ErrorKind, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};

use crate::proxy::conn::tune;
use crate::proxy::limits::{MOST_READ_BYTES, UNSENT_BYTES, UNSENT_TO_INSTANCE_BYTES};

/// A connection that a listening socket of ours gave, and its other end.
fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    tune(&listener, UNSENT_BYTES);
    let far = TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
    (listener.accept().expect("accept").0, far)
}

#[test]
fn for_a_peer_that_takes_nothing_the_kernel_queues_little() {
    // One as the listening socket gives it, one that is tuned by itself.
    let ((accepted, far), (other_far, made)) = (pair(), pair());
    tune(&made, UNSENT_TO_INSTANCE_BYTES);
    for (mut stream, far, most) in [(accepted, far, UNSENT_BYTES), (made, other_far, UNSENT_TO_INSTANCE_BYTES)] {
        setsockopt(&far, sockopt::RcvBuf, &4096).expect("a small window");
        stream.set_nonblocking(true).expect("nonblocking");
        let piece = vec![0; MOST_READ_BYTES];
        let mut queued = 0;
        for _ in 0..20 {
            loop {
                match stream.write(&piece) {
                    Ok(n) => queued += n,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => panic!("{error}"),
                }
            }
            // What its window lets through comes in over a moment.
            std::thread::sleep(Duration::from_millis(10));
        }
        let (most, window) = (most as usize, 256 * 1024);
        assert!((most..most + window).contains(&queued), "{queued} bytes for a peer that reads none, with {most}");
    }
}
