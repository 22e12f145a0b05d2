//! `config set|get|unset|list`.

use std::collections::BTreeMap;
use std::io::Read;
use std::process::ExitCode;

use super::super::args::ConfigAct;
use super::{CliError, Context, Outcome, variable, watch};
use crate::api::types::config::ConfigPatch;
use crate::base::secret::Secret;
use crate::names::ConfigKey;

/// More than all values of an app may have together.
const LARGEST_INPUT: u64 = 1 << 20;

pub async fn run(context: &Context, act: Option<ConfigAct>) -> Outcome {
    match act.unwrap_or(ConfigAct::List { shell: false }) {
        ConfigAct::Set { pairs, stdin } => {
            let mut set = BTreeMap::new();
            for (n, given) in pairs.iter().enumerate() {
                let (key, value) = variable(given, &format!("argument {}", n + 1))?;
                set.insert(key, Secret::new(value.to_owned()));
            }
            if stdin {
                set.extend(from_stdin()?);
            }
            if set.is_empty() {
                return Err(CliError::usage("nothing to set").hint("write KEY=VALUE, or `--stdin` and lines of KEY=VALUE"));
            }
            change(context, ConfigPatch { set, unset: Vec::new() }).await
        }
        ConfigAct::Unset { keys } => change(context, ConfigPatch { set: BTreeMap::new(), unset: keys }).await,
        ConfigAct::Get { key } => get(context, &key).await,
        ConfigAct::List { shell } => list(context, shell).await,
    }
}

fn from_stdin() -> Result<BTreeMap<ConfigKey, Secret<String>>, CliError> {
    let mut text = String::new();
    std::io::stdin()
        .take(LARGEST_INPUT)
        .read_to_string(&mut text)
        .map_err(|e| CliError::failed(format!("reading values from stdin: {e}")))?;
    Ok(parse_lines(&text)?.into_iter().map(|(key, value)| (key, Secret::new(value))).collect())
}

/// Lines as `.env` files and `config list --shell` have them: comments, `export `, and quotes around a whole value are understood.
pub(in crate::cli) fn parse_lines(text: &str) -> Result<Vec<(ConfigKey, String)>, CliError> {
    let mut out = Vec::new();
    let lines = text.lines().map(str::trim).enumerate();
    for (n, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        let (key, value) = variable(line.strip_prefix("export ").unwrap_or(line), &format!("line {} of stdin", n + 1))?;
        let quoted = value.len() >= 2
            && (value.starts_with('\'') && value.ends_with('\'') || value.starts_with('"') && value.ends_with('"'));
        let value = match shlex::split(value) {
            Some(words) if quoted && words.len() == 1 => words.into_iter().next().unwrap_or_default(),
            _ => value.to_owned(),
        };
        out.push((key, value));
    }
    Ok(out)
}

async fn change(context: &Context, patch: ConfigPatch) -> Outcome {
    let (app, client) = (context.app()?, context.client()?);
    let names = |keys: Vec<String>| keys.join(", ");
    if !patch.set.is_empty() {
        watch::step(context, &format!("Setting {} of {app}", names(patch.set.keys().map(ToString::to_string).collect())));
    }
    if !patch.unset.is_empty() {
        watch::step(context, &format!("Removing {} of {app}", names(patch.unset.iter().map(ToString::to_string).collect())));
    }
    let events = client.change_config(&app, &patch).await?;
    watch::watch(context, &client, events, true).await
}

async fn get(context: &Context, key: &ConfigKey) -> Outcome {
    let app = context.app()?;
    let config = context.client()?.config(&app).await?;
    let Some(value) = config.values.get(key) else {
        let near = crate::base::nearest::nearest(key.as_str(), config.values.keys().map(ConfigKey::as_str));
        let hint = near.map_or_else(|| "`paas config` lists what is set".to_owned(), |near| format!("did you mean `{near}`?"));
        return Err(CliError::failed(format!("`{key}` is not set for {app}")).hint(hint));
    };
    if context.global.json {
        context.screen.json(value).map_err(CliError::output)?;
    } else {
        // The bare value: for `$(paas config get KEY)`, several lines included.
        context.screen.raw().data(value.reveal()).map_err(CliError::output)?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(context: &Context, shell: bool) -> Outcome {
    let app = context.app()?;
    let config = context.client()?.config(&app).await?;
    let screen = &context.screen;
    if context.global.json {
        screen.json(&config.values).map_err(CliError::output)?;
        return Ok(ExitCode::SUCCESS);
    }
    if config.values.is_empty() {
        screen.talk(&format!("no config is set for {app}; `paas config set KEY=VALUE` does"));
    }
    let width = config.values.keys().map(|key| key.as_str().len()).max().unwrap_or(0) + 1;
    for (key, value) in &config.values {
        let line = if shell {
            let quoted = shlex::try_quote(value.reveal())
                .map_err(|e| CliError::failed(format!("`{key}` can't be written for a shell: {e}")))?;
            format!("{key}={quoted}")
        } else {
            format!("{:width$} {}", format!("{key}:"), value.reveal())
        };
        let printer = if shell { screen.raw() } else { *screen };
        printer.data(&line).map_err(CliError::output)?;
    }
    Ok(ExitCode::SUCCESS)
}
