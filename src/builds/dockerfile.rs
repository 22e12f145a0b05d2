//! What every buildpack's Dockerfile is given, and how an app's own Dockerfile is read for errors.

use std::collections::BTreeMap;

use super::ignore::Ignore;
use super::template::Values;
use crate::base::secret::Secret;
use crate::manifest::Manifest;

/// Puts in the values that do not depend on the language: `app`, `args`, `secrets`, `secret_env`.
pub fn common_values(values: &mut Values, scope: &str, manifest: &Manifest, secrets: &BTreeMap<String, Secret<String>>) {
    let args: Vec<String> = manifest.build.args.keys().filter(|key| is_name(key)).map(|key| format!("ARG {key}")).collect();
    let keys: Vec<&String> = secrets.keys().filter(|key| is_name(key)).collect();
    let mounts: Vec<String> = keys.iter().map(|key| format!("--mount=type=secret,id={key}")).collect();
    let exports: Vec<String> = keys.iter().map(|key| format!("{key}=\"$(cat /run/secrets/{key})\"")).collect();
    let environment = if exports.is_empty() { String::new() } else { format!("export {} &&", exports.join(" ")) };
    for (name, value) in
        [("app", scope.to_owned()), ("args", args.join("\n")), ("secrets", mounts.join(" ")), ("secret_env", environment)]
    {
        values.insert(name.to_owned(), value);
    }
}

fn is_name(key: &str) -> bool {
    !key.is_empty()
        && !key.starts_with(|c: char| c.is_ascii_digit())
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// What of a tree no buildpack takes: what it makes itself, as a laptop may have sent its own in a tarball.
pub fn never_sent(pack: &str) -> Ignore {
    let patterns = match pack {
        "node" => "node_modules\n**/node_modules\n",
        "python" => ".venv\nvenv\n**/__pycache__\n",
        _ => "",
    };
    Ignore::parse(patterns).expect("our own patterns are valid")
}

/// The line (from 1) of a Dockerfile where the instruction of a step stands: `[build 2/5] RUN make  test` is looked for as BuildKit
/// shows it, with white space folded. None = not found, for example after a variable was filled in.
pub fn line_of(dockerfile: &str, step: &str) -> Option<usize> {
    let instruction = fold(step.split_once("] ").map_or(step, |(_, rest)| rest));
    let mut begins = None;
    let mut joined = String::new();
    for (index, line) in dockerfile.lines().enumerate() {
        let trimmed = line.trim();
        if trimmed.starts_with('#') || (trimmed.is_empty() && joined.is_empty()) {
            continue;
        }
        let at = *begins.get_or_insert(index + 1);
        match trimmed.strip_suffix('\\') {
            Some(part) => {
                joined.push_str(part);
                joined.push(' ');
            }
            None => {
                joined.push_str(trimmed);
                if fold(&joined) == instruction {
                    return Some(at);
                }
                joined.clear();
                begins = None;
            }
        }
    }
    None
}

fn fold(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    match words.split_first() {
        // `run` and `RUN` are the same instruction.
        Some((first, rest)) => format!("{} {}", first.to_ascii_uppercase(), rest.join(" ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::line_of;

    #[test]
    fn a_step_is_found_by_its_instruction_over_continued_lines_and_comments() {
        let text =
            "# comment\nFROM x AS build\nRUN  apt-get update \\\n  # why\n && apt-get install -y make\n\ncopy . .\nRUN make\n";
        assert_eq!(line_of(text, "[build 2/4] RUN apt-get update  && apt-get install -y make"), Some(3));
        assert_eq!(line_of(text, "[build 3/4] COPY . ."), Some(7));
        assert_eq!(line_of(text, "[build 4/4] RUN make"), Some(8));
        assert_eq!(line_of(text, "[build 4/4] RUN cmake"), None);
    }
}
