//! The hook's view against a daemon that hangs in every way: it ends within its patience, and says what is known.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use super::*;
use crate::api::client::Transport;
use crate::api::types::git::RefCommand;
use crate::names::{AppName, CommitSha};

const PATIENCE: Patience =
    Patience { to_ask: Duration::from_millis(300), to_resume: Duration::from_millis(900), silence: Duration::from_millis(150) };
const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\nconnection: close\r\n\r\n";
const DEPLOY: &str = "{\"event\":\"deploy\",\"deploy\":\"d7\"}\n";
const LINE: &str = "{\"event\":\"line\",\"text\":\"one\"}\n";
const DONE: &str = "{\"event\":\"report\",\"ref\":\"refs/heads/main\",\"ok\":true}\n";

fn request() -> PushRequest {
    let sha = |c: &str| CommitSha::parse(&c.repeat(40)).expect("valid");
    let main = RefCommand { reference: "refs/heads/main".to_owned(), old: sha("0"), new: sha("a") };
    let app = AppName::parse("shop").expect("valid");
    PushRequest {
        app,
        commands: vec![main],
        options: Vec::new(),
        atomic: false,
        resume: None,
        reported: Vec::new(),
        push: Some("p1".to_owned()),
    }
}

/// Reads the whole request; gives its body.
async fn asked(stream: &mut UnixStream) -> String {
    let mut got = String::new();
    let mut piece = [0; 4096];
    while !got.ends_with('}') {
        let n = stream.read(&mut piece).await.expect("read");
        got.push_str(&String::from_utf8_lossy(&piece[..n]));
    }
    got.split_once("\r\n\r\n").expect("a body").1.to_owned()
}

/// Watches a push at a daemon that says `answers` to one connection after the other, and holds all of them open.
async fn watch(answers: &'static [&'static [&'static str]]) -> (Vec<Outcome>, Vec<PushRequest>) {
    watch_push(request(), answers).await
}

async fn watch_push(push: PushRequest, answers: &'static [&'static [&'static str]]) -> (Vec<Outcome>, Vec<PushRequest>) {
    let dir = tempfile::tempdir().expect("temp dir");
    let socket = dir.path().join("api.sock");
    let listener = UnixListener::bind(&socket).expect("bind");
    let daemon = tokio::spawn(async move {
        let (mut held, mut requests) = (Vec::new(), Vec::new());
        for answer in answers {
            let (mut stream, _) = listener.accept().await.expect("accept");
            requests.push(serde_json::from_str(&asked(&mut stream).await).expect("a request"));
            for part in *answer {
                stream.write_all(part.as_bytes()).await.expect("write");
            }
            held.push(stream);
        }
        // The backlog takes further connections, as that of a process that was stopped does.
        (held, requests, listener)
    });
    let door = Client::new(Transport::socket(&socket));
    let watching = tokio::time::timeout(Duration::from_secs(10), View::new(&door, push, PATIENCE).watch());
    let outcomes = watching.await.expect("it ends by itself").expect("nobody went away");
    let (_held, requests, _listener) = daemon.await.expect("every answer was asked for");
    (outcomes, requests)
}

#[tokio::test]
async fn a_daemon_that_takes_the_connection_and_says_nothing_is_given_up() {
    let (outcomes, _) = watch(&[]).await;
    let why = outcomes[0].why.clone().expect("not done");
    assert!(why.contains("did not answer within 0.15 s") && why.contains("deploys list -a shop"), "{why}");
}

#[tokio::test]
async fn a_daemon_that_falls_silent_during_a_deploy_is_given_up_with_the_deploy_named() {
    let (outcomes, requests) = watch(&[&[HEAD, DEPLOY, LINE]]).await;
    let why = outcomes[0].why.clone().expect("not known");
    assert!(why.contains("lost the daemon during d7") && why.contains("paas deploys follow d7"), "{why}");
    assert_eq!(requests.len(), 1);
}

#[tokio::test]
async fn one_that_wakes_up_is_asked_for_the_rest() {
    let (outcomes, requests) = watch(&[&[HEAD, DEPLOY, LINE], &[HEAD, DONE]]).await;
    assert_eq!(outcomes[0].why, None);
    assert_eq!(requests[1].resume.as_ref().map(|r| (r.deploy.to_string(), r.lines_seen)), Some(("d7".to_owned(), 1)));
}

#[tokio::test]
async fn one_that_was_lost_before_it_named_the_deploy_is_asked_under_the_same_name() {
    let (outcomes, requests) = watch(&[&[HEAD], &[HEAD, DEPLOY, DONE]]).await;
    assert_eq!(outcomes[0].why, None);
    assert!(requests.iter().all(|r| r.push.as_deref() == Some("p1") && r.resume.is_none()), "{requests:?}");
}

#[tokio::test]
async fn what_is_known_already_is_not_asked_for_again() {
    let both = || {
        let mut both = request();
        let dev = RefCommand { reference: "refs/heads/dev".to_owned(), ..both.commands[0].clone() };
        both.commands.push(dev);
        both
    };
    const DEV: &str = "{\"event\":\"report\",\"ref\":\"refs/heads/dev\",\"ok\":true}\n";
    let (outcomes, requests) = watch_push(both(), &[&[HEAD, DEV, DEPLOY], &[HEAD, DONE]]).await;
    assert!(outcomes.iter().all(|outcome| outcome.why.is_none()), "{outcomes:?}");
    assert_eq!(requests[1].reported, ["refs/heads/dev"]);
    assert_eq!(requests[1].commands, both().commands, "what the push is does not change");
}
