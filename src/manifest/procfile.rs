//! `Procfile`: one `type: command` per line; `#` comments and blank lines are allowed.

use std::collections::BTreeMap;

use super::rules;
use crate::base::toml_file::KeyError;
use crate::manifest::CommandLine;
use crate::names::ProcessName;

/// A Procfile as written.
#[derive(Debug, Default, PartialEq)]
pub struct Procfile {
    pub processes: BTreeMap<ProcessName, CommandLine>,
    pub release: Option<CommandLine>,
}

/// Takes the text of the file; gives its processes or the first line that is wrong.
pub fn parse(text: &str) -> Result<Procfile, KeyError> {
    let mut found = Procfile::default();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (index, line) in text.lines().enumerate() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        let refused = |problem: String, key: Option<&str>| KeyError {
            file: "Procfile".to_owned(),
            line: index + 1,
            column: line.chars().take_while(|c| c.is_whitespace()).count() + 1,
            key: key.map(str::to_owned),
            problem,
            hint: Some("write one process per line: `web: <command>`".to_owned()),
        };
        let Some((name, command)) = trimmed.split_once(':') else {
            return Err(refused("this line is not of the form `type: command`".to_owned(), None));
        };
        let name = name.trim_end();
        let command =
            rules::shell(command).map_err(|why| refused(format!("process `{}`: {why}", name.escape_debug()), Some(name)))?;
        let twice = if name == "release" {
            found.release.replace(command).is_some()
        } else {
            let process = rules::process_name(name).map_err(|why| refused(why, Some(name)))?;
            found.processes.insert(process, command).is_some()
        };
        if twice {
            return Err(refused(format!("process `{name}` is given twice"), Some(name)));
        }
    }
    Ok(found)
}
