//! What each language's template needs to know of an app: versions, package manager, commands, processes.
//!
//! Pure: the tree and the manifest in, a plan out. Never: runs anything, asks the engine. The Dockerfiles are in `buildpacks/`.

mod go;
mod node;
mod prebuilt;
mod python;
mod static_site;
mod version;

use std::collections::BTreeMap;

use super::error::BuildError;
use super::source::SourceTree;
use super::template::Values;
use crate::manifest::{CommandLine, Manifest, WEB};
use crate::names::{AppName, ProcessName};

/// What a planner may look at.
pub struct Ask<'a> {
    pub app: &'a AppName,
    /// Installation and app: what the names of cache mounts begin with.
    pub scope: &'a str,
    pub tree: &'a SourceTree,
    pub manifest: &'a Manifest,
    pub stack: StackKind,
}

/// Which versions there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StackKind {
    /// Debian packages of this release (13, 12).
    Debian(u32),
    /// Official images of a registry.
    Registry,
}

/// What is filled into the template, and what the app runs by default.
#[derive(Debug, Default)]
pub struct LanguagePlan {
    pub values: Values,
    /// The version for the stack's registry recipe ("22", "3.13"); empty where there is one only.
    pub version: String,
    /// Further buildpacks whose run image and files the template uses.
    pub also: Vec<&'static str>,
    pub processes: BTreeMap<ProcessName, CommandLine>,
    /// A part of a RUN line → what is said while it runs.
    pub titles: Vec<(String, String)>,
    /// Printed before the build: "node 20.19 (Debian's)".
    pub notes: Vec<String>,
    pub warnings: Vec<String>,
}

/// Plans a build with the buildpack `name`. An unknown name (a host's own buildpack) gets a plan without values.
pub fn plan(name: &str, ask: &Ask<'_>) -> Result<LanguagePlan, BuildError> {
    let plan = match name {
        "static" => static_site::plan(ask),
        "node" => node::plan(ask),
        "python" => python::plan(ask),
        "go" => go::plan(ask),
        "prebuilt" => prebuilt::plan(ask),
        _ => Ok(LanguagePlan::default()),
    }?;
    Ok(plan)
}

impl Ask<'_> {
    /// Whether a file of the app says what `web` runs.
    fn has_web(&self) -> bool {
        let web = ProcessName::parse(WEB).expect("`web` is a process name");
        self.manifest.processes.get(&web).is_some_and(|spec| spec.command.is_some() || spec.instances == Some(0))
    }

    /// A cache mount that is this app's own.
    fn cache(&self, name: &str, target: &str) -> String {
        format!("--mount=type=cache,id=paas-{}-{name},target={target},sharing=locked", self.scope)
    }
}

impl LanguagePlan {
    fn set(&mut self, name: &str, value: impl Into<String>) {
        self.values.insert(name.to_owned(), value.into());
    }

    fn flag(&mut self, name: &str, on: bool) {
        self.set(name, if on { "yes" } else { "" });
    }

    /// Says `title` while the step with `command` runs.
    fn title(&mut self, command: &str, title: &str) {
        if !command.is_empty() {
            self.titles.push((command.to_owned(), title.to_owned()));
        }
    }

    fn web(&mut self, line: impl Into<String>) {
        self.processes.insert(ProcessName::parse(WEB).expect("`web` is a process name"), CommandLine::Shell(line.into()));
    }
}

fn unfit(why: impl Into<String>, hint: impl Into<String>) -> BuildError {
    BuildError::Unfit { why: why.into(), hint: hint.into() }
}

/// `a` or `'a b'`, for a shell line in a template.
fn quoted(text: &str) -> Result<String, BuildError> {
    match shlex::try_quote(text) {
        Ok(quoted) if !text.contains(['\n', '\r']) => Ok(quoted.into_owned()),
        Ok(_) | Err(_) => Err(unfit("a name in the app's files holds a line break or NUL", "rename it")),
    }
}

#[cfg(test)]
mod tests;
