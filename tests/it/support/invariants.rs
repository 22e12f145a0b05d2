//! What must be true of an app whatever was killed: asked of the store by the CLI, of the routes by asking the proxy, of the engine by Docker's own
//! command, of the disk by looking.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use super::http::Client;
use super::machine::processes;
use super::wait::until;
use super::world::World;

/// How soon routes follow the store once a daemon answers.
const ROUTES_LIMIT: Duration = Duration::from_secs(2);
/// Old releases drain and go in the background; their clean-up is over by then.
const CLEAN_LIMIT: Duration = Duration::from_secs(40);

/// The proxy serves the one release of `app` that the store calls live, within 2 s of `since`, when a daemon began to answer. Else what it was.
pub fn routes_follow_since(w: &World, app: &str, since: Instant) -> Result<(), String> {
    let mut seen = String::new();
    let followed = until(ROUTES_LIMIT.saturating_sub(since.elapsed()), || {
        // The commit point may come between; and a request that is held in a gap is answered by the release after it.
        let (before, routed, after) = (live_in_store(w, app), release_of_route(w, app), live_in_store(w, app));
        seen = format!("{app}: live in the store is {before:?}, then {after:?}; the proxy serves {routed:?}");
        (before == [routed.as_str()] || after == [routed.as_str()]).then_some(())
    });
    followed.ok_or(seen)
}

/// None where no daemon answers.
fn live_in_store(w: &World, app: &str) -> Vec<String> {
    let listed = w.paas(&["releases", "-a", app, "--json"]);
    let releases: serde_json::Value = serde_json::from_str(&listed.out).unwrap_or_default();
    let live = releases.as_array().into_iter().flatten().filter(|r| r["live"] == true);
    live.filter_map(|r| r["number"].as_str().map(str::to_owned)).collect()
}

/// Fails unless exactly one release of `app` is live and served, what `ps` shows is what Docker runs, and nothing else of the app or of an ended
/// deploy is left, in Docker or on disk, once the clean-up had its time. To be called when no deploy of the app is under way.
#[track_caller]
pub fn invariants(w: &World, app: &str) {
    if let Err(why) = routes_follow_since(w, app, Instant::now()) {
        panic!("{why}\n{}", w.logs_of_roles());
    }
    let mut wrong = Vec::new();
    let clean = until(CLEAN_LIMIT, || {
        wrong = what_is_wrong(w, app);
        wrong.is_empty().then_some(())
    });
    assert!(clean.is_some(), "{app}, after its clean-up:\n{}\n{}", wrong.join("\n"), w.logs_of_roles());
}

fn release_of_route(w: &World, app: &str) -> String {
    match Client::connect(w.proxy(), &w.host(app)).and_then(|mut client| client.get("/")) {
        Ok(reply) => match reply.header("x-paas-release") {
            Some(release) if reply.status == 200 => release.to_owned(),
            _ => format!("status {}", reply.status),
        },
        Err(e) => e.to_string(),
    }
}

fn what_is_wrong(w: &World, app: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let told = told(w, app);
    let runs = runs(w, app);
    if told != runs {
        wrong.push(format!("`ps` shows {told:?}, Docker runs {runs:?}"));
    }
    let live = w.live_release(app);
    if let Some(other) = told.keys().find(|(_, release)| Some(release) != live.as_ref()) {
        wrong.push(format!("an instance of {other:?} is still there"));
    }
    let active: Vec<String> = states(w, app).into_iter().filter(|(_, state)| is_active(state)).map(|(id, _)| id).collect();
    if !active.is_empty() {
        wrong.push(format!("deploys have not ended: {active:?}"));
    }
    wrong.extend(images(w, app));
    wrong.extend(files(w, app));
    wrong.extend(strangers(w));
    wrong
}

/// Process type and release → how many instances `ps` shows.
fn told(w: &World, app: &str) -> BTreeMap<(String, String), usize> {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let mut told = BTreeMap::new();
    for instance in w.instances(app) {
        *told.entry((text(&instance["process"]), text(&instance["release"]))).or_default() += 1;
    }
    told
}

/// The same of what Docker has; a container that does not run shows by its state.
fn runs(w: &World, app: &str) -> BTreeMap<(String, String), usize> {
    let format = "{{.State}} {{.Label \"paas.process\"}} {{.Label \"paas.release\"}}";
    let (of_app, of_us) = (format!("label=paas.app={app}"), format!("label=paas.install={}", w.install()));
    let listed = w.docker(&["ps", "-a", "--no-trunc", "--filter", &of_app, "--filter", &of_us, "--format", format]).ok();
    let mut runs = BTreeMap::new();
    for line in listed.out.lines() {
        let mut words = line.split(' ');
        let (state, process, release) = (words.next(), words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let process =
            if state == Some("running") { process.to_owned() } else { format!("{} {process}", state.unwrap_or_default()) };
        *runs.entry((process, release.to_owned())).or_default() += 1;
    }
    runs
}

fn states(w: &World, app: &str) -> Vec<(String, String)> {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    w.deploys(app).iter().map(|d| (text(&d["id"]), text(&d["state"]))).collect()
}

fn is_active(state: &str) -> bool {
    !["live", "failed", "cancelled", "superseded"].contains(&state)
}

/// One network, and no more images than releases are kept, each of a release that was live.
fn images(w: &World, app: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let short = &w.install()[..8];
    let (network, repository) = (format!("network paas-{short}-{app}"), format!("image paas-{short}/{app}:"));
    let objects = w.objects();
    if objects.iter().filter(|object| **object == network).count() != 1 {
        wrong.push(format!("there is not the one network {network}: {objects:?}"));
    }
    let deploys: BTreeMap<String, String> = states(w, app).into_iter().collect();
    let tags: Vec<&str> = objects.iter().filter_map(|object| object.strip_prefix(&repository)).collect();
    if tags.len() > kept_releases(w) {
        wrong.push(format!("more images than releases are kept: {tags:?}"));
    }
    let orphans = tags.iter().filter(|tag| deploys.get(**tag).is_some_and(|state| state != "live"));
    wrong.extend(orphans.map(|tag| format!("the image of {tag}, which is {}, is still there", deploys[*tag])));
    wrong
}

fn kept_releases(w: &World) -> usize {
    let config = std::fs::read_to_string(&w.config).expect("a world has its host config");
    let set = config.lines().find_map(|line| line.strip_prefix("keep_releases = "));
    set.map_or(10, |n| n.parse().expect("a number"))
}

/// No pin and no lock in the repository, no source of a deploy, no folder of an instance that is gone.
fn files(w: &World, app: &str) -> Vec<String> {
    let state = w.state_dir();
    let repo = state.join("apps").join(app).join("repo.git");
    let mut wrong: Vec<String> =
        names(&repo.join("refs/paas/deploys")).into_iter().map(|pin| format!("the pin of {pin}")).collect();
    for folder in ["", "refs", "refs/heads", "refs/paas/deploys", "objects", "objects/pack"] {
        let odd = |name: &String| name.ends_with(".lock") || name.starts_with("tmp_");
        wrong.extend(names(&repo.join(folder)).into_iter().filter(odd).map(|name| format!("{folder}/{name} in the repository")));
    }
    wrong.extend(
        names(&state.join("builds")).into_iter().filter(|name| name.contains(app)).map(|name| format!("the source {name}")),
    );
    let apps = w.paas(&["apps", "list", "--json"]).ok().json();
    let apps = apps.as_array().into_iter().flatten().filter_map(|a| a["name"].as_str());
    let known: Vec<String> = apps.flat_map(|a| w.instances(a)).filter_map(|i| i["id"].as_str().map(str::to_owned)).collect();
    let gone = names(&state.join("instances")).into_iter().filter(|name| !known.contains(name));
    wrong.extend(gone.map(|name| format!("the folder of instance {name}")));
    wrong
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// Processes of the world that are neither its roles nor its clients' doors.
fn strangers(w: &World) -> Vec<String> {
    let state = w.state_dir().display().to_string();
    let stray = processes().into_iter().filter(|(_, argv)| {
        let git = argv.first().is_some_and(|program| program.ends_with("git"));
        git && argv.iter().any(|word| word.starts_with(&state))
    });
    stray.map(|(pid, argv)| format!("process {pid}: {}", argv.join(" "))).collect()
}
