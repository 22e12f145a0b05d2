//! What needs a whole world: on a store and folders of its own, with no engine, no proxy and no dialer.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use super::world::{Ground, World};
use crate::config::HostConfig;
use crate::model::app::App;
use crate::model::deploy::{Deploy, Origin, State};
use crate::model::instance::{Instance, Wanted};
use crate::names::{AppName, BranchName, CommitSha, DeployId, ProcessName, ReleaseNumber};
use crate::store::{NewDeploy, NewInstance, Sealer, Store};

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

#[tokio::test]
async fn an_upload_outlives_the_end_of_an_earlier_deploy_with_the_same_content() {
    let Fixture { dir, world, app } = fixture().await;
    let new = new_deploy(&app, Origin::Tarball { sha256: "aa11".to_owned() });
    let part = dir.path().join("part");
    let upload = async || {
        std::fs::write(&part, "a tar").expect("write");
        world.admit_upload(&new, "aa11", &part).await.expect("admitted")
    };
    let mut older = upload().await;
    for _ in 0..20 {
        world.cancel_now(&older).await;
        let (newer, ()) = tokio::join!(upload(), world.drop_source(&older));
        assert!(world.source_path(&newer).exists(), "{} has lost its source to {}", newer.id, older.id);
        older = newer;
    }
    world.cancel_now(&older).await;
    world.store.app_mark_destroying(&app.name, "root").await.expect("marked");
    std::fs::write(&part, "a tar").expect("write");
    world.admit_upload(&new, "aa11", &part).await.expect_err("the app goes");
    assert!(!world.source_path(&older).exists(), "what is refused stays nowhere");
}

#[tokio::test]
async fn a_deploy_that_is_stored_is_told_as_admitted_although_the_queue_cannot_be_read() {
    let Fixture { dir: _dir, world, app } = fixture().await;
    let other = world.store.app_create(&AppName::parse("other").expect("valid"), "root", 100).await.expect("app");
    world.admit(&new_deploy(&other, Origin::Config)).await.expect("admitted");
    world.store.spoil_deploys().await;
    world.store.deploys_active().await.expect_err("nobody can read that");

    let deploy = world.admit(&new_deploy(&app, Origin::Config)).await.expect("it is stored, and will run");

    assert!(world.crew.runs(&format!("driver of app {}", app.id)));
    assert_eq!(world.store.deploy(deploy.id).await.expect("stored").state, State::Queued);
}

/// A push that has gone live, and all that follows its end.
async fn live(world: &Arc<World>, app: &App, commit: &CommitSha) -> Deploy {
    let branch = BranchName::parse("main").expect("valid");
    let origin = Origin::Push { branch, old: None };
    let new = NewDeploy { commit: Some(commit.clone()), ..new_deploy(app, origin) };
    let (mut deploy, _) = world.store.deploy_admit(&new).await.expect("admitted");
    for state in [State::Building, State::Preparing, State::Starting, State::Probing, State::Shifting, State::Live] {
        world.store.deploy_move(&deploy, state, "").await.expect("a legal move");
        deploy = world.store.deploy(deploy.id).await.expect("deploy");
    }
    world.after(&deploy).await;
    deploy
}

#[tokio::test]
async fn a_branch_that_could_not_be_moved_is_moved_later_by_the_same_daemon_and_never_back() {
    let Fixture { dir: _dir, world, app } = fixture().await;
    let [one, two, three] = ["one", "two", "three"].map(|message| commit(&world, &app, message));
    let repo = world.repos.path(&app.name);
    let lock = repo.join("refs/heads/main.lock");
    world.recovered.set();
    super::driver::drive(&world, app.id);
    // The driver is past what a start does.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let done = async || {
        world.wakeups.wake(app.id);
        for _ in 0..50 {
            if world.store.deploys_to_end(app.id).await.expect("deploys").is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("it is not tried again");
    };
    let open = async || world.store.deploys_to_end(app.id).await.expect("deploys").len();

    std::fs::write(&lock, "").expect("write");
    live(&world, &app, &one).await;
    assert_eq!(open().await, 1, "the branch can't be moved");
    std::fs::remove_file(&lock).expect("remove");
    done().await;
    assert_eq!(git(&repo, &["rev-parse", "main"]), one.as_str());

    std::fs::write(&lock, "").expect("write");
    live(&world, &app, &two).await;
    std::fs::remove_file(&lock).expect("remove");
    live(&world, &app, &three).await;
    assert_eq!(open().await, 1, "that of the second");
    done().await;
    assert_eq!(git(&repo, &["rev-parse", "main"]), three.as_str(), "the newer one has it");
}

/// An instance of `deploy` of which that is wanted.
async fn instance(world: &World, app: &App, deploy: DeployId, wanted: Wanted) -> Instance {
    let process = ProcessName::parse("web").expect("valid");
    let new = NewInstance { app_id: app.id, release: ReleaseNumber(1), deploy, process, index: 1, port: 8080 };
    let row = world.store.instance_ensure(&new).await.expect("instance");
    world.store.instances_want(&[row.id], wanted).await.expect("wanted");
    world.store.instance(row.id).await.expect("read").expect("it is there")
}

#[tokio::test]
async fn a_retirement_goes_on_after_a_time_in_which_the_store_could_not_be_read() {
    let Fixture { dir: _dir, world, app } = fixture().await;
    let row = instance(&world, &app, DeployId(1), Wanted::Gone).await;
    let name = format!("retiring {}", row.id);

    world.store.spoil_instances().await;
    let begun = tokio::spawn({
        let (world, app) = (Arc::clone(&world), app.clone());
        async move { super::retire::retire(&world, &app).await }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    world.store.mend_instances().await;
    begun.await.expect("begun");
    assert!(world.crew.runs(&name), "it begins when the rows can be read");

    // There is no engine: it is tried again and again.
    world.store.spoil_instances().await;
    tokio::time::sleep(Duration::from_millis(1700)).await;
    assert!(world.crew.runs(&name), "it was given up by a try that could not read");
}

#[tokio::test]
async fn old_instances_of_a_stop_start_stay_stopped_for_as_long_as_new_ones_may_run() {
    let Fixture { dir: _dir, world, app } = fixture().await;
    let (deploy, _) = world.store.deploy_admit(&new_deploy(&app, Origin::Config)).await.expect("admitted");
    let old = instance(&world, &app, DeployId(deploy.id.0 + 1), Wanted::Paused).await;
    // As a daemon leaves it that was restarted while Docker was away.
    let new = instance(&world, &app, deploy.id, Wanted::Gone).await;
    let wanted = async || world.store.instance(old.id).await.expect("read").expect("it is there").wanted;

    let undone = tokio::spawn({
        let (world, app) = (Arc::clone(&world), app.clone());
        async move { world.undo(&deploy, &app).await }
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!undone.is_finished() && wanted().await == Wanted::Paused, "nobody knows whether the new one runs");

    world.store.instance_forget(new.id).await.expect("forgotten");
    for _ in 0..50 {
        if wanted().await == Wanted::Live {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("it does not come back");
}
