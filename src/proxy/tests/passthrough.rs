//! Apps that end TLS themselves.

use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::world::*;
use crate::proxy::tls::config::provider;
use crate::wire::proxy::{Action, Certificate, FromProxy, Route, Snapshot};

/// An instance with its own certificate; answers each head with `name`.
fn tls_instance(certificate: &Certificate, name: &'static str) -> SocketAddr {
    let key = PrivateKeyDer::from_pem_slice(certificate.key.reveal().as_bytes()).expect("key");
    let config = ServerConfig::builder_with_provider(Arc::clone(provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![der(certificate)], key)
        .expect("certificate");
    let config = Arc::new(config);
    Instance::raw(move |stream, _| {
        let connection = ServerConnection::new(Arc::clone(&config)).expect("server");
        let mut read = BufReader::new(StreamOwned::new(connection, stream));
        while read_head(&mut read).is_some() {
            if read.get_mut().write_all(ok(name).as_bytes()).is_err() {
                return;
            }
        }
    })
}

fn passing(snapshot: Snapshot) -> Snapshot {
    let routes = snapshot.routes.into_iter().map(|route| {
        let rules = crate::wire::proxy::Rules { passthrough: true, ..route.rules };
        Route { rules, ..route }
    });
    Snapshot { routes: routes.collect(), ..snapshot }
}

fn world_with(address: SocketAddr) -> World {
    let world = World::start();
    world.place(1, address);
    world.activate(&passing(snapshot(1, &[1], &[])));
    world
}

#[test]
fn the_app_shows_its_own_certificate_and_answers_by_itself() {
    let own = certificate(&["shop.test"]);
    let world = world_with(tls_instance(&own, "inside"));
    let mut client = world.tls("shop.test");
    assert_eq!(client.shown(), der(&own));
    for _ in 0..3 {
        assert_eq!(client.get("shop.test").body, "inside");
    }
    assert_eq!(world.daemon.wait_counts(1, |c| c.streams == 1).in_flight, 1);
    drop(client);
    world.daemon.wait_counts(1, |c| c.in_flight == 0 && c.served == 1);
    let line =
        world.daemon.wait("access", |m| matches!(m, FromProxy::Access { lines, .. } if lines.iter().any(|l| l.method == "TLS")));
    assert!(
        matches!(&line, FromProxy::Access { lines, .. } if lines[0].host == "shop.test" && lines[0].bytes_out > 0),
        "{line:?}"
    );
}

#[test]
fn on_the_plain_port_it_is_sent_to_https_and_on_another_apps_connection_refused() {
    let own = certificate(&["shop.test"]);
    let world = world_with(tls_instance(&own, "inside"));
    let answer = world.ask("GET /a?b HTTP/1.1\r\nHost: shop.test:8080\r\n\r\n");
    let port = world.tls_address.port();
    assert_eq!((answer.status, answer.field("location")), (308, Some(format!("https://shop.test:{port}/a?b").as_str())));
    // A wildcard of another app covers the name, but this connection does not reach the app.
    let mut all = passing(snapshot(2, &[1], &[]));
    all.routes.push(Route {
        host: host("other.test"),
        app: app(),
        action: Action::Forward { targets: vec![] },
        rules: crate::wire::proxy::Rules::default(),
    });
    world.activate(&with_certs(all, vec![certificate(&["*.test"])]));
    assert_eq!(world.tls("other.test").get("shop.test").status, 421);
}

#[test]
fn a_drain_leaves_connections_their_budget_and_new_ones_go_elsewhere() {
    let own = certificate(&["shop.test"]);
    let world = world_with(tls_instance(&own, "old"));
    world.place(2, tls_instance(&own, "new"));
    let mut client = world.tls("shop.test");
    assert_eq!(client.get("shop.test").body, "old");
    world.activate(&passing(snapshot(2, &[2], &[(1, budget(50, 1000))])));
    assert_eq!(world.tls("shop.test").get("shop.test").body, "new");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(client.get("shop.test").body, "old", "the requests' budget is not the stream's");
    let mut rest = Vec::new();
    let _ = client.read.read_to_end(&mut rest);
    assert!(rest.is_empty(), "closed at the end of the budget");
    let ended = world.daemon.wait("drain end", |m| matches!(m, FromProxy::DrainEnded { .. }));
    assert!(matches!(ended, FromProxy::DrainEnded { forced: 1, .. }), "{ended:?}");
    assert_eq!(world.daemon.wait_counts(1, |c| c.in_flight == 0).cut, 1);
}

#[test]
fn a_target_that_refuses_is_passed_over_and_a_held_connection_waits() {
    let own = certificate(&["shop.test"]);
    let world = world_with(tls_instance(&own, "there"));
    let closed = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port that is free again");
    world.place(2, closed);
    world.activate(&passing(snapshot(2, &[1, 2], &[])));
    for _ in 0..4 {
        assert_eq!(world.tls("shop.test").get("shop.test").body, "there");
    }
    let mut held = passing(snapshot(3, &[1], &[]));
    held.routes[0].action = Action::Hold { limit_ms: 60_000 };
    world.activate(&held);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| world.tls("shop.test").get("shop.test").body);
        std::thread::sleep(Duration::from_millis(300));
        world.activate(&passing(snapshot(4, &[1], &[])));
        assert_eq!(waiting.join().expect("no panic"), "there");
    });
    // Nobody at all: the connection just ends.
    world.activate(&passing(snapshot(5, &[2], &[])));
    let mut stream = TcpStream::connect(world.tls_address).expect("accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
    assert!(TlsClient::try_connect(&world, "shop.test", &Offer::default().config()).is_err());
    stream.write_all(b"x").expect("write");
}
