//! The ssh door and git's hook on a real sshd, a real git and the real binary. The daemon behind them is a stand-in that speaks the API and uses
//! the real repositories and ref policy, so that what is proven here is everything in front of a deploy. Needs root and the installation's users.

mod fake_daemon;
mod world;

use std::io::{BufRead, BufReader, Read};
use std::time::{Duration, Instant};

use world::World;

#[test]
fn a_push_shows_its_lines_live_and_moves_the_branch_when_it_is_done() {
    let world = World::new();
    let commit = world.commit(&[("index.html", "one")]);
    let mut push =
        world.git_command(&["push", "deploy", "main"]).stderr(std::process::Stdio::piped()).spawn().expect("git starts");
    let mut seen = Vec::new();
    for line in BufReader::new(push.stderr.take().expect("piped")).lines() {
        seen.push((Instant::now(), line.expect("text")));
    }
    assert!(push.wait().expect("waited").success(), "{seen:?}");
    let at = |text: &str| {
        seen.iter()
            .find(|(_, line)| line.starts_with("remote:") && line.contains(text))
            .unwrap_or_else(|| panic!("{text}: {seen:?}"))
            .0
    };
    let between = at("Live").duration_since(at("Building"));
    assert!(between > Duration::from_millis(200), "the lines came together: {between:?}");
    assert_eq!(world.branch("main"), Some(commit));
    assert!(seen.iter().any(|(_, line)| line.contains("main -> main")), "{seen:?}");
    assert!(seen.iter().any(|(_, line)| line.contains("App shop is created")), "{seen:?}");
}

#[test]
fn a_failed_deploy_rejects_the_push_with_the_reason_and_the_same_push_can_be_repeated() {
    let world = World::new();
    let first = world.commit(&[("a", "1")]);
    world.push(&["main"]).succeeds();
    world.commit(&[("fail", "d2 failed at Probing: v1 still serves")]);
    let refused = world.push(&["main"]).fails();
    assert!(refused.contains("! [remote rejected] main -> main (d2 failed at Probing: v1 still serves)"), "{refused}");
    assert_eq!(world.branch("main"), Some(first));
    let again = world.push(&["main"]).fails();
    assert!(again.contains("remote rejected"), "{again}");
    let fixed = world.commit(&[("fail", "")]);
    world.push(&["main"]).succeeds();
    assert_eq!(world.branch("main"), Some(fixed));
}

#[test]
fn other_branches_and_tags_are_stored_and_said_so() {
    let world = World::new();
    let commit = world.commit(&[("a", "1")]);
    world.git(&["tag", "v1"]);
    world.git(&["tag", "-a", "-m", "two", "v2"]);
    let said = world.push(&["main:feature/x", "v1", "v2", "main"]).succeeds();
    assert!(said.contains("feature/x is stored, not deployed"), "{said}");
    assert_eq!(world.branch("feature/x").as_ref(), Some(&commit));
    assert_eq!(world.branch("main"), Some(commit));
    let listed = world.git(&["ls-remote", "deploy"]);
    assert!(listed.contains("refs/tags/v1") && listed.contains("refs/tags/v2^{}"), "{listed}");
    assert!(!listed.contains("refs/paas"), "pins are hidden: {listed}");
    world.push(&[":feature/x"]).succeeds();
    assert_eq!(world.branch("feature/x"), None);
}

#[test]
fn the_deploy_branch_cannot_be_deleted_and_a_forced_push_is_taken_and_said_so() {
    let world = World::new();
    world.commit(&[("a", "1")]);
    world.push(&["main"]).succeeds();
    let refused = world.push(&[":main"]).fails();
    assert!(refused.contains("can't be deleted"), "{refused}");
    world.git(&["commit", "-q", "--amend", "-m", "rewritten"]);
    assert!(world.push(&["main"]).fails().contains("non-fast-forward"), "git's client refuses it without -f");
    let said = world.push(&["-f", "main"]).succeeds();
    assert!(said.contains("moved by force"), "{said}");
    assert_eq!(world.branch("main").expect("there").as_str(), world.git(&["rev-parse", "HEAD"]).trim());
}

#[test]
fn refs_that_are_no_branches_and_bad_names_are_refused_with_what_to_do() {
    let world = World::new();
    world.commit(&[("a", "1")]);
    let long = "x".repeat(200);
    let touch = "$(touch${IFS}x)";
    for (to, expected) in [
        ("refs/notes/x".to_owned(), "is no branch; push one"),
        (format!("refs/heads/{long}"), "branch name"),
        (format!("refs/heads/{touch}"), "branch name"),
        ("refs/heads/ü".to_owned(), "branch name"),
    ] {
        let said = world.push(&[&format!("main:{to}")]).fails();
        assert!(said.contains("remote rejected") && said.contains(expected), "{to}: {said}");
    }
    let hidden = world.push(&["main:refs/paas/deploys/d1"]).fails();
    assert!(hidden.contains("hidden ref"), "{hidden}");
    let atomic = world.push(&["--atomic", "main", "main:refs/notes/x"]).fails();
    assert!(atomic.contains("--atomic") && world.branch("main").is_none(), "{atomic}");
    let many: Vec<String> = (0..60).map(|n| format!("main:b{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert!(world.push(&many).fails().contains("60 refs in one push"));
}

#[test]
fn a_daemon_that_restarts_in_the_middle_is_found_again_and_no_line_is_lost_or_repeated() {
    let world = World::new();
    let commit = world.commit(&[("cut", "")]);
    let said = world.push(&["main"]).succeeds();
    for line in ["line 1", "line 2", "line 3", "line 4"] {
        assert_eq!(said.matches(line).count(), 1, "{line}: {said}");
    }
    assert_eq!(world.branch("main"), Some(commit));
}

#[test]
fn without_a_daemon_the_push_says_that_nothing_was_deployed() {
    let world = World::new();
    world.commit(&[("a", "1")]);
    world.daemon.leave_after_session();
    let said = world.push(&["main"]).fails();
    assert!(said.contains("the paas daemon is not running; nothing was deployed"), "{said}");
    // Now even the session finds nobody.
    let said = world.push(&["main"]).fails();
    assert!(said.contains("can't be reached"), "{said}");
}

#[test]
fn a_pusher_that_goes_away_does_not_stop_the_deploy() {
    let world = World::new();
    let commit = world.commit(&[("slow", "")]);
    let mut push =
        world.git_command(&["push", "deploy", "main"]).stderr(std::process::Stdio::piped()).spawn().expect("git starts");
    let mut said = BufReader::new(push.stderr.take().expect("piped"));
    let mut line = String::new();
    while !line.contains("Building") {
        line.clear();
        assert!(said.read_line(&mut line).expect("read") > 0, "the push ended early");
    }
    push.kill().expect("killed");
    push.wait().expect("waited");
    drop(said);
    world.wait_until("the deploy ends without its pusher", || world.branch("main").as_ref() == Some(&commit));
}

#[test]
fn a_push_above_the_limit_says_so_and_leaves_nothing() {
    let world = World::new();
    world.daemon.set_push_bytes(1 << 20);
    let mut noise = vec![0; 3 << 20];
    std::fs::File::open("/dev/urandom").expect("open").read_exact(&mut noise).expect("read");
    std::fs::write(world.work().join("big"), noise).expect("write");
    world.commit(&[]);
    let said = world.push(&["main"]).fails();
    assert!(said.contains("exceeds maximum allowed size"), "{said}");
    assert_eq!(world.branch("main"), None);
    world.wait_until("git removes what it received half", || world.objects_left() == 0);
}

#[test]
fn hostile_objects_are_refused_and_harmless_old_flaws_are_not() {
    let world = World::new();
    world.commit(&[("a", "1")]);
    let blob = world.git_with_input(&["hash-object", "-w", "--stdin"], b"x");
    for name in [".GIT", "..", ".git"] {
        let mut tree = format!("100644 {name}\0").into_bytes();
        tree.extend((0..20).map(|n| u8::from_str_radix(&blob[n * 2..n * 2 + 2], 16).expect("hex")));
        let tree = world.git_with_input(&["hash-object", "-t", "tree", "-w", "--literally", "--stdin"], &tree);
        let commit = world.git(&["commit-tree", "-m", "x", tree.trim()]);
        let said = world.push(&[&format!("{}:refs/heads/main", commit.trim())]).fails();
        assert!(said.contains("fsck error") || said.contains("hasDot"), "{name}: {said}");
    }
    let modules =
        world.git_with_input(&["hash-object", "-w", "--stdin"], b"[submodule \"x\"]\n\tpath = x\n\turl = --upload-pack=touch\n");
    world.git(&["update-index", "--add", "--cacheinfo", &format!("100644,{},.gitmodules", modules.trim())]);
    let tree = world.git(&["write-tree"]);
    let commit = world.git(&["commit-tree", "-m", "x", tree.trim()]);
    let said = world.push(&[&format!("{}:refs/heads/main", commit.trim())]).fails();
    assert!(said.contains("gitmodulesUrl"), "{said}");
    world.git(&["reset", "-q", "--hard"]);
    let raw = world
        .git(&["cat-file", "commit", "HEAD"])
        .replace("committer Ada <ada@example.com> 1700000000 +0000", "committer Ada <ada@example.com> 1700000000 +51800000");
    let old = world.git_with_input(&["hash-object", "-t", "commit", "-w", "--literally", "--stdin"], raw.as_bytes());
    world.push(&[&format!("{}:refs/heads/main", old.trim())]).succeeds();
}

#[test]
fn ssh_gives_no_shell_no_files_no_forwarding_and_no_options_to_git() {
    let world = World::new();
    world.commit(&[("a", "1")]);
    let canary = world.path("canary");
    let touch = format!("touch {}", canary.display());
    for command in [
        touch.clone(),
        format!("sh -c '{touch}'"),
        format!("git-receive-pack --exec='{touch}' shop"),
        format!("git-upload-pack --upload-pack='{touch}' shop"),
        format!("git-receive-pack 'shop'; {touch}"),
        format!("git-receive-pack \"$({touch})\""),
        "git-receive-pack '../../etc'".to_owned(),
        "git-receive-pack '-shop'".to_owned(),
        "daemon --config /tmp/x".to_owned(),
        "scp -t /tmp".to_owned(),
    ] {
        let out = world.ssh(&[], &command, b"");
        assert_eq!(out.code, 2, "{command}: {}", out.said);
        assert!(out.said.contains("error: "), "{command}: {}", out.said);
    }
    let terminal = world.ssh(&["-tt"], "git-receive-pack shop", b"");
    assert!(terminal.all().contains("git can't talk over a terminal"), "{}", terminal.all());
    let forward = world.ssh(&["-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:22"], "git-receive-pack shop", b"0000");
    assert!(forward.code == 255 && forward.said.contains("forwarding failed"), "{}", forward.said);
    assert_ne!(world.ssh(&["-W", "127.0.0.1:22"], "", b"").code, 0);
    assert_ne!(world.ssh(&["-s"], "sftp", b"").code, 0);
    assert!(world.ssh(&[], "", b"").said.contains("You are k3"));
    assert!(!canary.exists(), "something ran");
}

#[test]
fn a_key_that_the_daemon_denies_reads_the_reason() {
    let world = World::new();
    world.commit(&[("a", "1")]);
    world.git(&["remote", "set-url", "deploy", &world.remote("secret")]);
    let said = world.push(&["main"]).fails();
    assert!(said.contains("key k3 may not push to `secret`"), "{said}");
    world.git(&["remote", "set-url", "deploy", &world.remote("SHOP")]);
    assert!(world.push(&["main"]).fails().contains("app name `SHOP` is not valid"));
}

#[test]
fn what_was_pushed_can_be_cloned_and_collected_and_pushed_to_again() {
    let world = World::new();
    world.commit(&[("a", "1")]);
    world.push(&["main"]).succeeds();
    world.collect_as_daemon();
    let second = world.commit(&[("a", "2"), ("b/c", "3")]);
    world.push(&["main"]).succeeds();
    world.collect_as_daemon();
    let copy = world.path("copy");
    world.git(&["clone", "-q", &world.remote("shop"), copy.to_str().expect("utf-8")]);
    assert_eq!(std::fs::read_to_string(copy.join("b/c")).expect("cloned"), "3");
    assert_eq!(world.branch("main"), Some(second));
}

#[test]
fn the_api_tunnel_speaks_for_the_key_and_cannot_claim_another() {
    let world = World::new();
    let ask = b"GET /version HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let answer = world.ssh(&[], "api", ask);
    assert!(answer.out.contains("200 OK") && answer.out.contains("\"key\":\"k3\""), "{}", answer.all());
    let claim = [b"key k9\n".as_slice(), ask].concat();
    assert!(!world.ssh(&[], "api", &claim).out.contains("k9"));
}

#[test]
fn a_session_or_hook_that_is_killed_anywhere_leaves_a_push_that_can_be_repeated() {
    let world = World::new();
    for point in ["session-started", "session-authorised", "hook-started", "hook-deploy-asked", "hook-reported"] {
        let commit = world.commit(&[("at", point)]);
        world.crash_at(point);
        let pushed = world.push(&["main"]);
        // What git has read of the reports counts, so the last point may pass unnoticed.
        let said = if point == "hook-reported" { String::new() } else { pushed.fails() };
        assert!(world.crashed_at(point), "{point} was not passed: {said}");
        // The daemon may still be at work for the killed hook; then the second push finds its branch moved already.
        let start = Instant::now();
        while !world.push(&["main"]).succeeded() {
            assert!(start.elapsed() < Duration::from_secs(10), "{point}: {said}");
        }
        assert_eq!(world.branch("main"), Some(commit), "{point}");
    }
}
