//! TLS to clients: versions, certificates by name, resumption, what is refused.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{CipherSuite, ClientConnection, ProtocolVersion, SignatureScheme};

use super::world::*;
use crate::base::secret::Secret;
use crate::wire::proxy::{Certificate, Front, Snapshot};

fn world_with(app: &Instance, certs: Vec<Certificate>) -> World {
    let world = World::start();
    world.place(1, app.address);
    world.activate(&with_certs(snapshot(1, &[1], &[]), certs));
    world
}

#[test]
fn requests_over_tls_1_2_and_1_3_reach_the_instance_which_is_told() {
    let app = Instance::fixed("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: 1\r\n\r\n");
    let world = world_with(&app, vec![certificate(&["shop.test"])]);
    for (version, expected) in [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)] {
        let offer = Offer { versions: vec![version], alpn: &[b"http/1.1"], ..Offer::default() };
        let mut client = TlsClient::connect(&world, "shop.test", &offer.config());
        assert_eq!((client.version(), client.conn().alpn_protocol()), (expected, Some(b"http/1.1".as_slice())));
        for _ in 0..2 {
            assert_eq!(client.get("shop.test").body, "abc[T: 1]", "the connection goes on");
        }
        client.send("POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 4\r\nX-Forwarded-Proto: http\r\n\r\nbody");
        assert_eq!(client.answer().status, 200);
    }
    let got = app.requests();
    assert_eq!(got.len(), 6);
    assert!(got.iter().all(|r| r.field("x-forwarded-proto").as_deref() == Some("https")));
    assert!(got.iter().all(|r| r.field("x-forwarded-port") == Some(world.tls_address.port().to_string())));
    assert_eq!(got[5].body, b"body");
    world.get("/");
    assert_eq!(app.requests()[6].field("x-forwarded-proto").as_deref(), Some("http"));
}

#[test]
fn the_name_picks_the_certificate_exact_before_wildcard_before_self_signed() {
    let (exact, wild, own) = (certificate(&["shop.test"]), certificate(&["*.shop.test", "*.test"]), certificate(&[]));
    let app = Instance::fixed(&ok("x"));
    let world = World::start();
    world.place(1, app.address);
    let front = Front { certs: vec![wild.clone(), exact.clone()], fallback: Some(own.clone()), ..Front::default() };
    world.activate(&Snapshot { front, ..snapshot(1, &[1], &[]) });
    for (name, shown) in [
        ("shop.test", &exact),
        ("SHOP.test", &exact),
        ("www.shop.test", &wild),
        ("other.test", &wild),
        ("a.b.shop.test", &own),
        ("elsewhere.example", &own),
        ("127.0.0.1", &own),
    ] {
        assert_eq!(world.tls(name).shown(), der(shown), "{name}");
    }
    // Until there is a real one the self-signed one serves: it speaks for no name, and for the one that was asked for.
    world.activate(&Snapshot { front: Front { fallback: Some(own.clone()), ..Front::default() }, ..snapshot(2, &[1], &[]) });
    let mut client = world.tls("shop.test");
    assert_eq!((client.shown(), client.get("shop.test").status), (der(&own), 200));
    assert_eq!(world.tls("other.test").get("shop.test").status, 421);
}

#[test]
fn aes_128_is_agreed_on_unless_the_client_prefers_chacha20_or_has_neither() {
    use CipherSuite as Suite;
    let world = world_with(&Instance::fixed(&ok("x")), vec![certificate(&["shop.test"])]);
    let (aes, large, chacha) =
        (Suite::TLS13_AES_128_GCM_SHA256, Suite::TLS13_AES_256_GCM_SHA384, Suite::TLS13_CHACHA20_POLY1305_SHA256);
    let old_aes = Suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256;
    let old_chacha = Suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256;
    for (offered, version, agreed) in [
        (vec![large, chacha, aes], &TLS13, aes),
        (vec![aes, large, chacha], &TLS13, aes),
        (vec![chacha, large, aes], &TLS13, chacha),
        (vec![large], &TLS13, large),
        (vec![Suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, old_aes], &TLS12, old_aes),
        (vec![old_chacha, old_aes], &TLS12, old_chacha),
    ] {
        let offer = Offer { versions: vec![version], suites: Some(offered.clone()), ..Offer::default() };
        let mut client = TlsClient::connect(&world, "shop.test", &offer.config());
        assert_eq!(client.conn().negotiated_cipher_suite().map(|s| s.suite()), Some(agreed), "{offered:?}");
        assert_eq!(client.get("shop.test").body, "x");
    }
}

#[test]
fn ecdsa_comes_first_and_another_key_serves_who_does_not_know_it() {
    let (ed, ec) = (certificate_by(&["shop.test"], &rcgen::PKCS_ED25519), certificate(&["shop.test"]));
    let world = world_with(&Instance::fixed(&ok("x")), vec![ed.clone(), ec.clone()]);
    assert_eq!(world.tls("shop.test").shown(), der(&ec));
    let offer = Offer { schemes: Some(vec![SignatureScheme::ED25519]), versions: vec![&TLS13], ..Offer::default() };
    assert_eq!(TlsClient::connect(&world, "shop.test", &offer.config()).shown(), der(&ed));
}

#[test]
fn a_certificate_changes_with_the_snapshot_and_old_connections_go_on() {
    let (old, new) = (certificate(&["shop.test"]), certificate(&["shop.test"]));
    let app = Instance::fixed(&ok("x"));
    let world = world_with(&app, vec![old.clone()]);
    let mut before = world.tls("shop.test");
    assert_eq!(before.shown(), der(&old));
    world.activate(&with_certs(snapshot(2, &[1], &[]), vec![new.clone()]));
    assert_eq!(world.tls("shop.test").shown(), der(&new));
    assert_eq!(before.get("shop.test").status, 200);
}

#[test]
fn a_certificate_that_can_not_be_used_is_left_out_and_the_others_serve() {
    let (good, other) = (certificate(&["shop.test"]), certificate(&["b.test"]));
    let no_key = Certificate { key: Secret::new("no key".to_owned()), ..certificate(&["a.test"]) };
    // Before the good one, whose name it has too.
    let not_its_key = Certificate { key: other.key.clone(), ..certificate(&["b.test", "shop.test"]) };
    let world = world_with(&Instance::fixed(&ok("x")), vec![no_key, not_its_key, good.clone()]);
    assert_eq!(world.tls("shop.test").get("shop.test").status, 200);
    // There is nothing to show for the others, so no handshake comes about.
    for name in ["a.test", "b.test"] {
        assert!(TlsClient::try_connect(&world, name, &Offer::default().config()).is_err(), "{name}");
    }
}

#[test]
fn a_client_that_comes_back_resumes_on_any_worker_but_not_for_another_name() {
    let certs = vec![certificate(&["shop.test", "other.test"])];
    let world = world_with(&Instance::fixed(&ok("x")), certs.clone());
    for (next, version) in [(2, &TLS12), (3, &TLS13)] {
        let config = Offer { versions: vec![version], ..Offer::default() }.config();
        let mut first = TlsClient::connect(&world, "shop.test", &config);
        assert!(!first.resumed());
        first.get("shop.test");
        // The first one stays, so the others are on both workers. (A ticket is used once in TLS 1.3, and each connection brings new ones.)
        for _ in 0..4 {
            let mut again = TlsClient::connect(&world, "shop.test", &config);
            assert!(again.resumed(), "{version:?}");
            again.get("shop.test");
        }
        assert!(!TlsClient::connect(&world, "other.test", &config).resumed());
        // Other routes are no other process.
        world.activate(&with_certs(snapshot(next, &[1], &[]), certs.clone()));
        let again = TlsClient::connect(&world, "shop.test", &config);
        assert!(again.resumed(), "{version:?} after a change of the routes");
    }
}

#[test]
fn a_host_that_the_connection_does_not_speak_for_is_421() {
    let certs = vec![certificate(&["shop.test", "*.both.test"]), certificate(&["lone.test"])];
    let world = world_with(&Instance::fixed(&ok("x")), certs);
    assert_eq!(world.tls("a.both.test").get("shop.test").status, 200, "one certificate for both, as browsers use it");
    let mut lone = world.tls("lone.test");
    assert_eq!(world.tls("shop.test").get("a.both.test").status, 404, "also by its wildcard; the name has no route");
    assert_eq!(lone.get("shop.test").status, 421);
    assert_eq!(lone.get("lone.test").status, 404, "the connection goes on; the name has no route");
    assert_eq!(world.ask("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n").status, 200);
}

#[test]
fn a_handshake_that_stalls_is_closed_and_plain_bytes_are_refused() {
    let world = world_with(&Instance::fixed(&ok("x")), vec![certificate(&["shop.test"])]);
    // A record header of a ClientHello that never comes.
    for begun in [b"".as_slice(), b"\x16\x03\x01\x02\x00\x01"] {
        let mut stream = TcpStream::connect(world.tls_address).expect("accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
        stream.write_all(begun).expect("write");
        let since = Instant::now();
        assert!(matches!(stream.read(&mut [0; 1]), Ok(0)), "closed by the proxy");
        assert!(since.elapsed() > Duration::from_secs(2), "not before its time");
    }
    let mut stream = TcpStream::connect(world.tls_address).expect("accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n").expect("write");
    let mut alert = Vec::new();
    let _ = stream.read_to_end(&mut alert);
    assert_eq!(alert.first(), Some(&21), "a TLS alert: {alert:?}");
}

#[test]
fn a_connection_before_the_first_snapshot_waits_for_it() {
    let app = Instance::fixed(&ok("x"));
    let world = World::start();
    world.place(1, app.address);
    std::thread::scope(|scope| {
        let early = scope.spawn(|| world.tls("shop.test").get("shop.test").status);
        std::thread::sleep(Duration::from_millis(300));
        world.activate(&with_certs(snapshot(1, &[1], &[]), vec![certificate(&["shop.test"])]));
        assert_eq!(early.join().expect("no panic"), 200);
    });
}

#[test]
fn an_answer_that_breaks_off_does_not_look_whole() {
    let app = Instance::start(|_, to| {
        to.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").expect("write");
        false
    });
    let world = world_with(&app, vec![certificate(&["shop.test"])]);
    // Read to its end: neither close_notify nor all of the body.
    let mut client = world.tls("shop.test");
    client.send("GET / HTTP/1.0\r\nHost: shop.test\r\n\r\n");
    let mut all = Vec::new();
    assert!(client.read.read_to_end(&mut all).is_err(), "{}", String::from_utf8_lossy(&all));
}

#[test]
fn large_bodies_and_tunnels_go_both_ways_over_tls() {
    let app = Instance::start(|got, to| to.write_all(ok(&String::from_utf8_lossy(&got.body)).as_bytes()).is_ok());
    let world = world_with(&app, vec![certificate(&["shop.test"])]);
    let mut client = world.tls("shop.test");
    let body = "0123456789abcdef".repeat(256 * 1024);
    client.send(format!("POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: {}\r\n\r\n", body.len()));
    client.send(&body);
    assert!(client.answer().body == body);

    let echo = Instance::raw(|mut stream, _| {
        let mut write = stream.try_clone().expect("clone");
        let mut read = std::io::BufReader::new(&mut stream);
        read_head(&mut read).expect("head");
        write.write_all(b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n").expect("switch");
        let _ = std::io::copy(&mut read, &mut write);
    });
    world.place(2, echo);
    world.activate(&with_certs(snapshot(2, &[2], &[]), vec![certificate(&["shop.test"])]));
    let mut client = world.tls("shop.test");
    client.send("GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(client.answer().status, 101);
    for n in 0..50u8 {
        client.send([n; 3000]);
        let mut back = [0; 3000];
        client.read.read_exact(&mut back).expect("echo");
        assert_eq!(back, [n; 3000]);
    }
}

#[test]
fn new_keys_and_the_proper_end_of_the_clients_side_leave_ours_as_it_was() {
    let app = Instance::start(|got, to| to.write_all(ok(&String::from_utf8_lossy(&got.body)).as_bytes()).is_ok());
    let world = world_with(&app, vec![certificate(&["shop.test"])]);
    let mut client = TlsClient::connect(&world, "shop.test", &Offer { versions: vec![&TLS13], ..Offer::default() }.config());
    for round in 0..3 {
        client.read.get_mut().conn.refresh_traffic_keys().expect("TLS 1.3");
        let body = vec![b'a' + round; 100_000];
        client.send(format!("POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: {}\r\n\r\n", body.len()));
        client.read.get_mut().conn.refresh_traffic_keys().expect("TLS 1.3");
        client.send(&body);
        assert!(client.answer().body.as_bytes() == body, "round {round}");
    }
    client.send("GET /last HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    client.read.get_mut().conn.send_close_notify();
    let _ = client.read.get_mut().flush();
    assert_eq!(client.answer().status, 200, "what was asked before the end is answered");
}

#[test]
fn a_message_of_a_handshake_that_is_endless_is_not_held() {
    let world = world_with(&Instance::fixed(&ok("x")), vec![certificate(&["shop.test"])]);
    // A ClientKeyExchange of 16 MiB in full records, and one of 64 KiB in records of a byte.
    for (length, piece) in [([0xff, 0xff, 0xff], 16 * 1024), ([0, 0xff, 0xff], 1)] {
        let config = Offer { versions: vec![&TLS12], ..Offer::default() }.config();
        let name = ServerName::try_from("shop.test").expect("name");
        let mut hello = Vec::new();
        ClientConnection::new(config, name).expect("client").write_tls(&mut hello).expect("hello");
        let mut stream = TcpStream::connect(world.tls_address).expect("accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
        stream.write_all(&hello).expect("write");
        assert!(stream.read(&mut [0; 4096]).expect("an answer") > 0);
        let since = Instant::now();
        let [high, low] = u16::try_from(piece).expect("fits a record").to_be_bytes();
        let message = [[16].as_slice(), &length, &vec![0; 128 * 1024]].concat();
        let records: Vec<u8> =
            message.chunks_exact(piece).take(20_000).flat_map(|p| [&[22, 3, 3, high, low], p].concat()).collect();
        let _ = stream.write_all(&records);
        while matches!(stream.read(&mut [0; 4096]), Ok(n) if n > 0) {}
        assert!(since.elapsed() < Duration::from_secs(2), "closed by its length, not by its time: {length:?}");
    }
}

#[test]
fn what_breaks_a_record_is_told_by_an_alert() {
    let world = world_with(&Instance::fixed(&ok("x")), vec![certificate(&["shop.test"])]);
    let mut client = world.tls("shop.test");
    // Application data that nobody encrypted.
    client.read.get_mut().sock.write_all(&[23, 3, 3, 0, 32].into_iter().chain([7; 32]).collect::<Vec<u8>>()).expect("write");
    let error = client.read.read(&mut [0; 1]).expect_err("an alert").to_string();
    assert!(error.contains("BadRecordMac"), "{error}");
}
