use super::*;
use crate::base::clock::UnixMillis;
use crate::deploys::tests::{Fixture, commit, fixture, git};
use crate::model::access::Identity;

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
