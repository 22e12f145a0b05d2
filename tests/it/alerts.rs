//! What somebody should know is told once, to everyone that the host config names, and told again when it is over.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned, crypto};

use crate::support::{OwnEngine, Traffic, World, eventually, run};

/// A receiver on this machine: keeps every body, and answers with the statuses it is given, 200 after them.
pub struct Receiver {
    pub address: SocketAddr,
    got: Arc<Mutex<Vec<Value>>>,
}

impl Receiver {
    pub fn start(statuses: &'static [u16], tls: Option<Arc<ServerConfig>>) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("a listener has an address");
        let got: Arc<Mutex<Vec<Value>>> = Arc::default();
        let kept = Arc::clone(&got);
        std::thread::spawn(move || {
            let mut statuses = statuses.iter();
            for stream in listener.incoming().flatten() {
                let status = *statuses.next().unwrap_or(&200);
                let body = match &tls {
                    Some(config) => {
                        let tls = ServerConnection::new(Arc::clone(config)).expect("a good configuration");
                        serve(StreamOwned::new(tls, stream), status)
                    }
                    None => serve(stream, status),
                };
                if let (Ok(body), 200) = (body, status) {
                    kept.lock().expect("lock").push(serde_json::from_str(&body).expect("a message is JSON"));
                }
            }
        });
        Receiver { address, got }
    }

    /// `kind subject event` of every message that was taken, in their order.
    fn told(&self) -> Vec<String> {
        let word = |m: &Value, key: &str| m[key].as_str().unwrap_or_default().to_owned();
        let got = self.got.lock().expect("lock");
        got.iter().map(|m| format!("{} {} {}", word(m, "kind"), word(m, "subject"), word(m, "event"))).collect()
    }

    #[track_caller]
    pub fn waits_for(&self, wanted: &str, limit: u64) -> Value {
        eventually(wanted, Duration::from_secs(limit), || {
            let at = self.told().iter().position(|told| told == wanted)?;
            Some(self.got.lock().expect("lock")[at].clone())
        })
    }
}

/// Waits until every message is noted as taken. One that its receiver took a moment before the daemon is killed is sent again by the next, as
/// promised (at least once); what comes after this is told once.
#[track_caller]
fn nothing_is_left_to_send(w: &World) {
    eventually("every message is noted as taken", Duration::from_secs(20), || {
        let left = w.stored("select cast(count(*) as text) from alert_messages where done = 0");
        (left == ["0"]).then_some(())
    });
}

/// Reads one request and answers it; gives the body.
fn serve(mut stream: impl Read + Write, status: u16) -> std::io::Result<String> {
    let mut got = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&got).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                stream.write_all(format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").as_bytes())?;
                stream.flush()?;
                return Ok(body.to_owned());
            }
        }
        match stream.read(&mut piece)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            n => got.extend_from_slice(&piece[..n]),
        }
    }
}

#[test]
fn a_failed_deploy_is_told_once_and_its_end_too_also_over_a_restart_and_a_receiver_that_is_away() {
    // The first try meets an error, so the message has to be tried again.
    let receiver = Receiver::start(&[503], None);
    let file = tempfile::tempdir().expect("a temporary folder can be made");
    std::fs::set_permissions(file.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).expect("a mode can be set");
    let kept = file.path().join("kept");
    let more = format!(
        "[alerts]\nwebhook = \"http://{}/hook?t=s3cr3t\"\nexec = [\"/usr/bin/tee\", \"-a\", \"{}\"]\n",
        receiver.address,
        kept.display()
    );
    let w = World::start_with(&more, &[]);
    let (app, repo) = w.live("alarm", "one");
    repo.write("mode", "exit=4").release("two");

    assert_ne!(w.push(&repo, &app).code, 0);

    let message = receiver.waits_for(&format!("deploy_failed {app} raised"), 20);
    let text = message["text"].as_str().unwrap_or_default();
    assert!(text.contains("exited with code 4") || text.contains("code 4"), "{message}");
    assert!(text.contains("v1 still serves") && !message["hint"].as_str().unwrap_or_default().is_empty(), "{message}");
    assert_eq!(message["version"], 1);
    let open = w.paas(&["alerts", "list", "--json"]).ok().json();
    assert_eq!((open[0]["kind"].as_str(), open[0]["cleared_at"].as_i64()), (Some("deploy_failed"), None), "{open}");
    w.paas(&["status"]).ok().says(&["1 open", "1 serving", &format!("of {app} failed")]);

    nothing_is_left_to_send(&w);
    w.kill("daemon");
    w.serves(&app, "one");
    repo.write("mode", "").release("three");
    w.push(&repo, &app).ok();
    receiver.waits_for(&format!("deploy_failed {app} recovered"), 20);

    let told = receiver.told();
    let of_app: Vec<_> = told.iter().filter(|t| t.starts_with("deploy_failed")).collect();
    assert_eq!(of_app, [&format!("deploy_failed {app} raised"), &format!("deploy_failed {app} recovered")], "each once");
    let to_program = eventually("the program has both", Duration::from_secs(10), || {
        let text = std::fs::read_to_string(&kept).ok()?;
        (text.matches("deploy_failed").count() >= 2).then_some(text)
    });
    assert_eq!(to_program.matches("deploy_failed").count(), 2, "{to_program}");
    assert!(!w.logs_of_roles().contains("s3cr3t"), "the webhook's address is in the log\n{}", w.logs_of_roles());
    w.paas(&["alerts"]).ok().says(&["deploy_failed", &app]);
    w.paas(&["alerts", "test"]).ok().says(&["webhook: took the message", "exec: took the message"]);
    receiver.waits_for("test  test", 5);
}

#[test]
fn an_app_that_runs_out_of_memory_and_one_that_ends_again_and_again_are_told_of_once() {
    let receiver = Receiver::start(&[], None);
    let w = World::start_with(&format!("[alerts]\nwebhook = \"http://{}/\"\n", receiver.address), &[]);
    let (app, repo) = w.live("greedy", "one");
    repo.write("paas.toml", "[processes.web]\nmemory = \"64MiB\"\n").release("small");
    w.push(&repo, &app).ok();
    // The connection ends with the app: what comes back is not of interest, only that it is up again.
    let ask = |path: &str| drop(w.client(&app).get(path));
    let is_back = || {
        let up = || w.client(&app).get("/").is_ok_and(|reply| reply.status == 200).then_some(());
        eventually("the app is back", Duration::from_secs(40), up);
    };

    ask("/eat?mb=200");
    let message = receiver.waits_for(&format!("out_of_memory {app}/web raised"), 20);
    assert!(message["text"].as_str().unwrap_or_default().contains("memory"), "{message}");
    let events = w.events(&app);
    let killed = events.iter().filter(|what| what.contains("web.1 of v2 was killed because it used more memory than its limit"));
    assert_eq!(killed.count(), 1, "{events:?}");
    for _ in 0..6 {
        is_back();
        ask("/crash?code=3");
    }

    let message = receiver.waits_for(&format!("crash_loop {app}/web raised"), 20);
    assert!(message["text"].as_str().unwrap_or_default().contains("exited with code 3"), "{message}");
    is_back();
    assert_eq!(receiver.told().len(), 2, "each once: {:?}", receiver.told());
    let open = w.paas(&["alerts", "--json"]).ok().json();
    assert_eq!(open.as_array().map(Vec::len), Some(2), "{open}");
}

#[test]
fn a_role_that_stays_away_is_told_and_so_is_its_return() {
    let receiver = Receiver::start(&[], None);
    let w = World::start_with(&format!("[alerts]\nwebhook = \"http://{}/\"\n", receiver.address), &[]);
    let signal = |name: &str, pid: u32| {
        run(Command::new("kill").args([name, &pid.to_string()]), b"", Duration::from_secs(5)).ok();
    };
    let dialer = eventually("the dialer", Duration::from_secs(10), || w.pid_of("dialer"));

    // Stopped, it is there and answers nobody: no supervisor helps.
    signal("-STOP", dialer);
    let message = receiver.waits_for("role_down dialer raised", 60);
    signal("-CONT", dialer);

    assert!(message["hint"].as_str().unwrap_or_default().contains("dialer"), "{message}");
    receiver.waits_for("role_down dialer recovered", 30);
    assert_eq!(receiver.told().len(), 2, "{:?}", receiver.told());
}

#[test]
fn a_docker_that_stays_away_is_told_once_to_everyone_and_so_is_its_return() {
    let receiver = Receiver::start(&[], None);
    let file = tempfile::tempdir().expect("a temporary folder can be made");
    std::fs::set_permissions(file.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).expect("a mode can be set");
    let kept = file.path().join("kept");
    let exec = format!("exec = [\"/usr/bin/tee\", \"-a\", \"{}\"]", kept.display());
    let more = format!("[alerts]\nwebhook = \"http://{}/\"\n{exec}\n", receiver.address);
    let w = World::start_on_with(OwnEngine::start(&["--live-restore"]), &more);
    let (app, _repo) = w.live("steady", "one");
    let traffic = Traffic::start_every(Duration::from_millis(20), w.proxy(), &w.host(&app), &app, 2);

    // A restart is over before anybody would want to know.
    w.engine().restart();
    w.engine().stop();
    let message = receiver.waits_for("docker_down docker raised", 60);
    assert!(message["text"].as_str().unwrap_or_default().contains("Docker is not running"), "{message}");
    assert_eq!(message["hint"].as_str(), Some("systemctl start docker"), "{message}");
    w.paas(&["status"]).ok().says(&["Docker is not running", "1 open"]);
    // Another daemon finds it still away, and has nothing new to tell.
    nothing_is_left_to_send(&w);
    w.kill("daemon");
    eventually("the next daemon has waited as long as the first", Duration::from_secs(60), || {
        let open = w.paas(&["alerts", "--json"]).json();
        let raised = open[0]["raised_at"].as_i64()?;
        (paas::base::clock::UnixMillis::now().0 - raised > 25_000).then_some(())
    });
    w.engine().start_dockerd();
    receiver.waits_for("docker_down docker recovered", 30);

    assert_eq!(receiver.told(), ["docker_down docker raised", "docker_down docker recovered"], "each once");
    let to_program = eventually("the program has both", Duration::from_secs(10), || {
        let text = std::fs::read_to_string(&kept).ok()?;
        (text.matches("docker_down").count() >= 2).then_some(text)
    });
    let events: Vec<String> =
        to_program.lines().filter_map(|l| serde_json::from_str::<Value>(l).ok()).map(|m| m["event"].to_string()).collect();
    assert_eq!(events, ["\"raised\"", "\"recovered\""], "{to_program}");
    assert!(to_program.contains("systemctl start docker"), "{to_program}");
    traffic.wait_for(20);
    traffic.stop().nothing_failed();
}

#[test]
fn an_app_whose_image_is_gone_is_told_of_with_the_command_that_brings_it_back() {
    let receiver = Receiver::start(&[], None);
    let more = format!("[alerts]\nwebhook = \"http://{}/\"\n", receiver.address);
    let w = World::start_on_with(OwnEngine::start(&[]), &more);
    let (app, _repo) = w.live("lost", "one");
    let of_app = format!("reference=paas-*/{app}");
    // As `docker system prune -a` does, in a moment in which nothing runs of it: paas is quick to make another container.
    eventually("the image is gone", Duration::from_secs(60), || {
        for container in w.docker(&["ps", "-aq", "--filter", "label=paas.app"]).ok().out.lines() {
            w.docker(&["rm", "-f", container]);
        }
        for image in w.docker(&["images", "-q", "--filter", &of_app]).ok().out.lines() {
            w.docker(&["rmi", "-f", image]);
        }
        let left = w.docker(&["images", "-q", "--filter", &of_app]).ok().out + &w.docker(&["ps", "-aq"]).ok().out;
        left.is_empty().then_some(())
    });

    let message = receiver.waits_for(&format!("cannot_run {app}/web raised"), 60);
    assert!(message["text"].as_str().unwrap_or_default().contains("of v1 is gone from Docker"), "{message}");
    let why = w.why(&app);
    assert!(why["summary"].as_str().unwrap_or_default().contains("can't be started: the image"), "{why:#}");
    let hint = message["hint"].as_str().unwrap_or_default().to_owned();
    assert_eq!(why["next"][0].as_str(), Some(hint.as_str()), "{why:#}");
    // The command is what stands before the pause.
    let command: Vec<&str> = hint.split("     ").next().unwrap_or_default().split(' ').collect();
    w.paas(&command[1..]).ok();
    w.serves(&app, "one");
    receiver.waits_for(&format!("cannot_run {app}/web recovered"), 30);
    assert!(!w.why(&app)["summary"].to_string().contains("gone"), "{:#}", w.why(&app));
    // Digits as people see them.
    w.paas(&["deploy", "-a", &app, "--commit", &command[command.len() - 1][..7]]).ok();
    assert_eq!(receiver.told().len(), 2, "{:?}", receiver.told());
}

#[test]
fn a_webhook_by_tls_is_trusted_only_if_the_host_trusts_its_certificate() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    certificate(&cert, &key);
    // Daemons run as another user.
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("a mode can be set");
    let config = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the usual versions")
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_file(&cert).expect("a certificate")],
            PrivateKeyDer::from_pem_file(&key).expect("a key"),
        )
        .expect("they belong together");
    let receiver = Receiver::start(&[], Some(Arc::new(config)));
    let more = format!("[alerts]\nwebhook = \"https://{}/\"\n", receiver.address);
    let trusting = cert.display().to_string();

    let w = World::start_with(&more, &[("SSL_CERT_FILE", &trusting)]);
    w.paas(&["alerts", "test"]).ok().says(&["took the message"]);
    receiver.waits_for("test  test", 5);
    drop(w);
    let w = World::start_with(&more, &[]);
    w.paas(&["alerts", "test"]).fails(1).says(&["NOT delivered", "certificate"]);
    assert_eq!(receiver.told().len(), 1);
}

#[test]
fn without_a_receiver_a_test_says_what_to_set() {
    let w = World::shared("alerts");
    w.paas(&["alerts", "test"]).fails(1).says(&["webhook", "[alerts]"]);
    w.add_key("limited", &["--app", "shop"]).ok();
    assert_ne!(w.ssh("limited", &["alerts", "list"], b"").code, 0, "alerts are for administrators");
}

/// A certificate of 127.0.0.1 that vouches for itself.
fn certificate(cert: &Path, key: &Path) {
    let mut command = Command::new("openssl");
    command.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=x",
    ]);
    command.args(["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"]);
    command.arg("-out").arg(cert).arg("-keyout").arg(key);
    run(&mut command, b"", Duration::from_secs(20)).ok();
}
