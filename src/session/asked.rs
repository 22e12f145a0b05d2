//! What the client asked for in `SSH_ORIGINAL_COMMAND`. Pure: words are split as a shell would, and no shell ever sees them.

use crate::api::types::git::GitService;
use crate::names::AppName;

/// What a key may start.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// `ssh paas@server` alone.
    Nothing,
    Git {
        service: GitService,
        app: AppName,
    },
    /// The API over stdin and stdout, for `paas -H`.
    Api,
    /// A verb of the command line with its words.
    Cli(Vec<String>),
}

/// Why not.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct No {
    pub message: String,
    pub hint: Option<String>,
}

/// Verbs that make sense over ssh: questions to the daemon. Not in this list is what starts a process or changes the host
/// (`daemon`, `up`, `init`, …), so that a new role is closed until somebody opens it here.
pub const VERBS: &[&str] = &[
    "alerts",
    "apps",
    "certs",
    "config",
    "crashes",
    "deploy",
    "deploys",
    "disk",
    "domains",
    "exec",
    "help",
    "keys",
    "logs",
    "maintenance",
    "metrics",
    "ps",
    "releases",
    "rollback",
    "routes",
    "run",
    "status",
    "version",
    "why",
    "--help",
    "-h",
    "--version",
    "-V",
];

/// Longer than any command that people or scripts of ours type; sshd itself would pass 2 MiB.
const LONGEST: usize = 64 << 10;
const SHOWN: usize = 40;

pub(super) fn parse(command: Option<&str>) -> Result<Asked, No> {
    let command = command.unwrap_or_default().trim();
    if command.is_empty() {
        return Ok(Asked::Nothing);
    }
    if command.len() > LONGEST {
        return Err(no(format!("the command is longer than {LONGEST} bytes"), None));
    }
    let mut words = shlex::split(command).ok_or_else(|| no("the command has an open quote".to_owned(), None))?;
    // `ssh paas@server paas logs` is what people type who know the command.
    if words.len() > 1 && words[0] == "paas" {
        words.remove(0);
    }
    let texts: Vec<&str> = words.iter().map(String::as_str).collect();
    match texts.as_slice() {
        [] => Ok(Asked::Nothing),
        ["git-receive-pack", of @ ..] | ["git", "receive-pack", of @ ..] => git(GitService::ReceivePack, of),
        ["git-upload-pack", of @ ..] | ["git", "upload-pack", of @ ..] => git(GitService::UploadPack, of),
        ["api"] => Ok(Asked::Api),
        [verb, ..] if VERBS.contains(&verb.split_once(':').map_or(*verb, |(noun, _)| noun)) => Ok(Asked::Cli(words)),
        [verb, ..] => {
            let shown: String = verb.chars().take(SHOWN).flat_map(char::escape_debug).collect();
            Err(no(
                format!("`{shown}` can't be run here: this account has git and the verbs of paas, no shell"),
                Some("ssh <this server> help"),
            ))
        }
    }
}

/// git gives exactly one word, the path: `shop`, `/shop`, `shop.git`. An option here could name a program to run.
fn git(service: GitService, of: &[&str]) -> Result<Asked, No> {
    const USE: &str = "use the app's name as the path: git remote add deploy paas@<server>:<app>";
    let [path] = of else {
        return Err(no("git was asked with options; this server takes only the path of an app".to_owned(), Some(USE)));
    };
    let name = path.strip_prefix('/').unwrap_or(path);
    let name = name.strip_suffix('/').unwrap_or(name);
    let name = name.strip_suffix(".git").unwrap_or(name);
    let app = AppName::parse(name).map_err(|bad| no(bad.to_string(), Some(USE)))?;
    Ok(Asked::Git { service, app })
}

fn no(message: String, hint: Option<&str>) -> No {
    No { message, hint: hint.map(str::to_owned) }
}
