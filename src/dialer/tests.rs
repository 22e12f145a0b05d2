//! On real namespaces (`ip netns`): needs root and iproute2.

use std::net::{SocketAddr, TcpListener};
use std::time::Instant;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockaddrStorage, bind, listen, socket};

use super::*;

use crate::handover::fds;
use crate::wire::dialer::{DialClient, ListeningPort};

mod world;

use world::{Net, World};

#[test]
fn an_app_is_reached_on_either_loopback_and_on_its_own_address() {
    let (world, net) = (World::new(), Net::with_addresses("10.99.1.2/24", "fd99:1::2/64"));
    for (id, address) in [(1, "127.0.0.1:3001"), (2, "[::1]:3002"), (3, "10.99.1.2:3003"), (4, "0.0.0.0:3004"), (5, "[::]:3005")]
    {
        world.register(id, &net, net.app(address, "hello").port()).expect("register");
        let from = if id == 2 {
            "fd99:1::2"
        } else if id == 5 {
            "::ffff:10.99.1.2"
        } else {
            "10.99.1.2"
        };
        for _ in 0..2 {
            assert_eq!(world.hear(id), Ok(format!("hello {from}")), "an app on {address} sees the instance's own address");
        }
    }
}

#[test]
fn without_a_network_the_source_is_loopback() {
    let (world, net) = (World::new(), Net::new());
    world.register(1, &net, net.app("127.0.0.1:0", "alone").port()).expect("register");
    assert_eq!(world.hear(1), Ok("alone 127.0.0.1".to_owned()));
}

#[test]
fn an_address_that_changed_is_noticed() {
    let (world, net) = (World::new(), Net::with_addresses("10.99.1.2/24", "fd99:1::2/64"));
    world.register(1, &net, net.app("127.0.0.1:0", "app").port()).expect("register");
    assert_eq!(world.hear(1), Ok("app 10.99.1.2".to_owned()));
    net.ip(&["-n", &net.name, "addr", "del", "10.99.1.2/24", "dev", "eth0"]);
    net.ip(&["-n", &net.name, "addr", "add", "10.99.7.7/24", "dev", "eth0"]);
    assert_eq!(world.hear(1), Ok("app 10.99.7.7".to_owned()));
}

#[test]
fn refusals_are_told_apart() {
    let (world, net) = (World::new(), Net::new());
    assert_eq!(world.fails(1), DialError::UnknownTarget);
    world.register(1, &net, 3000).expect("register");
    assert_eq!(world.fails(1), DialError::Refused);
    let register = |key: &str| {
        world.runtime.block_on(world.client.register(InstanceId(2), PathBuf::from(key), 80)).expect_err("refused").kind
    };
    assert_eq!(register("/run/netns/0123456789abcdef"), DialError::NamespaceGone);
    for key in ["/etc/shadow", "/run/netns/../netns/0123456789", "/run/netns/default", "/proc/self/ns/net", "/run/netns/"] {
        assert_eq!(register(key), DialError::Denied, "{key}");
    }
}

#[test]
fn the_hosts_own_namespace_and_a_dead_key_are_refused() {
    let (world, net, host) = (World::new(), Net::new(), Net::new());
    net.ip(&["netns", "del", &net.name]);
    std::fs::write(net.key(), b"").expect("what is left of a key whose mount is gone");
    let gone = world.register(1, &net, 80).expect_err("gone");
    std::fs::remove_file(net.key()).expect("remove");
    assert_eq!(gone.kind, DialError::NamespaceGone);
    let key = host.key();
    nix::mount::mount(Some("/proc/self/ns/net"), &key, None::<&str>, nix::mount::MsFlags::MS_BIND, None::<&str>)
        .expect("bind mount");
    let denied = world.register(1, &host, 80).expect_err("the host's");
    nix::mount::umount(&key).expect("unmount");
    assert_eq!(denied.kind, DialError::Denied);
}

#[test]
fn a_target_that_is_registered_again_never_reaches_the_old_namespace() {
    let (world, old, new) = (World::new(), Net::new(), Net::new());
    world.register(1, &old, old.app("127.0.0.1:3000", "old").port()).expect("register");
    assert_eq!(world.hear(1), Ok("old 127.0.0.1".to_owned()));
    world.register(1, &new, 3000).expect("register again");
    assert_eq!(world.fails(1), DialError::Refused, "the new namespace has no app yet");
    new.app("127.0.0.1:3000", "new");
    assert_eq!(world.hear(1), Ok("new 127.0.0.1".to_owned()));
    world.runtime.block_on(world.client.unregister(InstanceId(1))).expect("unregister");
    assert_eq!(world.fails(1), DialError::UnknownTarget);
}

#[test]
fn a_dead_namespace_refuses_and_is_let_go_with_its_target() {
    let (world, net) = (World::new(), Net::new());
    let inode = std::fs::metadata(net.key()).map(|m| std::os::unix::fs::MetadataExt::ino(&m)).expect("inode");
    world
        .register(1, &net, net.inside(|| TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("address").port()))
        .expect("register");
    net.ip(&["netns", "del", &net.name]);
    assert_eq!(world.fails(1), DialError::Refused);
    world.runtime.block_on(world.client.unregister(InstanceId(1))).expect("unregister");
    drop((world.told(), world.told())); // The parent lets go as well.
    let held = || fds::open_now().expect("list").values().any(|to| *to == format!("net:[{inode}]"));
    assert!(!held(), "no descriptor is left");
    for thread in std::fs::read_dir("/proc/self/task").expect("list") {
        let of_thread = std::fs::read_link(thread.expect("entry").path().join("ns/net"));
        assert!(
            of_thread.is_err() || of_thread.is_ok_and(|to| to != Path::new(&format!("net:[{inode}]"))),
            "no thread stayed inside"
        );
    }
}

#[test]
fn a_full_backlog_has_a_deadline_and_delays_no_other_target() {
    let (world, full, other) = (World::new(), Net::new(), Net::new());
    let listener = full.inside(|| {
        let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).expect("socket");
        let address: SocketAddr = "127.0.0.1:3000".parse().expect("address");
        bind(std::os::fd::AsRawFd::as_raw_fd(&fd), &SockaddrStorage::from(address)).expect("bind");
        listen(&fd, Backlog::new(1).expect("backlog")).expect("listen");
        fd
    });
    world.register(1, &full, 3000).expect("register");
    world.register(2, &other, other.app("127.0.0.1:0", "fast").port()).expect("register");
    world.runtime.block_on(async {
        let mut queued = Vec::new();
        let started = Instant::now();
        let last = loop {
            match world.client.dial(InstanceId(1)).await {
                Ok(stream) => queued.push(stream),
                Err(e) => break e,
            }
            assert!(queued.len() < 10, "the backlog must fill up");
        };
        assert_eq!(last.kind, DialError::TimedOut);
        assert!((900..1600).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());

        let started = Instant::now();
        let stuck: Vec<_> = (0..40)
            .map(|_| {
                let client = world.client.clone();
                tokio::spawn(async move { client.dial(InstanceId(1)).await.expect_err("full").kind })
            })
            .collect();
        tokio::task::yield_now().await;
        for _ in 0..50 {
            world.client.dial(InstanceId(2)).await.expect("the other target is not delayed");
        }
        assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());
        for dial in stuck {
            assert_eq!(dial.await.expect("join"), DialError::TimedOut);
        }
        assert!(started.elapsed() < Duration::from_millis(1800), "{:?}", started.elapsed());
        // Once there is room again, dials work again: nothing was leaked into the count of waiting ones.
        let listener = TcpListener::from(listener);
        std::thread::spawn(move || while listener.accept().is_ok() {});
        world.client.dial(InstanceId(1)).await.expect("room again");
    });
}

#[test]
fn what_listens_is_named() {
    let (world, net) = (World::new(), Net::new());
    world.register(1, &net, 80).expect("register");
    let listening = || world.runtime.block_on(world.client.listening(InstanceId(1))).expect("listening");
    assert_eq!(listening(), []);
    net.app("127.0.0.11:53", "the engine's resolver");
    net.app("127.0.0.1:8080", "app");
    net.app("[::1]:8081", "app");
    let port = |addr: &str, port| ListeningPort { address: addr.parse().expect("address"), port };
    assert_eq!(listening(), [port("127.0.0.1", 8080), port("::1", 8081)]);
}

#[test]
fn an_app_that_listens_on_thousands_of_ports_has_an_answer_and_its_own_port_in_it() {
    let (world, net) = (World::new(), Net::new());
    world.register(1, &net, 9_000).expect("register");
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, soft.max(8_192).min(hard), hard).expect("raised");
    let _held: Vec<_> = (6_000..=9_000).map(|port| net.inside(|| TcpListener::bind(("::1", port)).expect("bound"))).collect();
    let listening = world.runtime.block_on(world.client.listening(InstanceId(1))).expect("listening");
    assert_eq!((listening[0].port, listening.len()), (9_000, MOST_LISTENING));
}

#[test]
fn strangers_are_refused_and_the_proxy_may_only_dial() {
    let (world, net) = (World::with_restored(vec![]), Net::new());
    world.register(1, &net, net.app("127.0.0.1:0", "app").port()).expect("register");
    assert!(world.ask_as(65534, "{\"dial\":{\"target\":\"i1\"}}").contains("denied"));
    assert!(world.ask_as(4711, "\"list\"").contains("denied"));
    assert!(world.ask_as(4711, "{\"unregister\":{\"target\":\"i1\"}}").contains("denied"));
    assert!(world.ask_as(4711, "{\"dial\":{\"target\":\"i1\"}}").contains("connected"));
    assert_eq!(world.ask_as(0, "\"reboot\""), "", "an ask that is not known ends the connection");
    assert_eq!(world.ask_as(0, "\"list\""), "{\"id\":7,\"body\":{\"targets\":[\"i1\"]}}");
}

#[test]
fn a_restarted_dialer_still_has_its_targets() {
    let net = Net::new();
    let port = net.app("127.0.0.1:0", "kept").port();
    let mut kept = Vec::new();
    {
        let world = World::new();
        world.register(45, &net, port).expect("register");
        let (text, mut fds) = world.told();
        assert_eq!(text, format!("FDSTORE=1\nFDNAME=t-i45-{port}\n"));
        kept.push((format!("t-i45-{port}"), fds.remove(0)));
        world.runtime.block_on(world.client.unregister(InstanceId(45))).expect("unregister");
        assert_eq!(world.told().0, format!("FDSTOREREMOVE=1\nFDNAME=t-i45-{port}\n"));
    }
    net.ip(&["netns", "del", &net.name]); // The key is gone; the descriptor is what counts.
    kept.push(("t-i46-80".to_owned(), std::fs::File::open("/dev/null").expect("open").into()));
    kept.push(("t-oops".to_owned(), std::fs::File::open("/dev/null").expect("open").into()));
    let world = World::with_restored(kept);
    assert_eq!(world.runtime.block_on(world.client.list()), Ok(vec![InstanceId(45)]), "what is no namespace is not taken back");
    assert_eq!(world.hear(45), Ok("kept 127.0.0.1".to_owned()));
}

#[test]
fn dials_during_repeated_registrations_are_all_answered_and_the_store_is_never_without_the_target() {
    let (world, blue, green) = (World::new(), Net::new(), Net::new());
    let ports = [&blue, &green].map(|net| net.app("127.0.0.1:0", "app").port());
    world.register(1, &blue, ports[0]).expect("register");
    let mut stored = std::collections::BTreeSet::new();
    let mut hear_of_the_store = || {
        let (text, _fds) = world.told();
        let name = text.lines().find_map(|l| l.strip_prefix("FDNAME=")).expect("a name").to_owned();
        if text.starts_with("FDSTORE=1") {
            stored.insert(name)
        } else {
            stored.remove(&name)
        };
        assert!(!stored.is_empty(), "a crash now would lose the target");
        stored.clone()
    };
    hear_of_the_store();
    let (done, socket) = (std::sync::atomic::AtomicBool::new(false), world.dir.path().join("dialer.sock"));
    let dials = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let dialing = scope.spawn(|| {
            let (runtime, client) = (tokio::runtime::Builder::new_current_thread().enable_all().build(), DialClient::new(socket));
            let mut failed = Vec::new();
            while !done.load(Ordering::Relaxed) {
                let dialed = runtime.as_ref().expect("runtime").block_on(client.dial(InstanceId(1)));
                failed.extend(dialed.err());
                dials.fetch_add(1, Ordering::Relaxed);
            }
            failed
        });
        // However few dials a busy machine has time for.
        for n in (1..).take_while(|n| *n <= 200 || dials.load(Ordering::Relaxed) < 100) {
            let (net, port) = if n % 2 == 0 { (&blue, ports[0]) } else { (&green, ports[1]) };
            world.register(1, net, port).expect("register the other");
            hear_of_the_store();
            assert_eq!(hear_of_the_store().len(), 1, "only the new one is left");
            world.register(1, net, port).expect("register it once more");
            assert_eq!(hear_of_the_store().len(), 1, "what is as before is stored under its old name");
        }
        done.store(true, Ordering::Relaxed);
        assert_eq!(dialing.join().expect("no panic"), [], "of {dials:?} dials");
    });
}

#[test]
fn of_two_that_a_crash_left_the_later_is_taken_back_and_the_other_let_go() {
    let (old, new) = (Net::new(), Net::new());
    let port = new.app("127.0.0.1:0", "new").port();
    let held = |net: &Net| OwnedFd::from(std::fs::File::open(net.key()).expect("open"));
    let names = [format!("t-i1-{port}-2"), format!("t-i1-{port}-10"), format!("t-i1-{port}")];
    let restored = [&old, &new, &old].map(held).into_iter().zip(names).map(|(fd, name)| (name, fd)).collect();
    let world = World::with_restored_untold(restored);
    for gone in [format!("t-i1-{port}-2"), format!("t-i1-{port}")] {
        assert_eq!(world.told().0, format!("FDSTOREREMOVE=1\nFDNAME={gone}\n"));
    }
    assert!(world.told().0.starts_with("READY=1\n"));
    assert_eq!(world.hear(1), Ok("new 127.0.0.1".to_owned()));
    world.register(1, &old, 80).expect("register");
    assert_eq!(world.told().0, "FDSTORE=1\nFDNAME=t-i1-80-11\n");
}

#[test]
fn a_dial_that_was_given_up_leaves_no_descriptor_and_the_client_goes_on() {
    let (world, net) = (World::new(), Net::new());
    world.register(1, &net, net.app("127.0.0.1:0", "app").port()).expect("register");
    world.runtime.block_on(async {
        for _ in 0..300 {
            // Polled once: the ask is sent, the answer not awaited.
            let _ = futures_util::poll!(Box::pin(world.client.dial(InstanceId(1))));
        }
        for _ in 0..200 {
            world.client.dial(InstanceId(1)).await.expect("still works");
        }
    });
}

#[test]
fn dialing_is_quick() {
    let (world, net) = (World::new(), Net::with_addresses("10.99.1.2/24", "fd99:1::2/64"));
    world.register(1, &net, net.app("127.0.0.1:0", "app").port()).expect("register");
    let mut micros: Vec<u128> = (0..500)
        .map(|_| {
            let started = Instant::now();
            world.runtime.block_on(world.client.dial(InstanceId(1))).expect("dial");
            started.elapsed().as_micros()
        })
        .collect();
    micros.sort_unstable();
    eprintln!("dial: p50 {} µs, p99 {} µs", micros[250], micros[495]);
    assert!(micros[250] < 5_000, "p50 {} µs", micros[250]);
}
