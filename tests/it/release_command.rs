//! The release command runs once per new image, before anything of it starts; where it fails, the old release stays.

use crate::support::{Repo, World};

const ARGV: &str = "[release]\ncommand = [\"/testapp\", \"release\"]\n";

#[test]
fn it_runs_once_per_image_with_its_output_in_the_push() {
    let w = World::shared("release_command");
    let (app, repo) = (w.app("once"), Repo::testapp("one"));
    repo.write("paas.toml", ARGV).commit("release command");

    w.push(&repo, &app).ok().says(&["release command of one begins", "release command of one ends with 0"]);
    w.serves(&app, "one");

    // The image is the same: neither a new configuration nor a restart nor a rollback runs it again.
    w.paas(&["config", "set", "-a", &app, "A=1"]).ok().never_says(&["release command of one"]);
    w.paas(&["ps", "restart", "-a", &app]).ok().never_says(&["release command of one"]);
    w.paas(&["rollback", "-a", &app]).ok().never_says(&["release command of one"]);
}

#[test]
fn where_it_fails_the_old_release_serves_and_the_push_says_why() {
    let w = World::shared("release_command");
    let (app, repo) = w.live("fails", "one");
    repo.write("paas.toml", ARGV).write("mode", "release_exit=9\n").release("two");

    let failed = w.push(&repo, &app);

    assert_ne!(failed.code, 0, "{failed}");
    failed.says(&["release command", "9", "release command of two begins", "v1"]);
    w.serves(&app, "one");
    assert_eq!(w.live_release(&app).as_deref(), Some("v1"));
    assert!(w.log_texts(&app, 50, &[]).iter().all(|line| !line.contains("starting two")), "the new release was started");
}

#[test]
fn it_sees_the_configuration_of_the_new_release() {
    let w = World::shared("release_command");
    let (app, repo) = w.live("sees", "one");
    w.paas(&["config", "set", "-a", &app, "TESTAPP_RELEASE_EXIT=4"]).ok();
    repo.write("paas.toml", ARGV).release("two");

    let failed = w.push(&repo, &app);

    assert_ne!(failed.code, 0, "{failed}");
    failed.says(&["ends with 4"]);
}
