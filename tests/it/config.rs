//! Configuration reaches the app, makes a release, and is readable only where it should be.

use crate::support::{World, json_lines};

#[test]
fn a_change_makes_a_release_and_reaches_the_app() {
    let w = World::shared("config");
    let (app, _repo) = w.live("set", "one");

    w.paas(&["config", "set", "-a", &app, "GREETING=hello world", "EMPTY="]).ok();

    let env = w.get(&app, "/env").text();
    assert!(env.contains("GREETING=hello world\n") && env.contains("EMPTY=\n"), "{env}");
    assert_eq!(w.paas(&["config", "get", "-a", &app, "GREETING"]).ok().out, "hello world\n");
    assert_eq!(w.live_release(&app).as_deref(), Some("v2"));
    w.paas(&["config", "unset", "-a", &app, "GREETING"]).ok();
    assert!(!w.get(&app, "/env").text().contains("GREETING"));
}

#[test]
fn a_change_that_breaks_the_app_is_not_kept() {
    let w = World::shared("config");
    let (app, _repo) = w.live("breaks", "one");

    let failed = w.paas(&["config", "set", "-a", &app, "TESTAPP_EXIT=3"]);

    assert_eq!(failed.code, 1, "{failed}");
    w.serves(&app, "one");
    assert!(!w.get(&app, "/env").text().contains("TESTAPP_EXIT"));
}

#[test]
fn a_value_stands_in_no_log_no_file_and_no_other_container() {
    let w = World::shared("config");
    let (app, _repo) = w.live("secret", "one");
    let canary = "canary-5f1d0c9e7b";
    w.paas(&["config", "set", "-a", &app, &format!("TOKEN={canary}")]).ok();

    assert!(!w.logs_of_roles().contains(canary));
    assert!(!w.log_texts(&app, 500, &[]).concat().contains(canary));
    let grep = std::process::Command::new("grep").args(["-rl", canary]).arg(w.state_dir()).output().expect("grep runs");
    assert_eq!(String::from_utf8_lossy(&grep.stdout), "", "the value stands on disk in clear");
    w.paas(&["deploys", "list", "-a", &app, "--json"]).ok().never_says(&[canary]);
    assert!(!w.last_deploy(&app).to_string().contains(canary));
}

#[test]
fn names_that_belong_to_paas_and_names_that_are_none_are_refused() {
    let w = World::shared("config");
    let (app, _repo) = w.live("refused", "one");
    for bad in ["PAAS_RELEASE=v9", "9LIVES=1", "WITH SPACE=1", "NOVALUE"] {
        let done = w.paas(&["config", "set", "-a", &app, bad]);
        assert!(done.code == 1 || done.code == 2, "{done}");
    }
    assert_eq!(w.live_release(&app).as_deref(), Some("v1"));
}

#[test]
fn the_list_is_data_and_speaks_json() {
    let w = World::shared("config");
    let (app, _repo) = w.live("list", "one");
    w.paas(&["config", "set", "-a", &app, "B=2", "A=1"]).ok();

    let text = w.paas(&["config", "list", "-a", &app]).ok().out;
    let json = json_lines(&w.paas(&["config", "list", "-a", &app, "--json"]).ok().out.replace('\n', ""));

    assert!(text.contains("A: 1") && text.contains("B: 2"), "{text}");
    assert!(json[0].to_string().contains("\"A\""), "{json:?}");
    assert_eq!(w.paas(&["config:get", "A", "-a", &app]).ok().out, "1\n", "noun:verb is understood too");
}
