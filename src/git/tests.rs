//! Repositories on the real git; keys and the ref policy as plain functions. Run as root, with the users of the installation present.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;

use super::policy::{Decision, Kept, MAX_REFS, Move, RefChange, judge};
use super::*;
use crate::config::HostConfig;
use crate::names::{AppName, BranchName, CommitSha, DeployId};

mod keys;

struct World {
    dir: tempfile::TempDir,
    repos: Repos,
    app: AppName,
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().expect("temp dir");
        let mut config = HostConfig::default_at(&dir.path().join("paas.toml"));
        config.state_dir = dir.path().join("state");
        let world = Self { repos: Repos::new(Arc::new(config)), app: AppName::parse("shop").expect("name"), dir };
        world.repos.ensure(&world.app).await.expect("repository is made");
        world
    }

    fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    /// Commits these files in a clone of its own and pushes the objects past the hooks; gives the commit.
    fn commit(&self, files: &[(&str, &str)]) -> CommitSha {
        let work = self.work();
        if !work.exists() {
            std::fs::create_dir(&work).expect("mkdir");
            git(&work, &["init", "-q", "-b", "main"]);
        }
        for (path, text) in files {
            let path = work.join(path);
            std::fs::create_dir_all(path.parent().expect("parent")).expect("mkdir");
            std::fs::write(path, text).expect("write");
        }
        git(&work, &["add", "-A"]);
        git(&work, &["commit", "-q", "--allow-empty", "-m", "one\u{7} line\n\nand more"]);
        self.give()
    }

    fn give(&self) -> CommitSha {
        let repo = self.repos.path(&self.app);
        // git forgets our config when it starts the other side of a local push.
        let other_side = "--receive-pack=git -c safe.directory=* receive-pack";
        for change in ["+HEAD:refs/test/incoming", ":refs/test/incoming"] {
            git(&self.work(), &["push", "-q", other_side, repo.to_str().expect("utf-8"), change]);
        }
        CommitSha::parse(git(&self.work(), &["rev-parse", "HEAD"]).trim()).expect("sha")
    }
}

#[track_caller]
fn git(dir: &Path, args: &[&str]) -> String {
    let mut command = Command::new("git");
    command.current_dir(dir).args(args).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_COUNT", "1");
    command.env("GIT_CONFIG_KEY_0", "safe.directory").env("GIT_CONFIG_VALUE_0", "*");
    for who in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{who}_NAME"), "Ada").env(format!("GIT_{who}_EMAIL"), "ada@example.com");
        command.env(format!("GIT_{who}_DATE"), "1700000000 +0000");
    }
    let out = command.output().expect("git runs");
    assert!(out.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

fn branch(name: &str) -> BranchName {
    BranchName::parse(name).expect("branch name")
}

#[tokio::test]
async fn the_login_user_can_write_objects_and_nothing_else() {
    let world = World::new().await;
    world.commit(&[("a", "1")]);
    let repo = world.repos.path(&world.app);
    let login = crate::base::accounts::user("paas").expect("look up").expect("user `paas` exists");
    for entry in ["", "config", "HEAD", "info", "info/attributes", "refs", "refs/heads"] {
        let meta = std::fs::metadata(repo.join(entry)).expect("stat");
        let by_group = meta.gid() == login.gid && meta.mode() & 0o020 != 0;
        assert!(meta.uid() != login.uid && !by_group && meta.mode() & 0o002 == 0, "{entry} is writable for the login user");
    }
    let objects = std::fs::metadata(repo.join("objects")).expect("stat");
    assert_eq!((objects.gid(), objects.mode() & 0o7777), (login.gid, 0o2775));
    let outsider = std::fs::metadata(&repo).expect("stat");
    assert_eq!(outsider.mode() & 0o007, 0, "other users can't enter");
}

#[tokio::test]
async fn making_a_repository_again_keeps_its_commits_and_restores_its_config() {
    let world = World::new().await;
    let commit = world.commit(&[("a", "1")]);
    world.repos.keep(&world.app, &Kept::Branch(branch("main")), &by(None, Some(&commit))).await.expect("stored");
    let config = world.repos.path(&world.app).join("config");
    let ours = std::fs::read_to_string(&config).expect("read");
    std::fs::write(&config, "[tar \"x\"]\n\tcommand = touch /tmp/owned\n").expect("write");
    world.repos.ensure(&world.app).await.expect("again");
    assert_eq!(std::fs::read_to_string(&config).expect("read"), ours);
    assert_eq!(world.repos.branch(&world.app, &branch("main")).await.expect("read"), Some(commit));
}

#[tokio::test]
async fn what_is_not_deployed_moves_only_from_where_its_pusher_saw_it_and_may_be_moved_again() {
    let world = World::new().await;
    let (one, two) = (world.commit(&[("a", "1")]), world.commit(&[("a", "2")]));
    let (repos, app) = (&world.repos, &world.app);
    for what in [Kept::Branch(branch("dev")), Kept::Tag(branch("v1"))] {
        let at = async || repos.at(app, &what.reference()).await.expect("read");
        for _ in 0..2 {
            repos.keep(app, &what, &by(None, Some(&one))).await.expect("made, and once more after a crash");
        }
        // Two that saw nothing there: the second would write over the first.
        let lost = repos.keep(app, &what, &by(None, Some(&two))).await;
        assert!(matches!(lost, Err(GitError::Moved { .. })), "{lost:?}");
        assert!(repos.can_keep(app, &what, &by(None, Some(&two))).await.is_err());
        repos.can_keep(app, &what, &by(Some(&one), Some(&two))).await.expect("it would");
        repos.keep(app, &what, &by(Some(&one), Some(&two))).await.expect("moved");
        let lost = repos.keep(app, &what, &by(Some(&one), None)).await;
        assert!(matches!(lost, Err(GitError::Moved { .. })), "{lost:?}");
        assert_eq!(at().await, Some(two.clone()));
        for _ in 0..2 {
            repos.keep(app, &what, &by(Some(&two), None)).await.expect("removed, and once more");
        }
        assert_eq!(at().await, None);
    }
}

#[tokio::test]
async fn a_branch_moves_only_from_where_it_was_expected() {
    let world = World::new().await;
    let (one, two) = (world.commit(&[("a", "1")]), world.commit(&[("a", "2")]));
    let (repos, app, main) = (&world.repos, &world.app, branch("main"));
    repos.move_branch(app, &main, None, &one).await.expect("made");
    repos.move_branch(app, &main, None, &one).await.expect("done again after a crash");
    let lost = repos.move_branch(app, &main, None, &two).await;
    assert!(matches!(lost, Err(GitError::Moved { .. })), "{lost:?}");
    repos.move_branch(app, &main, Some(&one), &two).await.expect("moved");
    assert_eq!(repos.branch(app, &main).await.expect("read"), Some(two.clone()));
    assert!(repos.is_ancestor(app, &one, &two).await.expect("asked"));
    assert!(!repos.is_ancestor(app, &two, &one).await.expect("asked"));
    assert_eq!(repos.branch(app, &branch("other")).await.expect("read"), None);
}

#[tokio::test]
async fn a_git_that_was_killed_while_it_moved_a_ref_stops_no_later_move() {
    let world = World::new().await;
    let one = world.commit(&[("a", "1")]);
    let (repos, app, main) = (&world.repos, &world.app, branch("main"));
    let repo = repos.path(app);
    std::fs::create_dir_all(repo.join("refs/paas/deploys")).expect("mkdir");
    for lock in ["refs/heads/main.lock", "refs/paas/deploys/d1.lock", "packed-refs.lock"] {
        std::fs::write(repo.join(lock), "").expect("a lock");
    }
    assert!(repos.move_branch(app, &main, None, &one).await.is_err());
    repos.drop_stale_locks(app).expect("dropped");
    repos.move_branch(app, &main, None, &one).await.expect("moved");
    repos.pin(app, &one, DeployId(1)).await.expect("pinned");
    repos.drop_stale_locks(&AppName::parse("unmade").expect("name")).expect("nothing to drop");
}

/// A hook that is called while the lock of the ref is held, and never ends.
fn hanging_hook(world: &World, first: &str) -> String {
    let hooks = world.dir.path().join("hooks");
    std::fs::create_dir_all(&hooks).expect("mkdir");
    let hook = hooks.join("reference-transaction");
    std::fs::write(&hook, format!("#!/bin/sh\n{first}\nsleep 60\n")).expect("write");
    std::fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("chmod");
    format!("core.hooksPath={}", hooks.display())
}

#[tokio::test]
async fn a_git_that_takes_too_long_leaves_no_lock_behind() {
    let world = World::new().await;
    let one = world.commit(&[("a", "1")]);
    let (repos, app, main) = (&world.repos, &world.app, branch("main"));
    let (repo, hook) = (repos.path(app), hanging_hook(&world, ""));
    let args = ["-c", &hook, "update-ref", "refs/heads/main", one.as_str()];
    let began = Instant::now();

    let slow = run::Git::new(&repo, &args).within(Duration::from_secs(1)).output().await;

    assert!(matches!(slow, Err(GitError::TimedOut { .. })), "{:?}", slow.map(|_| ()));
    assert!(began.elapsed() < Duration::from_secs(4), "it ended at once when it was told to: {:?}", began.elapsed());
    assert!(!repo.join("refs/heads/main.lock").exists());
    repos.move_branch(app, &main, None, &one).await.expect("moved");
}

#[tokio::test]
async fn a_git_that_does_not_care_is_killed_all_the_same() {
    let world = World::new().await;
    let one = world.commit(&[("a", "1")]);
    let (repo, alive) = (world.repos.path(&world.app), world.dir.path().join("alive"));
    let hook = hanging_hook(&world, &format!("trap '' TERM; echo $$ >{}", alive.display()));
    let args = ["-c", &hook, "update-ref", "refs/heads/main", one.as_str()];
    let began = Instant::now();

    let slow = run::Git::new(&repo, &args).within(Duration::from_secs(1)).output().await;

    assert!(matches!(slow, Err(GitError::TimedOut { .. })), "{:?}", slow.map(|_| ()));
    assert!(began.elapsed() < Duration::from_secs(20), "it was waited for: {:?}", began.elapsed());
    let pid = std::fs::read_to_string(alive).expect("the hook ran");
    let gone = async {
        // One that nobody has reaped yet has no command line.
        while std::fs::read(format!("/proc/{}/cmdline", pid.trim())).is_ok_and(|line| !line.is_empty()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), gone).await.expect("it is gone");
}

#[tokio::test]
async fn a_pinned_commit_survives_maintenance_and_an_unpinned_one_may_go() {
    let world = World::new().await;
    let (one, two) = (world.commit(&[("a", "1")]), world.commit(&[("a", "2")]));
    let (repos, app) = (&world.repos, &world.app);
    repos.pin(app, &two, DeployId(12)).await.expect("pinned");
    repos.pin(app, &two, DeployId(12)).await.expect("twice");
    repos.maintain(app).await.expect("maintained");
    assert_eq!(repos.commit_info(app, &one).await.expect("its parent is there too").subject, "one line");
    repos.unpin(app, DeployId(12)).await.expect("unpinned");
    repos.unpin(app, DeployId(12)).await.expect("twice");
    let tree = CommitSha::parse(git(&world.work(), &["rev-parse", "HEAD^{tree}"]).trim()).expect("sha");
    assert!(matches!(repos.pin(app, &tree, DeployId(13)).await, Err(GitError::NotACommit { .. })));
    repos.remove(app).await.expect("removed");
    repos.remove(app).await.expect("twice");
    assert!(!repos.exists(app));
}

#[tokio::test]
async fn an_archive_is_the_tree_whatever_the_attributes_say() {
    let world = World::new().await;
    let long = format!("deep/{}/f", "x".repeat(180));
    let attributes = "secret export-ignore\nv.txt export-subst\n";
    let files = [(".gitattributes", attributes), ("secret", "s"), ("v.txt", "$Format:%H$"), ("bin/run", "#!"), (&long, "deep")];
    let commit = world.commit(&files);
    let mut bytes = Vec::new();
    world.repos.archive(&world.app, &commit).await.expect("started").read_to_end(&mut bytes).await.expect("read");
    let mut found = std::collections::BTreeMap::new();
    for entry in tar::Archive::new(&bytes[..]).entries().expect("tar") {
        let mut entry = entry.expect("entry");
        let path = entry.path().expect("path").to_string_lossy().into_owned();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut entry, &mut text).expect("content");
        if entry.header().entry_type().is_file() {
            assert_eq!(entry.header().mode().expect("mode"), 0o644, "{path}");
            found.insert(path, text);
        }
    }
    let expected: std::collections::BTreeMap<String, String> =
        files.iter().map(|(p, t)| ((*p).to_owned(), (*t).to_owned())).collect();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn an_archive_of_a_damaged_repository_is_an_error_and_no_short_tar() {
    let world = World::new().await;
    let commit = world.commit(&[("a", "first"), ("z/last", "other")]);
    let repo = world.repos.path(&world.app);
    let blob = git(&world.work(), &["rev-parse", "HEAD:z/last"]);
    let loose = repo.join("objects").join(&blob[..2]).join(blob[2..].trim());
    std::fs::remove_file(&loose).expect("a small push is loose here");
    let mut bytes = Vec::new();
    let read = world.repos.archive(&world.app, &commit).await.expect("started").read_to_end(&mut bytes).await;
    let error = read.expect_err("git broke off");
    assert!(error.to_string().contains("broke off"), "{error}");
}

#[tokio::test]
async fn files_of_a_commit_are_read_within_a_limit_and_links_are_none() {
    let world = World::new().await;
    world.commit(&[("paas.toml", "[build]"), ("big", &"x".repeat(2000))]);
    std::os::unix::fs::symlink("/etc/passwd", world.work().join("link")).expect("symlink");
    let commit = world.commit(&[]);
    let (repos, app) = (&world.repos, &world.app);
    let read = async |path: &str| repos.read_file(app, &commit, path, 1000).await;
    assert_eq!(read("paas.toml").await.expect("read").as_deref(), Some(&b"[build]"[..]));
    for path in ["absent", "link", "../x", "-x", "*", ""] {
        assert_eq!(read(path).await.unwrap_or(None), None, "{path}");
    }
    assert!(matches!(read("big").await, Err(GitError::FileTooLarge { .. })));
    let info = repos.commit_info(app, &commit).await.expect("info");
    assert_eq!(
        (info.subject.as_str(), info.author.as_str(), info.time.0),
        ("one line", "Ada <ada@example.com>", 1_700_000_000_000)
    );
}

#[tokio::test]
async fn submodules_and_lfs_files_are_named_before_they_are_missed() {
    let world = World::new().await;
    let plain = world.commit(&[("a", "1")]);
    assert!(world.repos.warnings(&world.app, &plain).await.expect("asked").is_empty());
    std::fs::write(world.work().join(".gitattributes"), "*.bin filter=lfs\n").expect("write");
    git(&world.work(), &["update-index", "--add", "--cacheinfo", &format!("160000,{plain},libs/dep")]);
    git(&world.work(), &["add", ".gitattributes"]);
    git(&world.work(), &["commit", "-q", "-m", "x"]);
    let commit = world.give();
    let warnings = world.repos.warnings(&world.app, &commit).await.expect("asked");
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("`libs/dep`") && warnings[1].contains("LFS"), "{warnings:?}");
}

#[test]
fn the_hook_is_a_link_to_the_program_and_nothing_else_stays() {
    let dir = tempfile::tempdir().expect("temp dir");
    let hooks = dir.path().join("hooks");
    install_hooks(&hooks, Path::new("/usr/bin/one")).expect("made");
    std::fs::write(hooks.join("pre-receive"), "x").expect("write");
    install_hooks(&hooks, Path::new("/usr/bin/two")).expect("again");
    let names: Vec<_> = std::fs::read_dir(&hooks).expect("list").map(|e| e.expect("entry").file_name()).collect();
    assert_eq!(names, ["proc-receive"]);
    assert_eq!(std::fs::read_link(hooks.join("proc-receive")).expect("link"), Path::new("/usr/bin/two"));
}

const ZERO: &str = "0000000000000000000000000000000000000000";
const ONE: &str = "1111111111111111111111111111111111111111";

fn by(old: Option<&CommitSha>, new: Option<&CommitSha>) -> Move {
    Move { old: old.cloned(), new: new.cloned() }
}

fn sha(text: &str) -> CommitSha {
    CommitSha::parse(text).expect("sha")
}

fn change(reference: &str, old: &str, new: &str) -> RefChange {
    RefChange { reference: reference.to_owned(), old: sha(old), new: sha(new) }
}

fn decide(changes: &[RefChange], atomic: bool) -> Vec<Decision> {
    judge(&AppName::parse("shop").expect("name"), changes, atomic, &branch("main"))
}

#[test]
fn only_the_deploy_branch_deploys_and_other_branches_and_tags_are_stored() {
    let decisions = decide(
        &[change("refs/heads/main", ZERO, ONE), change("refs/heads/f/x", ONE, ONE), change("refs/tags/v1", ZERO, ONE)],
        false,
    );
    assert!(matches!(&decisions[0], Decision::Deploy { old: None, .. }));
    assert!(matches!(&decisions[1], Decision::Keep { what: Kept::Branch(_), by: Move { old: Some(_), new: Some(_) } }));
    assert!(matches!(&decisions[2], Decision::Keep { what: Kept::Tag(_), by: Move { old: None, new: Some(_) } }));
    let deletes = decide(
        &[change("refs/heads/main", ONE, ZERO), change("refs/heads/f", ONE, ZERO), change("refs/tags/v1", ONE, ZERO)],
        false,
    );
    assert!(matches!(&deletes[0], Decision::Refuse { why } if why.contains("can't be deleted")));
    let gone = |what: Kept| Decision::Keep { what, by: by(Some(&sha(ONE)), None) };
    assert_eq!(deletes[1..], [gone(Kept::Branch(branch("f"))), gone(Kept::Tag(branch("v1")))]);
}

#[test]
fn odd_refs_are_refused_with_one_line_that_says_what_to_do() {
    let long = format!("refs/heads/{}", "x".repeat(200));
    for odd in [
        "refs/notes/x",
        "refs/heads/../x",
        "refs/heads/a b",
        "refs/heads/$(id)",
        "refs/heads/-x",
        "refs/heads/a\u{1b}[2J",
        "HEAD",
        "refs/paas/deploys/d1",
        &long,
    ] {
        let decisions = decide(&[change(odd, ZERO, ONE)], false);
        let Decision::Refuse { why } = &decisions[0] else { panic!("{odd} was taken: {decisions:?}") };
        assert!(!why.chars().any(char::is_control) && why.len() < 400, "{why}");
    }
}

#[test]
fn a_flood_of_refs_a_ref_twice_and_an_atomic_push_with_a_bad_ref_are_refused_whole() {
    let many: Vec<RefChange> = (0..=MAX_REFS).map(|n| change(&format!("refs/heads/b{n}"), ZERO, ONE)).collect();
    assert!(decide(&many, false).iter().all(|decision| matches!(decision, Decision::Refuse { .. })));
    let twice = decide(&[change("refs/heads/main", ZERO, ONE), change("refs/heads/main", ZERO, ONE)], false);
    assert!(matches!(twice[..], [Decision::Deploy { .. }, Decision::Refuse { .. }]));
    let atomic = decide(&[change("refs/heads/main", ZERO, ONE), change("refs/notes/x", ZERO, ONE)], true);
    assert!(atomic.iter().all(|decision| matches!(decision, Decision::Refuse { .. })));
}
