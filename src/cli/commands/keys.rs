//! `keys add|list|remove`.

use std::io::{IsTerminal, Read};
use std::path::Path;
use std::process::ExitCode;

use super::super::args::KeysAct;
use super::{CliError, Context, Outcome, ago, or_dash, rows};
use crate::api::types::keys::{Key, NewKey};
use crate::names::AppName;

/// The largest public keys (RSA with 16384 bits) have under 4 KiB.
const LARGEST_KEY: u64 = 16 * 1024;

pub async fn run(context: &Context, act: Option<KeysAct>) -> Outcome {
    match act.unwrap_or(KeysAct::List) {
        KeysAct::Add { name, file, deploy_only } => {
            let public_key = public_key(context, &file)?;
            let key = context.client()?.add_key(&NewKey { name, public_key, apps: apps(context)?, deploy_only }).await?;
            one(context, &key, &format!("key `{}` is added: {}", key.name, rights(&key)))
        }
        KeysAct::List => {
            let keys = context.client()?.keys().await?;
            let table = keys
                .iter()
                .map(|k| {
                    vec![
                        k.name.to_string(),
                        k.kind.clone(),
                        k.fingerprint.clone(),
                        rights(k),
                        ago(k.added_at),
                        or_dash(k.last_used_at.map(ago)),
                    ]
                })
                .collect();
            let none = "no keys yet; `paas keys add laptop < ~/.ssh/id_ed25519.pub` adds one";
            rows(context, &keys, &["KEY", "KIND", "FINGERPRINT", "MAY", "ADDED", "USED"], table, none)
        }
        KeysAct::Remove { name } => {
            let key = context.client()?.remove_key(&name).await?;
            one(context, &key, &format!("key `{}` is removed", key.name))
        }
    }
}

/// Only what was typed: the git remote's app must not limit a key by accident.
fn apps(context: &Context) -> Result<Option<Vec<AppName>>, CliError> {
    let Some(given) = &context.global.app else { return Ok(None) };
    let apps = given.split(',').map(|name| AppName::parse(name.trim()).map_err(|e| CliError::usage(e.to_string())));
    apps.collect::<Result<Vec<_>, _>>().map(Some)
}

fn rights(key: &Key) -> String {
    let what = if key.deploy_only { "deploy" } else { "everything" };
    match &key.apps {
        None => format!("{what}, all apps"),
        Some(apps) => format!("{what}, {}", apps.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
    }
}

fn public_key(context: &Context, file: &Path) -> Result<String, CliError> {
    let mut text = String::new();
    let read = if file == Path::new("-") {
        if std::io::stdin().is_terminal() {
            return Err(CliError::usage("where is the public key?").hint("`paas keys add laptop < ~/.ssh/id_ed25519.pub`"));
        }
        std::io::stdin().take(LARGEST_KEY).read_to_string(&mut text)
    } else if context.in_session() {
        return Err(CliError::usage("files on the server can't be named here")
            .hint("send it on stdin: `ssh paas@server keys add laptop < id.pub`"));
    } else {
        std::fs::File::open(file).and_then(|open| open.take(LARGEST_KEY).read_to_string(&mut text))
    };
    read.map_err(|e| CliError::failed(format!("reading the public key `{}`: {e}", file.display())))?;
    // It must not even travel.
    if text.contains("PRIVATE KEY") {
        return Err(CliError::failed("this is a private key; it was not sent").hint("give the file that ends with .pub"));
    }
    let text = text.trim();
    if text.is_empty() || text.lines().count() != 1 {
        return Err(CliError::failed("a public key is one line, such as `ssh-ed25519 AAAA… you@laptop`"));
    }
    Ok(text.to_owned())
}

fn one(context: &Context, key: &Key, says: &str) -> Outcome {
    if context.global.json {
        context.screen.json(key).map_err(CliError::output)?;
    } else {
        context.screen.talk(says);
    }
    Ok(ExitCode::SUCCESS)
}
