//! A laptop needs nothing but ssh; a key may do what it was given and nothing else.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::{Repo, World, eventually, run, until};

#[test]
fn every_verb_works_by_plain_ssh() {
    let w = World::shared("ssh_cli");
    let (app, _repo) = w.live("remote", "one");

    w.ssh("laptop", &["apps", "list"], b"").ok().says(&[&app]);
    w.ssh("laptop", &["logs", "-n", "5", "-a", &app], b"").ok();
    w.ssh("laptop", &["config", "set", "-a", &app, "'NAME=with space'"], b"").ok();
    assert!(w.get(&app, "/env").text().contains("NAME=with space\n"));
    w.ssh("laptop", &["ps", "-a", &app, "--json"], b"").ok().says(&["web"]);
    w.ssh("laptop", &["apps", "info", "nobody-has-this"], b"").fails(1).says(&["nobody-has-this"]);
    w.ssh("laptop", &["apps", "--no-such-flag"], b"").fails(2);
}

#[test]
fn the_same_command_line_reaches_the_server_through_ssh() {
    let w = World::shared("ssh_cli");
    let (app, repo) = w.live("tunnel", "one");
    repo.git(&["remote", "add", "deploy", &format!("paas@127.0.0.1:{app}")]).ok();
    let ssh = w.ssh_command("laptop");

    let mut command = w.paas_command();
    command.env_remove("PAAS_SOCKET").env("PAAS_SSH", &ssh).current_dir(repo.path());
    let out = command.args(["-H", "paas@127.0.0.1", "releases", "-a", &app, "--json"]).output().expect("paas starts");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert!(String::from_utf8_lossy(&out.stdout).contains("v1"));

    // The git remote names both server and app.
    let mut command = w.paas_command();
    command.env_remove("PAAS_SOCKET").env("PAAS_SSH", &ssh).current_dir(repo.path());
    let out = command.args(["releases", "--json"]).output().expect("paas starts");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn a_key_can_be_limited_to_apps_and_to_deploys() {
    let w = World::shared("ssh_cli");
    let (mine, repo) = w.live("mine", "one");
    let (other, _repo) = w.live("theirs", "one");
    w.add_key("ci", &["--app", &mine, "--deploy-only"]).ok();

    repo.release("two");
    w.push_as("ci", &repo, &mine, &["main"]).ok();
    w.serves(&mine, "two");
    for denied in [
        vec!["config", "list", "-a", &mine],
        vec!["config", "set", "-a", &mine, "A=1"],
        vec!["run", "-a", &mine, "id"],
        vec!["logs", "-a", &other],
        vec!["releases", "-a", &other],
        vec!["keys", "list"],
        vec!["keys", "remove", "laptop"],
        vec!["apps", "destroy", &mine, "--confirm", &mine],
        vec!["apps", "create", "another"],
    ] {
        w.ssh("ci", &denied, b"").fails(1);
    }
    assert_ne!(w.push_as("ci", &repo, "new-app-of-ci", &["main"]).code, 0);
    w.ssh("ci", &["apps", "list"], b"").ok().never_says(&[&other]);
}

#[test]
fn the_login_gives_no_shell_no_other_program_and_no_forwarding() {
    let w = World::shared("ssh_cli");
    let refused = [
        vec!["sh", "-c", "id"],
        vec!["git-upload-pack", "'/etc'"],
        vec!["git-receive-pack", "'../../etc'"],
        vec!["ssh-session"],
        vec!["daemon"],
        vec!["stack", "make"],
        vec!["up"],
        vec!["apps", "list;id"],
        vec!["$(id)"],
    ];
    for words in refused {
        let done = w.ssh("laptop", &words, b"");
        assert_ne!(done.code, 0, "{done}");
        done.never_says(&["uid=", "panicked"]);
    }
    let mut forward: Vec<String> = w.ssh_command("laptop").split(' ').map(str::to_owned).collect();
    forward.extend(["-W", "127.0.0.1:22", "paas@127.0.0.1"].map(str::to_owned));
    let done = std::process::Command::new(&forward[0])
        .args(&forward[1..])
        .stdin(std::process::Stdio::null())
        .output()
        .expect("ssh starts");
    assert!(!done.status.success());
}

#[test]
fn a_one_off_command_gives_its_output_and_its_exit_code() {
    let w = World::shared("ssh_cli");
    let (app, repo) = (w.app("oneoff"), Repo::testapp("one"));
    repo.write("mode", "release_exit=6\n").commit("code");
    w.push(&repo, &app).ok();

    let done = w.ssh("laptop", &["run", "-a", &app, "/testapp", "release"], b"").fails(6);
    assert!(done.out.contains("ends with 6"), "{done}");
    w.paas(&["exec", "-a", &app, "-p", "web.1", "--", "/testapp", "release"]).fails(6);
    w.paas(&["run", "-a", &app, "--", "/no-such-program"]).says(&["no-such-program"]);
}

#[test]
fn a_one_off_command_that_leaves_its_input_is_heard_to_its_end() {
    let w = World::shared("ssh_cli");
    let (app, repo) = (w.app("deaf"), Repo::testapp("one"));
    repo.write("mode", "release_exit=6\nrelease_ms=300\n").commit("takes no input");
    w.push(&repo, &app).ok();
    // More than fits into all that lies between: some of it is still on its way when the command ends.
    let input = vec![b'x'; 16 << 20];
    for _ in 0..5 {
        for verb in [vec!["run", "-a", &app, "--"], vec!["exec", "-a", &app, "-p", "web.1", "--"]] {
            let done = w.paas_in(&[verb.as_slice(), &["/testapp", "release"]].concat(), &input).fails(6);
            assert!(done.out.contains("ends with 6"), "{done}");
        }
    }
}

/// Gives `stdin` more than all that lies between takes, to a command that reads nothing; gives back when no more goes in.
fn fill(mut stdin: std::process::ChildStdin) {
    let (taken, count) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        while stdin.write_all(&[b'x'; 64 << 10]).is_ok() {
            let _ = taken.send(());
        }
    });
    while count.recv_timeout(Duration::from_secs(1)).is_ok() {}
}

#[test]
fn a_one_off_command_ends_with_its_client_whatever_became_of_its_input() {
    let w = World::shared("ssh_cli");
    let (app, _repo) = w.live("alone", "one");
    let of_app = format!("label=paas.app={app}");
    let runs = |are: &str| -> Vec<String> {
        let only = ["ps", are, "--filter", "label=paas.process=run", "--filter", &of_app, "--format", "{{.Names}}"];
        w.docker(&only).ok().out.lines().map(str::to_owned).collect()
    };
    let ssh = w.ssh_command("laptop");
    let words = ["run", "-a", &app, "--", "/testapp", "idle"];
    let on_the_server = || w.paas_command();
    let by_ssh = || {
        let mut command = Command::new("ssh");
        command.args(ssh.split(' ').skip(1)).arg("paas@127.0.0.1");
        command
    };
    let from_a_laptop = || {
        let mut command = w.paas_command();
        command.env_remove("PAAS_SOCKET").env("PAAS_SSH", &ssh).args(["-H", "paas@127.0.0.1"]);
        command
    };
    let mut run_on = Vec::new();
    for (way, client) in [("server", &on_the_server as &dyn Fn() -> Command), ("ssh", &by_ssh), ("laptop", &from_a_laptop)] {
        for backlog in [false, true] {
            let mut command = client();
            command.args(words).stdin(if backlog { Stdio::piped() } else { Stdio::null() }).stdout(Stdio::piped());
            // With what it starts, as the job of a CI ends.
            let mut child = command.process_group(0).spawn().expect("the client starts");
            eventually("it runs", Duration::from_secs(30), || runs("--no-trunc").pop());
            if let Some(stdin) = child.stdin.take() {
                fill(stdin);
            }
            run(Command::new("kill").args(["-KILL", "--", &format!("-{}", child.id())]), b"", Duration::from_secs(5)).ok();
            child.wait().expect("a child can be waited for");
            if until(Duration::from_secs(5), || runs("-a").is_empty().then_some(())).is_none() {
                run_on.push(format!("by {way}, {}", if backlog { "its input waits" } else { "its input was at its end" }));
                runs("-a").iter().for_each(|name| drop(w.docker(&["rm", "-f", name])));
            }
        }
    }
    assert!(run_on.is_empty(), "their clients are gone, and they run on: {run_on:?}");
}
