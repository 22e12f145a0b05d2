//! The two ends of an app's life, killed at every point: afterwards it is wholly there, or wholly gone and its name free.

use std::path::{Path, PathBuf};
use std::time::Duration;

use paas::base::crash::Point;

use super::{PAUSE, Road};
use crate::support::{Armed, Repo, Traffic, World, invariants, until};

/// Waits for the background part of a destroy, over the daemon's way back.
const GONE_LIMIT: Duration = Duration::from_secs(40);

/// Everything below `folder` whose name says that it is `app`'s.
fn files_of(folder: &Path, app: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == app || name.starts_with(&format!("{app}-")) || name.starts_with(&format!("{app}.")) {
            found.push(entry.path());
        } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) && name != "objects" {
            found.extend(files_of(&entry.path(), app));
        }
    }
    found
}

/// What of `app` is still there, in the store, on the engine, on disk and at the proxy.
fn rest_of(w: &World, app: &str) -> Vec<String> {
    let mut rest: Vec<String> = w.objects().into_iter().filter(|object| object.contains(app)).collect();
    rest.extend(files_of(&w.state_dir(), app).iter().map(|path| path.display().to_string()));
    let listed = w.paas(&["apps", "list", "--json"]);
    if listed.code != 0 || listed.out.contains(&format!("\"{app}\"")) {
        rest.push(format!("listed: {listed}"));
    }
    rest.extend((w.get(app, "/").status != 404).then(|| "its route".to_owned()));
    rest
}

#[track_caller]
fn is_gone(w: &World, app: &str) {
    let mut rest = Vec::new();
    let gone = until(GONE_LIMIT, || {
        rest = rest_of(w, app);
        rest.is_empty().then_some(())
    });
    assert!(gone.is_some(), "of {app} is left:\n{}\n{}", rest.join("\n"), w.logs_of_roles());
}

/// `points` of the road are armed together, so many for each life of an app; all lives have the same name.
fn walk(each: usize) {
    let (w, armed) = Armed::world("");
    let (steady, _repo) = w.live("steady", "one");
    let traffic = Traffic::start_every(PAUSE, w.proxy(), &w.host(&steady), &steady, 2);
    let (app, repo) = (w.app("mortal"), Repo::testapp("one"));
    let all: Vec<Point> = Point::ALL.iter().copied().filter(|point| Road::of(*point) == Road::Ending).collect();
    assert!(all.len() > 10, "{all:?}");
    let lives = all.len().div_ceil(each);
    for life in 0..lives {
        let names: Vec<&str> = all.iter().skip(life).step_by(lives).map(|point| point.name()).collect();
        names.iter().for_each(|name| armed.arm(name));

        // Who asked may have been told nothing; the app is there all the same.
        drop(w.paas(&["apps", "create", &app]));
        w.wait_for_daemon();
        w.paas(&["apps", "info", &app]).ok();
        w.push(&repo, &app).ok();
        w.serves(&app, "one");
        invariants(&w, &app);
        w.paas(&["config", "set", "-a", &app, "KEPT=yes"]).ok();

        let destroy = || w.paas(&["apps", "destroy", &app, "--confirm", &app]);
        drop(destroy());
        if names.contains(&"destroy-asked") {
            armed.wait_hit("destroy-asked");
            w.wait_for_daemon();
            // Nothing was begun: all of it is there.
            w.serves(&app, "one");
            w.paas(&["config", "list", "-a", &app]).ok().says(&["KEPT"]);
            invariants(&w, &app);
            drop(destroy());
        }
        names.iter().for_each(|name| armed.wait_hit(name));
        w.wait_for_daemon();
        is_gone(&w, &app);
        w.paas(&["config", "list", "-a", &app]).fails(1).says(&["does not exist"]);
        println!("{}: wholly gone", names.join(" "));
    }
    // The name is free, and nothing of the old one comes back with it.
    w.push(&repo, &app).ok();
    w.serves(&app, "one");
    w.paas(&["config", "list", "-a", &app]).ok().never_says(&["KEPT"]);
    assert_eq!(w.deploys(&app).len(), 1);
    invariants(&w, &app);
    traffic.wait_for(20);
    let counted = traffic.stop();
    counted.nothing_failed();
    println!("{lives} lives, {} answers of another app meanwhile, the slowest in {:?}", counted.answered, counted.slowest);
}

#[test]
fn an_app_killed_at_any_point_of_its_making_or_its_end_is_wholly_there_or_wholly_gone() {
    walk(4);
}

pub fn one_at_a_time() {
    walk(1);
}
