//! Users and groups, owners and modes, sshd's settings. Pure.

use std::path::PathBuf;

use super::{Finding, ok, problem, warning};
use crate::config::HostConfig;

/// A user as the host has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub exists: bool,
    pub groups: Vec<String>,
}

/// Which groups each user must be in, and must not.
pub fn users(config: &HostConfig, users: &[User]) -> Vec<Finding> {
    let mut found = Vec::new();
    let names = &config.users;
    for user in users {
        let name = &user.name;
        if !user.exists {
            found.push(problem("users", format!("there is no user {name}"), "run install.sh again"));
            continue;
        }
        let has = |group: &str| user.groups.iter().any(|g| g == group);
        let (needs, never): (Vec<&str>, Vec<&str>) = match () {
            () if *name == names.daemon => (vec!["docker", &names.login], vec![]),
            () if *name == names.login => (vec![], vec!["docker", "sudo", &names.admin_group]),
            () => (vec![], vec!["docker", "sudo", &names.admin_group]),
        };
        let missing: Vec<_> = needs.into_iter().filter(|group| !has(group)).collect();
        let wrong: Vec<_> = never.into_iter().filter(|group| has(group)).collect();
        for group in &missing {
            let todo = format!("usermod -aG {group} {name} && systemctl restart paas-daemon");
            found.push(problem("users", format!("{name} is not in the group {group}"), todo));
        }
        for group in &wrong {
            let text = format!("{name} is in the group {group}: whoever takes it over is root");
            found.push(problem("users", text, format!("gpasswd -d {name} {group}")));
        }
        if missing.is_empty() && wrong.is_empty() {
            found.push(ok("users", format!("{name} is there and in no group too many or too few")));
        }
    }
    found
}

/// Who must own a file, and what its mode must let nobody do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub path: PathBuf,
    pub owner: String,
    /// Bits that must not be set.
    pub never: u32,
    /// Bits that must be set.
    pub always: u32,
    /// Need not be there: it comes with the first start or the first key.
    pub optional: bool,
}

/// A file as it is; `None`: not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    pub owner: String,
    pub mode: u32,
}

/// The files whose owner and mode promises hang on.
pub fn rules(config: &HostConfig) -> Vec<Rule> {
    let rule = |path: PathBuf, owner: &str, never: u32, always: u32, optional: bool| Rule {
        path,
        owner: owner.to_owned(),
        never,
        always,
        optional,
    };
    let daemon = config.users.daemon.as_str();
    let db = config.db();
    vec![
        // Every process reads it, and who can write it is root.
        rule(config.file.clone(), "root", 0o022, 0o444, false),
        // The login passes through it and can't list it.
        rule(config.state_dir.clone(), daemon, 0o066, 0o711, false),
        rule(config.secret_key(), daemon, 0o077, 0o400, true),
        rule(db.clone(), daemon, 0o077, 0o600, true),
        rule(db.with_extension("db-wal"), daemon, 0o077, 0o600, true),
        // sshd reads it as nobody.
        rule(config.authorized_keys(), daemon, 0o022, 0o444, true),
        rule(config.logs_dir(), daemon, 0o077, 0o700, true),
    ]
}

pub fn file(rule: &Rule, file: Option<&File>) -> Finding {
    let path = rule.path.display();
    let Some(file) = file else {
        if rule.optional {
            return ok("files", format!("{path} is not there yet"));
        }
        return problem("files", format!("{path} is not there"), "run install.sh again");
    };
    if file.owner != rule.owner {
        let text = format!("{path} belongs to {} and should belong to {}", file.owner, rule.owner);
        return problem("files", text, format!("chown {} {path}", rule.owner));
    }
    let wanted = (file.mode & !rule.never) | rule.always;
    if file.mode == wanted {
        return ok("files", format!("{path}: {} {:o}", file.owner, file.mode));
    }
    let lets = if file.mode & rule.never != 0 { "lets others do too much" } else { "lets too little through" };
    problem("files", format!("{path} has mode {:o}, which {lets}", file.mode), format!("chmod {wanted:o} {path}"))
}

/// What sshd says it would do for the login user (`sshd -T -C user=…`), or why it does not say.
pub fn sshd(config: &HostConfig, effective: Result<&str, &str>) -> Vec<Finding> {
    let text = match effective {
        Ok(text) => text,
        Err(why) => return vec![problem("ssh", format!("sshd's settings can't be read: {why}"), "/usr/sbin/sshd -t")],
    };
    let keys = config.authorized_keys();
    let login = &config.users.login;
    // sshd prints names in lower case and values as they were typed.
    let wanted = [
        ("authorizedkeyscommand", format!("/usr/bin/cat {}", keys.display()), "keys of `paas keys` do not log in"),
        ("authorizedkeyscommanduser", "nobody".to_owned(), "keys of `paas keys` do not log in"),
        ("authorizedkeysfile", "none".to_owned(), "a key in the login's home would open a shell"),
        ("pubkeyauthentication", "yes".to_owned(), "no key logs in"),
        ("passwordauthentication", "no".to_owned(), "a password could log in"),
        ("disableforwarding", "yes".to_owned(), "a key could tunnel into the server's network"),
        ("permituserrc", "no".to_owned(), "a login could run a file of its own"),
    ];
    let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).map(str::trim);
    let wrong: Vec<_> = wanted.iter().filter(|(name, wanted, _)| value(name) != Some(wanted)).collect();
    if wrong.is_empty() {
        return vec![ok("ssh", format!("sshd's drop-in for {login} is there and in effect"))];
    }
    let todo = "run install.sh again (it writes /etc/ssh/sshd_config.d/paas.conf), then `systemctl reload ssh`";
    if wrong.len() > 3 {
        return vec![problem("ssh", format!("sshd has no settings for the login {login}: nobody can push"), todo)];
    }
    let tell = |(name, wanted, why): &&(&str, String, &str)| {
        let found = format!("for {login}, sshd has {name} {}, not {wanted}: {why}", value(name).unwrap_or("unset"));
        problem("ssh", found, todo)
    };
    wrong.iter().map(tell).collect()
}

/// Whether somebody answers on the ssh port.
pub fn ssh_port(port: u16, answers: bool) -> Finding {
    if answers {
        return ok("ssh", format!("port {port} answers"));
    }
    let todo = "systemctl start ssh; or set [ssh] port to the one that sshd has";
    warning("ssh", format!("nobody answers on port {port}, where users are told to push"), todo)
}
