use std::ffi::OsString;

use clap::{CommandFactory, Parser};

use super::args::{Cli, ConfigAct, DeploysAct, PsAct, RoutesAct, Verb};
use super::normalise::normalise;
use super::print::{ago, bytes, escaped, table};
use super::remote::{Server, choose, parse_git_config, parse_url};
use super::*;

mod injection;
mod streams;

fn words(line: &str) -> Vec<OsString> {
    line.split(' ').map(OsString::from).collect()
}

fn typed(line: &str) -> Verb {
    Cli::try_parse_from(normalise(words(line))).unwrap_or_else(|e| panic!("{line}: {e}")).verb
}

#[test]
fn the_arguments_are_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn noun_colon_verb_and_noun_verb_are_the_same() {
    for line in [
        "paas ps:scale web=2",
        "paas ps scale web=2",
        "paas -a shop ps:scale web=2",
        "paas --app=shop ps:scale web=2",
        "paas ps:scale -a shop web=2",
    ] {
        assert!(matches!(typed(line), Verb::Ps { act: Some(PsAct::Scale { counts }) } if counts == ["web=2"]), "{line}");
    }
    assert!(
        matches!(typed("paas config:set A=b:c"), Verb::Config { act: Some(ConfigAct::Set { pairs, .. }) } if pairs == ["A=b:c"])
    );
    assert!(matches!(typed("paas releases:rollback v3"), Verb::Rollback { release: Some(v) } if v.0 == 3));
    assert!(
        matches!(typed("paas deploys:follow d12"), Verb::Deploys { act: Some(DeploysAct::Follow { deploy: Some(d) }) } if d.0 == 12)
    );
    assert!(matches!(typed("paas config"), Verb::Config { act: None }));
}

#[test]
fn after_routes_explain_h_is_a_header_and_before_it_a_server() {
    let line = ["paas", "-H", "paas@server", "routes", "explain", "shop.test", "-H", "A: b", "-H", "C: d"];
    let cli = Cli::try_parse_from(normalise(line.map(OsString::from).to_vec())).expect("typed well");
    assert_eq!(cli.global.host.as_deref(), Some("paas@server"));
    assert!(matches!(cli.verb, Verb::Routes(RoutesAct::Explain(args)) if args.header == ["A: b", "C: d"]));
    assert!(matches!(typed("paas routes:explain shop.test -H A:b"), Verb::Routes(RoutesAct::Explain(a)) if a.header == ["A:b"]));
}

#[test]
fn what_only_looks_like_a_command_is_left_alone() {
    for line in ["paas run a:b", "paas -H paas@server:22 status", "paas -- ps:scale", "paas logs -p web:1"] {
        assert_eq!(normalise(words(line)), words(line));
    }
    assert_eq!(normalise(words("paas -a x:y ps:scale")), words("paas -a x:y ps scale"));
    assert_eq!(normalise(words("paas help ps:scale")), words("paas ps scale --help"));
    assert_eq!(normalise(words("paas help")), words("paas --help"));
    assert_eq!(normalise(vec!["paas".into()]), vec![OsString::from("paas")]);
}

#[test]
fn the_options_of_a_command_that_is_run_are_its_own() {
    match typed("paas run -a shop node --version -a x") {
        Verb::Run(args) => assert_eq!(args.command, ["node", "--version", "-a", "x"]),
        other => panic!("{other:?}"),
    }
    match typed("paas exec -p web.2 -- sh -c id") {
        Verb::Exec(args) => assert_eq!((args.process.as_deref(), args.command.join(" ")), (Some("web.2"), "sh -c id".into())),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_session_starts_no_role_and_names_no_file() {
    let session = Connection::Session { socket: "/nowhere/api.sock".into(), key: crate::names::KeyId(1) };
    let code = |line: &str| format!("{:?}", run(words(line), session.clone()));
    let usage = format!("{:?}", ExitCode::from(exit::USAGE));
    for line in [
        "paas deploy --tarball /etc/passwd -a shop",
        "paas check /etc",
        "paas keys add x /etc/passwd",
        "paas -H paas@other status",
        "paas --socket /x status",
        "paas nonsense",
    ] {
        assert_eq!(code(line), usage, "{line}");
    }
    #[cfg(feature = "server")]
    for line in ["paas daemon", "paas up", "paas init -- sh", "paas ssh-session --key k1", "paas stack make"] {
        assert_eq!(code(line), usage, "{line}");
    }
    assert_eq!(code("paas status"), format!("{:?}", ExitCode::from(exit::UNREACHABLE)));
}

#[test]
fn a_remote_names_server_and_app() {
    let server = |user: &str, host: &str, port| Server { user: user.into(), host: host.into(), port };
    let good = [
        ("paas@server:shop", server("paas", "server", None)),
        ("paas@server.example.com:shop.git", server("paas", "server.example.com", None)),
        ("ssh://paas@server:2222/shop", server("paas", "server", Some(2222))),
        ("ssh://deploy@10.0.0.1/shop/", server("deploy", "10.0.0.1", None)),
        ("paas@[::1]:shop", server("paas", "::1", None)),
        ("ssh://paas@[::1]:2222/shop", server("paas", "::1", Some(2222))),
    ];
    for (url, wanted) in good {
        let (server, app) = parse_url(url).unwrap_or_else(|| panic!("{url}"));
        assert_eq!((server, app.as_str()), (wanted, "shop"), "{url}");
    }
    for url in [
        "https://github.com/a/shop",
        "git@github.com:team/shop.git",
        "/srv/shop.git",
        "server:shop",
        "paas@-oProxyCommand=x:shop",
        "paas@server:../shop",
        "paas@a b:shop",
        "ssh://paas@server:0/shop",
        "",
    ] {
        assert_eq!(parse_url(url), None, "{url}");
    }
}

#[test]
fn the_remote_called_deploy_comes_first_and_several_others_are_a_question() {
    let remotes = |list: &[(&str, &str)]| list.iter().map(|(n, u)| ((*n).to_owned(), (*u).to_owned())).collect::<Vec<_>>();
    let both =
        remotes(&[("origin", "git@github.com:a/b.git"), ("deploy", "paas@one:shop"), ("staging", "paas@two:shop-staging")]);
    assert_eq!(choose(&both, None).expect("one").expect("found").server.host, "one");
    assert_eq!(choose(&both, Some("staging")).expect("one").expect("found").app.as_str(), "shop-staging");
    assert!(choose(&both, Some("origin")).expect_err("not ours").contains("`origin`"));
    let unclear = remotes(&[("blue", "paas@one:shop"), ("green", "paas@two:shop")]);
    assert!(choose(&unclear, None).expect_err("two").contains("`blue`, `green`"));
    assert_eq!(choose(&both[..1], None), Ok(None));
    let told = "remote.origin.url\ngit@github.com:a/b.git\0remote.my.deploy.url\npaas@one:shop\0";
    assert_eq!(parse_git_config(told), remotes(&[("origin", "git@github.com:a/b.git"), ("my.deploy", "paas@one:shop")]));
}

#[test]
fn a_server_becomes_arguments_of_ssh_that_can_not_be_options() {
    let argv: Vec<String> =
        Server::parse("paas@server:2222").expect("server").tunnel().iter().map(|a| a.to_string_lossy().into_owned()).collect();
    assert_eq!(argv[argv.len() - 5..], ["-p", "2222", "--", "paas@server", "api"]);
    assert_eq!(Server::parse("server").expect("server").to_string(), "paas@server");
    assert_eq!(Server::parse("x@[::1]:22").expect("server").to_string(), "x@[::1]:22");
    for (given, here) in [("paas@localhost", true), ("paas@[::1]", true), ("paas@localhost:2222", false), ("paas@server", false)]
    {
        assert_eq!(Server::parse(given).expect("server").is_this_machine(), here, "{given}");
    }
    for bad in [
        "",
        "-oProxyCommand=id",
        "paas@-oX",
        "paas@",
        "@server",
        "pa as@server",
        "paas@server:",
        "paas@server:99999",
        "paas@ser$(id)ver",
        "paas@[::1",
        "a@b@c",
    ] {
        assert!(Server::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn what_a_terminal_would_obey_is_shown_instead() {
    let golden = [
        ("plain text\twith tab ü 漢字", "plain text\twith tab ü 漢字"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("\x1b]52;c;aGk=\x07", "\\x1b]52;c;aGk=\\x07"),
        ("\x1b]8;;http://evil\x1b\\click", "\\x1b]8;;http://evil\\x1b\\click"),
        ("progress 1%\rprogress 2%", "progress 1%\\x0dprogress 2%"),
        ("nul \0 bell \x07 del \x7f", "nul \\x00 bell \\x07 del \\x7f"),
        ("c1 \u{9b}31m \u{90}", "c1 \\u{9b}31m \\u{90}"),
        ("bidi \u{202e}txt.exe \u{2066}", "bidi \\u{202e}txt.exe \\u{2066}"),
        ("two\nlines", "two\\x0alines"),
    ];
    for (given, wanted) in golden {
        assert_eq!(escaped(given), wanted);
    }
    let all: String = (0..0x3000).filter_map(char::from_u32).collect();
    assert!(!escaped(&all).chars().any(|c| c.is_control() && c != '\t'));
}

#[test]
fn tables_are_aligned_and_steered_by_nobody() {
    let rows = vec![vec!["web.1".to_owned(), "up".to_owned()], vec!["w\x1b[2J".to_owned(), String::new()]];
    assert_eq!(table(&["NAME", "STATE"], &rows), ["NAME      STATE", "web.1     up", "w\\x1b[2J"]);
}

#[test]
fn times_and_sizes_are_said_as_people_do() {
    let at = |s| ago(std::time::Duration::from_secs(s));
    assert_eq!([at(0), at(59), at(60), at(3_600), at(86_400 * 3)], ["just now", "59s ago", "1m ago", "1h ago", "3d ago"]);
    assert_eq!([bytes(5), bytes(1536), bytes(512 << 20), bytes(20 << 30)], ["5 B", "1.5 KiB", "512 MiB", "20 GiB"]);
}

#[test]
fn since_is_a_duration_or_a_moment() {
    let now = crate::base::clock::UnixMillis(1_000_000);
    assert_eq!(commands::when("10s", now).expect("duration").0, 990_000);
    assert_eq!(commands::when("1970-01-01T00:00:01Z", now).expect("moment").0, 1_000);
    assert!(matches!(commands::when("yesterday", now), Err(CliError::Usage { .. })));
}

#[test]
fn values_are_read_as_env_files_have_them() {
    let text = "# secrets\nA=1\nexport B='two words'\nC=\"x=y\"\nD=it's\n\nE=\n";
    let read = commands::parse_lines(text).expect("valid");
    let wanted = [("A", "1"), ("B", "two words"), ("C", "x=y"), ("D", "it's"), ("E", "")];
    assert_eq!(read.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect::<Vec<_>>(), wanted);
}

#[test]
fn what_may_be_a_secret_is_not_repeated_in_an_error() {
    for (line, place) in [("A=1\n\nhunter2", "line 3 of stdin"), ("postgres://u:hunter2@db?ssl=on", "line 1 of stdin")] {
        let Err(CliError::Usage { message, .. }) = commands::parse_lines(line) else { panic!("`{line}` was taken") };
        assert!(message.contains(place) && !message.contains("hunter2"), "{message}");
    }
}

#[test]
fn a_log_line_has_time_and_source_in_front() {
    use crate::api::types::logs::{LogKind, LogLine, LogStream};
    let mut line = LogLine {
        at: crate::base::clock::UnixMillis(1_700_000_000_123),
        app: crate::names::AppName::parse("shop").expect("name"),
        process: crate::names::ProcessName::parse("web").ok(),
        index: Some(1),
        instance: None,
        release: None,
        kind: LogKind::App,
        stream: LogStream::Stdout,
        text: "hello".into(),
        truncated: false,
        access: None,
        cursor: "c".into(),
    };
    assert_eq!(commands::head(&line).0, "2023-11-14T22:13:20.123Z app[web.1]:");
    (line.kind, line.process) = (LogKind::Build, None);
    assert_eq!(commands::head(&line).0, "2023-11-14T22:13:20.123Z build:");
}

// The roles of the server are part of the page.
#[cfg(feature = "server")]
#[test]
fn the_generated_reference_is_the_one_in_docs() {
    let page = include_str!("../../docs/cli.md");
    assert!(page == reference::markdown(), "docs/cli.md is old: `cargo run -- docs cli > docs/cli.md`");
    assert!(page.matches("\n## paas ").count() >= 15);
}
