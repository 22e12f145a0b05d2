//! The tools of the tests, tried on the test app itself: a client that hides a cut or an error would let every promise pass.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::net::free_port;
use super::{Client, Entry, Message, Repo, Socket, Tarball, Traffic, eventually, place_program, testapp_file};

struct App {
    child: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl App {
    fn start(mode: &str) -> App {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let program = folder.path().join("testapp");
        place_program(&testapp_file(), &program);
        std::fs::write(folder.path().join("mode"), mode).expect("a file can be written");
        std::fs::write(folder.path().join("version"), "one").expect("a file can be written");
        let port = free_port();
        let mut command = Command::new(&program);
        command.env("PORT", port.to_string()).env("PAAS_APP", "tools").stdout(Stdio::null());
        let child = command.spawn().expect("the test app starts");
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        eventually("the test app listens", Duration::from_secs(5), || std::net::TcpStream::connect(address).ok());
        App { child, address, _folder: folder }
    }

    fn client(&self) -> Client {
        Client::connect(self.address, "tools").expect("the test app accepts")
    }
}

impl Drop for App {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn the_client_reads_whole_answers_and_keeps_its_connection() {
    let app = App::start("");
    let mut client = app.client();
    assert_eq!(client.get("/").expect("an answer").text(), "tools one\n");
    assert_eq!(client.get("/stream?n=3&ms=1").expect("an answer").text(), "chunk 0\nchunk 1\nchunk 2\n");
    let sent = client.upload("/upload", &[b"abc", b"de"], Duration::from_millis(1)).expect("an answer");
    assert_eq!(sent.text(), format!("5 {}\n", 97 + 98 + 99 + 100 + 101));
    assert_eq!(client.get("/nothing").expect("an answer").status, 404);
    assert!(client.is_open());
}

#[test]
fn the_client_tells_a_cut_answer_from_a_whole_one() {
    let mut app = App::start("");
    let address = app.address;
    let asked = std::thread::spawn(move || Client::connect(address, "tools").and_then(|mut c| c.get("/stream?n=100&ms=50")));
    std::thread::sleep(Duration::from_millis(300));
    app.child.kill().expect("our own child can be killed");
    assert!(asked.join().expect("no panic").is_err());
}

#[test]
fn the_websocket_echoes_and_the_traffic_counts_what_fails() {
    let mut app = App::start("");
    let mut socket = Socket::connect(app.address, "tools", "/ws").expect("a WebSocket opens");
    assert_eq!(socket.receive().expect("a greeting"), Message::Text("version one".into()));
    socket.send("hello").expect("it can be sent to");
    assert_eq!(socket.receive().expect("an echo"), Message::Text("hello".into()));

    let traffic = Traffic::start(app.address, "tools", "tools", 4);
    traffic.wait_for(50);
    assert!(traffic.so_far().failed.is_empty(), "{:?}", traffic.so_far().failed);
    app.child.kill().expect("our own child can be killed");
    eventually("failures are counted", Duration::from_secs(5), || (!traffic.so_far().failed.is_empty()).then_some(()));
    assert_eq!(traffic.stop().by_version.keys().collect::<Vec<_>>(), ["one"]);
}

#[test]
fn a_repository_of_the_test_app_has_one_commit_per_release() {
    let repo = Repo::testapp("one");
    let first = repo.head();
    assert_eq!(first.len(), 40);
    assert_ne!(repo.release("two"), first);
    assert_eq!(repo.git(&["ls-files"]).ok().out, "Dockerfile\nmode\ntestapp\nversion\n");
    for sample in ["bad-exits", "slow-boot", "worker", "bad-labels", "hello"] {
        Repo::of_sample(sample);
    }
}

#[test]
fn a_tarball_is_one_that_tar_reads() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = folder.path().join("x.tar.gz");
    std::fs::write(&file, Tarball::testapp("one").with(&Entry::link("link", b'2', "version")).gz())
        .expect("a file can be written");
    let done = super::run(Command::new("tar").arg("-tvzf").arg(&file), b"", Duration::from_secs(10)).ok();
    done.says(&["-rwxr-xr-x", "testapp", "link -> version"]);
}
