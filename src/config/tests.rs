use std::path::Path;
use std::time::Duration;

use super::*;
use crate::names::{AppName, InstanceId};

const DOC: &str = include_str!("../../docs/config.md");

fn parse(text: &str) -> Result<HostConfig, ConfigError> {
    HostConfig::parse(Path::new("paas.toml"), text)
}

/// The fenced TOML examples of a page.
fn examples(page: &str) -> Vec<&str> {
    page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

#[test]
fn every_example_of_the_documentation_is_valid_and_the_first_is_the_default() {
    let examples = examples(DOC);
    assert!(examples.len() >= 2, "found {} examples", examples.len());
    for example in &examples {
        parse(example).unwrap_or_else(|e| panic!("{e}\n{example}"));
    }
    assert_eq!(parse(examples[0]).expect("valid"), HostConfig::default_at(Path::new("paas.toml")));
}

#[test]
fn the_documentation_has_every_key() {
    let keys = || KEYS.into_iter().chain(PROXY_LIMITS_KEYS);
    for key in keys() {
        let last = key.rsplit('.').next().expect("a key has a last part");
        assert!(DOC.contains(&format!("{last} = ")), "docs/config.md lacks `{key}`");
    }
    // Each key of the list is one that the reader knows: a wrong type must be refused with its own name, not as unknown.
    for key in keys() {
        let text = match key.rsplit_once('.') {
            Some((table, last)) => format!("[{table}]\n{last} = {{ x = 1 }}\n"),
            None => format!("{key} = {{ x = 1 }}\n"),
        };
        let error = parse(&text).expect_err(key).to_string();
        assert!(error.contains(&format!("`{key}`")) && !error.contains("unknown key"), "{key}: {error}");
    }
}

#[test]
fn the_defaults_are_those_of_the_contract() {
    let c = HostConfig::default_at(Path::new("/etc/paas/paas.toml"));
    assert_eq!(c.state_dir, Path::new("/var/lib/paas"));
    assert_eq!((c.users.daemon.as_str(), c.users.login.as_str()), ("paasd", "paas"));
    assert_eq!(c.proxy.listen, ["[::]:80".parse().expect("address")]);
    assert_eq!(c.proxy.listen_tls, ["[::]:443".parse().expect("address")]);
    assert!(parse("[proxy]\nlisten_tls = []\n").expect("no TLS").proxy.listen_tls.is_empty());
    assert_eq!((c.limits.memory, c.limits.pids), (512 << 20, 512));
    assert_eq!(c.build.timeout, Duration::from_secs(1800));
    let app = AppName::parse("shop").expect("name");
    assert_eq!(c.repo(&app), Path::new("/var/lib/paas/apps/shop/repo.git"));
    assert_eq!(c.instance_dir(InstanceId(45)), Path::new("/var/lib/paas/instances/i45"));
    assert_eq!(c.api_socket(), Path::new("/run/paas/api.sock"));
    assert_eq!(c.sandbox_key_dirs(), [Path::new("/run/docker/netns"), Path::new("/var/run/docker/netns")]);
    let other = parse("[docker]\nexec_root = \"/srv/docker\"\n").expect("valid");
    assert_eq!(other.sandbox_key_dirs(), [Path::new("/srv/docker/netns")]);
}

#[test]
fn mistakes_are_named_with_place_key_and_what_is_allowed() {
    let cases = [
        ("[limts]\nmemory = \"1GiB\"", "paas.toml:1:2: unknown key `limts`", "did you mean `limits`?"),
        ("[limits]\nmemry = \"1GiB\"", "paas.toml:2:1: unknown key `limits.memry`", "did you mean `memory`?"),
        ("[limits]\nmemory = \"lots\"", "a size from 6MiB to 1TiB", ""),
        ("[limits]\nmemory = \"1MiB\"", "a size from 6MiB", ""),
        ("state_dir = \"var/lib\"", "absolute path", ""),
        ("state_dir = \"/var/../etc\"", "absolute path", ""),
        ("domain = \"*.example.com\"", "host name", ""),
        ("domain = \"a b\"", "host name", ""),
        ("[users]\nlogin = \"root;reboot\"", "user or group name", ""),
        ("[users]\nlogin = \"paasd\"", "three different users", ""),
        ("[proxy]\nlisten = \"80\"", "an address with a port", ""),
        ("[proxy]\nlisten = []", "at least one address", ""),
        ("[proxy.limits]\nhead_bytes = \"1KiB\"", "a size from 4KiB", ""),
        ("[proxy.limits]\nhead_time = \"0s\"", "`proxy.limits.head_time`", ""),
        ("[proxy.limits]\nconnections = 0", "from 16", ""),
        ("[proxy.limits]\nconections = 20", "unknown key `proxy.limits.conections`", "did you mean `connections`?"),
        ("[proxy]\nlisten = [80]", "`proxy.listen[0]`", ""),
        ("[proxy]\nlisten_tls = \"443\"", "an address with a port", ""),
        ("[alerts]\nwebhook = \"ftp://x\"", "an http:// or https:// address", ""),
        ("[alerts]\nwebhook = \"https://me:pw@x/\"", "without a user name", ""),
        ("[alerts]\nwebhook = \"/hook\"", "an http:// or https:// address", ""),
        ("[alerts]\nexec = \"/bin/true\"", "a list", ""),
        ("[alerts]\nexec = [\"true\"]", "the absolute path of a program", ""),
        ("[alerts]\nexec = []", "the absolute path of a program", ""),
        ("[ssh]\nport = 0", "from 1 to 65535", ""),
        ("[ssh]\nhost = \"-oProxyCommand=x\"", "the host name or address", ""),
        ("[docker]\nsubnets = \"8.8.8.0/24\"", "a private IPv4 network", ""),
        ("[docker]\nsubnets = \"10.213.7.0/16\"", "did you mean 10.213.0.0/16?", ""),
        ("[docker]\nsocket = \"tcp://x\"", "absolute path", ""),
        ("[build]\ntimeout = 30", "such as \"30s\"", ""),
        ("[build]\nconcurrency = 0", "from 1 to 64", ""),
        ("[stack]\nsource = \"apt\"", "registry, debian or auto", ""),
        ("[stack]\ndebian = \"sid\"", "trixie (13) or bookworm (12)", ""),
        ("[stack]\ndebian = 11", "from 12 to 13", ""),
        ("[stack]\nmirror = \"ftp://x\"", "http:// or https://", ""),
        ("[stack]\nmirror = \"http://x/$(id)\"", "http:// or https://", ""),
        ("[logs]\nburst = 1.5", "a whole number", ""),
        ("[certs]\nemail = \"x\"", "not supported by this version of paas yet", ""),
        ("x = ", "not valid TOML", ""),
    ];
    for (text, message, hint) in cases {
        let error = parse(text).expect_err(text);
        assert!(error.to_string().contains(message), "{text}: {error}");
        assert!(error.hint().unwrap_or("").contains(hint), "{text}: hint {:?}", error.hint());
    }
}

#[test]
fn a_debian_release_may_be_a_name_or_a_number() {
    for (given, wanted) in [
        ("\"bookworm\"", DebianRelease::Bookworm),
        ("12", DebianRelease::Bookworm),
        ("\"13\"", DebianRelease::Trixie),
        ("13", DebianRelease::Trixie),
    ] {
        assert_eq!(parse(&format!("[stack]\ndebian = {given}")).expect(given).stack.debian, wanted);
    }
}

#[test]
fn a_file_that_is_missing_is_named() {
    let error = HostConfig::load(Path::new("/nowhere/paas.toml")).expect_err("missing").to_string();
    assert!(error.starts_with("reading host config `/nowhere/paas.toml`"), "{error}");
}

#[test]
fn trusted_proxies_are_networks() {
    let given = parse("[proxy]\ntrusted_proxies = [\"10.0.0.0/8\", \"2001:db8::1\"]\n").expect("valid").proxy.trusted_proxies;
    assert_eq!(given.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.0/8", "2001:db8::1/128"]);
    for bad in ["\"10.0.0.0/8\"", "[\"10.0.0.1/8\"]", "[\"0.0.0.0/0\"]", "[\"proxy.example.com\"]", "[8]"] {
        let error = parse(&format!("[proxy]\ntrusted_proxies = {bad}\n")).expect_err(bad).to_string();
        assert!(error.contains("proxy.trusted_proxies"), "{bad}: {error}");
    }
}
