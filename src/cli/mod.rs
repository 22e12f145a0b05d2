//! The command line: one file per command, run on a laptop, on the server, or by the ssh session on behalf of a key.
//!
//! Owns: arguments, output, exit codes, the choice of server and app. Uses: api types and client, config, manifest, names, base.
//! Never: imports a domain; prints outside `print`; runs a shell. In an ssh session it reads no file, no environment and no git repository
//! of the server: only its arguments and stdin. Invariant: stdout carries data only, stderr the talk.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::names::KeyId;

mod args;
mod commands;
mod context;
mod exit;
mod normalise;
mod print;
mod reference;
mod remote;
mod roles;
mod watch;

use args::{Cli, Verb};
use context::Context;
use exit::CliError;
use print::Screen;
pub use roles::Role;
#[cfg(feature = "server")]
pub use roles::{HostFile, StackAct};

/// On whose behalf a command runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Connection {
    /// A person at this machine: server and app come from options, environment, git remote.
    Local,
    /// `ssh paas@server <verb>`: the API socket, as this key. Only verbs of the client; stdin is the only file.
    Session { socket: PathBuf, key: KeyId },
}

/// What was typed, understood.
pub enum Parsed {
    /// Give it to [`run_command`].
    Command(Command),
    /// A process of the server: main starts it.
    Role(Role),
}

/// A client's command, ready to run.
pub struct Command {
    global: args::Global,
    verb: Verb,
}

/// Takes the arguments (the first is the program's name). Help, version and usage errors are printed here; then the exit code is the error.
#[cfg_attr(not(feature = "server"), allow(unreachable_code))] // the command line alone has no roles
pub fn parse(args: Vec<OsString>, connection: &Connection) -> Result<Parsed, ExitCode> {
    let screen = screen(connection);
    match Cli::try_parse_from(normalise::normalise(args)) {
        Ok(Cli { global, verb: Verb::Role(role) }) => match connection {
            Connection::Local => Ok(Parsed::Role(role.with(&global))),
            Connection::Session { .. } => {
                let error = CliError::usage("this is no command for a client").hint("`help` lists the commands");
                drop(global);
                Err(error.end(&screen))
            }
        },
        Ok(Cli { global, verb }) => Ok(Parsed::Command(Command { global, verb })),
        Err(error) => Err(say_clap(&error, &screen)),
    }
}

/// Runs a client's command to its end and gives the exit code. Blocking; makes its own runtime, so call it from none.
pub fn run_command(command: Command, connection: Connection) -> ExitCode {
    let screen = screen(&connection);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return CliError::failed(format!("starting the runtime: {e}")).end(&screen),
    };
    let context = Context::new(command.global, connection, screen);
    let code = match runtime.block_on(commands::run(&context, command.verb)) {
        Ok(code) => code,
        Err(error) => error.end(&screen),
    };
    // A read of stdin may hang in its thread for ever; it must not keep us.
    runtime.shutdown_background();
    code
}

/// [`parse`] and [`run_command`] in one: for the ssh session, which knows no roles.
pub fn run(args: Vec<OsString>, connection: Connection) -> ExitCode {
    match parse(args, &connection) {
        Ok(Parsed::Command(command)) => run_command(command, connection),
        Ok(Parsed::Role(_)) => CliError::usage("this is no command for a client").end(&screen(&connection)),
        Err(code) => code,
    }
}

/// What a role of the server tells the person who started it by hand.
pub fn say(line: &str) {
    screen(&Connection::Local).talk(line);
}

/// A role that could not go on: `error: …`, and the exit code for it.
pub fn fail(message: &str) -> ExitCode {
    CliError::failed(message).end(&screen(&Connection::Local))
}

/// Rows under their heads, as lines.
pub fn table(heads: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    print::table(heads, rows)
}

/// One line of a role's data, for programs.
pub fn show(line: &str) -> io::Result<()> {
    screen(&Connection::Local).data(line)
}

fn screen(connection: &Connection) -> Screen {
    Screen::new(matches!(connection, Connection::Session { .. }))
}

fn say_clap(error: &clap::Error, screen: &Screen) -> ExitCode {
    let text = error.render().to_string();
    if error.use_stderr() {
        screen.talk_lines(&text);
        return ExitCode::from(exit::USAGE);
    }
    match screen.text(&text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => CliError::output(e).end(screen),
    }
}

#[cfg(test)]
mod tests;
