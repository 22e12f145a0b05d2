//! `check [dir]`: the app's files, read as a deploy would read them.

use std::path::Path;
use std::process::ExitCode;

use super::{CliError, Context, Outcome};
use crate::manifest::{self, Checked, HealthCheck, WEB};

pub fn run(context: &Context, dir: &Path) -> Outcome {
    if context.in_session() {
        return Err(CliError::usage("`check` reads files, which it can't do here")
            .hint("install paas on your machine; a push checks the same"));
    }
    let checked = manifest::check(dir).map_err(|e| {
        let error = CliError::failed(e.to_string());
        match e.hint() {
            Some(hint) => error.hint(hint),
            None => error,
        }
    })?;
    if context.global.json {
        context.screen.json(&checked.manifest).map_err(CliError::output)?;
        return Ok(ExitCode::SUCCESS);
    }
    for line in describe(&checked) {
        context.screen.data(&line).map_err(CliError::output)?;
    }
    for warning in &checked.manifest.warnings {
        context.screen.talk(&format!(" !     {warning}"));
    }
    Ok(ExitCode::SUCCESS)
}

fn describe(checked: &Checked) -> Vec<String> {
    let m = &checked.manifest;
    let mut out = vec![match checked.files.as_slice() {
        [] => "no paas.toml, Procfile or app.json: the build decides what runs".to_owned(),
        files => format!("ok: {}", files.join(", ")),
    }];
    for (name, spec) in &m.processes {
        let command = spec.command.as_ref().map_or_else(|| "(what the build gives)".to_owned(), ToString::to_string);
        let health = match &spec.health.check {
            HealthCheck::Http { path } => format!(", healthy when {path} answers"),
            HealthCheck::Command(line) => format!(", healthy when `{line}` exits with 0"),
            HealthCheck::Port => ", healthy when it listens".to_owned(),
        };
        let health = if name.as_str() == WEB { health } else { String::new() };
        out.push(format!("  {name}: {command} ({} to start with{health})", m.instances_of(name)));
    }
    if let Some(command) = &m.release.command {
        out.push(format!("  release command: {command}"));
    }
    out.push(format!("  deploys on a push to `{}`", m.deploy.branch));
    if !m.domains.is_empty() {
        out.push(format!("  domains: {}", m.domains.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")));
    }
    out
}
