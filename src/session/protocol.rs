//! The protocol between `git receive-pack` and its proc-receive hook (githooks(5), "proc-receive"), version 1.

use std::io::{self, Read, Write};

use super::pkt_line::{self, Packet};
use crate::api::types::git::RefCommand;
use crate::names::CommitSha;

/// What git asks the hook to do.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    pub commands: Vec<RefCommand>,
    pub options: Vec<String>,
    pub atomic: bool,
}

/// The outcome for one ref. `why` is None if it was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outcome {
    pub reference: String,
    pub why: Option<String>,
}

/// receive-pack keeps all of them in memory too; more than this is an attack on it, not on us.
const MOST_COMMANDS: usize = 200_000;
const MOST_OPTIONS: usize = 100;
/// One line on the pusher's terminal.
const WHY: usize = 300;

/// Agrees on the version, then reads commands and push options.
pub(super) fn read(from: &mut impl Read, to: &mut impl Write) -> io::Result<Asked> {
    let hello = until_flush(from, 10)?;
    let hello = hello.first().ok_or_else(|| bad("no version"))?;
    let (version, features) = hello.split_once('\0').unwrap_or((hello, ""));
    if version != "version=1" {
        return Err(bad(&format!("git speaks `{version}` to its hook, this paas only version=1")));
    }
    let offered: Vec<&str> = features.split(' ').collect();
    let with_options = offered.contains(&"push-options");
    let answer: &[u8] = if with_options { b"version=1\0push-options\n" } else { b"version=1\n" };
    pkt_line::write(to, answer)?;
    pkt_line::flush(to)?;
    let commands = until_flush(from, MOST_COMMANDS)?;
    let commands = commands.iter().map(|line| command(line)).collect::<io::Result<Vec<_>>>()?;
    let options = if with_options { until_flush(from, MOST_OPTIONS)? } else { Vec::new() };
    Ok(Asked { commands, options, atomic: offered.contains(&"atomic") })
}

/// Writes one report per ref.
pub(super) fn write(to: &mut impl Write, outcomes: &[Outcome]) -> io::Result<()> {
    for outcome in outcomes {
        let line = match &outcome.why {
            None => format!("ok {}\n", outcome.reference),
            Some(why) => format!("ng {} {}\n", outcome.reference, one_line(why)),
        };
        pkt_line::write(to, line.as_bytes())?;
    }
    pkt_line::flush(to)
}

fn command(line: &str) -> io::Result<RefCommand> {
    let mut words = line.splitn(3, ' ');
    let mut sha = || words.next().and_then(|word| CommitSha::parse(word).ok());
    match (sha(), sha(), words.next()) {
        (Some(old), Some(new), Some(reference)) if !reference.is_empty() => {
            Ok(RefCommand { reference: reference.to_owned(), old, new })
        }
        _ => Err(bad("a command that is not `<old> <new> <ref>`")),
    }
}

fn until_flush(from: &mut impl Read, most: usize) -> io::Result<Vec<String>> {
    let mut lines = Vec::new();
    loop {
        match pkt_line::read(from)? {
            Packet::Flush => return Ok(lines),
            Packet::Data(_) if lines.len() == most => return Err(bad("too many lines")),
            // A ref name is bytes to git. One that is not UTF-8 is refused by its name later, and reported under the replaced one.
            Packet::Data(data) => lines.push(String::from_utf8_lossy(&data).into_owned()),
        }
    }
}

/// `ng` takes one line; an empty one would read as no reason.
fn one_line(why: &str) -> String {
    let text: String = why.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(WHY).collect();
    if text.is_empty() { "refused".to_owned() } else { text }
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}
