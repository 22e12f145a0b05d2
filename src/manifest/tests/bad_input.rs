//! Files with one mistake each, and what must be said about it.

use super::*;

fn refused(files: &SourceFiles) -> (String, String) {
    match read(files) {
        Ok(_) => panic!("accepted: {files:?}"),
        Err(e) => (e.to_string(), e.hint().unwrap_or("").to_owned()),
    }
}

/// (paas.toml, part of the message, part of the hint)
const TOML: [(&str, &str, &str); 64] = [
    ("[biuld]\n", "paas.toml:1:2: unknown key `biuld`", "did you mean `build`?"),
    ("[procesess.web]\n", "unknown key `procesess`", "did you mean `processes`?"),
    ("[processes.web]\ncomand = \"x\"", "paas.toml:2:1: unknown key `processes.web.comand`", "did you mean `command`?"),
    ("[processes.web.helth]\n", "unknown key `processes.web.helth`", "did you mean `health`?"),
    (
        "[processes.web.health]\nurl = \"/\"",
        "unknown key `processes.web.health.url`",
        "allowed here: command, grace, interval, path, tcp, timeout",
    ),
    ("port = 3000\n", "unknown key `port`", "allowed here: build, crash, deploy, domains, env, http, processes, release"),
    ("[build\n", "not valid TOML", ""),
    ("[processes.web.liveness]\ninterval = \"1s\"", "needs `path` or `command`", ""),
    ("[processes.web.liveness]\npath = \"/\"\ncommand = \"x\"", "only one of them", ""),
    ("[processes.worker.liveness]\npath = \"/\"", "asked by `command`", "exits with 0"),
    ("[crash]\nfiles = [\"../core\"]", "must be a file name", ""),
    ("[crash]\nfiles = [\"a/core\"]", "must be a file name", ""),
    ("[crash]\nfiles = [\"*\"]", "must be a file name", ""),
    ("x = = 1\n", "not valid TOML", ""),
    ("[build]\nbuildpack = \"nodejs\"", "no buildpack of this name", ""),
    ("[build]\nbuildpack = \"pyton\"", "did you mean `python`?", ""),
    ("[build]\nbuildpack = \"go\"\nimage = \"x\"", "`build` has buildpack and image", "keep one of them"),
    ("[build]\npath = \"../other\"", "inside the repository", ""),
    ("[build]\npath = \"/etc\"", "inside the repository", ""),
    ("[build]\npath = \"a/.git\"", "inside the repository", ""),
    ("[build]\ndockerfile = \"a\\u0000b\"", "inside the repository", ""),
    ("[build]\ndockerfile = \"../../Dockerfile\"", "inside the repository", ""),
    ("[build]\nimage = \"-v /:/host\"", "must be an image name", ""),
    ("[build]\nimage = \"a;reboot\"", "must be an image name", ""),
    ("[build]\ntarget = \"a b\"", "the name of a stage", ""),
    ("[build]\nargs = \"A=1\"", "must be a table", ""),
    ("[build.args]\n\"A B\" = \"1\"", "config key", ""),
    ("[build.args]\nA = 1", "found the number 1, but it must be text in quotes", ""),
    ("[build]\nsecrets = \"NPM_TOKEN\"", "must be a list", ""),
    ("[build]\nsecrets = [\"a-b\"]", "`build.secrets[0]`", ""),
    ("[processes.Web]\ncommand = \"x\"", "process type `Web` is not valid", ""),
    ("[processes.\"../x\"]\n", "process type `../x` is not valid", ""),
    ("[processes.release]\ncommand = \"x\"", "reserved word", "`[release]`"),
    ("[processes.router]\ncommand = \"x\"", "reserved word", ""),
    ("[processes]\nweb = \"x\"", "must be a table", ""),
    ("[processes.web]\ncommand = \"  \"", "the command is empty", ""),
    ("[processes.web]\ncommand = []", "the command is empty", ""),
    ("[processes.web]\ncommand = [\"a\", 1]", "every part of a command must be text", ""),
    ("[processes.web]\ncommand = \"a\\u0000b\"", "NUL", ""),
    ("[processes.web]\nport = \"3000\"", "found the text \"3000\", but it must be a whole number from 1 to 65535", ""),
    ("[processes.web]\nport = 70000", "from 1 to 65535", ""),
    ("[processes.web]\nport = -1", "from 1 to 65535", ""),
    ("[processes.web]\ninstances = 1000", "from 0 to 100", ""),
    ("[processes.web]\nmemory = 512", "such as \"512MB\" or \"1GiB\"", ""),
    ("[processes.web]\nmemory = \"1KB\"", "from 6MiB", ""),
    ("[processes.web]\ncpus = 0", "a number from 0.01", ""),
    ("[processes.web]\nlisten = \"socket\"", "not supported by this version of paas yet", ""),
    ("[processes.web]\nvolumes = []", "`processes.web.volumes` is not supported by this version of paas yet", "remove the key"),
    ("[processes.worker]\nswitch = \"later\"", "after-term, overlap or exclusive", ""),
    ("[processes.web]\nstop_signal = \"SIGTRM\"", "did you mean SIGTERM?", ""),
    ("[processes.web]\nstop_timeout = \"30\"", "a duration from", ""),
    ("[processes.web]\nread_only = \"yes\"", "must be `true` or `false`", ""),
    ("[processes.web.health]\npath = \"up\"", "must start with `/`", ""),
    ("[processes.web.health]\npath = \"/up HTTP/1.1\\r\\nX: y\"", "must start with `/`", ""),
    ("[processes.web.health]\npath = \"/\"\ntcp = true", "one of `path`, `command` and `tcp", ""),
    ("[processes.worker.health]\npath = \"/\"", "only `web` takes requests", ""),
    ("[processes.web.health]\ngrace = \"10ms\"", "a duration from 1s to 1day", ""),
    ("[release]\nbackup = true", "not supported by this version of paas yet", ""),
    ("[deploy]\nbranch = \"a b\"", "branch name", ""),
    ("[deploy]\nstrategy = \"canary\"", "not supported by this version of paas yet", ""),
    ("[deploy]\nstrategy = \"rolling\"", "blue-green or stop-start", ""),
    ("[domains]\nnames = [\"http://x.com\"]", "`domains.names[0]`: host name", ""),
    ("[env]\nPORT = \"80\"", "PORT is set by paas", ""),
    ("[[cron]]\nschedule = \"@daily\"", "`cron` is not supported by this version of paas yet", ""),
];

const PROCFILES: [(&str, &str, &str); 8] = [
    ("worker: x", "Procfile has no `web` process, so no process would take requests", "add a line `web: <command>`"),
    ("web x", "Procfile:1:1: this line is not of the form `type: command`", "web: <command>"),
    ("\n\n  web:\n", "Procfile:3:3: process `web`: the command is empty", ""),
    ("web: a\nweb: b", "Procfile:2:1: process `web` is given twice", ""),
    ("Web: a", "process type `Web` is not valid", ""),
    ("../../etc: a", "is not valid", ""),
    ("we\u{1b}[31mb: a", "\\u{1b}", ""),
    ("router: a", "reserved word", ""),
];

const APP_JSONS: [(&str, &str, &str); 11] = [
    ("{", "app.json:1:1: this is not valid JSON", ""),
    ("[]", "must be one JSON object", ""),
    ("{\n \"scripts\": {\n \"dokku\": {\"predeploy\": 1}}}", "`scripts.dokku.predeploy`: must be text", ""),
    (r#"{"formation":{"web":{"quantity":"2"}}}"#, "`formation.web.quantity`: must be a whole number", ""),
    (r#"{"formation":{"a/b":{"quantity":1}}}"#, "process type `a/b` is not valid", ""),
    (r#"{"env":{"A B":"x"}}"#, "config key `A B` is not valid", ""),
    (r#"{"env":{"A":["x"]}}"#, "`env.A`: must be text", ""),
    (r#"{"healthchecks":{"web":{}}}"#, "must be a list of checks", ""),
    (r#"{"healthchecks":{"web":[{"type":"startup","path":"no"}]}}"#, "must start with `/`", ""),
    (r#"{"healthchecks":{"web":[{"path":"/","command":"x"}]}}"#, "`path` or `command`, not both", ""),
    (r#"{"healthchecks":{"web":[{"path":"/","timeout":"5s"}]}}"#, "a whole number of seconds", ""),
];

#[test]
fn every_mistake_is_refused_with_its_reason() {
    let all = TOML.map(|(text, message, hint)| (toml(text), message, hint)).into_iter();
    let all = all.chain(PROCFILES.map(|(text, message, hint)| (procfile(text), message, hint)));
    let all = all.chain(APP_JSONS.map(|(text, message, hint)| (app_json(text), message, hint)));
    let mut wrong = Vec::new();
    for (files, message, hint) in all {
        let (said, hinted) = refused(&files);
        if !said.contains(message) || !hinted.contains(hint) {
            wrong.push(format!("{files:?}\n  wanted: {message} / {hint}\n  got:    {said} / {hinted}"));
        }
    }
    assert!(wrong.is_empty(), "{} messages are not as promised:\n{}", wrong.len(), wrong.join("\n"));
}
