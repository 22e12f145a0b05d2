//! What runs as the login user of ssh: the forced command of every key, and git's proc-receive hook.
//!
//! Owns: what a key may start (git, a verb of the command line, the API tunnel; nothing else), how git is started for a push, the hook's protocol.
//! Uses: names, base, config, git's environment, the API client. Never: uses a shell, reads the database or a secret, decides who may do what.
//! Invariants: the key's id comes from sshd's forced command and binds every connection to the daemon; what a client sends is only ever parsed,
//! never run; the hook is a view of the daemon's work: when it dies the work goes on.

use std::path::Path;
use std::process::ExitCode;

use crate::api::client::{Client, Transport};
use crate::config::HostConfig;
use crate::names::KeyId;

mod asked;
mod pkt_line;
pub mod proc_receive;
mod protocol;
mod pump;
mod say;
mod serve_git;
mod tunnel;
mod view;

pub use asked::VERBS;

use asked::Asked;

/// How a verb of the command line is run in this process: with the host's config, for this key, these words. The callee must use no file,
/// server or config that the words name: they come from a stranger, and this process can read what the login user can.
pub type RunCli = fn(&HostConfig, KeyId, Vec<String>) -> ExitCode;

/// Exit codes of the command line, see docs: refused or failed, usage, daemon not reachable.
const REFUSED: u8 = 1;
const USAGE: u8 = 2;
const UNREACHABLE: u8 = 3;

/// `paas ssh-session --config F --key k3`: does what the client asked for in SSH_ORIGINAL_COMMAND, and gives the exit code for ssh.
pub fn run(config_file: &Path, key: KeyId, run_cli: RunCli) -> ExitCode {
    let config = match HostConfig::load(config_file) {
        Ok(config) => config,
        Err(error) => return say::refuse(UNREACHABLE, &error.to_string(), error.hint()),
    };
    let command = std::env::var("SSH_ORIGINAL_COMMAND").ok();
    match asked::parse(command.as_deref()) {
        Ok(Asked::Nothing) => greet(key),
        Ok(Asked::Git { service, app }) => serve_git::run(&config, key, service, &app),
        Ok(Asked::Api) => tunnel::run(&config.api_socket(), key),
        Ok(Asked::Cli(words)) => run_cli(&config, key, words),
        Err(no) => say::refuse(USAGE, &no.message, no.hint.as_deref()),
    }
}

/// A connection to the daemon that acts for this key.
fn door(config: &HostConfig, key: KeyId) -> Client {
    Client::new(Transport::for_key(config.api_socket(), key))
}

fn greet(key: KeyId) -> ExitCode {
    say::line(&format!("Hi! You are {key} here, and there is no shell. You may:"));
    for text in [
        "  git remote add deploy <this server>:<app> && git push deploy main",
        "  ssh <this server> logs --tail -a <app>",
        "  ssh <this server> help",
    ] {
        say::line(text);
    }
    ExitCode::from(REFUSED)
}

#[cfg(test)]
mod tests;
