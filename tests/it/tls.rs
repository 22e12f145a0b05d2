//! Clients reach apps by TLS, over HTTP/1.1 and HTTP/2, through the real proxy process.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use crate::support::{World, run};

/// curl that takes any certificate; prints body, then protocol and status.
fn curl(w: &World, host: &str, path: &str, more: &[&str]) -> (String, String) {
    let told = std::fs::read_to_string(w.run_dir().join("listening.json")).expect("it is written before any role starts");
    let told: serde_json::Value = serde_json::from_str(&told).expect("it is JSON");
    let address: SocketAddr = told["https"][0].as_str().expect("an address").parse().expect("an address");
    let resolve = format!("{host}:{}:{}", address.port(), address.ip());
    let url = format!("https://{host}:{}{path}", address.port());
    let mut command = Command::new("curl");
    command.args(["-sSk", "--max-time", "30", "--resolve", &resolve, "-w", "\n%{http_version} %{http_code}", &url]).args(more);
    let done = run(&mut command, b"", Duration::from_secs(40)).ok();
    let (body, told) = done.out.rsplit_once('\n').expect("two parts");
    (body.to_owned(), told.to_owned())
}

#[test]
fn an_app_is_reached_by_tls_over_both_versions_of_http() {
    let w = World::start();
    let (name, _repo) = w.live("tls", "one");
    let host = w.host(&name);

    let (plain, told) = curl(&w, &host, "/", &["--http1.1"]);
    assert_eq!((plain.as_str(), told.as_str()), (format!("{name} one\n").as_str(), "1.1 200"));
    let (second, told) = curl(&w, &host, "/", &["--http2"]);
    assert_eq!((second, told.as_str()), (plain, "2 200"));
    let (_, told) = curl(&w, &host, "/", &["--http2", "--tls-max", "1.2", "--data-binary", &"x".repeat(100_000)]);
    assert!(told.starts_with("2 "), "{told}");
    let (_, told) = curl(&w, "nobody.test", "/", &["--http2"]);
    assert_eq!(told, "2 404");
}
