//! Words over ssh, packets and the hook's protocol, as plain functions.

use super::asked::{Asked, parse};
use super::pkt_line::{self, MOST, Packet};
use super::protocol::{self, Outcome};
use super::say::printable;
use crate::api::types::git::GitService;

#[test]
fn git_of_an_app_is_served_however_its_path_is_written() {
    for command in
        ["git-receive-pack 'shop'", "git-receive-pack '/shop.git'", "git receive-pack \"shop/\"", "  git-receive-pack shop.git "]
    {
        let Ok(Asked::Git { service: GitService::ReceivePack, app }) = parse(Some(command)) else {
            panic!("{command}: {:?}", parse(Some(command)))
        };
        assert_eq!(app.as_str(), "shop");
    }
    assert!(matches!(parse(Some("git-upload-pack 'shop'")), Ok(Asked::Git { service: GitService::UploadPack, .. })));
}

#[test]
fn nothing_but_git_an_api_tunnel_and_verbs_can_be_started() {
    let hostile = [
        "git-upload-pack --upload-pack='touch /tmp/x' shop",
        "git-receive-pack --exec=sh shop",
        "git-receive-pack",
        "git-receive-pack shop other",
        "git-receive-pack '../shop'",
        "git-receive-pack '-shop'",
        "git-receive-pack 'Shop'",
        "git-receive-pack 'shop/../other'",
        "git-receive-pack '//shop'",
        "git-receive-pack 'shop;id'",
        "git-receive-pack '$(id)'",
        "git-receive-pack '/etc'; id",
        "git-receive-pack \"shop\n\"",
        "git-upload-archive shop",
        "git config --global x y",
        "git",
        "sh",
        "/bin/sh -c id",
        "scp -t /tmp",
        "/usr/lib/openssh/sftp-server",
        "internal-sftp",
        "rsync --server .",
        "daemon --config /tmp/x",
        "up",
        "down",
        "init -- sh",
        "dialer",
        "proxy",
        "ssh-session --key k1",
        "proc-receive",
        "paas daemon",
        "api extra",
        "-H other@host logs",
        "--config /tmp/x logs",
        "LOGS",
        "'",
        "logs '",
        "deploy\u{0}",
    ];
    for command in hostile {
        match parse(Some(command)) {
            Err(no) => assert!(!no.message.chars().any(char::is_control), "{command:?}"),
            taken => panic!("{command:?} was taken: {taken:?}"),
        }
    }
    assert!(parse(Some(&"logs ".repeat(20_000))).is_err());
}

#[test]
fn verbs_keep_their_words_and_no_shell_reads_them() {
    let words = |command| match parse(Some(command)) {
        Ok(Asked::Cli(words)) => words,
        other => panic!("{command}: {other:?}"),
    };
    assert_eq!(words("logs -t -a shop"), ["logs", "-t", "-a", "shop"]);
    assert_eq!(words("paas config:set 'A=b c; $(id)' B=\"*\" -a shop"), ["config:set", "A=b c; $(id)", "B=*", "-a", "shop"]);
    assert_eq!(parse(Some("api")), Ok(Asked::Api));
    assert_eq!(parse(Some("  ")), Ok(Asked::Nothing));
    assert_eq!(parse(None), Ok(Asked::Nothing));
}

#[test]
fn packets_are_read_as_written_and_impossible_ones_are_refused() {
    let mut bytes = Vec::new();
    pkt_line::write(&mut bytes, b"hello\n").expect("written");
    pkt_line::flush(&mut bytes).expect("flushed");
    assert_eq!(bytes, b"000ahello\n0000");
    let mut from = &bytes[..];
    assert_eq!(pkt_line::read(&mut from).expect("read"), Packet::Data(b"hello".to_vec()));
    assert_eq!(pkt_line::read(&mut from).expect("read"), Packet::Flush);
    assert!(pkt_line::read(&mut from).is_err(), "the end is an error");
    for broken in [&b"0001"[..], b"0003", b"zzzz", b"+00a", b"fff1", b"000ahel", b"00"] {
        assert!(pkt_line::read(&mut &broken[..]).is_err(), "{broken:?}");
    }
    assert!(pkt_line::write(&mut Vec::new(), &vec![0; MOST + 1]).is_err());
    let mut long = Vec::new();
    pkt_line::write(&mut long, &vec![1; MOST]).expect("written");
    assert_eq!(pkt_line::read(&mut &long[..]).expect("read"), Packet::Data(vec![1; MOST]));
}

fn packets(texts: &[Option<&str>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for text in texts {
        match text {
            Some(text) => pkt_line::write(&mut bytes, text.as_bytes()).expect("written"),
            None => pkt_line::flush(&mut bytes).expect("flushed"),
        }
    }
    bytes
}

#[test]
fn the_hook_agrees_on_the_version_and_reads_commands_and_options() {
    let (zero, one) = ("0".repeat(40), "1".repeat(40));
    let command = format!("{zero} {one} refs/heads/a b");
    let bytes = packets(&[Some("version=1\0atomic push-options\n"), None, Some(&command), None, Some("force"), None]);
    let mut answer = Vec::new();
    let asked = protocol::read(&mut &bytes[..], &mut answer).expect("read");
    assert_eq!(answer, packets(&[Some("version=1\0push-options\n"), None]));
    assert_eq!(
        (asked.commands[0].reference.as_str(), asked.atomic, asked.options),
        ("refs/heads/a b", true, vec!["force".to_owned()])
    );
    let plain = packets(&[Some("version=1\n"), None, Some(&command), None]);
    assert!(!protocol::read(&mut &plain[..], &mut Vec::new()).expect("read").atomic);
    for broken in
        [packets(&[Some("version=2"), None]), packets(&[None]), packets(&[Some("version=1"), None, Some("x y z"), None])]
    {
        assert!(protocol::read(&mut &broken[..], &mut Vec::new()).is_err());
    }
}

#[test]
fn a_report_is_one_line_whatever_the_reason_holds() {
    let mut bytes = Vec::new();
    let outcome = |reference: &str, why: Option<&str>| Outcome { reference: reference.to_owned(), why: why.map(str::to_owned) };
    let long = "x".repeat(5000);
    protocol::write(
        &mut bytes,
        &[outcome("refs/heads/a", None), outcome("refs/heads/b", Some("no\nok refs/heads/b")), outcome("c", Some(&long))],
    )
    .expect("written");
    let mut from = &bytes[..];
    let mut next = || pkt_line::read(&mut from).expect("read");
    assert_eq!(next(), Packet::Data(b"ok refs/heads/a".to_vec()));
    assert_eq!(next(), Packet::Data(b"ng refs/heads/b no ok refs/heads/b".to_vec()));
    assert!(matches!(next(), Packet::Data(data) if data.len() < 400));
    assert_eq!(next(), Packet::Flush);
}

#[test]
fn text_of_a_build_cannot_steer_the_pushers_terminal() {
    assert_eq!(printable("a\tb \u{1b}[1;32mgreen\u{1b}[0m ü"), "a\tb green ü");
    assert_eq!(printable("50%\r100%\r"), "50%100%");
    assert_eq!(printable("\u{1b}]0;title\u{7}\u{1b}[2J\u{9b}x"), "\\u{1b}]0;title\\u{7}\\u{1b}[2J\\u{9b}x");
    assert_eq!(printable("\u{1b}["), "\\u{1b}[");
}
