//! One file per command.
//!
//! Owns: what each command asks the daemon and how it shows the answer. Uses: the context, the client, print. Never: decides what the
//! daemon should decide. Invariant: with `--json` stdout is JSON and nothing else.

use std::process::ExitCode;

use super::args::Verb;
use super::context::Context;
use super::exit::CliError;
use super::{reference, watch};
use crate::names::ConfigKey;

mod alerts;
mod api;
mod apps;
mod certs;
mod check;
mod config;
mod crashes;
mod deploy;
mod deploys;
mod disk;
mod domains;
#[cfg(feature = "server")]
mod drill;
mod exec;
mod keys;
mod logs;
mod maintenance;
mod metrics;
mod ps;
mod releases;
mod routes;
mod run;
mod status;
mod terminal;
mod why;

#[cfg(test)]
pub(super) use config::parse_lines;
#[cfg(test)]
pub(super) use logs::{head, when};

type Outcome = Result<ExitCode, CliError>;

/// Runs one command of the client.
pub async fn run(context: &Context, verb: Verb) -> Outcome {
    match verb {
        Verb::Apps { act } => apps::run(context, act).await,
        Verb::Config { act } => config::run(context, act).await,
        Verb::Deploy(args) => deploy::run(context, args).await,
        Verb::Deploys { act } => deploys::run(context, act).await,
        Verb::Releases => releases::list(context).await,
        Verb::Rollback { release } => releases::rollback(context, release).await,
        Verb::Ps { act } => ps::run(context, act).await,
        Verb::Why { name } => why::run(context, name).await,
        Verb::Crashes { act } => crashes::run(context, act).await,
        Verb::Logs(args) => logs::run(context, args).await,
        Verb::Metrics(args) => metrics::run(context, args).await,
        Verb::Run(args) => run::run(context, args).await,
        Verb::Exec(args) => exec::run(context, args).await,
        Verb::Domains { act } => domains::run(context, act).await,
        Verb::Certs { act } => certs::run(context, act).await,
        Verb::Routes(act) => routes::run(context, act).await,
        Verb::Maintenance { act } => maintenance::run(context, act).await,
        Verb::Keys { act } => keys::run(context, act).await,
        Verb::Alerts { act } => alerts::run(context, act).await,
        Verb::Disk => disk::run(context).await,
        Verb::Status => status::run(context).await,
        #[cfg(feature = "server")]
        Verb::Drill(args) => drill::run(context, args).await,
        Verb::Check { dir } => check::run(context, &dir),
        Verb::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut reference::command(), "paas", &mut script);
            context.screen.text(&String::from_utf8_lossy(&script)).map_err(CliError::output)?;
            Ok(ExitCode::SUCCESS)
        }
        Verb::Api => api::run(context).await,
        Verb::Docs { .. } => {
            context.screen.text(&reference::markdown()).map_err(CliError::output)?;
            Ok(ExitCode::SUCCESS)
        }
        // `parse` gives roles to main.
        Verb::Role(_) => Err(CliError::usage("this is no command for a client")),
    }
}

/// Prints a list as JSON or as table.
fn rows<T: serde::Serialize>(context: &Context, values: &T, heads: &[&str], rows: Vec<Vec<String>>, none: &str) -> Outcome {
    let screen = &context.screen;
    if context.global.json {
        screen.json(values).map_err(CliError::output)?;
    } else if rows.is_empty() {
        screen.talk(none);
    } else {
        for line in super::print::table(heads, &rows) {
            screen.data(&line).map_err(CliError::output)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints one thing as JSON or as lines of `name: value`.
fn facts<T: serde::Serialize>(context: &Context, value: &T, facts: &[(&str, String)]) -> Outcome {
    let screen = &context.screen;
    if context.global.json {
        screen.json(value).map_err(CliError::output)?;
        return Ok(ExitCode::SUCCESS);
    }
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0) + 1;
    for (name, value) in facts.iter().filter(|(_, value)| !value.is_empty()) {
        screen.data(&format!("{:width$} {value}", format!("{name}:"))).map_err(CliError::output)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `KEY=VALUE` or `PROCESS=NUMBER`, split at the first `=`.
fn pair(given: &str) -> Result<(&str, &str), CliError> {
    given.split_once('=').ok_or_else(|| CliError::usage(format!("`{}` is not of the form NAME=VALUE", given.escape_debug())))
}

/// A variable and its value. What was given may be a secret, so no error repeats it: `place` says where it stands.
fn variable<'a>(given: &'a str, place: &str) -> Result<(ConfigKey, &'a str), CliError> {
    let (name, value) = given.split_once('=').ok_or_else(|| CliError::usage(format!("{place} is not of the form NAME=VALUE")))?;
    let name = ConfigKey::parse(name.trim());
    Ok((name.map_err(|bad| CliError::usage(format!("{place} has no valid name in front of its value: {}", bad.rule)))?, value))
}

/// How long ago it was, for tables.
fn ago(at: crate::base::clock::UnixMillis) -> String {
    super::print::ago(crate::base::clock::UnixMillis::now().since(at))
}

fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |v| v.to_string())
}

/// The seven digits that people read, or a dash.
fn short(commit: Option<&crate::names::CommitSha>) -> String {
    or_dash(commit.map(crate::names::CommitSha::short))
}
