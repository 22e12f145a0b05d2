//! Streams against a daemon that goes away and comes back: a scripted socket, the real command.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixListener;
use std::thread::JoinHandle;

use super::*;
use crate::names::KeyId;

const QUEUED: &str = r#"{"event":"queued","deploy":"d7","app":"shop","position":0}"#;
const LINE_1: &str = r#"{"event":"line","stream":"step","text":"Node.js app","seq":1}"#;
const LINE_2: &str = r#"{"event":"line","stream":"build","text":"npm ci","seq":2}"#;
const LIVE: &str = r#"{"event":"live","deploy":"d7","release":"v2","commit":null,"urls":["http://shop.localhost"],"stages":[{"stage":"build","ms":900}]}"#;
const FAILED: &str = r#"{"event":"failed","deploy":"d7","stage":"probing","why":"it answers 500","last_lines":["boom"],"still_serves":"v1","next":"paas logs -a shop"}"#;

/// Answers one connection after the other with these lines as a stream (properly ended, or cut), and gives what was asked.
fn daemon(answers: Vec<(Vec<String>, bool)>) -> (tempfile::TempDir, Connection, JoinHandle<Vec<String>>) {
    let dir = tempfile::tempdir().expect("temp dir");
    let socket = dir.path().join("api.sock");
    let listener = UnixListener::bind(&socket).expect("bind");
    let served = std::thread::spawn(move || {
        let mut asked = Vec::new();
        for (lines, proper) in answers {
            let (mut stream, _) = listener.accept().expect("accept");
            let mut reader = BufReader::new(stream.try_clone().expect("clone"));
            let (mut request, mut length) = (String::new(), 0);
            // The key's line, then the head.
            for line in reader.by_ref().lines().map(|l| l.expect("line")) {
                if let Some(n) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                    length = n.parse().expect("number");
                }
                if line.is_empty() {
                    break;
                }
                request.push_str(&line);
                request.push('\n');
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).expect("body");
            request.push_str(&String::from_utf8_lossy(&body));
            asked.push(request);
            // One write: a client that has read the last event it needs may leave before the rest.
            let mut answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_owned();
            answer.extend(lines.iter().map(|line| format!("{:x}\r\n{line}\n\r\n", line.len() + 1)));
            if proper {
                answer.push_str("0\r\n\r\n");
            }
            stream.write_all(answer.as_bytes()).expect("answer");
        }
        asked
    });
    let connection = Connection::Session { socket, key: KeyId(4) };
    (dir, connection, served)
}

fn lines(all: &[&str]) -> Vec<String> {
    all.iter().map(|l| (*l).to_owned()).collect()
}

fn code(code: u8) -> String {
    format!("{:?}", ExitCode::from(code))
}

#[test]
fn a_deploy_is_followed_through_a_restart_of_the_daemon() {
    let (_dir, connection, served) =
        daemon(vec![(lines(&[QUEUED, LINE_1]), false), (lines(&[QUEUED, LINE_1, LINE_2, LIVE]), true)]);
    let ended = run(words("paas deploy --image nginx:1 -a shop"), connection);
    assert_eq!(format!("{ended:?}"), code(0));
    let asked = served.join().expect("served");
    assert!(
        asked[0].starts_with("key k4\nPOST /apps/shop/deploys?wait=true HTTP/1.1\n")
            && asked[0].ends_with(r#"{"image":"nginx:1"}"#),
        "{}",
        asked[0]
    );
    assert!(asked[1].starts_with("key k4\nGET /deploys/d7/follow HTTP/1.1\n"), "{}", asked[1]);
}

#[test]
fn a_failed_deploy_ends_with_one() {
    let (_dir, connection, served) = daemon(vec![(lines(&[QUEUED, FAILED]), true)]);
    assert_eq!(format!("{:?}", run(words("paas rollback v1 -a shop"), connection)), code(1));
    assert!(served.join().expect("served")[0].ends_with(r#"{"to":"v1"}"#));
}

#[test]
fn a_detached_deploy_ends_when_it_is_queued() {
    let (_dir, connection, served) = daemon(vec![(lines(&[QUEUED]), true)]);
    assert_eq!(format!("{:?}", run(words("paas deploy --image nginx --detach -a shop --json"), connection)), code(0));
    assert!(served.join().expect("served")[0].contains("wait=false"));
}

#[test]
fn logs_go_on_after_the_last_line_that_was_seen() {
    let line = |n: u32| {
        format!(
            r#"{{"event":"line","at":1700000000000,"app":"shop","process":"web","index":1,"kind":"app","stream":"stdout","text":"line {n}","cursor":"seg:{n}"}}"#
        )
    };
    let refused = r#"{"event":"not an event of ours"}"#.to_owned();
    // The third stream ends the test: an event that can't be understood is no reason to try again.
    let (_dir, connection, served) =
        daemon(vec![(vec![line(1), String::new(), line(2)], false), (vec![line(3)], true), (vec![refused], true)]);
    assert_eq!(format!("{:?}", run(words("paas logs -t -n 5 -p web -a shop"), connection)), code(1));
    let asked = served.join().expect("served");
    assert!(asked[0].contains("/apps/shop/logs?num=5&process=web&tail=true "), "{}", asked[0]);
    assert!(asked[1].contains("cursor=seg%3A2&"), "{}", asked[1]);
    assert!(asked[2].contains("cursor=seg%3A3&"), "{}", asked[2]);
}
