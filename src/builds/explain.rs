//! A failed build in words: which step, where it stands, what it printed, what to do.

use super::dockerfile::line_of;
use super::error::BuildError;
use super::lines::{Mask, Teller, shown_step};
use crate::docker::buildkit::{FailedStep, SolveError};
use crate::docker::is_no_space;
use crate::model::disk::Full;

/// What BuildKit calls looking for the image of a FROM; what follows is the reference.
const FROM_STEP: &str = "[internal] load metadata for ";
/// What it calls looking for the image of a `# syntax=` line.
const SYNTAX_STEP: &str = "resolve image config for ";

/// For an app's own Dockerfile.
pub fn failure(error: SolveError, dockerfile: &str, path: &str, mask: &Mask) -> BuildError {
    let (message, step) = match error {
        SolveError::Engine(error) => return error.into(),
        SolveError::Failed { message, step } => (mask.apply(&message), step),
    };
    if is_denied(&message) || step.as_ref().is_some_and(|step| is_denied(&step.error)) {
        return BuildError::Failed {
            message: format!("{path}: it opens an image that is not this app's: {}", cut(&message)),
            hint: Some("name an image of a registry, or one that was loaded on the server under a name of its own".to_owned()),
            last_lines: Vec::new(),
        };
    }
    let Some(step) = step else {
        // Before any step: the Dockerfile can't be parsed, or names what is not there.
        return BuildError::Failed { message: format!("{path}: {}", cut(&message)), hint: None, last_lines: Vec::new() };
    };
    if let Some(reference) = step.name.strip_prefix(FROM_STEP) {
        return missing_image(dockerfile, reference, path, &step);
    }
    if let Some(reference) = step.name.strip_prefix(SYNTAX_STEP) {
        return BuildError::Failed {
            message: format!(
                "{path}: its `# syntax=` line asks for {}, which can't be fetched: {}",
                tidy(reference),
                cut(&step.error)
            ),
            hint: Some(
                "remove the `# syntax=` line (the engine has a frontend of its own), or let the server reach the registry"
                    .to_owned(),
            ),
            last_lines: Vec::new(),
        };
    }
    let place = line_of(dockerfile, &step.name).map(|n| format!(" line {n}")).unwrap_or_default();
    let what = shown_step(&step.name).unwrap_or_else(|| step.name.clone());
    let message = match step.exit_code {
        Some(code) => format!("{path}{place}: `{what}` ended with exit code {code}"),
        None => format!("{path}{place}: `{what}` failed: {}", cut(&step.error)),
    };
    BuildError::Failed { message: mask.apply(&message), hint: by_exit_code(&step), last_lines: masked(step.last_lines, mask) }
}

/// For the Dockerfile of a buildpack, which the user has never seen.
pub fn pack_failure(error: SolveError, teller: &Teller) -> BuildError {
    let (message, step) = match error {
        SolveError::Engine(error) => return error.into(),
        SolveError::Failed { message, step } => (message, step),
    };
    let mask = &teller.mask;
    let Some(step) = step else {
        return BuildError::Failed {
            message: format!("the build failed: {}", cut(&mask.apply(&message))),
            hint: None,
            last_lines: Vec::new(),
        };
    };
    if let Some(reference) = step.name.strip_prefix(FROM_STEP) {
        return no_image(tidy(reference), &cut(&step.error));
    }
    let titles = teller.titles.as_deref().unwrap_or_default();
    let title = titles.iter().find(|(part, _)| step.name.contains(part.as_str())).map(|(_, title)| title.to_lowercase());
    let what = title.unwrap_or_else(|| step.name.clone());
    let message = match step.exit_code {
        Some(code) => format!("{what} failed with exit code {code}"),
        None => format!("{what} failed: {}", cut(&mask.apply(&step.error))),
    };
    BuildError::Failed { message, hint: by_exit_code(&step), last_lines: masked(step.last_lines, mask) }
}

fn missing_image(dockerfile: &str, reference: &str, path: &str, step: &FailedStep) -> BuildError {
    let name = tidy(reference);
    let place = dockerfile.lines().position(|line| {
        let mut words = line.split_whitespace();
        words.next().is_some_and(|w| w.eq_ignore_ascii_case("FROM")) && words.any(|w| tidy(w) == name)
    });
    let place = place.map(|n| format!(" line {}", n + 1)).unwrap_or_default();
    BuildError::Failed {
        message: format!("{path}{place}: the image `{name}` of FROM can't be had: {}", cut(&step.error)),
        hint: Some(format!(
            "load it on the server (`docker load`, or `docker tag <local image> {name}`), give the engine a mirror \
             (`registry-mirrors` in /etc/docker/daemon.json), or build without the Dockerfile: `[build] buildpack = \"node\"` (or another) in paas.toml"
        )),
        last_lines: Vec::new(),
    }
}

/// An image that the manifest or a buildpack names and that is not to be had.
pub fn no_image(reference: &str, error: &dyn std::fmt::Display) -> BuildError {
    BuildError::Failed {
        message: format!("the image `{reference}` can't be had: {error}"),
        hint: Some(format!(
            "load it on the server (`docker load`, or `docker tag <local image> {reference}`), give the engine a mirror, or set \
             `[stack] source = \"debian\"` in the host config to make base images from Debian packages"
        )),
        last_lines: Vec::new(),
    }
}

/// An image that the manifest names and that is known to the engine as another app's build alone.
pub fn image_of_another(reference: &str) -> BuildError {
    BuildError::Unfit {
        why: format!("the image `{reference}` of [build] in paas.toml is not this app's: paas built it for another one, or nobody named it"),
        hint: "name an image of a registry, or one that was loaded on the server under a name of its own; an administrator can deploy any image \
               with `paas deploy --image`"
            .to_owned(),
    }
}

/// Whether BuildKit refused a source by our rules; it has no code for that: `source \"docker-image://…\" denied by policy: source denied by policy`.
fn is_denied(text: &str) -> bool {
    text.contains("denied by policy")
}

/// `docker.io/library/node:22` is what people call `node:22`.
fn tidy(reference: &str) -> &str {
    let reference = reference.strip_prefix("docker.io/").unwrap_or(reference);
    let reference = reference.strip_prefix("library/").unwrap_or(reference);
    reference.strip_suffix(":latest").unwrap_or(reference)
}

fn by_exit_code(step: &FailedStep) -> Option<String> {
    if is_no_space(&step.error) || step.last_lines.iter().any(|line| is_no_space(line)) {
        return Some(format!("the disk of the Docker engine is full: {}", Full::HINT));
    }
    match step.exit_code {
        // 128 + SIGKILL
        Some(137) => Some("it was killed: most likely the server ran out of memory".to_owned()),
        Some(127) => Some("the command is not in the image".to_owned()),
        Some(_) | None => None,
    }
}

fn masked(lines: Vec<String>, mask: &Mask) -> Vec<String> {
    lines.iter().map(|line| mask.apply(line)).collect()
}

/// BuildKit's errors repeat the whole command; the end says what happened.
fn cut(text: &str) -> String {
    const LONGEST: usize = 400;
    let text = text.trim();
    let count = text.chars().count();
    if count <= LONGEST { text.to_owned() } else { format!("…{}", text.chars().skip(count - LONGEST).collect::<String>()) }
}
