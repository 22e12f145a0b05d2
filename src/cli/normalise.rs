//! `ps:scale` and `ps scale` are the same command. Old habits (`releases:rollback`) find their way too.

use std::ffi::OsString;

/// Options that take their value as the next argument, so that the value is not taken for the command.
const WITH_VALUE: [&str; 8] = ["-a", "--app", "-H", "--host", "-r", "--remote", "--socket", "--config"];

/// Words of other platforms that mean something here: (typed, ours).
const HABITS: [(&str, &[&str]); 5] = [
    ("releases:rollback", &["rollback"]),
    ("ssh-keys:add", &["keys", "add"]),
    ("ssh-keys:list", &["keys", "list"]),
    ("ssh-keys:remove", &["keys", "remove"]),
    ("builds:list", &["deploys", "list"]),
];

/// Takes the arguments (the first is the program's name); gives them with the first word split at its colons.
pub fn normalise(args: Vec<OsString>) -> Vec<OsString> {
    let Some(at) = first_word(&args) else { return args };
    if args[at] == "help" {
        return asks_for_help(args, at);
    }
    let Some(words) = args[at].to_str().and_then(split) else { return headers(args) };
    let mut out: Vec<OsString> = args[..at].to_vec();
    out.extend(words.into_iter().map(OsString::from));
    out.extend_from_slice(&args[at + 1..]);
    headers(out)
}

/// After `routes explain`, -H is a header of the request, as people know it from elsewhere; the server is named before, or by --host.
fn headers(mut args: Vec<OsString>) -> Vec<OsString> {
    let Some(at) = first_word(&args) else { return args };
    if args[at] == "routes" && args.get(at + 1).is_some_and(|act| act == "explain") {
        for arg in args[at + 2..].iter_mut().filter(|arg| *arg == "-H") {
            *arg = "--header".into();
        }
    }
    args
}

/// `help` and `help ps scale` are what one tries first over plain ssh: `--help` and `ps scale --help`.
fn asks_for_help(mut args: Vec<OsString>, at: usize) -> Vec<OsString> {
    args.remove(at);
    let mut args = normalise(args);
    args.push("--help".into());
    args
}

/// Where the command stands: the first argument that is neither an option nor an option's value.
fn first_word(args: &[OsString]) -> Option<usize> {
    let mut at = 1;
    while at < args.len() {
        match args[at].to_str() {
            Some("--") => return None,
            Some(option) if WITH_VALUE.contains(&option) => at += 2,
            Some(option) if option.starts_with('-') => at += 1,
            _ => return Some(at),
        }
    }
    None
}

fn split(word: &str) -> Option<Vec<String>> {
    if let Some((_, ours)) = HABITS.iter().find(|(typed, _)| *typed == word) {
        return Some(ours.iter().map(|w| (*w).to_owned()).collect());
    }
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|c| c.is_ascii_lowercase() || c == b'-');
    let parts: Vec<&str> = word.split(':').collect();
    (parts.len() > 1 && parts.iter().all(|p| plain(p))).then(|| parts.into_iter().map(str::to_owned).collect())
}
