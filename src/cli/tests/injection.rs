//! Over 500 hostile strings in every place that takes a name: none is ever accepted.

use super::*;
use crate::manifest::{SourceFiles, read};
use crate::names::{
    AppName, BranchName, CommitSha, ConfigKey, DeployId, Hostname, InstanceId, KeyName, ProcessName, ReleaseNumber,
};

/// What shells, paths, git, ssh, HTTP, SQL, JSON and terminals give a meaning to.
const PAYLOADS: [&str; 45] = [
    ";id",
    "|id",
    "&id",
    "&&id",
    "$(id)",
    "`id`",
    "${IFS}id",
    "$HOME",
    "\nid",
    "\r\nX: y",
    "\0id",
    " id",
    "\tid",
    "'id'",
    "\"id\"",
    "\\id",
    "<id",
    ">id",
    "(id)",
    "{id}",
    "[id]",
    "*",
    "?",
    "!id",
    "~id\\",
    "#id",
    "%0aid",
    "%2e%2e%2f",
    "../id",
    "..\\id",
    "/../id",
    "..",
    "@{u}^",
    ":(glob)id",
    "=id;",
    ",id",
    "\x1b[31m",
    "\x07",
    "\x7f",
    "\u{202e}id",
    "ｉｄ",
    "é",
    "'; drop table apps;--",
    "{{7*7}}",
    "-oProxyCommand=id",
];

/// Where in an innocent name the payload may stand.
const FRAMES: [(&str, &str); 12] = [
    ("", ""),
    ("shop", ""),
    ("", "shop"),
    ("a", "b"),
    ("shop-", "-1"),
    ("shop.", ".x"),
    ("a1", "1a"),
    ("web", "web"),
    ("x", ".com"),
    ("v1", ""),
    ("main", "main"),
    ("k", "9"),
];

fn corpus() -> Vec<String> {
    let all: Vec<String> = FRAMES.iter().flat_map(|(a, b)| PAYLOADS.iter().map(move |p| format!("{a}{p}{b}"))).collect();
    assert!(all.len() >= 500, "{} strings", all.len());
    all
}

#[test]
fn no_name_is_made_of_a_hostile_string() {
    let mut accepted = Vec::new();
    for bad in corpus() {
        let parsers = [
            ("app", AppName::parse(&bad).is_ok()),
            ("process", ProcessName::parse(&bad).is_ok()),
            ("config key", ConfigKey::parse(&bad).is_ok()),
            // Two dots inside a key's name are dots: no path is made of it, and one that begins with a dot is refused.
            ("key name", KeyName::parse(&bad).is_ok() && !bad.contains("..")),
            ("commit", CommitSha::parse(&bad).is_ok()),
            ("branch", BranchName::parse(&bad).is_ok()),
            ("host", Hostname::parse(&bad).is_ok()),
            ("deploy", DeployId::parse(&bad).is_ok()),
            ("release", ReleaseNumber::parse(&bad).is_ok()),
            ("instance", InstanceId::parse(&bad).is_ok()),
            ("server", Server::parse(&bad).is_ok()),
            ("remote", parse_url(&format!("paas@{bad}:shop")).is_some()),
            ("remote's app", parse_url(&format!("paas@server:{bad}")).is_some()),
        ];
        accepted.extend(parsers.iter().filter(|(_, ok)| *ok).map(|(what, _)| format!("{what}: {bad:?}")));
    }
    assert!(accepted.is_empty(), "accepted:\n{}", accepted.join("\n"));
}

#[test]
fn no_command_takes_a_hostile_string_for_a_name() {
    for bad in corpus().iter().filter(|b| !b.contains('\0')) {
        for line in [
            vec!["apps", "create", bad],
            vec!["apps", "info", bad],
            vec!["domains", "add", bad],
            vec!["domains", "add", "shop.example.com", "--redirect-to", bad],
            vec!["config", "get", bad],
            vec!["config", "unset", bad],
            vec!["rollback", bad],
            vec!["deploys", "info", bad],
            vec!["deploy", "--commit", bad],
            vec!["ps", "restart", bad],
        ] {
            let args = std::iter::once("paas").chain(line.iter().copied()).map(OsString::from).collect();
            assert!(Cli::try_parse_from(normalise(args)).is_err(), "{line:?}");
        }
    }
}

#[test]
fn no_file_of_an_app_brings_a_hostile_name_in() {
    for bad in corpus() {
        let quoted = serde_json::to_string(&bad).expect("text");
        // TOML's basic strings know JSON's escapes.
        for text in [
            format!("[processes.{quoted}]\ncommand = \"x\""),
            format!("[domains]\nnames = [{quoted}]"),
            format!("[env]\n{quoted} = \"x\""),
            format!("[deploy]\nbranch = {quoted}"),
            format!("[build]\nsecrets = [{quoted}]"),
            format!("[build.args]\n{quoted} = \"x\""),
            format!("[build]\nbuildpack = {quoted}"),
            format!("[build]\ntarget = {quoted}"),
            format!("[processes.web]\nstop_signal = {quoted}"),
        ] {
            assert!(read(&SourceFiles { paas_toml: Some(text.clone()), ..SourceFiles::default() }).is_err(), "{text}");
        }
        for text in [
            format!("{{\"env\":{{{quoted}:\"x\"}}}}"),
            format!("{{\"formation\":{{{quoted}:{{\"quantity\":1}}}}}}"),
            format!("{{\"healthchecks\":{{{quoted}:[]}}}}"),
        ] {
            assert!(read(&SourceFiles { app_json: Some(text.clone()), ..SourceFiles::default() }).is_err(), "{text}");
        }
    }
}
