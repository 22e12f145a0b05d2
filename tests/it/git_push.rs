//! `git push` puts exactly the pushed commit live, tells the pusher what happens, and leaves nothing half-done when it cannot.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use paas::api::client::{Client, Transport};
use paas::api::types::git::{PushEvent, PushRequest, RefCommand};
use paas::names::{AppName, CommitSha};

use crate::support::{Repo, World, eventually, run};

const SOON: Duration = Duration::from_secs(20);

const PUSH_LIMIT: Duration = Duration::from_secs(120);

#[test]
fn a_push_puts_exactly_that_commit_live_and_everything_names_it() {
    let w = World::shared("git_push");
    let (app, repo) = (w.app("exact"), Repo::testapp("one"));
    let commit = repo.head();

    w.push(&repo, &app).ok().says(&["remote: -----> ", &w.host(&app)]);

    w.serves(&app, "one");
    let reply = w.get(&app, "/env");
    let env = reply.text();
    assert!(env.contains(&commit), "the app's environment lacks its commit:\n{env}");
    assert!(reply.headers.iter().any(|(_, value)| value == &commit), "commit_header is on, but no header has it: {reply:?}");
    assert!(w.releases(&app)[0].to_string().contains(&commit));
    assert!(w.instances(&app)[0].to_string().contains(&commit));
    assert!(w.last_deploy(&app).to_string().contains(&commit));
}

#[test]
fn an_instance_knows_what_it_is_in_our_words_and_in_those_of_ported_apps() {
    let w = World::shared("git_push");
    let (app, _repo) = w.live("names", "one");

    let env = w.get(&app, "/env").text();

    for name in
        ["PORT", "PAAS_APP", "PAAS_PROCESS", "PAAS_INSTANCE", "PAAS_RELEASE", "PAAS_COMMIT", "DYNO", "HEROKU_APP_NAME", "GIT_REV"]
    {
        assert!(env.lines().any(|line| line.starts_with(&format!("{name}="))), "{name} is not set:\n{env}");
    }
    assert!(env.contains("DYNO=web.1\n") && env.contains(&format!("PAAS_APP={app}\n")), "{env}");
}

#[test]
fn the_second_push_replaces_the_first_and_the_third_has_nothing_to_do() {
    let w = World::shared("git_push");
    let (app, repo) = w.live("second", "one");

    repo.release("two");
    w.push(&repo, &app).ok();

    w.serves(&app, "two");
    assert_eq!(w.releases(&app).len(), 2);
    w.push(&repo, &app).ok().says(&["up-to-date"]);
    assert_eq!(w.releases(&app).len(), 2);
}

#[test]
fn the_pusher_sees_each_line_when_it_is_printed() {
    let w = World::shared("git_push");
    let (app, repo) = (w.app("lines"), Repo::testapp("one"));
    repo.write("paas.toml", "[release]\ncommand = [\"/testapp\", \"release\"]\n")
        .write("mode", "release_ms=3000\n")
        .commit("slow release command");

    let mut push = push_in_background(&w, &repo, &app);
    let lines = BufReader::new(push.stderr.take().expect("stderr was piped")).lines();
    let seen: Vec<(Instant, String)> = lines.map_while(Result::ok).map(|line| (Instant::now(), line)).collect();

    assert!(push.wait().expect("a child can be waited for").success(), "{seen:?}");
    let at =
        |word: &str| seen.iter().find(|(_, l)| l.contains(word)).unwrap_or_else(|| panic!("`{word}` is missing: {seen:?}")).0;
    let apart = at("ends with 0").duration_since(at("begins"));
    assert!(apart > Duration::from_millis(2000), "both lines came within {apart:?}: the first was held back");
}

#[test]
fn a_push_that_fails_leaves_the_branch_so_that_the_same_push_can_be_repeated() {
    let w = World::shared("git_push");
    let (app, repo) = w.live("again", "one");
    w.paas(&["config", "set", "-a", &app, "UNRELATED=1"]).ok();
    repo.write("mode", "exit=7\n").commit("broken");

    let failed = w.push(&repo, &app);
    assert_ne!(failed.code, 0, "{failed}");
    failed.says(&["[remote rejected]", "7", "told to exit"]);
    w.serves(&app, "one");

    // Not `up-to-date`: git still has something to send, and the daemon tries it anew.
    let repeated = w.push(&repo, &app);
    assert_ne!(repeated.code, 0, "{repeated}");
    repeated.says(&["[remote rejected]"]).never_says(&["up-to-date"]);

    repo.write("mode", "").release("two");
    w.push(&repo, &app).ok();
    w.serves(&app, "two");
}

#[test]
fn a_branch_that_is_not_the_deploy_branch_is_stored_and_not_deployed() {
    let w = World::shared("git_push");
    let (app, repo) = w.live("branch", "one");
    repo.release("two");

    w.push_as("laptop", &repo, &app, &["main:refs/heads/feature"]).ok().says(&["main", "not deployed"]);
    w.serves(&app, "one");
    w.push_as("laptop", &repo, &app, &["main:refs/heads/feature"]).ok().says(&["up-to-date"]);

    // The commit is there already, and goes live when the right branch asks for it.
    w.push(&repo, &app).ok();
    w.serves(&app, "two");
}

#[test]
fn the_manifest_may_name_another_deploy_branch() {
    let w = World::shared("git_push");
    let (app, repo) = (w.app("trunk"), Repo::testapp("one"));
    repo.write("paas.toml", "[deploy]\nbranch = \"trunk\"\n").commit("branch");

    w.push_as("laptop", &repo, &app, &["main:trunk"]).ok();

    w.serves(&app, "one");
}

#[test]
fn what_deploys_by_another_branch_is_known_also_where_no_manifest_is_pushed() {
    let w = World::shared("git_push");
    let (app, repo) = (w.app("production"), Repo::testapp("one"));
    repo.write("paas.toml", "[deploy]\nbranch = \"production\"\n").commit("branch");
    let first = repo.head();
    w.push_as("laptop", &repo, &app, &["main:production", "main:main"]).ok().says(&["main is stored, not deployed"]);
    repo.release("two");
    w.push_as("laptop", &repo, &app, &["main:production"]).ok();
    let url = format!("paas@127.0.0.1:{app}");
    let branch = |name: &str| {
        let listed = repo.git_with(&["ls-remote", &url, name], &[("GIT_SSH_COMMAND", &w.ssh_command("laptop"))], PUSH_LIMIT);
        listed.ok().out.split_whitespace().next().map(str::to_owned)
    };

    w.paas(&["deploy", "-a", &app, "--commit", &first]).ok();

    w.serves(&app, "one");
    let moved = eventually("the branch moves", Duration::from_secs(10), || branch("production").filter(|at| *at == first));
    assert_eq!((moved, branch("main")), (first.clone(), Some(first)), "the branch that deploys is the one that moved");
    let kept = w.push_as("laptop", &repo, &app, &["-d", "production"]);
    assert_ne!(kept.code, 0, "what deploys was removed: {kept}");
    kept.says(&["can't be deleted"]);
    w.push_as("laptop", &repo, &app, &["-d", "main"]).ok();
    assert_eq!(branch("main"), None);
}

#[test]
fn an_atomic_push_whose_deploy_fails_leaves_nothing_else_of_it() {
    let w = World::shared("git_push");
    let (app, repo) = w.live("atomic", "one");
    repo.git(&["tag", "v1"]).ok();
    repo.write("mode", "exit=7\n").commit("broken");
    repo.git(&["tag", "v2"]).ok();
    let url = format!("paas@127.0.0.1:{app}");
    let refs = || {
        let listed = repo.git_with(&["ls-remote", &url], &[("GIT_SSH_COMMAND", &w.ssh_command("laptop"))], PUSH_LIMIT);
        listed.ok().out.clone()
    };

    // By name `a` stands before what deploys, and the tags behind it.
    let refused = w.push_as("laptop", &repo, &app, &["--atomic", "main", "main:refs/heads/a", "v1", "v2"]);

    assert_ne!(refused.code, 0, "{refused}");
    refused.says(&["failed at", "another ref of this push was refused"]);
    assert!(!refs().contains("refs/heads/a") && !refs().contains("refs/tags"), "{}", refs());
    repo.write("mode", "").release("two");
    w.push_as("laptop", &repo, &app, &["--atomic", "main", "main:refs/heads/a", "v1", "v2"]).ok();
    assert!(["refs/heads/a", "refs/tags/v1", "refs/tags/v2"].iter().all(|kept| refs().contains(kept)), "{}", refs());
    w.serves(&app, "two");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_stored_is_not_written_over_by_somebody_who_has_not_seen_it_or_by_the_same_push_again() {
    let w = World::shared("git_push");
    let (app, repo) = w.live("stored", "one");
    let first = repo.head();
    let second = repo.release("two");
    w.push_as("laptop", &repo, &app, &["main:refs/heads/dev"]).ok();
    let client = Client::new(Transport::socket(w.run_dir().join("api.sock")));
    let sha = |text: &str| CommitSha::parse(text).expect("an id");
    // A push that saw no `dev`: of somebody slower, or of one whose hook lost the daemon after it was stored.
    let ask = |reported: &[&str]| PushRequest {
        app: AppName::parse(&app).expect("a name"),
        commands: vec![RefCommand { reference: "refs/heads/dev".to_owned(), old: sha(&"0".repeat(40)), new: sha(&first) }],
        options: Vec::new(),
        atomic: false,
        resume: None,
        reported: reported.iter().map(|r| (*r).to_owned()).collect(),
        push: None,
    };
    let outcome = async |ask: PushRequest| {
        let mut events = client.git_push(&ask).await.expect("taken");
        let mut reports = Vec::new();
        while let Some(event) = events.next().await.expect("events") {
            if let PushEvent::Report { ok, why, .. } = event {
                reports.push((ok, why.unwrap_or_default()));
            }
        }
        reports
    };

    let slower = outcome(ask(&[])).await;
    assert!(matches!(&slower[..], [(false, why)] if why.contains("somebody else")), "{slower:?}");
    assert_eq!(outcome(ask(&["refs/heads/dev"])).await, [], "what was told is not done again");
    w.push_as("laptop", &repo, &app, &["-d", "dev"]).ok();
    assert_eq!(outcome(ask(&["refs/heads/dev"])).await, []);
    let url = format!("paas@127.0.0.1:{app}");
    let listed = repo.git_with(&["ls-remote", &url], &[("GIT_SSH_COMMAND", &w.ssh_command("laptop"))], PUSH_LIMIT);
    assert!(!listed.ok().out.contains("dev"), "what was removed is back");
    assert_eq!(outcome(ask(&[])).await, [(true, String::new())], "it may be made anew, from {second}");
}

#[test]
fn closing_the_pushers_terminal_changes_nothing() {
    let w = World::shared("git_push");
    let (app, repo) = (w.app("closed"), Repo::testapp("one"));
    repo.write("paas.toml", "[release]\ncommand = [\"/testapp\", \"release\"]\n")
        .write("mode", "release_ms=2000\n")
        .commit("slow");

    let mut push = push_in_background(&w, &repo, &app);
    let mut lines = BufReader::new(push.stderr.take().expect("stderr was piped")).lines();
    assert!(lines.any(|line| line.is_ok_and(|l| l.contains("begins"))), "the release command never began");
    push.kill().expect("our own child can be killed");
    push.wait().expect("a child can be waited for");
    drop(lines);

    eventually("the deploy goes on without its pusher", Duration::from_secs(30), || {
        (w.get(&app, "/").status == 200).then_some(())
    });
    w.push(&repo, &app).ok().says(&["up-to-date"]);
}

#[test]
fn a_push_ends_with_what_each_stage_took() {
    let w = World::shared("git_push");
    let (app, repo) = (w.app("stages"), Repo::testapp("one"));

    w.push(&repo, &app).ok().says(&["build", "boot", "switch", "http://", "v1"]);

    let stages = w.last_deploy(&app)["stages"].clone();
    assert!(stages.as_array().is_some_and(|s| s.len() >= 4), "the stages are not kept with the deploy: {stages}");
}

fn push_in_background(w: &World, repo: &Repo, app: &str) -> std::process::Child {
    let mut command = Command::new("git");
    command.current_dir(repo.path()).args(["push", &format!("paas@127.0.0.1:{app}"), "main"]);
    command.env("GIT_SSH_COMMAND", w.ssh_command("laptop")).env("GIT_CONFIG_GLOBAL", "/dev/null");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().expect("git starts")
}

/// What a `git receive-pack` leaves that was killed: a folder of its own user's, with a pack that was half received. Gives its place.
fn killed_push(w: &World, app: &str) -> PathBuf {
    let folder = w.state_dir().join("apps").join(app).join("repo.git/objects/tmp_objdir-incoming-abc123");
    let script =
        format!("mkdir -m 0700 '{dir}' && mkdir '{dir}/pack' && echo half >'{dir}/pack/tmp_pack_x'", dir = folder.display());
    run(Command::new("runuser").args(["-u", "paas", "--", "/bin/sh", "-c", &script]), b"", Duration::from_secs(10)).ok();
    folder
}

#[test]
fn an_app_with_a_push_that_was_killed_can_be_destroyed_and_made_again() {
    // Its own: another's push would clear up too.
    let w = World::start();
    let (app, repo) = w.live("halfway", "one");
    killed_push(&w, &app);

    w.paas(&["apps", "destroy", &app, "--confirm", &app]).ok();

    let removed = || run(Command::new("find").arg(w.state_dir().join("apps/.removed")).args(["-type", "f"]), b"", SOON).ok().out;
    assert!(
        removed().ends_with("/tmp_pack_x\n") && removed().lines().count() == 1,
        "only what is not the daemon's: {}",
        removed()
    );
    w.push(&repo, &app).ok();
    w.serves(&app, "one");
    assert_eq!(removed(), "", "the push has removed it");
    // Nothing at all stays once another app goes, or the daemon starts.
    w.paas(&["apps", "destroy", &app, "--confirm", &app]).ok();
    let folders = std::fs::read_dir(w.state_dir().join("apps/.removed")).expect("it is there");
    assert_eq!(folders.flatten().filter(|e| e.file_name().to_string_lossy().starts_with(&app)).count(), 0);
}

#[test]
fn a_push_removes_what_a_killed_one_left_but_not_beside_one_that_receives() {
    let w = World::shared("git_push");
    let (app, repo) = w.live("litter", "one");
    let left = killed_push(&w, &app);
    let mut words: Vec<String> = w.ssh_command("laptop").split(' ').map(str::to_owned).collect();
    words.extend(["paas@127.0.0.1".to_owned(), format!("git-receive-pack '{app}'")]);
    let receive = || {
        let mut command = Command::new(&words[0]);
        let mut session = command.args(&words[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("ssh starts");
        let mut refs = BufReader::new(session.stdout.take().expect("stdout was piped"));
        refs.fill_buf().expect("git tells its refs");
        (session, refs)
    };

    let (mut other, refs) = receive();
    assert!(!left.exists(), "nobody needed it");
    killed_push(&w, &app);
    repo.release("two");
    w.push(&repo, &app).ok();
    assert!(left.exists(), "it may have been the other's");
    other.kill().expect("our own child can be killed");
    other.wait().expect("a child can be waited for");
    drop(refs);

    eventually("the next push removes it", SOON, || {
        let (mut next, _refs) = receive();
        next.kill().expect("our own child can be killed");
        next.wait().expect("a child can be waited for");
        (!left.exists()).then_some(())
    });
}
