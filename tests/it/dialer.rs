//! The dialer in this process against real containers: Docker's sandbox keys, its networks, its resolver, its names.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};
use nix::unistd::Uid;
use paas::dialer::DialerRun;
use paas::names::InstanceId;
use paas::wire::dialer::{DialClient, DialError, DialFailure};

use crate::support::{Done, eventually, run};

const LIMIT: Duration = Duration::from_secs(60);
static NEXT: AtomicU32 = AtomicU32::new(1);

fn docker(args: &[&str]) -> Done {
    run(Command::new("docker").args(args), b"", LIMIT)
}

/// A dialer, an image of the test app without any base, and a network; all is removed at the end.
struct World {
    name: String,
    client: DialClient,
    runtime: tokio::runtime::Runtime,
    _folder: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        let (pid, n) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let name = format!("paas-dialer-test-{pid}-{n}");
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let path = folder.path().join("dialer.sock");
        let listener = packet_socket(&path);
        let run = DialerRun {
            listener,
            restored: vec![],
            daemon: Uid::from_raw(0),
            proxy: Uid::from_raw(4711),
            key_dirs: vec!["/var/run/docker/netns".into()],
        };
        std::thread::spawn(move || paas::dialer::run(run));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let world = World { client: DialClient::new(path), runtime, name, _folder: folder };
        world.make_image();
        let subnet = format!("fd99:{:x}:{n:x}::/64", pid & 0xffff);
        docker(&["network", "create", "--ipv6", "--subnet", &subnet, &world.name]).ok();
        world
    }

    fn make_image(&self) {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        std::fs::write(folder.path().join("testapp"), crate::support::testapp_binary()).expect("the app can be written");
        run(Command::new("chmod").arg("0755").arg(folder.path().join("testapp")), b"", LIMIT).ok();
        let tar = folder.path().join("image.tar");
        run(Command::new("tar").arg("-C").arg(folder.path()).arg("-cf").arg(&tar).arg("testapp"), b"", LIMIT).ok();
        docker(&["import", tar.to_str().expect("a plain path"), &self.name]).ok();
    }

    /// Starts the test app as the container `suffix` and gives its sandbox key.
    fn start(&self, suffix: &str, network: &str, env: &[&str]) -> PathBuf {
        let container = format!("{}-{suffix}", self.name);
        let mut args = vec!["run", "-d", "--name", &container, "--network", network, "-e", "PORT=3000"];
        args.extend(env.iter().flat_map(|e| ["-e", *e]));
        args.extend([self.name.as_str(), "/testapp"]);
        docker(&args).ok();
        PathBuf::from(docker(&["inspect", "-f", "{{.NetworkSettings.SandboxKey}}", &container]).ok().out.trim())
    }

    fn remove(&self, suffix: &str) {
        docker(&["rm", "-f", &format!("{}-{suffix}", self.name)]).ok();
    }

    fn register(&self, id: i64, key: PathBuf) -> Result<(), DialFailure> {
        self.runtime.block_on(self.client.register(InstanceId(id), key, 3000))
    }

    fn ports(&self, id: i64) -> Vec<String> {
        let listening = self.runtime.block_on(self.client.listening(InstanceId(id))).expect("listening ports can be read");
        listening.iter().map(|l| format!("{} {}", l.address, l.port)).collect()
    }

    /// What the app answers, once it listens.
    fn hear(&self, id: i64) -> String {
        eventually("the app listens", LIMIT, || (!self.ports(id).is_empty()).then_some(()));
        let mut stream = self.runtime.block_on(self.client.dial(InstanceId(id))).expect("the app is reached");
        stream.set_nonblocking(false).expect("a socket can block");
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").expect("the request is sent");
        let mut answer = vec![0; 4096];
        let length = stream.read(&mut answer).expect("an answer");
        String::from_utf8_lossy(&answer[..length]).into_owned()
    }

    fn failure(&self, id: i64) -> DialError {
        self.runtime.block_on(self.client.dial(InstanceId(id))).expect_err("the dial must fail").kind
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let filter = format!("name=^{}-", self.name);
        for id in docker(&["ps", "-aq", "--filter", &filter]).out.lines() {
            docker(&["rm", "-f", id]);
        }
        docker(&["network", "rm", &self.name]);
        docker(&["rmi", "-f", &self.name]);
    }
}

fn packet_socket(path: &std::path::Path) -> OwnedFd {
    let fd = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).expect("a socket");
    bind(std::os::fd::AsRawFd::as_raw_fd(&fd), &UnixAddr::new(path).expect("an address")).expect("it is bound");
    listen(&fd, Backlog::MAXCONN).expect("it listens");
    fd
}

#[test]
fn a_container_is_reached_wherever_its_app_listens_and_its_resolver_is_not_its_app() {
    let w = World::new();
    for (id, bind) in [(1, "127.0.0.1"), (2, "::1"), (3, "0.0.0.0"), (4, "::")] {
        let (name, bound) = (format!("on-{id}"), format!("TESTAPP_BIND={bind}"));
        let key = w.start(&name, &w.name, &[&bound, &format!("PAAS_APP={name}")]);
        w.register(id, key).expect("a running container is registered");
        assert!(w.hear(id).contains(&format!("on-{id}")), "an app that listens on {bind} only");
        assert_eq!(w.ports(id), [format!("{bind} 3000")], "Docker's resolver is not named");
    }
}

#[test]
fn a_container_without_a_network_is_reached() {
    let w = World::new();
    w.register(1, w.start("alone", "none", &["PAAS_APP=alone"])).expect("it is registered");
    assert!(w.hear(1).contains("alone"));
}

#[test]
fn a_reused_container_name_never_gets_the_old_containers_requests() {
    let w = World::new();
    let old = w.start("web", &w.name, &["PAAS_APP=old"]);
    w.register(1, old.clone()).expect("it is registered");
    assert!(w.hear(1).contains("old"));
    w.remove("web");
    assert_eq!(w.failure(1), DialError::Refused, "its namespace is held, nothing listens in it");
    assert_eq!(w.register(2, old).expect_err("its key is gone").kind, DialError::NamespaceGone);
    // The same name, most likely with the same address.
    let new = w.start("web", &w.name, &["PAAS_APP=new"]);
    assert_eq!(w.failure(1), DialError::Refused, "the target is still the old container");
    w.register(1, new).expect("it is registered again");
    assert!(w.hear(1).contains("new"));
}

#[test]
fn the_hosts_network_is_no_target() {
    let w = World::new();
    let key = w.start("host", "host", &["TESTAPP_NEVER=1"]);
    let refused = w.register(1, key).expect_err("the host's network is refused");
    assert!(matches!(refused.kind, DialError::Denied | DialError::NamespaceGone), "{refused:?}");
}
