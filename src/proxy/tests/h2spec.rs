//! h2spec against the proxy. It is a program of its own, so only `tests/bench/h2spec/run` asks for this, which builds it from the Go module
//! proxy and names it in `H2SPEC`.

use std::process::Command;

use super::world::*;
use crate::wire::proxy::Route;

#[test]
fn h2spec_finds_no_fault() {
    let program = std::env::var_os("H2SPEC").expect("H2SPEC names the program");
    // Long enough for a test that wants to see a part of a body and leaves itself out of a shorter one.
    let app = Instance::fixed(&ok("a body of some length"));
    let world = World::start();
    world.place(1, app.address);
    let mut routes = snapshot(1, &[1], &[]);
    let other = Route { host: host("localhost"), ..routes.routes[0].clone() };
    routes.routes.push(other);
    world.activate(&with_certs(routes, vec![certificate(&["localhost"])]));
    let port = world.tls_address.port().to_string();
    let done =
        Command::new(program).args(["-t", "-k", "-h", "localhost", "-p", &port, "-o", "5", "-S"]).output().expect("h2spec runs");
    let text = String::from_utf8_lossy(&done.stdout);
    println!("{text}");
    assert!(done.status.success() && text.contains("146 passed, 0 skipped, 0 failed"), "{text}");
}
