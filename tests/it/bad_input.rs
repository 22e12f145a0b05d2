//! Bad input loses nothing: the old release serves, and the message says what is wrong and what to do.

use std::time::{Duration, Instant};

use crate::support::{Done, Repo, World};

/// Pushes a bad sample over a release that works; gives what the pusher read. The old release must still serve.
#[track_caller]
fn pushed_over_a_live_release(w: &World, sample: &str) -> Done {
    let (app, repo) = w.live("bad", "good");
    for stale in ["Dockerfile", "testapp", "version", "mode"] {
        repo.remove(stale);
    }
    let bad = Repo::of_sample(sample);
    for entry in std::fs::read_dir(bad.path()).expect("a folder can be read").flatten().filter(|e| e.file_name() != ".git") {
        std::fs::copy(entry.path(), repo.path().join(entry.file_name())).expect("a file can be copied");
    }
    repo.commit(sample);

    let done = w.push(&repo, &app);

    assert_ne!(done.code, 0, "{sample} should have been refused:\n{done}");
    w.serves(&app, "good");
    assert_eq!(w.live_release(&app).as_deref(), Some("v1"), "{done}");
    assert_eq!(w.instances(&app).len(), 1, "instances of the failed deploy were left: {:?}", w.instances(&app));
    done.says(&["[remote rejected]"]).never_says(&["panicked", "internal error"])
}

#[test]
fn an_unknown_key_is_named_with_the_nearest_allowed_one() {
    let w = World::shared("bad_input");
    pushed_over_a_live_release(&w, "bad-unknown-key").says(&["paas.toml", "comand", "command"]);
}

#[test]
fn broken_toml_is_named_with_its_line() {
    let w = World::shared("bad_input");
    pushed_over_a_live_release(&w, "bad-toml").says(&["paas.toml", "1"]);
}

#[test]
fn a_procfile_without_web_says_what_is_missing() {
    let w = World::shared("bad_input");
    pushed_over_a_live_release(&w, "bad-no-web").says(&["Procfile", "web"]);
}

#[test]
fn a_dockerfile_that_fails_shows_its_step_and_the_output() {
    let w = World::shared("bad_input");
    pushed_over_a_live_release(&w, "bad-dockerfile").says(&["COPY missing.txt", "missing.txt", "v1"]);
}

#[test]
fn a_from_that_cannot_be_had_says_how_to_give_another() {
    let w = World::shared("bad_input");
    pushed_over_a_live_release(&w, "bad-from").says(&["registry.invalid/nobody/nothing:1", "FROM"]);
}

#[test]
fn an_app_that_exits_at_once_shows_its_code_and_its_last_lines() {
    let w = World::shared("bad_input");
    let started = Instant::now();
    let done = pushed_over_a_live_release(&w, "bad-exits").says(&["3", "fatal: told to exit", "v1"]);
    assert!(started.elapsed() < Duration::from_secs(40), "a crash was waited for like a slow boot:\n{done}");
}

#[test]
fn an_app_that_never_listens_is_named_as_such() {
    let w = World::shared("bad_input");
    pushed_over_a_live_release(&w, "bad-never-listens").says(&["listen", "will never listen", "v1"]);
}

#[test]
fn an_app_on_the_wrong_port_is_told_the_port_it_listens_on() {
    let w = World::shared("bad_input");
    pushed_over_a_live_release(&w, "bad-wrong-port").says(&["9123", "8080"]);
}

#[test]
fn an_app_that_answers_500_to_health_shows_the_answer() {
    let w = World::shared("bad_input");
    pushed_over_a_live_release(&w, "bad-health").says(&["/health", "500", "v1"]);
}

#[test]
fn an_app_that_listens_on_localhost_only_works_in_both_families() {
    let w = World::shared("bad_input");
    for sample in ["localhost-only", "localhost-six"] {
        let app = w.app("local");
        w.push(&Repo::of_sample(sample), &app).ok();
        assert_eq!(w.get(&app, "/").status, 200, "{sample}");
    }
}

#[test]
fn an_app_that_needs_forty_seconds_to_boot_is_waited_for() {
    let w = World::shared("bad_input");
    let app = w.app("slow");
    let done = w.push(&Repo::of_sample("slow-boot"), &app).ok();
    assert!(done.took > Duration::from_secs(40), "{done}");
    assert_eq!(w.get(&app, "/").status, 200);
}

#[test]
fn names_that_are_no_app_names_reach_nothing() {
    let w = World::shared("bad_input");
    let long = "a".repeat(200);
    let repo = Repo::testapp("one");
    for name in ["../../etc", "shop/../x", "shop;id", "$(id)", "`id`", "shop'", "Shop", "a b", "-shop", "--upload-pack=id", &long]
    {
        let done = w.push(&repo, name);
        assert_ne!(done.code, 0, "`{name}` was taken:\n{done}");
        let done = w.paas(&["apps", "create", "--", name]);
        assert!(done.code == 1 || done.code == 2, "`{name}` was taken:\n{done}");
        done.never_says(&["uid=0", "panicked"]);
    }
    assert!(!w.paas(&["apps", "list", "--json"]).ok().out.contains("shop"));
}

#[test]
fn refs_that_are_no_branches_and_branch_names_with_tricks_are_refused() {
    let w = World::shared("bad_input");
    let (app, repo) = w.live("refs", "one");
    repo.release("two");
    let long = format!("main:refs/heads/{}", "b".repeat(200));
    for refspec in
        ["main:refs/paas/deploys/d1", "main:refs/hidden/x", "main:refs/heads/a;id", "main:refs/heads/$(id)", &long, ":main"]
    {
        let done = w.push_as("laptop", &repo, &app, &[refspec]);
        assert_ne!(done.code, 0, "`{refspec}` was taken:\n{done}");
    }
    w.serves(&app, "one");
}

#[test]
fn a_link_out_of_the_tree_is_refused_by_name() {
    let w = World::shared("bad_input");
    let (app, repo) = w.live("link", "one");
    std::os::unix::fs::symlink("../../../etc/shadow", repo.path().join("shadow")).expect("a link can be made");
    repo.release("two");

    let done = w.push(&repo, &app);

    assert_ne!(done.code, 0, "{done}");
    done.says(&["shadow", "link"]);
    w.serves(&app, "one");
}

#[test]
fn a_file_beyond_the_limits_is_refused_before_it_fills_the_disk() {
    let w = World::start_with("[limits]\npush_bytes = \"4MiB\"\nsource_bytes = \"20MiB\"\n", &[]);
    let (app, repo) = w.live("huge", "one");

    // Two gigabytes of zeroes are two megabytes to git: only the unpacked size tells.
    let file = std::fs::File::create(repo.path().join("huge")).expect("a file can be made");
    file.set_len(2 << 30).expect("a sparse file can be made");
    repo.release("two");
    let done = w.push(&repo, &app);
    assert_ne!(done.code, 0, "{done}");
    done.says(&["20"]);

    // What does not pack is stopped while it comes in.
    let noise: Vec<u8> = (0u64..6 << 17)
        .flat_map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(17).wrapping_mul(n | 1).to_le_bytes())
        .collect();
    repo.write("huge", noise).release("three");
    let done = w.push(&repo, &app);
    assert_ne!(done.code, 0, "{done}");
    w.serves(&app, "one");
}

#[test]
fn a_key_that_may_not_deploy_this_app_is_told_so() {
    let w = World::shared("bad_input");
    let (app, repo) = w.live("owned", "one");
    w.add_key("stranger", &["--app", "another-app"]).ok();
    repo.release("two");

    let done = w.push_as("stranger", &repo, &app, &["main"]);
    assert_ne!(done.code, 0, "{done}");
    done.says(&["stranger"]);

    w.add_key("leaver", &[]).ok();
    w.paas(&["keys", "remove", "leaver"]).ok();
    assert_ne!(w.push_as("leaver", &repo, &app, &["main"]).code, 0, "a removed key still works");
    w.serves(&app, "one");
}

#[test]
fn an_image_that_carries_our_labels_is_only_an_image() {
    let w = World::shared("bad_input");
    let (other, _repo) = w.live("other", "one");
    let repo = Repo::of_sample("bad-labels");
    let app = w.app("labels");

    w.push(&repo, &app).ok();

    w.serves(&app, "bad");
    w.serves(&other, "one");
    assert_eq!(w.instances(&app).len(), 1);
    assert!(w.objects().iter().any(|o| o.contains(&app)), "the instance is not counted as ours: {:?}", w.objects());
}
