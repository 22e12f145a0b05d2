use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use super::*;
use crate::api::stream::{self, Frame};
use crate::api::types::deploys::{DeployEvent, DeployStream};
use crate::api::types::logs::LogsQuery;
use crate::api::types::processes::ExecRequest;
use crate::names::{AppName, KeyId};

/// A daemon that answers its connections one after the other with what the script says, and keeps what it was asked.
struct Scripted {
    _dir: tempfile::TempDir,
    socket: PathBuf,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    fn new(answers: Vec<Vec<u8>>) -> Scripted {
        let dir = tempfile::tempdir().expect("temp dir");
        let socket = dir.path().join("api.sock");
        let listener = UnixListener::bind(&socket).expect("bind");
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = asked.clone();
        tokio::spawn(async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.expect("accept");
                let request = read_request(&mut stream).await;
                kept.lock().expect("lock").push(request);
                stream.write_all(&answer).await.expect("answer");
            }
        });
        Scripted { _dir: dir, socket, asked }
    }

    fn client(&self) -> Client {
        Client::new(Transport::socket(&self.socket))
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("lock").clone()
    }
}

/// Reads the head and the body that it announces (by length, or in chunks to the last one).
async fn read_request(stream: &mut UnixStream) -> String {
    let mut got = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&got).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length: ").and_then(|n| n.parse().ok()));
            let whole = match length {
                Some(length) => body.len() >= length,
                None if head.to_ascii_lowercase().contains("transfer-encoding: chunked") => body.ends_with("0\r\n\r\n"),
                None => true,
            };
            if whole {
                return text;
            }
        }
        let n = stream.read(&mut piece).await.expect("read");
        assert!(n > 0, "the client left in the middle of {text}");
        got.extend_from_slice(&piece[..n]);
    }
}

fn answer(status: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// A chunked stream in the given pieces; `end` says whether it ends properly.
fn chunks(pieces: &[&str], end: bool) -> Vec<u8> {
    let mut out = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for piece in pieces {
        out.extend(format!("{:x}\r\n{piece}\r\n", piece.len()).bytes());
    }
    if end {
        out.extend(b"0\r\n\r\n");
    }
    out
}

fn shop() -> AppName {
    AppName::parse("shop").expect("name")
}

#[tokio::test]
async fn events_arrive_whole_however_the_stream_is_cut_into_pieces() {
    let line = r#"{"event":"line","stream":"step","text":"Building ü","seq":1}"#;
    let (a, b) = line.split_at(20);
    let nothing = r#"{"event":"nothing","why":"same"}"#;
    let server = Scripted::new(vec![chunks(&[a, b, "\n\r\n\n", nothing, "\n"], true)]);
    let mut events = server.client().deploy_tarball(&shop(), &b"tar bytes"[..], true).await.expect("stream");
    let first = events.next().await.expect("event");
    assert_eq!(first, Some(DeployEvent::Line { stream: DeployStream::Step, text: "Building ü".into(), seq: 1 }));
    assert_eq!(events.next().await.expect("event"), Some(DeployEvent::Nothing { why: "same".into() }));
    assert_eq!(events.next().await.expect("end"), None);
    let asked = &server.asked()[0];
    assert!(asked.starts_with("POST /apps/shop/deploys?source=tarball&wait=true HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains("tar bytes"), "{asked}");
}

#[tokio::test]
async fn a_stream_that_is_cut_in_the_middle_is_an_error_and_not_an_end() {
    let server =
        Scripted::new(vec![chunks(&["{\"event\":\"noth"], true), chunks(&["{\"event\":\"nothing\",\"why\":\"x\"}\n"], false)]);
    let mut events = server.client().follow(crate::names::DeployId(3)).await.expect("stream");
    assert!(events.next().await.expect_err("half an event").is_away());
    let mut events = server.client().follow(crate::names::DeployId(3)).await.expect("stream");
    assert!(events.next().await.expect("whole event").is_some());
    assert!(events.next().await.expect_err("no proper end").is_away());
}

#[tokio::test]
async fn an_event_of_a_newer_daemon_is_an_error_and_not_a_guess() {
    let server = Scripted::new(vec![chunks(&["{\"event\":\"teleported\"}\n"], true)]);
    let mut events = server.client().follow(crate::names::DeployId(3)).await.expect("stream");
    assert!(matches!(events.next().await, Err(ClientError::Nonsense { .. })));
}

#[tokio::test]
async fn a_refusal_arrives_with_code_message_and_hint() {
    let body = r#"{"code":"not_found","message":"app `shpo` does not exist","hint":"did you mean `shop`?"}"#;
    let server = Scripted::new(vec![answer("404 Not Found", body), answer("500 Internal Server Error", "oops")]);
    let error = server.client().app(&shop()).await.expect_err("refused");
    assert_eq!((error.to_string().as_str(), error.hint()), ("app `shpo` does not exist", Some("did you mean `shop`?")));
    assert!(matches!(&error, ClientError::Refused(e) if e.code == ErrorCode::NotFound));
    let error = server.client().app(&shop()).await.expect_err("refused");
    assert!(matches!(error, ClientError::Nonsense { .. }), "{error}");
}

#[tokio::test]
async fn a_daemon_that_is_not_there_is_named() {
    let error = Client::new(Transport::socket("/nowhere/api.sock")).version().await.expect_err("nobody");
    assert!(error.to_string().contains("`/nowhere/api.sock`"), "{error}");
    assert!(matches!(error, ClientError::Unreachable { .. }));
}

#[tokio::test]
async fn what_to_do_about_a_daemon_that_is_not_reached_depends_on_why() {
    use std::io::ErrorKind;
    let (local, tunnel) = (Transport::socket("/x"), Transport::program(vec!["ssh".into()], "paas@server".to_owned()));
    let hint = |way: &Transport, kind: ErrorKind| way.unreachable(kind.into()).hint().expect("always something to do").to_owned();
    for kind in [ErrorKind::NotFound, ErrorKind::ConnectionRefused] {
        let hint = hint(&local, kind);
        assert!(hint.contains("systemctl start paas") && hint.contains("paas up") && hint.contains("paas doctor"), "{hint}");
    }
    assert!(hint(&local, ErrorKind::PermissionDenied).contains("paas-admin"));
    assert!(hint(&local, ErrorKind::ConnectionReset).contains("systemctl status paas"));
    assert!(
        hint(&tunnel, ErrorKind::NotFound).contains("ssh paas@server status"),
        "that ssh is missing says nothing of the daemon"
    );
    let missing = Client::new(Transport::socket("/nowhere/api.sock")).apps().await.expect_err("nobody");
    assert!(missing.hint().is_some_and(|hint| hint.contains("does not run")), "{missing:?}");
}

#[tokio::test]
async fn a_tunnel_that_fails_says_what_it_said() {
    let argv = ["sh", "-c", "echo 'Permission denied (publickey).' >&2; exit 255"].map(Into::into).to_vec();
    let error = Client::new(Transport::program(argv, "paas@server".into())).version().await.expect_err("no tunnel");
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains("paas@server: Permission denied (publickey)."), "{error}");
}

#[tokio::test]
async fn a_program_can_carry_the_connection() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 42\r\n\r\n{\"version\":\"1\",\"commit\":\"unknown\",\"api\":1}\n";
    let script = format!("read line; printf '{}'; sleep 5", answer.replace('%', "%%").replace("\r\n", "\\r\\n").trim_end());
    let argv = ["sh", "-c", script.as_str()].map(Into::into).to_vec();
    let version = Client::new(Transport::program(argv, "x".into())).version().await.expect("version");
    assert_eq!(version.api, 1);
}

#[tokio::test]
async fn a_key_is_announced_on_the_first_line() {
    let server = Scripted::new(vec![answer("200 OK", "[]")]);
    let client = Client::new(Transport::for_key(&server.socket, KeyId(3)));
    assert_eq!(client.apps().await.expect("apps"), []);
    assert!(server.asked()[0].starts_with("key k3\nGET /apps HTTP/1.1\r\n"), "{:?}", server.asked());
}

#[tokio::test]
async fn an_upgraded_connection_carries_frames_both_ways() {
    let mut script = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: paas-stream\r\n\r\n".to_vec();
    for frame in [Frame::Stdout(Bytes::from_static(b"hi")), Frame::Exit(3)] {
        stream::write(&mut script, &frame).await.expect("encode");
    }
    let server = Scripted::new(vec![script]);
    let asked = ExecRequest { instance: None, command: vec!["ls".into()], tty: false, size: None };
    let mut session = server.client().exec(&shop(), &asked).await.expect("session");
    assert_eq!(session.output.next().await.expect("frame"), Some(Frame::Stdout(Bytes::from_static(b"hi"))));
    assert_eq!(session.output.next().await.expect("frame"), Some(Frame::Exit(3)));
    assert_eq!(session.output.next().await.expect("end"), None);
    assert!(server.asked()[0].to_ascii_lowercase().contains("upgrade: paas-stream\r\n"), "{:?}", server.asked());
}

#[test]
fn a_query_is_percent_encoded_and_leaves_out_what_is_not_given() {
    let query = LogsQuery {
        tail: true,
        num: Some(5),
        process: Some("web.1,router".into()),
        grep: Some("a b&c=ü\n".into()),
        ..LogsQuery::default()
    };
    assert_eq!(query_string(&query), "?grep=a%20b%26c%3D%C3%BC%0A&num=5&process=web.1%2Crouter&tail=true");
}

#[tokio::test]
async fn who_waits_long_for_an_answer_is_told_once_and_goes_on_waiting() {
    static TOLD: AtomicU32 = AtomicU32::new(0);
    let dir = tempfile::tempdir().expect("temp dir");
    let listener = UnixListener::bind(dir.path().join("api.sock")).expect("bind");
    // Taken by the kernel, as where a supervisor keeps the socket of a daemon that is dead.
    let late = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(400)).await;
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().await.expect("accept");
            read_request(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]").await.expect("answer");
        }
    });
    let client = || {
        let tell = || {
            TOLD.fetch_add(1, Ordering::Relaxed);
        };
        Client::new(Transport::socket(dir.path().join("api.sock"))).when_slow(Duration::from_millis(50), tell)
    };
    client().keys().await.expect("it is answered");
    assert_eq!(TOLD.load(Ordering::Relaxed), 1);
    client().keys().await.expect("it is answered");
    assert_eq!(TOLD.load(Ordering::Relaxed), 1, "that one was answered at once");
    late.await.expect("no panic");
}
