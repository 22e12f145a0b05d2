//! Web and workers switch together; a deploy that fails never lets a new worker eat a job.

use std::time::Duration;

use crate::support::{Repo, World, eventually};

fn with_worker(version: &str, more: &str) -> Repo {
    let repo = Repo::testapp(version);
    repo.write("paas.toml", format!("[processes.web]\n[processes.worker]\ncommand = [\"/testapp\", \"worker\"]\n{more}"))
        .commit("worker");
    repo
}

#[test]
fn a_worker_runs_beside_web_and_is_scaled_on_its_own() {
    let w = World::shared("workers");
    let (app, repo) = (w.app("jobs"), with_worker("one", ""));
    w.push(&repo, &app).ok();
    w.serves(&app, "one");
    eventually("the worker's lines", Duration::from_secs(10), || ticks(&w, &app, "one").pop());

    w.paas(&["ps", "scale", "-a", &app, "worker=2"]).ok();

    let workers = || w.instances(&app).iter().filter(|i| i["process"] == "worker").count();
    assert_eq!(workers(), 2);
    w.paas(&["ps", "scale", "-a", &app, "worker=0"]).ok();
    eventually("no worker is left", Duration::from_secs(40), || (workers() == 0).then_some(()));
    w.serves(&app, "one");
}

#[test]
fn a_deploy_that_fails_never_started_its_worker() {
    let w = World::shared("workers");
    let (app, repo) = (w.app("jobs"), with_worker("one", ""));
    w.push(&repo, &app).ok();
    repo.write("mode", "exit=3\n").release("two");

    let failed = w.push(&repo, &app);

    assert_ne!(failed.code, 0, "{failed}");
    assert!(ticks(&w, &app, "two").is_empty(), "the new worker ran");
    let before = ticks(&w, &app, "one").len();
    eventually("the old worker goes on", Duration::from_secs(10), || (ticks(&w, &app, "one").len() > before).then_some(()));
}

#[test]
fn an_exclusive_worker_never_runs_twice() {
    let w = World::shared("workers");
    let (app, repo) = (w.app("jobs"), with_worker("one", "switch = \"exclusive\"\n"));
    w.push(&repo, &app).ok();
    eventually("the old worker ticks", Duration::from_secs(10), || ticks(&w, &app, "one").pop());

    repo.release("two");
    w.push(&repo, &app).ok();
    eventually("the new worker ticks", Duration::from_secs(40), || ticks(&w, &app, "two").pop());

    let order: Vec<bool> = w
        .log_texts(&app, 2000, &["-p", "worker"])
        .iter()
        .filter(|l| l.starts_with("worker "))
        .map(|l| l.starts_with("worker two"))
        .collect();
    assert!(order.is_sorted(), "lines of the old worker came after those of the new one");
}

/// The lines that the workers of `version` wrote.
fn ticks(w: &World, app: &str, version: &str) -> Vec<String> {
    let start = format!("worker {version} ");
    w.log_texts(app, 2000, &["-p", "worker"]).into_iter().filter(|line| line.starts_with(&start)).collect()
}
