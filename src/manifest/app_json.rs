//! `app.json`, as Heroku and Dokku write it. The format is not ours: what we do not act on is a warning, never an error; what we
//! do act on must be right.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};

use super::rules;
use super::{CommandLine, HealthCheck, HealthSpec};
use crate::base::toml_file::KeyError;
use crate::names::{ConfigKey, ProcessName};

pub const FILE: &str = "app.json";

/// Keys that only describe the app to people, or that have no meaning on one's own server.
const QUIET: [&str; 11] = [
    "name",
    "description",
    "keywords",
    "website",
    "repository",
    "logo",
    "success_url",
    "$schema",
    "environments",
    "stack",
    "image",
];

/// The file as typed.
#[derive(Debug, Default)]
pub struct AppJson {
    pub predeploy: Option<CommandLine>,
    pub health: BTreeMap<ProcessName, HealthSpec>,
    pub instances: BTreeMap<ProcessName, u32>,
    pub env: BTreeMap<ConfigKey, String>,
    pub warnings: Vec<String>,
}

/// Takes the text of the file; gives what it says or the first mistake.
pub fn parse(text: &str) -> Result<AppJson, KeyError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let file: Value = serde_json::from_str(text).map_err(|e| KeyError {
        file: FILE.to_owned(),
        line: e.line().max(1),
        column: e.column().max(1),
        key: None,
        problem: format!("this is not valid JSON: {}", broken(&e)),
        hint: None,
    })?;
    let Value::Object(file) = file else { return Err(wrong(text, "", "the file must be one JSON object")) };
    let mut found = AppJson::default();
    for (key, value) in &file {
        match key.as_str() {
            "scripts" => scripts(text, value, &mut found)?,
            "healthchecks" => health_checks(text, value, &mut found)?,
            "formation" => formation(text, value, &mut found)?,
            "env" => env(text, value, &mut found)?,
            "cron" => found.warn("`cron` is not supported by this version of paas yet: these jobs will not run"),
            "addons" => found.warn("`addons` is not used: create what the app needs and give it by `paas config set`"),
            "buildpacks" => {
                found.warn("`buildpacks` is not used: paas chooses by the files of the repository, or by `[build]` in paas.toml")
            }
            quiet if QUIET.contains(&quiet) => {}
            other => found.warn(&format!("key `{}` is not used", other.escape_debug())),
        }
    }
    Ok(found)
}

/// serde_json's message without its own "at line 1 column 2", which ours says already.
fn broken(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&place).unwrap_or(&text).to_owned()
}

impl AppJson {
    fn warn(&mut self, text: &str) {
        self.warnings.push(format!("{FILE}: {text}"));
    }
}

/// An error about a key. JSON values carry no place, so the line is that of the first quoted occurrence of the key's last part.
fn wrong(text: &str, key: &str, problem: impl std::fmt::Display) -> KeyError {
    let last = key.rsplit('.').next().unwrap_or(key);
    let offset = if last.is_empty() { 0 } else { text.find(&format!("\"{last}\"")).unwrap_or(0) };
    let problem = if key.is_empty() { problem.to_string() } else { format!("`{}`: {problem}", key.escape_debug()) };
    KeyError::at(FILE, text, offset, Some(key.to_owned()), problem)
}

fn object<'v>(text: &str, key: &str, value: &'v Value) -> Result<&'v Map<String, Value>, KeyError> {
    value.as_object().ok_or_else(|| wrong(text, key, "must be an object"))
}

fn scripts(text: &str, value: &Value, found: &mut AppJson) -> Result<(), KeyError> {
    for (key, value) in object(text, "scripts", value)? {
        match key.as_str() {
            "dokku" => {
                for (key, value) in object(text, "scripts.dokku", value)? {
                    if key == "predeploy" {
                        found.predeploy = Some(command(text, "scripts.dokku.predeploy", value)?);
                    } else {
                        found.warn(&format!("script `dokku.{}` is not run", key.escape_debug()));
                    }
                }
            }
            "postdeploy" => {
                found.warn("script `postdeploy` is not run: it is meant for an app's first deploy; use `paas run` once")
            }
            other => found.warn(&format!("script `{}` is not run", other.escape_debug())),
        }
    }
    Ok(())
}

fn command(text: &str, key: &str, value: &Value) -> Result<CommandLine, KeyError> {
    let line = match value {
        Value::String(line) => rules::shell(line),
        Value::Array(parts) => {
            let texts: Option<Vec<String>> = parts.iter().map(|p| p.as_str().map(str::to_owned)).collect();
            texts.ok_or_else(|| "every part of a command must be text".to_owned()).and_then(rules::argv)
        }
        _ => Err("must be text or a list of texts".to_owned()),
    };
    line.map_err(|why| wrong(text, key, why))
}

fn process(text: &str, key: &str, name: &str) -> Result<ProcessName, KeyError> {
    rules::process_name(name).map_err(|why| wrong(text, &format!("{key}.{name}"), why))
}

fn formation(text: &str, value: &Value, found: &mut AppJson) -> Result<(), KeyError> {
    for (name, value) in object(text, "formation", value)? {
        if name == "_default_" {
            continue;
        }
        let key = format!("formation.{name}.quantity");
        let Some(quantity) = object(text, &format!("formation.{name}"), value)?.get("quantity") else { continue };
        // Dokku writes -1 for "as it is".
        if quantity.as_i64() == Some(-1) {
            continue;
        }
        let instances =
            quantity.as_u64().filter(|n| *n <= 100).ok_or_else(|| wrong(text, &key, "must be a whole number from 0 to 100"))?;
        found.instances.insert(process(text, "formation", name)?, instances as u32);
    }
    Ok(())
}

fn env(text: &str, value: &Value, found: &mut AppJson) -> Result<(), KeyError> {
    for (name, value) in object(text, "env", value)? {
        let given = match value {
            Value::String(plain) => Some(plain.clone()),
            Value::Object(described) => {
                if described.contains_key("generator") {
                    found.warn(&format!("env `{}` wants a generated value: set one by `paas config set`", name.escape_debug()));
                }
                described.get("value").and_then(|v| match v {
                    Value::String(s) => Some(s.clone()),
                    Value::Number(n) => Some(n.to_string()),
                    Value::Bool(b) => Some(b.to_string()),
                    Value::Null | Value::Array(_) | Value::Object(_) => None,
                })
            }
            _ => return Err(wrong(text, &format!("env.{name}"), "must be text or an object with `value`")),
        };
        let Some(given) = given else { continue };
        // PORT in an app.json is common and harmless: paas sets it anyway.
        if name == "PORT" {
            found.warn("env `PORT` is not used: paas sets it");
            continue;
        }
        if given.contains('\0') {
            return Err(wrong(text, &format!("env.{name}"), "the text holds a NUL character"));
        }
        let key = rules::config_key(name).map_err(|why| wrong(text, &format!("env.{name}"), why))?;
        found.env.insert(key, given);
    }
    Ok(())
}

fn health_checks(text: &str, value: &Value, found: &mut AppJson) -> Result<(), KeyError> {
    for (name, list) in object(text, "healthchecks", value)? {
        let key = format!("healthchecks.{name}");
        let process = process(text, "healthchecks", name)?;
        let list = list.as_array().ok_or_else(|| wrong(text, &key, "must be a list of checks"))?;
        let kind = |v: &Value| v.get("type").and_then(Value::as_str).unwrap_or("readiness").to_owned();
        // A startup check says when a boot is done, which is our question; readiness is the next best.
        let chosen = ["startup", "readiness"].iter().find_map(|wanted| list.iter().find(|v| kind(v) == *wanted));
        for check in list {
            if kind(check) == "liveness" {
                found.warn(&format!("the liveness check of `{process}` is not used: paas restarts a process when it ends"));
            }
        }
        if process.as_str() != super::WEB {
            found.warn(&format!("the checks of `{process}` are not used: only `web` takes requests"));
        } else if let Some(check) = chosen {
            let health = one_check(text, &key, object(text, &key, check)?, found)?;
            found.health.insert(process, health);
        }
    }
    Ok(())
}

fn one_check(text: &str, key: &str, check: &Map<String, Value>, found: &mut AppJson) -> Result<HealthSpec, KeyError> {
    let seconds = |name: &str, default: u64| match check.get(name) {
        None | Some(Value::Null) => Ok(Duration::from_secs(default)),
        Some(v) => v
            .as_u64()
            .filter(|n| *n <= 86_400)
            .map(Duration::from_secs)
            .ok_or_else(|| wrong(text, &format!("{key}.{name}"), "must be a whole number of seconds up to a day")),
    };
    // Dokku's documented defaults: attempts 3, timeout 5, wait 5, initialDelay 0.
    let (timeout, wait, delay) = (seconds("timeout", 5)?, seconds("wait", 5)?, seconds("initialDelay", 0)?);
    let attempts = check.get("attempts").and_then(Value::as_u64).unwrap_or(3).clamp(1, 1000) as u32;
    let asked = match (check.get("path"), check.get("command")) {
        (Some(_), Some(_)) => return Err(wrong(text, key, "a check has `path` or `command`, not both")),
        (Some(path), None) => {
            let path = path.as_str().ok_or_else(|| wrong(text, &format!("{key}.path"), "must be text"))?;
            HealthCheck::Http { path: rules::url_path(path).map_err(|why| wrong(text, &format!("{key}.path"), why))? }
        }
        (None, Some(line)) => HealthCheck::Command(command(text, &format!("{key}.command"), line)?),
        (None, None) => HealthCheck::Port,
    };
    for unused in ["content", "httpHeaders", "port", "scheme", "warn", "onFailure", "uptime"] {
        if check.contains_key(unused) {
            found.warn(&format!("`{unused}` of the check of `web` is not used"));
        }
    }
    let base = HealthSpec::default();
    let boot = delay + (timeout + wait) * attempts;
    Ok(HealthSpec {
        check: asked,
        interval: wait.clamp(Duration::from_millis(10), base.interval),
        timeout: timeout.max(Duration::from_millis(100)),
        grace: boot.max(base.grace).min(Duration::from_secs(86_400)),
    })
}
