//! What needs a whole world: on a store and folders of its own, with no proxy, no dialer, and no engine but one that a test plays.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use super::world::{Ground, World};
use crate::config::HostConfig;
use crate::manifest::SourceFiles;
use crate::model::app::App;
use crate::model::deploy::{Deploy, Origin, State};
use crate::model::instance::{Instance, Wanted};
use crate::model::release::Image;
use crate::names::{AppName, BranchName, CommitSha, DeployId, ProcessName, ReleaseNumber};
use crate::store::{NewDeploy, NewInstance, NewRelease, Sealer, Store};

mod admission;
mod branches;
mod driving;
mod ends;
mod engine;
mod put_right;
mod retirement;
mod start;
mod steps;
mod undo;
mod workers;

/// Drivers wait in it, as nothing has been recovered.
pub struct Fixture {
    pub dir: tempfile::TempDir,
    pub world: Arc<World>,
    pub app: App,
}

pub async fn fixture() -> Fixture {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut config = HostConfig::default_at(&dir.path().join("paas.toml"));
    config.state_dir = dir.path().join("state");
    config.run_dir = dir.path().join("run");
    config.docker.socket = dir.path().join("no-docker.sock");
    std::fs::create_dir_all(config.builds_dir()).expect("mkdir");
    let store = Store::open(&config.db(), Sealer::new(&[7; 32])).await.expect("open");
    let ground = Ground {
        bin: config.state_dir.join("bin"),
        config: Arc::new(config),
        store,
        install: "u".to_owned(),
        host: "box".to_owned(),
        fallback: None,
        first_serial: 1,
    };
    let world = World::new(ground).expect("the deploys folder");
    let app = world.store.app_create(&AppName::parse("shop").expect("valid"), "root", 100).await.expect("app");
    Fixture { dir, world, app }
}

pub fn new_deploy(app: &App, origin: Origin) -> NewDeploy {
    NewDeploy { app_id: app.id, origin, commit: None, by: None, by_name: "root".to_owned(), push: None }
}

/// A commit that no branch has, in a repository that is made if it is not there.
#[track_caller]
pub fn commit(world: &World, app: &App, message: &str) -> CommitSha {
    let repo = world.repos.path(&app.name);
    std::fs::create_dir_all(&repo).expect("mkdir");
    git(&repo, &["init", "-q", "--bare", "."]);
    let tree = git(&repo, &["hash-object", "-t", "tree", "-w", "/dev/null"]);
    let commit = git(&repo, &["-c", "user.name=a", "-c", "user.email=a@example.com", "commit-tree", &tree, "-m", message]);
    CommitSha::parse(&commit).expect("a commit")
}

#[track_caller]
pub fn git(repo: &Path, args: &[&str]) -> String {
    let out = Command::new("git").current_dir(repo).env("GIT_CONFIG_GLOBAL", "/dev/null").args(args).output().expect("git runs");
    assert!(out.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).trim().to_owned()
}

/// A push that has gone live, and all that follows its end.
async fn live(world: &Arc<World>, app: &App, commit: &CommitSha) -> Deploy {
    let branch = BranchName::parse("main").expect("valid");
    let origin = Origin::Push { branch, old: None };
    let new = NewDeploy { commit: Some(commit.clone()), ..new_deploy(app, origin) };
    let (deploy, _) = world.store.deploy_admit(&new).await.expect("admitted");
    let states = [State::Building, State::Preparing, State::Starting, State::Probing, State::Shifting, State::Live];
    let deploy = moved(world, deploy, &states).await;
    world.after(&deploy).await;
    deploy
}

/// A deploy of a release with this `paas.toml`, in the state that follows.
async fn prepared(world: &World, app: &App, paas_toml: &str) -> Deploy {
    let (deploy, _) = world.store.deploy_admit(&new_deploy(app, Origin::Config)).await.expect("admitted");
    let deploy = moved(world, deploy, &[State::Building]).await;
    let files = SourceFiles { paas_toml: Some(paas_toml.to_owned()), ..SourceFiles::default() };
    let image = Image {
        id: "sha256:1".to_owned(),
        tag: "paas-u/shop:d1".to_owned(),
        default_processes: BTreeMap::new(),
        release_command: None,
    };
    let manifest = crate::manifest::read(&files).expect("a manifest");
    let new = NewRelease { commit: None, description: "config".to_owned(), image, manifest, config: BTreeMap::new() };
    world.store.release_record(&deploy, &new).await.expect("recorded");
    world.store.deploy(deploy.id).await.expect("deploy")
}

async fn moved(world: &World, mut deploy: Deploy, states: &[State]) -> Deploy {
    for state in states {
        world.store.deploy_move(&deploy, *state, "").await.expect("a legal move");
        deploy = world.store.deploy(deploy.id).await.expect("deploy");
    }
    deploy
}

/// What a follower of the deploy reads now.
fn told(world: &World, deploy: &Deploy) -> String {
    let file = world.config.state_dir.join("deploys").join(format!("{}-{}.events", deploy.app, deploy.id));
    std::fs::read_to_string(file).unwrap_or_default()
}

/// An instance of `deploy` of which that is wanted.
pub async fn instance(world: &World, app: &App, deploy: DeployId, wanted: Wanted) -> Instance {
    instance_of(world, app, deploy, "web", wanted).await
}

async fn instance_of(world: &World, app: &App, deploy: DeployId, process: &str, wanted: Wanted) -> Instance {
    let process = ProcessName::parse(process).expect("valid");
    let new = NewInstance { app_id: app.id, release: ReleaseNumber(1), deploy, process, index: 1, port: 8080 };
    let row = world.store.instance_ensure(&new).await.expect("instance");
    world.store.instances_want(&[row.id], wanted).await.expect("wanted");
    world.store.instance(row.id).await.expect("read").expect("it is there")
}

/// Until it is so: whatever a task does needs a moment.
pub async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    for _ in 0..100 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{what}");
}

async fn wanted(world: &World, row: &Instance) -> Wanted {
    world.store.instance(row.id).await.expect("read").expect("it is there").wanted
}

/// What the act does while the store looks for its room in a file system that has none.
pub async fn without_room(world: &World, act: impl Future<Output = ()>) {
    let file = world.config.db();
    let real = file.with_extension("real");
    std::fs::rename(&file, &real).expect("rename");
    std::os::unix::fs::symlink("/proc/version", &file).expect("a link can be made");
    act.await;
    std::fs::rename(&real, &file).expect("rename");
}
