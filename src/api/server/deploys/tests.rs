use std::time::Duration;

use super::*;
use crate::base::clock::UnixMillis;
use crate::deploys::tests::{Fixture, commit, fixture, git};
use crate::model::access::Identity;
use crate::model::deploy::State;

#[tokio::test]
async fn a_commit_is_kept_while_its_deploy_waits_and_one_that_is_not_there_makes_none() {
    let Fixture { dir: _dir, world, app } = fixture().await;
    let who = Who(Identity::Admin { name: "root".to_owned() });
    let commit = commit(&world, &app, "one");
    let repo = world.repos.path(&app.name);
    let server = Server { world, started_at: UnixMillis::now() };

    let deploy = server.deploy_commit(&app, commit.clone(), &who).await.expect("admitted");

    // No branch has it, and it is older than what maintenance leaves alone.
    git(&repo, &["-c", "gc.reflogExpire=now", "gc", "-q", "--prune=now"]);
    assert_eq!(git(&repo, &["rev-parse", &format!("refs/paas/deploys/{}", deploy.id)]), commit.as_str());
    server.world.repos.require_commit(&app.name, &commit).await.expect("it is there");

    let unknown = CommitSha::parse(&"a".repeat(40)).expect("valid");
    server.deploy_commit(&app, unknown, &who).await.expect_err("nobody pushed it");
    assert_eq!(server.world.store.deploys(app.id, 10).await.expect("deploys").len(), 1);
}

#[tokio::test]
async fn a_commit_that_cannot_be_kept_does_not_go_live_and_its_deployer_is_told() {
    let Fixture { dir: _dir, world, app } = fixture().await;
    let who = Who(Identity::Admin { name: "root".to_owned() });
    let commit = commit(&world, &app, "one");
    let pins = world.repos.path(&app.name).join("refs/paas/deploys");
    std::fs::create_dir_all(&pins).expect("mkdir");
    std::fs::write(pins.join("d1.lock"), "").expect("write");
    let server = Server { world, started_at: UnixMillis::now() };

    let fail = server.deploy_commit(&app, commit, &who).await.expect_err("no ref can be written");

    assert!(fail.0.message.contains("can't be kept"), "{}", fail.0.message);
    let deploys = server.world.store.deploys(app.id, 10).await.expect("deploys");
    assert!(deploys.len() == 1 && deploys[0].cancel_asked, "{deploys:?}");
}

#[tokio::test]
async fn a_push_that_is_asked_for_again_when_it_is_over_leaves_no_pin() {
    let Fixture { dir: _dir, world, app } = fixture().await;
    let who = Who(Identity::Admin { name: "root".to_owned() });
    let commit = commit(&world, &app, "one");
    let repo = world.repos.path(&app.name);
    let server = Server { world, started_at: UnixMillis::now() };
    let push = async || {
        let origin = Origin::Push { branch: source::default_branch(), old: None };
        server.admit_commit(&app, origin, commit.clone(), &who, Some("p1".to_owned())).await.expect("admitted").0
    };
    let pins = || git(&repo, &["for-each-ref", "--format=%(refname)", "refs/paas/deploys"]);

    let deploy = push().await;
    assert_eq!(pins(), format!("refs/paas/deploys/{}", deploy.id));
    server.world.store.deploy_move(&deploy, State::Cancelled, "").await.expect("moved");
    server.world.unpin(&deploy).await;
    assert_eq!(push().await.id, deploy.id);
    assert_eq!(pins(), "", "nobody would take it away");
}

/// What is uploaded: a tar of one file.
fn tarball() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(2);
    header.set_mode(0o644);
    tar.append_data(&mut header, "index.html", &b"hi"[..]).expect("memory can be written");
    tar.into_inner().expect("memory can be written")
}

/// Few threads for blocking work: they are soon gone if each upload may hold one.
#[test]
fn uploads_that_stall_keep_nobody_else_from_deploying() {
    let threads = uploads::AT_ONCE + 4;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).max_blocking_threads(threads).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let dir = runtime.block_on(async {
        let Fixture { dir, world, app } = fixture().await;
        let commit = commit(&world, &app, "one");
        world.store.app_create(&AppName::parse("other").expect("valid"), "root", 100).await.expect("app");
        let server = Server { world, started_at: UnixMillis::now() };
        let who = |name: &str| Who(Identity::Admin { name: name.to_owned() });
        let mut stalled = tokio::task::JoinSet::new();
        let mut stall = |who: Who| {
            let server = server.clone();
            let body = Body::from_stream(futures_util::stream::pending::<std::io::Result<axum::body::Bytes>>());
            stalled.spawn(async move { server.receive(&who, body).await.map(|_| ()) });
        };

        (0..2 * threads).for_each(|_| stall(who("one of many")));
        tokio::time::sleep(Duration::from_millis(300)).await;
        let query = Query(DeployQuery { source: Some(BodySource::Tarball), wait: false });
        let request = Request::new(Body::from(tarball()));
        let upload = create(State(server.clone()), who("another"), Path("other".to_owned()), query, request);
        tokio::time::timeout(Duration::from_secs(10), upload).await.expect("it waits for no other's").expect("admitted");

        (0..2 * threads).for_each(|n| stall(who(&format!("one of {n}"))));
        tokio::time::sleep(Duration::from_millis(300)).await;
        let root = who("root");
        let deploy = server.deploy_commit(&app, commit, &root);
        tokio::time::timeout(Duration::from_secs(10), deploy).await.expect("it waits for no upload").expect("admitted");
        let thread = tokio::time::timeout(Duration::from_secs(10), tokio::task::spawn_blocking(|| ()));
        thread.await.expect("a thread is free").expect("no panic");
        dir
    });
    // Threads that read write into it until the runtime has ended.
    drop(runtime);
    drop(dir);
}
