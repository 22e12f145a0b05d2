//! Which server and which app: from `-H` and `-a`, or from the git remote of the folder we are in.

use std::ffi::OsString;
use std::net::Ipv6Addr;
use std::process::Command;

use crate::names::{AppName, Hostname};

/// The name of the remote that is looked at first, as in `git push deploy main`.
pub const USUAL_REMOTE: &str = "deploy";
/// The login user that marks a remote as one of ours.
const USUAL_USER: &str = "paas";

/// A server as ssh takes it. Its parts are checked, so that none can be taken for an option or a second argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    pub user: String,
    pub host: String,
    pub port: Option<u16>,
}

/// A git remote that leads to a paas server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    pub name: String,
    pub server: Server,
    pub app: AppName,
}

impl Server {
    /// Takes `server`, `paas@server`, `paas@server:2222` or `paas@[::1]:2222`.
    pub fn parse(given: &str) -> Result<Self, String> {
        let refused = || format!("`{}` is not a server: write paas@server or paas@server:port", given.escape_debug());
        let (user, rest) = given.split_once('@').unwrap_or((USUAL_USER, given));
        let (host, port) = match rest.strip_prefix('[') {
            Some(v6) => {
                let (host, after) =
                    v6.split_once(']').filter(|(host, _)| host.parse::<Ipv6Addr>().is_ok()).ok_or_else(refused)?;
                let port = if after.is_empty() { None } else { Some(after.strip_prefix(':').ok_or_else(refused)?) };
                (host, port)
            }
            None => rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
        };
        let port = port.map(|p| p.parse::<u16>().ok().filter(|n| *n > 0).ok_or_else(refused)).transpose()?;
        if is_user(user) && is_host(host) {
            Ok(Server { user: user.to_owned(), host: host.to_owned(), port })
        } else {
            Err(refused())
        }
    }

    /// Whether ssh would come back to the machine that it starts from. With a port it may be led elsewhere (a tunnel, a virtual machine).
    pub fn is_this_machine(&self) -> bool {
        self.port.is_none() && matches!(self.host.as_str(), "localhost" | "127.0.0.1" | "::1")
    }

    /// The program that makes a connection to this server's API: ssh by argv, no shell.
    pub fn tunnel(&self) -> Vec<OsString> {
        // For tests and for people with unusual ssh set-ups; split as a shell would, but run by none.
        let program = std::env::var("PAAS_SSH").ok().and_then(|line| shlex::split(&line)).filter(|parts| !parts.is_empty());
        let mut argv: Vec<String> = program.unwrap_or_else(|| vec!["ssh".to_owned()]);
        argv.push("-T".to_owned());
        // A dead network ends a long `logs --tail` after a minute instead of never.
        argv.extend(["-o", "ServerAliveInterval=20", "-o", "ServerAliveCountMax=3"].map(str::to_owned));
        if let Some(port) = self.port {
            argv.extend(["-p".to_owned(), port.to_string()]);
        }
        argv.extend(["--".to_owned(), format!("{}@{}", self.user, self.host), "api".to_owned()]);
        argv.into_iter().map(OsString::from).collect()
    }
}

impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.port {
            Some(port) if self.host.contains(':') => write!(f, "{}@[{}]:{port}", self.user, self.host),
            Some(port) => write!(f, "{}@{}:{port}", self.user, self.host),
            None => write!(f, "{}@{}", self.user, self.host),
        }
    }
}

fn is_user(user: &str) -> bool {
    let b = user.as_bytes();
    (1..=32).contains(&b.len())
        && (b[0].is_ascii_lowercase() || b[0] == b'_')
        && b.iter().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'_' | b'-'))
}

/// A DNS name, an address, or an alias of the user's ssh config (letters, digits, `.`, `_`, `-`).
fn is_host(host: &str) -> bool {
    let alias = (1..=253).contains(&host.len())
        && host.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-'))
        && host.as_bytes()[0].is_ascii_alphanumeric()
        && !host.contains("..");
    alias || Hostname::parse(host).is_ok() || host.parse::<Ipv6Addr>().is_ok()
}

/// Takes a remote's URL in one of git's two ssh forms (`user@host:app`, `ssh://user@host:port/app`); none if it is no app of ours.
pub fn parse_url(url: &str) -> Option<(Server, AppName)> {
    let (server, path) = match url.strip_prefix("ssh://") {
        Some(rest) => rest.split_once('/')?,
        // An address in brackets has colons of its own.
        None => match url.find(']') {
            Some(end) => (url.get(..=end)?, url.get(end + 1..)?.strip_prefix(':')?),
            None => url.split_once(':')?,
        },
    };
    // Without a user it may be any server's repository.
    if !server.contains('@') {
        return None;
    }
    let app = path.trim_start_matches('/').trim_end_matches('/');
    let app = app.strip_suffix(".git").unwrap_or(app);
    Some((Server::parse(server).ok()?, AppName::parse(app).ok()?))
}

/// Of all remotes (name, url): the one asked for, else `deploy`, else the only one whose user is `paas`.
/// Errors say which ones there are to choose from.
pub fn choose(remotes: &[(String, String)], asked: Option<&str>) -> Result<Option<Remote>, String> {
    let ours: Vec<Remote> = remotes
        .iter()
        .filter_map(|(name, url)| parse_url(url).map(|(server, app)| Remote { name: name.clone(), server, app }))
        .collect();
    let names = |some: &[&Remote]| some.iter().map(|r| format!("`{}`", r.name)).collect::<Vec<_>>().join(", ");
    if let Some(asked) = asked {
        return match ours.iter().find(|r| r.name == asked) {
            Some(found) => Ok(Some(found.clone())),
            None => Err(format!("there is no git remote `{}` that leads to a paas server", asked.escape_debug())),
        };
    }
    if let Some(usual) = ours.iter().find(|r| r.name == USUAL_REMOTE) {
        return Ok(Some(usual.clone()));
    }
    let paas: Vec<&Remote> = ours.iter().filter(|r| r.server.user == USUAL_USER).collect();
    match paas.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some((*one).clone())),
        several => Err(format!("several git remotes lead to a paas server: {}", names(several))),
    }
}

/// The remotes of the repository around the current folder, as git itself tells them; none without git or outside a repository.
pub fn of_this_folder() -> Vec<(String, String)> {
    let asked = Command::new("git").args(["config", "--null", "--get-regexp", r"^remote\..*\.url$"]).output();
    let Ok(output) = asked else { return Vec::new() };
    if !output.status.success() {
        return Vec::new();
    }
    parse_git_config(&String::from_utf8_lossy(&output.stdout))
}

/// `git config --null --get-regexp` prints `key\nvalue\0`.
pub fn parse_git_config(text: &str) -> Vec<(String, String)> {
    text.split('\0')
        .filter_map(|entry| entry.split_once('\n'))
        .filter_map(|(key, url)| {
            let name = key.strip_prefix("remote.")?.strip_suffix(".url")?;
            Some((name.to_owned(), url.to_owned()))
        })
        .collect()
}
