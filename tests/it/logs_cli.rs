//! Logs: every line, once, in order, across deploys, restarts and the absence of the daemon.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::support::{Repo, World, eventually};

const WORKER: &str = "[processes.web]\n[processes.worker]\ncommand = [\"/testapp\", \"worker\"]\n";

#[test]
fn a_tail_follows_across_a_deploy_and_a_killed_daemon_without_loss_or_repetition() {
    let w = World::start();
    let (app, repo) = (w.app("tail"), Repo::testapp("one"));
    repo.write("paas.toml", WORKER).commit("worker");
    w.push(&repo, &app).ok();
    let (mut tail, lines) = follow(&w, &["logs", "-t", "-a", &app, "-p", "worker", "--json"]);
    wait_for(&lines, "worker one ");

    repo.release("two");
    w.push(&repo, &app).ok();
    wait_for(&lines, "worker two ");
    w.kill("daemon");
    std::thread::sleep(Duration::from_secs(2));
    let last = wait_for(&lines, "worker two ");
    drop(tail.kill());
    drop(tail.wait());

    let mut seen = lines.all();
    seen.truncate(seen.iter().position(|l| *l == last).map_or(seen.len(), |at| at + 1));
    let numbers: Vec<u64> = seen.iter().filter(|l| l.starts_with("worker two ")).map(|l| tick(l)).collect();
    let first = numbers[0];
    let expected: Vec<u64> = (first..first + numbers.len() as u64).collect();
    assert_eq!(numbers, expected, "lines were lost or repeated");
    assert_eq!(first, 0, "the new worker's first lines were missed");
}

#[test]
fn lines_of_a_removed_container_and_of_an_absent_daemon_are_kept() {
    let w = World::shared("logs");
    let (app, repo) = (w.app("kept"), Repo::testapp("one"));
    repo.write("mode", "lines=500\n").commit("talks");
    w.push(&repo, &app).ok();
    assert_eq!(w.get(&app, "/log?n=300").text(), "logged\n");
    let containers = w.docker(&["ps", "-q", "--filter", &format!("label=paas.app={app}")]).out;
    for id in containers.split_whitespace() {
        w.docker(&["rm", "-f", id]).ok();
    }

    let lines = w.log_texts(&app, 5000, &["-p", "web"]);

    for n in [0, 250, 499] {
        assert!(lines.contains(&format!("line {n}")), "line {n} is missing among {} lines", lines.len());
    }
    assert!(lines.iter().any(|l| l.starts_with("logged 299 ")));
}

#[test]
fn a_line_of_64_kib_is_whole_and_control_characters_do_not_reach_a_terminal() {
    let w = World::shared("logs");
    let (app, _repo) = w.live("long", "one");
    assert_eq!(w.get(&app, "/log?n=1&bytes=65000").status, 200);

    let found = eventually("the long line", Duration::from_secs(5), || {
        w.log_texts(&app, 50, &[]).into_iter().find(|l| l.starts_with("logged 0 "))
    });

    assert_eq!(found.len(), 65_000 + "logged 0 ".len());
}

#[test]
fn an_app_beyond_its_rate_is_cut_with_a_counted_marker() {
    let w = World::start_with("[logs]\nlines_per_second = 50\nburst = 100\n", &[]);
    let (app, _repo) = w.live("flood", "one");

    assert_eq!(w.get(&app, "/log?n=5000").text(), "logged\n", "the app was blocked by its log");

    let kept = eventually("the marker", Duration::from_secs(10), || {
        assert_eq!(w.get(&app, "/log?n=1").status, 200);
        let lines = w.log_texts(&app, 10_000, &["-p", "web"]);
        lines.iter().any(|l| l.contains("cut") || l.contains("dropped")).then_some(lines)
    });
    assert!(kept.len() < 2000, "{} lines were kept", kept.len());
}

#[test]
fn filters_choose_by_number_process_time_and_text() {
    let w = World::shared("logs");
    let (app, repo) = (w.app("filter"), Repo::testapp("one"));
    repo.write("paas.toml", WORKER).commit("worker");
    w.push(&repo, &app).ok();
    assert_eq!(w.get(&app, "/log?n=20").status, 200);
    eventually("worker lines", Duration::from_secs(10), || (w.log_texts(&app, 100, &["-p", "worker"]).len() > 3).then_some(()));

    assert_eq!(w.log_texts(&app, 3, &[]).len(), 3);
    assert!(w.log_texts(&app, 100, &["-p", "web"]).iter().all(|l| !l.starts_with("worker one release")));
    let grepped = w.log_texts(&app, 100, &["--grep", "logged 1"]);
    assert!(!grepped.is_empty() && grepped.iter().all(|l| l.contains("logged 1")), "{grepped:?}");
    assert!(!w.log_texts(&app, 1000, &["-p", "build"]).is_empty(), "the build's lines are kept");
    assert!(w.log_texts(&app, 1000, &["-p", "router"]).iter().any(|l| l.contains("/log")), "access lines are kept");
    assert!(w.log_texts(&app, 1000, &["--since", "1h"]).len() > 5);
    let text = w.paas(&["logs", "-a", &app, "-n", "5"]).ok().out;
    assert!(text.lines().all(|l| l.contains("web.1") || l.contains("worker.1") || l.contains('[')), "{text}");
}

/// Lines that a program prints, as they come.
struct Lines {
    channel: Receiver<String>,
    seen: std::cell::RefCell<Vec<String>>,
}

impl Lines {
    fn all(&self) -> Vec<String> {
        self.seen.borrow_mut().extend(self.channel.try_iter());
        self.seen.borrow().clone()
    }
}

fn follow(w: &World, args: &[&str]) -> (std::process::Child, Lines) {
    let mut command = w.paas_command();
    let mut child =
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("paas starts");
    let out = BufReader::new(child.stdout.take().expect("stdout was piped"));
    let (send, channel) = channel();
    std::thread::spawn(move || {
        for line in out.lines().map_while(Result::ok) {
            let text = serde_json::from_str::<serde_json::Value>(&line).ok().and_then(|v| v["text"].as_str().map(str::to_owned));
            if text.is_some_and(|text| send.send(text).is_err()) {
                return;
            }
        }
    });
    (child, Lines { channel, seen: Vec::new().into() })
}

/// Waits for a further line that starts so; gives it.
#[track_caller]
fn wait_for(lines: &Lines, start: &str) -> String {
    let before = lines.all().len();
    eventually(start, Duration::from_secs(20), || lines.all()[before..].iter().find(|l| l.starts_with(start)).cloned())
}

fn tick(line: &str) -> u64 {
    line.rsplit_once("tick=").and_then(|(_, n)| n.parse().ok()).unwrap_or_else(|| panic!("no tick in {line:?}"))
}
