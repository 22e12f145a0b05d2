use std::fs::File;
use std::os::fd::AsFd;

use super::super::fds::recv_with_fds;
use super::*;

#[test]
fn a_message_and_its_descriptor_arrive_at_a_path_and_at_an_abstract_name() {
    let folder = tempfile::tempdir().expect("a temp dir");
    let path = folder.path().join("notify");
    let abstract_name = format!("paas-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&abstract_name).expect("an address");
    let at = format!("@{abstract_name}");
    let receivers = [
        (path.clone().into_os_string(), UnixDatagram::bind(&path).expect("a socket at a path")),
        (at.into(), UnixDatagram::bind_addr(&address).expect("an abstract socket")),
    ];
    for (name, receiver) in receivers {
        let file = File::open("/dev/null").expect("a file");
        send_to(&name, "FDSTORE=1\nFDNAME=x\n", &[file.as_fd()]).expect("the message is sent");
        let mut buffer = [0; 100];
        let (length, fds) = recv_with_fds(&receiver, &mut buffer, 1).expect("the message comes");
        assert_eq!(&buffer[..length], b"FDSTORE=1\nFDNAME=x\n");
        assert_eq!(fds.len(), 1);
    }
}

#[test]
fn text_for_people_can_not_begin_another_assignment() {
    assert_eq!(one_line("fine\nFDSTORE=1"), "fine FDSTORE=1");
}
