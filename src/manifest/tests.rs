use std::time::Duration;

use super::*;
use crate::names::ProcessName;

mod bad_input;

const DOC: &str = include_str!("../../docs/manifest.md");

fn toml(text: &str) -> SourceFiles {
    SourceFiles { paas_toml: Some(text.to_owned()), ..SourceFiles::default() }
}

fn procfile(text: &str) -> SourceFiles {
    SourceFiles { procfile: Some(text.to_owned()), ..SourceFiles::default() }
}

fn app_json(text: &str) -> SourceFiles {
    SourceFiles { app_json: Some(text.to_owned()), ..SourceFiles::default() }
}

fn name(text: &str) -> ProcessName {
    ProcessName::parse(text).expect("a process name")
}

fn shell(line: &str) -> Option<CommandLine> {
    Some(CommandLine::Shell(line.to_owned()))
}

#[test]
fn every_example_of_the_documentation_is_valid() {
    let examples: Vec<&str> = DOC.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(examples.len() >= 4, "found {} examples", examples.len());
    for example in examples {
        read(&toml(example)).unwrap_or_else(|e| panic!("{e}\n{example}"));
    }
    let sample =
        DOC.split("## Procfile\n\n```\n").nth(1).and_then(|rest| rest.split("```").next()).expect("the Procfile example");
    assert_eq!(read(&procfile(sample)).expect("valid").release.command, shell("bin/rails db:migrate"));
}

#[test]
fn the_documentation_has_every_key_and_every_key_is_read() {
    for key in KEYS {
        let (table, last) = key.rsplit_once('.').unwrap_or(("", key));
        let there = DOC.contains(&format!("{last} = ")) || DOC.contains(&format!("[{key}]"));
        assert!(there, "docs/manifest.md lacks `{key}`");
        let text = if table.is_empty() { format!("{last} = 7") } else { format!("[{table}]\n{last} = 2000-01-01") };
        let error = read(&toml(&text)).expect_err(key).to_string();
        assert!(!error.contains("unknown key"), "{key}: {error}");
    }
}

#[test]
fn no_file_at_all_is_an_app_with_one_web_instance() {
    let manifest = read(&SourceFiles::default()).expect("valid");
    assert_eq!(manifest.processes.len(), 1);
    assert_eq!(manifest.processes[&name(WEB)], ProcessSpec::default());
    assert_eq!((manifest.instances_of(&name(WEB)), manifest.instances_of(&name("worker"))), (1, 1));
    assert_eq!(manifest.deploy.branch.as_str(), "main");
    assert_eq!(manifest.release.timeout, Duration::from_secs(900));
}

#[test]
fn a_procfile_may_have_comments_blank_lines_windows_line_ends_and_a_release_line() {
    let files = procfile("\u{feff}# processes\r\n\r\n  web: puma -p $PORT  \r\nworker: sidekiq\r\nrelease: rake db:migrate\r\n");
    let manifest = read(&files).expect("valid");
    assert_eq!(manifest.processes[&name(WEB)].command, shell("puma -p $PORT"));
    assert_eq!(manifest.processes[&name("worker")].command, shell("sidekiq"));
    assert_eq!(manifest.release.command, shell("rake db:migrate"));
    assert!(!manifest.processes.contains_key(&name("web2")));
}

#[test]
fn a_procfile_with_only_a_release_line_is_fine() {
    assert_eq!(read(&procfile("release: bin/migrate")).expect("valid").release.command, shell("bin/migrate"));
}

#[test]
fn an_app_of_workers_only_is_possible_when_the_manifest_says_so() {
    let workers = "worker: python worker.py\n";
    assert!(matches!(read(&procfile(workers)), Err(ManifestError::NoWeb)));
    let said = SourceFiles { paas_toml: Some("[processes.web]\ninstances = 0\n".into()), ..procfile(workers) };
    let manifest = read(&said).expect("valid");
    assert_eq!(manifest.instances_of(&name(WEB)), 0);
    assert_eq!(manifest.processes[&name("worker")].command, shell("python worker.py"));
}

#[test]
fn paas_toml_wins_over_app_json_over_procfile_value_by_value() {
    let files = SourceFiles {
        paas_toml: Some("[processes.web]\nport = 3000\n[processes.web.health]\ntimeout = \"2s\"\n[env]\nA = \"own\"".into()),
        procfile: Some("web: from-procfile\nrelease: procfile-release".into()),
        app_json: Some(
            r#"{"formation":{"web":{"quantity":3}},"scripts":{"dokku":{"predeploy":"json-release"}},
                "env":{"A":"json","B":{"value":"json"}},
                "healthchecks":{"web":[{"type":"startup","path":"/up","timeout":9,"wait":2,"attempts":30}]}}"#
                .into(),
        ),
    };
    let manifest = read(&files).expect("valid");
    let web = &manifest.processes[&name(WEB)];
    assert_eq!((web.command.clone(), web.port, web.instances), (shell("from-procfile"), Some(3000), Some(3)));
    assert_eq!(web.health.check, HealthCheck::Http { path: "/up".into() });
    assert_eq!((web.health.timeout, web.health.grace), (Duration::from_secs(2), Duration::from_secs(330)));
    assert_eq!(manifest.release.command, shell("json-release"));
    let env: Vec<(&str, &str)> = manifest.env.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(env, [("A", "own"), ("B", "json")]);
    assert!(manifest.warnings.iter().any(|w| w.contains("`release` is not run")), "{:?}", manifest.warnings);
}

#[test]
fn the_health_of_app_json_is_dokkus() {
    let one = |check: &str| read(&app_json(&format!(r#"{{"healthchecks":{{"web":[{check}]}}}}"#))).expect("valid");
    let health = |m: &Manifest| m.processes[&name(WEB)].health.clone();
    assert_eq!(
        health(&one(r#"{"type":"startup","command":["bin/up","-q"]}"#)).check,
        HealthCheck::Command(CommandLine::Argv(vec!["bin/up".into(), "-q".into()]))
    );
    assert_eq!(health(&one(r#"{"type":"startup","listening":true,"port":5000}"#)).check, HealthCheck::Port);
    assert_eq!(health(&one(r#"{"type":"readiness","path":"/ready"}"#)).check, HealthCheck::Http { path: "/ready".into() });
    let live = one(r#"{"type":"liveness","path":"/live"}"#);
    assert_eq!(health(&live), HealthSpec::default());
    assert!(live.warnings[0].contains("liveness"), "{:?}", live.warnings);
    let two = one(r#"{"type":"readiness","path":"/ready"},{"type":"startup","path":"/started"}"#);
    assert_eq!(health(&two).check, HealthCheck::Http { path: "/started".into() });
}

#[test]
fn what_app_json_asks_for_in_vain_is_a_warning() {
    let text = r#"{"name":"x","scripts":{"postdeploy":"seed","dokku":{"postdeploy":"x"}},"cron":[{"command":"a","schedule":"@daily"}],
        "addons":["heroku-postgresql"],"buildpacks":[{"url":"heroku/nodejs"}],"env":{"SECRET":{"generator":"secret"},"PORT":"80"},"zzz":1}"#;
    let warnings = read(&app_json(text)).expect("valid").warnings.join("\n");
    for part in ["postdeploy", "dokku.postdeploy", "cron", "addons", "buildpacks", "SECRET", "PORT", "zzz"] {
        assert!(warnings.contains(part), "no warning about {part} in:\n{warnings}");
    }
    assert!(!warnings.contains("`name`"));
}

#[test]
fn a_release_can_store_a_manifest_and_read_one_of_an_older_version() {
    let manifest =
        read(&toml("[processes.web]\ncommand = [\"a\", \"b\"]\nmemory = \"1GiB\"\n[deploy]\nstrategy = \"stop-start\""))
            .expect("valid");
    let stored = serde_json::to_string(&manifest).expect("stores");
    assert_eq!(serde_json::from_str::<Manifest>(&stored).expect("reads"), manifest);
    let older: Manifest = serde_json::from_str(r#"{"processes":{"web":{"port":80}}}"#).expect("fields may be missing");
    assert_eq!((older.processes[&name(WEB)].port, older.deploy), (Some(80), DeploySpec::default()));
}

#[test]
fn a_folder_is_checked_as_a_deploy_would() {
    let dir = tempfile::tempdir().expect("temp dir");
    let web = dir.path().join("services/web");
    std::fs::create_dir_all(&web).expect("folders");
    std::fs::write(dir.path().join("paas.toml"), "[build]\npath = \"./services//web/\"").expect("write");
    std::fs::write(web.join("Procfile"), "web: run").expect("write");
    let checked = check(dir.path()).expect("valid");
    assert_eq!(checked.files, ["paas.toml", "Procfile"]);
    assert_eq!(checked.manifest.build.path.as_deref(), Some("services/web"));
    std::fs::write(web.join("Procfile"), [0xff, 0xfe]).expect("write");
    assert!(matches!(check(dir.path()), Err(ManifestError::NotText { file: "Procfile" })));
    std::fs::write(web.join("Procfile"), vec![b'#'; 2 << 20]).expect("write");
    assert!(matches!(check(dir.path()), Err(ManifestError::TooLarge { file: "Procfile", .. })));
}

#[test]
fn rules_for_requests_are_read_and_checked() {
    let http = |text: &str| read(&toml(&format!("[http]\n{text}\n"))).map(|m| m.http);
    assert_eq!(http("").expect("empty"), HttpSpec::default());
    let given = http("https = \"redirect\"\nhsts = \"30d\"\nmax_body = \"100 MB\"").expect("valid");
    assert_eq!(
        given,
        HttpSpec {
            https: Https::Redirect,
            tls: Tls::Proxy,
            hsts: Some(30 * 24 * 3600),
            max_body: Some(100_000_000),
            access: AccessSpec::default()
        }
    );
    assert_eq!(http("hsts = \"1y\"").expect("valid").hsts, Some(31_557_600));
    assert_eq!(http("hsts = \"0s\"").expect("valid").hsts, Some(0));
    let access = |text: &str| http(text).expect("valid").access;
    assert_eq!(access("access_sample = 0.1"), AccessSpec { log: AccessLog::All, sample_ppm: 100_000 });
    assert_eq!(access("access_log = \"errors\"").log, AccessLog::Errors);
    assert_eq!(access("access_log = \"none\"").log, AccessLog::None);
    assert_eq!(http("tls = \"passthrough\"").expect("valid").tls, Tls::Passthrough);
    for bad in [
        "tls = \"app\"",
        "tls = \"passthrough\"\nhsts = \"1y\"",
        "https = \"on\"",
        "access_log = \"some\"",
        "access_sample = 1.5",
        "access_sample = -0.1",
        "access_log = \"errors\"\naccess_sample = 0.5",
        "https = true",
        "hsts = \"11y\"",
        "hsts = 7",
        "hsts = \"year\"",
        "max_body = \"0B\"",
        "max_body = 10",
        "http = 1",
    ] {
        assert!(http(bad).is_err(), "{bad}");
    }
}
