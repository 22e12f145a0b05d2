//! An app that ends TLS itself, on a whole installation: clients see its own certificate, and its connections are drained like any. And an
//! installation without TLS.

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, KeyPair};
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConnection, StreamOwned};

use crate::support::{Repo, World, eventually, run, trusting};
use crate::upgrade::upgrade;

const DOCKERFILE: &str = "FROM scratch\nCOPY tlsapp chain.pem key.pem version /\nENTRYPOINT [\"/tlsapp\"]\n";

type Tls = BufReader<StreamOwned<ClientConnection, TcpStream>>;

/// A client that takes any certificate, to look at it.
fn connect(w: &World, name: &str) -> std::io::Result<Tls> {
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let stream = TcpStream::connect(w.proxy_tls())?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let client = ClientConnection::new(Arc::new(trusting(b"http/1.1")), name).map_err(std::io::Error::other)?;
    let mut stream = StreamOwned::new(client, stream);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(BufReader::new(stream))
}

fn shown(tls: &Tls) -> Vec<u8> {
    tls.get_ref().conn.peer_certificates().expect("certificates")[0].to_vec()
}

/// One request; the first word of the status line's rest, and the body if it has a length.
fn ask(tls: &mut Tls, host: &str) -> std::io::Result<String> {
    use std::io::BufRead;
    write!(tls.get_mut(), "GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")?;
    tls.get_mut().flush()?;
    let (mut head, mut length) = (String::new(), 0);
    while !head.ends_with("\r\n\r\n") {
        let before = head.len();
        if tls.read_line(&mut head)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let line = head[before..].to_ascii_lowercase();
        length = line.strip_prefix("content-length:").and_then(|n| n.trim().parse().ok()).unwrap_or(length);
    }
    let mut body = vec![0; length];
    tls.read_exact(&mut body)?;
    Ok(format!("{} {}", &head[9..12], String::from_utf8_lossy(&body)))
}

struct EndOf<'a>(&'a AtomicBool);

impl Drop for EndOf<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A repository of the app, with its certificate.
fn repo_for(host: &str) -> (Repo, Vec<u8>) {
    let key = KeyPair::generate().expect("a key");
    let cert = CertificateParams::new(vec![host.to_owned()]).expect("a name").self_signed(&key).expect("signed");
    let repo = Repo::empty();
    let stripped = repo.path().join("tlsapp");
    let built = Path::new(env!("CARGO_BIN_EXE_paas")).with_file_name("examples").join("tlsapp");
    run(Command::new("strip").arg("-o").arg(&stripped).arg(built), b"", Duration::from_secs(20)).ok();
    repo.write("Dockerfile", DOCKERFILE).write("chain.pem", cert.pem()).write("key.pem", key.serialize_pem());
    repo.write("version", "one")
        .write("paas.toml", "[http]\ntls = \"passthrough\"\n[deploy]\ndrain = \"2s\"\ndrain_streams = \"3s\"\n");
    repo.commit("one");
    (repo, cert.der().to_vec())
}

#[test]
fn an_app_that_ends_tls_itself_shows_its_own_certificate_and_is_drained_at_a_deploy() {
    let w = World::start();
    let app = w.app("passes");
    let host = w.host(&app);
    let (repo, certificate) = repo_for(&host);
    w.push(&repo, &app).ok();
    let one = format!("200 {app} one\n");
    let mut kept = connect(&w, &host).expect("a handshake with the app");
    assert_eq!(shown(&kept), certificate, "the app's own certificate");
    assert_eq!(ask(&mut kept, &host).expect("an answer"), one);

    // A name that nobody has gets the server's certificate and the page of an unknown host; the plain port sends on to https.
    let mut unknown = connect(&w, "nobody.test").expect("a handshake with the proxy");
    assert_ne!(shown(&unknown), certificate);
    assert!(ask(&mut unknown, "nobody.test").expect("a page").starts_with("404 "));
    // On a connection that the proxy reads it is not reached, whatever the Host says.
    assert!(ask(&mut unknown, &host).expect("a page").starts_with("421 "));
    let reply = w.get(&app, "/a?b");
    let port = w.proxy_tls().port();
    assert_eq!((reply.status, reply.header("location")), (308, Some(format!("https://{host}:{port}/a?b").as_str())));

    let over = AtomicBool::new(false);
    let (answered, done) = std::thread::scope(|scope| {
        // Also where an assertion below fails: the scope waits for its threads.
        let ends = EndOf(&over);
        let fresh = scope.spawn(|| {
            let mut answered = Vec::new();
            while !over.load(Ordering::SeqCst) {
                answered
                    .push(connect(&w, &host).and_then(|mut tls| ask(&mut tls, &host)).expect("each fresh connection is served"));
            }
            answered
        });
        repo.release("two");
        let done = w.push(&repo, &app).ok();
        let live = Instant::now();
        // The kept connection goes on with the old release to the end of its budget.
        assert_eq!(ask(&mut kept, &host).expect("still served"), one);
        let mut end = Vec::new();
        let _ = kept.read_to_end(&mut end);
        let took = live.elapsed();
        assert!((1.0..10.0).contains(&took.as_secs_f32()), "closed {took:?} after the deploy");
        drop(ends);
        (fresh.join().expect("no panic"), done)
    });
    println!("passthrough: {} fresh connections while a deploy took {:?}", answered.len(), done.took);
    let two = format!("200 {app} two\n");
    let first_two = answered.iter().position(|body| *body == two).expect("the new release answers");
    assert!(first_two > 0 && answered[..first_two].iter().all(|body| *body == one), "first the old one alone");
    assert!(answered[first_two..].iter().all(|body| *body == two), "then the new one alone");
    let counts = eventually("the deploy's final counts", Duration::from_secs(30), || {
        let info = w.paas(&["deploys", "info", "d2", "--json"]).ok().json();
        (info["counts"]["complete"] == true).then(|| info["counts"].clone())
    });
    assert_eq!((&counts["cut"], &counts["dropped"]), (&1.into(), &0.into()), "{counts}");

    // Another process takes over with the connection open.
    let mut kept = connect(&w, &host).expect("a handshake");
    assert_eq!(ask(&mut kept, &host).expect("an answer"), two);
    upgrade(&w);
    assert_eq!(ask(&mut kept, &host).expect("the old process carries it on"), two);
    assert_eq!(ask(&mut connect(&w, &host).expect("a handshake"), &host).expect("the new one takes new ones"), two);
}

#[test]
fn an_installation_without_tls_serves_deploys_and_upgrades() {
    let w = World::start_without_tls();
    let told = std::fs::read_to_string(w.run_dir().join("listening.json")).expect("listening.json");
    let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    assert!(told["https"].as_array().is_none_or(Vec::is_empty), "{told}");
    let (app, repo) = w.live("plain", "one");
    upgrade(&w);
    repo.write("paas.toml", "[http]\nhttps = \"redirect\"\nhsts = \"1y\"\n");
    repo.release("two");
    w.push(&repo, &app).ok();
    // There is nowhere to send anybody.
    w.serves(&app, "two");
    w.paas(&["routes", "explain", &format!("http://{}/", w.host(&app))]).ok();
    repo.write("paas.toml", "[http]\ntls = \"passthrough\"\n");
    repo.release("three");
    w.push(&repo, &app).ok();
    assert_eq!(w.get(&app, "/").status, 421, "an app that ends TLS itself can't be reached without TLS");
}
