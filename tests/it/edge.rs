//! What stands between clients and an app: certificates, maintenance, limits, and `routes explain`, which tells the truth about all of them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::support::{Repo, World, eventually};

const PATIENCE: Duration = Duration::from_secs(60);

struct Made {
    folder: tempfile::TempDir,
    root: String,
    key: String,
}

impl Made {
    /// A certificate for `name` by an authority of its own, as files.
    fn certificate(name: &str) -> Made {
        Self::certificate_for(name, 365)
    }

    /// One that ends in so many days.
    fn certificate_for(name: &str, days: i64) -> Made {
        let (ca_key, key) = (KeyPair::generate().expect("a key"), KeyPair::generate().expect("a key"));
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.distinguished_name.push(DnType::CommonName, "Edge Test CA");
        let root = ca.self_signed(&ca_key).expect("signed").pem();
        let mut leaf = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        leaf.not_after = time::OffsetDateTime::now_utc() + time::Duration::days(days);
        let leaf = leaf.signed_by(&key, &Issuer::new(ca, ca_key)).expect("signed").pem();
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("chain.pem"), leaf + &root).expect("written");
        std::fs::write(folder.path().join("key.pem"), key.serialize_pem()).expect("written");
        Made { folder, root, key: key.serialize_pem() }
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// GET by TLS at `port`, trusting our authority alone; the whole answer as text.
    fn get(&self, port: u16, host: &str, path: &str) -> std::io::Result<String> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.root.as_bytes()).expect("PEM")).expect("a root");
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().expect("versions").with_root_certificates(roots);
        let name = ServerName::try_from(host.to_owned()).expect("a name");
        let client = ClientConnection::new(Arc::new(config.with_no_client_auth()), name).expect("a client");
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut tls = StreamOwned::new(client, stream);
        write!(tls, "GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        tls.read_to_string(&mut answer)?;
        Ok(answer)
    }
}

#[test]
fn a_certificate_of_ones_own_is_shown_until_it_is_removed_and_can_be_taken_elsewhere() {
    let w = World::shared("edge");
    let repo = Repo::testapp("one");
    repo.write("paas.toml", "[http]\nhsts = \"1y\"\n");
    repo.commit("hsts");
    let app = w.app("secure");
    w.push(&repo, &app).ok();
    let host = w.host(&app);
    let (made, other) = (Made::certificate(&host), Made::certificate("other.test"));
    let (chain, key) = (made.file("chain.pem"), made.file("key.pem"));
    assert_eq!(w.get(&app, "/").status, 200, "without a certificate plain HTTP serves");

    w.paas(&["certs", "add", &host, "--chain", &chain, "--key", &other.file("key.pem")]).fails(1).says(&["does not belong"]);
    w.paas(&["certs", "add", "www.test", "--chain", &chain, "--key", &key]).fails(1).says(&["www.test", &host]);
    w.paas(&["certs", "add", &host, "--chain", &chain, "--key", &key]).ok().never_says(&["PRIVATE KEY"]);
    w.paas(&["certs", "list"]).ok().says(&[&host, "Edge Test CA", "ECDSA P-256"]);

    let reply = w.get_host(&host, "/a/b?c=d");
    let location = reply.header("location").unwrap_or_default().to_owned();
    assert_eq!(reply.status, 308, "{reply:?}");
    let port: u16 = location
        .strip_prefix(&format!("https://{host}:"))
        .and_then(|rest| rest.strip_suffix("/a/b?c=d")?.parse().ok())
        .unwrap_or_else(|| panic!("the same page by https: {location}"));
    assert_eq!(w.get_host(&host, "/.well-known/acme-challenge/x").status, 404, "the app's own answer");
    let answer = made.get(port, &host, "/headers").expect("TLS with our certificate");
    let said = format!("x-forwarded-proto: https\nx-forwarded-host: {host}:{port}\nx-forwarded-port: {port}\n");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(&said), "{answer}");
    assert!(answer.contains("Strict-Transport-Security: max-age=31557600"), "{answer}");

    let told = w.paas(&["routes", "explain", &format!("https://{host}:{port}/")]).ok();
    told.says(&[&host, &app, "forwarded", "Edge Test CA", "Strict-Transport-Security"]);

    let exported = w.paas(&["certs", "show", &host, "--with-key"]).ok();
    assert!(exported.out.contains(made.key.trim()) && exported.out.contains("BEGIN CERTIFICATE"), "{exported}");
    w.paas(&["certs", "show", &host]).ok().never_says(&["PRIVATE KEY"]);
    for needle in ["PRIVATE KEY", made.key.lines().nth(1).expect("a line of the key")] {
        let held = std::fs::read(w.state_dir().join("paas.db")).expect("the store");
        let journal = std::fs::read(w.state_dir().join("paas.db-wal")).unwrap_or_default();
        let there = |bytes: &[u8]| bytes.windows(needle.len()).any(|part| part == needle.as_bytes());
        assert!(!there(&held) && !there(&journal), "the key is sealed in the store");
    }
    assert!(!w.logs_of_roles().contains("PRIVATE KEY"));

    w.kill("daemon");
    eventually("the daemon is back", PATIENCE, || (w.paas(&["certs", "list"]).code == 0).then_some(()));
    assert!(made.get(port, &host, "/").expect("after a restart").contains(" one"));
    w.paas(&["certs", "remove", &host]).ok();
    assert!(made.get(port, &host, "/").is_err(), "what is shown now is not of our authority");
    assert_eq!(w.get(&app, "/").status, 200);
}

#[test]
fn a_certificate_that_ends_is_told_of_in_time_and_nobody_is_sent_to_one_that_has_ended() {
    let clock = tempfile::tempdir().expect("a folder");
    std::fs::set_permissions(clock.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("a mode");
    let file = clock.path().join("jump");
    let jump = |days: i64| std::fs::write(&file, (days * 24 * 3_600_000).to_string()).expect("written");
    jump(0);
    let w = World::start_with("", &[("PAAS_CLOCK_JUMP", file.to_str().expect("a plain path"))]);
    let (app, _repo) = w.live("ending", "one");
    let host = w.host(&app);
    let add = |made: &Made| {
        w.paas(&["certs", "add", &host, "--chain", &made.file("chain.pem"), "--key", &made.file("key.pem")]).ok();
    };
    let alerts = |parts: &[&str]| {
        let told = || w.paas(&["alerts", "--json"]).ok().out;
        let there = || parts.iter().all(|part| told().contains(part)).then_some(());
        eventually(&format!("alerts with {parts:?}"), PATIENCE, there);
    };
    let doctor = || w.paas(&["doctor", "--config", w.config.to_str().expect("a plain path")]);
    add(&Made::certificate_for(&host, 30));
    assert_eq!(w.get_host(&host, "/").status, 308, "a certificate that clients take");
    w.paas(&["certs"]).ok().never_says(&["ENDS"]);
    doctor().never_says(&[&format!("the certificate for {host}")]);

    jump(20);
    w.paas(&["certs"]).ok().says(&["ENDS IN 9 DAYS"]);
    doctor().says(&[&format!("the certificate for {host} ends in 9 days")]);
    alerts(&["certificate_ends", "ends in 9 days"]);
    assert_eq!(w.get_host(&host, "/").status, 308);

    jump(31);
    eventually("requests are served as they come", PATIENCE, || (w.get_host(&host, "/").status == 200).then_some(()));
    w.paas(&["certs"]).ok().says(&["HAS ENDED"]);
    doctor().fails(1).says(&[&format!("the certificate for {host} has ended")]);
    alerts(&["has ended: clients refuse https"]);

    // The clock was ahead, and is put right.
    jump(0);
    eventually("https again", Duration::from_secs(20), || (w.get_host(&host, "/").status == 308).then_some(()));
    jump(31);
    eventually("requests are served as they come", PATIENCE, || (w.get_host(&host, "/").status == 200).then_some(()));

    add(&Made::certificate_for(&host, 90));
    assert_eq!(w.get_host(&host, "/").status, 308);
    eventually("the alert is over", PATIENCE, || {
        (!w.paas(&["alerts", "--json"]).ok().out.contains("\"cleared_at\":null")).then_some(())
    });
}

#[test]
fn maintenance_lasts_through_deploys_and_restarts_and_is_told_everywhere() {
    // Of its own, as it kills the proxy.
    let w = World::start();
    let (app, repo) = w.live("works", "one");
    w.paas(&["maintenance", "on", "-a", &app, "--message", "Back at <b>noon</b>"]).ok().says(&["in maintenance"]);
    w.add_key("edge-ssh", &["--app", &app]).ok();
    w.ssh("edge-ssh", &["maintenance", "-a", &app], b"").ok().says(&["in maintenance"]);
    w.ssh("edge-ssh", &["routes", "explain", &format!("http://{}/", w.host(&app))], b"").ok().says(&["maintenance"]);
    w.ssh("edge-ssh", &["certs", "add", "x.test", "--chain", "-", "--key", "-"], b"").fails(1).never_says(&["can't be run here"]);

    let page = |path: &str| {
        let reply = w.get(&app, path);
        assert_eq!((reply.status, reply.header("retry-after")), (503, Some("30")), "{reply:?}");
        assert!(reply.text().contains("Back at &lt;b&gt;noon&lt;/b&gt;"), "{}", reply.text());
    };
    page("/");
    w.paas(&["ps", "-a", &app]).ok().says(&["in maintenance"]);
    w.paas(&["why", &app]).ok().says(&["in maintenance", "paas maintenance off"]);
    w.paas(&["status"]).ok().says(&[&format!("app {app} is in maintenance")]);
    let url = format!("http://{}/", w.host(&app));
    w.paas(&["routes", "explain", &url]).ok().says(&["maintenance page", "503", "Back at <b>noon</b>"]);

    repo.release("two");
    w.push(&repo, &app).ok();
    page("/after-a-deploy");
    w.kill("daemon");
    eventually("the daemon is back", PATIENCE, || (w.paas(&["status"]).code == 0).then_some(()));
    page("/after-a-restart-of-the-daemon");
    w.kill("proxy");
    eventually("the proxy is back", PATIENCE, || w.client(&app).get("/").ok());
    page("/after-a-restart-of-the-proxy");

    w.paas(&["maintenance", "off", "-a", &app]).ok().says(&["not in maintenance"]);
    w.serves(&app, "two");
    w.paas(&["maintenance", "show", "-a", &app]).ok().says(&["not in maintenance"]);
    w.paas(&["maintenance", "on", "-a", &app, "--hold", "11m"]).fails(1);
}

#[test]
fn requests_are_held_for_the_end_of_maintenance() {
    let w = World::shared("edge");
    let (app, _repo) = w.live("holds", "one");
    w.paas(&["maintenance", "on", "-a", &app, "--hold", "60s"]).ok();
    let mut client = w.client(&app);
    let held = std::thread::spawn(move || (Instant::now(), client.get("/")));
    std::thread::sleep(Duration::from_secs(1));
    assert!(!held.is_finished(), "it waits");
    w.paas(&["maintenance", "off", "-a", &app]).ok();
    let (_, reply) = held.join().expect("no panic");
    assert_eq!(reply.expect("a reply").text(), format!("{app} one\n"));
}

#[test]
fn a_body_over_the_limit_of_the_manifest_is_refused() {
    let w = World::shared("edge");
    let repo = Repo::testapp("one");
    repo.write("paas.toml", "[http]\nmax_body = \"1 KB\"\n");
    repo.commit("a limit");
    let app = w.app("limit");
    w.push(&repo, &app).ok();
    let ask = |length: usize| {
        let mut client = w.client(&app);
        client.send("POST", "/upload", &[("Content-Length", &length.to_string())], &vec![b'x'; length]).expect("sent");
        client.reply().expect("a reply")
    };
    assert!(ask(1000).text().starts_with("1000 "));
    assert_eq!(ask(1001).status, 413);
    let mut client = w.client(&app);
    let chunks = [&[b'x'; 600][..], &[b'x'; 600]];
    assert_eq!(client.upload("/upload", &chunks, Duration::from_millis(50)).expect("a reply").status, 413);

    repo.write("paas.toml", "");
    repo.commit("no limit");
    w.push(&repo, &app).ok();
    assert!(ask(100_000).text().starts_with("100000 "), "the next release says otherwise");
}

/// What the app itself says that it got, against what `explain` said that it would get.
#[test]
fn explain_tells_what_the_app_really_gets() {
    let w = World::start_with("", &[]);
    let (app, _repo) = w.live("echo", "one");
    let url = format!("http://{}:{}/headers?x=1", w.host(&app), w.proxy().port());
    let forged = [
        ("X-Forwarded-For", "6.6.6.6"),
        ("X_Real_IP", "6.6.6.6"),
        ("Forwarded", "for=6.6.6.6"),
        ("Connection", "X-Gone"),
        ("X-Gone", "1"),
        ("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("Cookie", "a=b"),
    ];
    let mut args = vec!["routes".to_owned(), "explain".to_owned(), url.clone(), "--from".to_owned(), "127.0.0.1".to_owned()];
    args.extend(forged.iter().flat_map(|(name, value)| ["-H".to_owned(), format!("{name}: {value}")]));
    args.push("--json".to_owned());
    let told = w.paas(&args.iter().map(String::as_str).collect::<Vec<_>>()).ok().json();
    assert_eq!(
        (told["outcome"].as_str(), told["app"].as_str(), told["rule"].as_str()),
        (Some("forwarded"), Some(app.as_str()), Some("host"))
    );
    assert_eq!(told["targets"][0]["state"], "live");
    let mut promised: Vec<String> = Vec::new();
    for change in told["request"].as_array().expect("headers") {
        if change["change"] != "removed" {
            promised.push(format!(
                "{}: {}",
                change["name"].as_str().expect("name").to_lowercase(),
                change["value"].as_str().expect("value")
            ));
        }
    }
    let mut head = format!("GET /headers?x=1 HTTP/1.1\r\nHost: {}:{}\r\n", w.host(&app), w.proxy().port());
    forged.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
    let mut client = w.client(&app);
    client.raw(format!("{head}\r\n").as_bytes()).expect("sent");
    let got = client.reply().expect("a reply").text();
    assert!(!got.contains("6.6.6.6") && !got.contains("x-gone"), "{got}");
    let fixed = |lines: Vec<String>| {
        let mut lines: Vec<String> =
            lines.into_iter().filter(|l| !l.starts_with("x-request-id") && !l.starts_with("x-request-start")).collect();
        lines.sort();
        lines
    };
    assert_eq!(fixed(promised), fixed(got.lines().map(str::to_owned).collect()));

    let unknown = w.paas(&["routes", "explain", "http://nobody.test/", "--json"]).ok().json();
    assert_eq!((unknown["outcome"].as_str(), unknown["status"].as_u64()), (Some("unknown_host"), Some(404)));
    w.paas(&["routes", "explain", "ftp://nobody.test/"]).fails(1);
    w.paas(&["routes", "explain", &url, "-H", "no colon"]).fails(2);
}
