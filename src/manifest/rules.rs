//! The rules of single values, shared by the three formats.

use super::CommandLine;
use crate::base::nearest::nearest;
use crate::base::toml_file::{KeyError, Value};
use crate::names::{ConfigKey, ProcessName};

/// The buildpacks that this version has.
pub const BUILDPACKS: [&str; 5] = ["go", "node", "prebuilt", "python", "static"];

/// Words that have a meaning of their own beside process types, in files and in `logs -p`.
const RESERVED: [&str; 5] = ["build", "deploy", "release", "router", "run"];

/// Signals that make sense as a request to stop.
const SIGNALS: [&str; 8] = ["SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGWINCH", "SIGKILL"];

/// A command line may be long, but a megabyte is a mistake (and over what exec takes in one argument, 128 KiB).
const LONGEST_COMMAND: usize = 64 * 1024;

pub fn process_name(given: &str) -> Result<ProcessName, String> {
    if RESERVED.contains(&given) {
        return Err(format!("`{given}` is a reserved word and can't be a process type"));
    }
    ProcessName::parse(given).map_err(|e| e.to_string())
}

pub fn shell(given: &str) -> Result<CommandLine, String> {
    let line = given.trim();
    if line.is_empty() {
        return Err("the command is empty".to_owned());
    }
    if line.len() > LONGEST_COMMAND {
        return Err(format!("the command is longer than {LONGEST_COMMAND} bytes"));
    }
    if line.contains('\0') {
        return Err("the command holds a NUL character".to_owned());
    }
    Ok(CommandLine::Shell(line.to_owned()))
}

pub fn argv(given: Vec<String>) -> Result<CommandLine, String> {
    if given.first().is_none_or(|program| program.is_empty()) {
        return Err("the command is empty".to_owned());
    }
    if given.iter().any(|part| part.contains('\0')) {
        return Err("the command holds a NUL character".to_owned());
    }
    if given.iter().map(String::len).sum::<usize>() > LONGEST_COMMAND {
        return Err(format!("the command is longer than {LONGEST_COMMAND} bytes"));
    }
    Ok(CommandLine::Argv(given))
}

/// A command as text (for a shell) or as list (for exec).
pub fn command(value: Value<'_>) -> Result<CommandLine, KeyError> {
    if !value.is_list() {
        return value.parsed(shell);
    }
    let refused = |value: &Value<'_>, why: String| value.error(why);
    let place = value.error("");
    let parts = value.list()?;
    let mut texts = Vec::with_capacity(parts.len());
    for part in parts {
        if !part.is_text() {
            return Err(refused(&part, "every part of a command must be text in quotes".to_owned()));
        }
        texts.push(part.string()?);
    }
    argv(texts).map_err(|why| KeyError { problem: format!("{}{why}", place.problem), ..place })
}

pub fn signal(given: &str) -> Result<String, String> {
    let upper = given.to_ascii_uppercase();
    let full = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
    if SIGNALS.contains(&full.as_str()) {
        return Ok(full);
    }
    let near = nearest(&full, SIGNALS).map(|s| format!("; did you mean {s}?")).unwrap_or_default();
    Err(format!("is not a signal that stops a process (allowed: {}){near}", SIGNALS.join(", ")))
}

/// A path inside the repository: relative, without `..`, in its one normal form (no `./`, no `//`, no `/` at the end).
pub fn inside(given: &str) -> Result<String, String> {
    let refused = "must be a path inside the repository: relative, without `..`, `\\` and control characters";
    if given.is_empty() || given.len() > 512 || given.starts_with('/') || given.chars().any(|c| c.is_control() || c == '\\') {
        return Err(refused.to_owned());
    }
    let parts: Vec<&str> = given.split('/').filter(|p| !p.is_empty() && *p != ".").collect();
    if parts.is_empty() || parts.contains(&"..") || parts.contains(&".git") {
        return Err(refused.to_owned());
    }
    Ok(parts.join("/"))
}

/// What a health check asks for: an origin-form target (RFC 9112 §3.2.1), nothing that could end the request line.
pub fn url_path(given: &str) -> Result<String, String> {
    let clean = given.bytes().all(|c| c.is_ascii_graphic() && c != b'#');
    if given.starts_with('/') && clean && given.len() <= 1024 {
        Ok(given.to_owned())
    } else {
        Err("must start with `/` and hold no spaces, `#` or control characters".to_owned())
    }
}

/// An image reference (distribution's grammar, loosely): it must never look like an option.
pub fn image(given: &str) -> Result<String, String> {
    let clean = given.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-' | b'/' | b':' | b'@'));
    let starts = given.bytes().next().is_some_and(|c| c.is_ascii_alphanumeric());
    if starts && clean && given.len() <= 255 {
        Ok(given.to_owned())
    } else {
        Err("must be an image name such as nginx:1.27 or registry.example.com/team/app@sha256:…".to_owned())
    }
}

pub fn buildpack(given: &str) -> Result<String, String> {
    if BUILDPACKS.contains(&given) {
        return Ok(given.to_owned());
    }
    let near = nearest(given, BUILDPACKS).map(|s| format!("; did you mean `{s}`?")).unwrap_or_default();
    Err(format!("there is no buildpack of this name (allowed: {}){near}", BUILDPACKS.join(", ")))
}

/// A stage of a Dockerfile.
pub fn stage(given: &str) -> Result<String, String> {
    let clean = given.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-'));
    let starts = given.bytes().next().is_some_and(|c| c.is_ascii_alphanumeric());
    if clean && starts && given.len() <= 128 && !given.contains("..") {
        Ok(given.to_owned())
    } else {
        Err("must be the name of a stage of the Dockerfile".to_owned())
    }
}

/// A glob for files that a crash leaves: the name of a file, or the whole path of one inside the instance.
pub fn crash_file(given: &str) -> Result<String, String> {
    let refused = "must be a file name such as `core.*`, or a whole path such as `/tmp/dumps/*.hprof`, without `..`";
    let whole = given.starts_with('/') || !given.contains('/');
    let clean = !given.chars().any(|c| c.is_control() || c == '\\') && !given.split('/').any(|part| part == "..");
    let named = given.chars().any(|c| c.is_ascii_alphanumeric());
    if whole && clean && named && given.len() <= 200 { Ok(given.to_owned()) } else { Err(refused.to_owned()) }
}

/// How long browsers shall remember to use TLS, in seconds. `0s` makes them forget it (RFC 6797 §6.1.1).
pub fn hsts(given: &str) -> Result<u64, String> {
    const MOST: u64 = 10 * 366 * 24 * 3600;
    let refused = || "write a duration with its unit, of at most ten years, such as 30d or 1y".to_owned();
    let time = humantime::parse_duration(given.trim()).map_err(|_| refused())?;
    Some(time.as_secs()).filter(|s| *s <= MOST).ok_or_else(refused)
}

/// A key of `env`, `build.args` and the like.
pub fn config_key(given: &str) -> Result<ConfigKey, String> {
    let key = ConfigKey::parse(given).map_err(|e| e.to_string())?;
    if given == "PORT" {
        return Err("PORT is set by paas; to choose it write `port` in `[processes.web]`".to_owned());
    }
    if given.starts_with("PAAS_") {
        return Err("names that start with PAAS_ are set by paas".to_owned());
    }
    Ok(key)
}
