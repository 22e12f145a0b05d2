use super::*;
use crate::deploys::driver;
use crate::model::alert::Kind;

#[tokio::test]
async fn a_branch_that_could_not_be_moved_is_moved_later_by_the_same_daemon_and_never_back() {
    let Fixture { dir: _dir, world, app } = fixture().await;
    let [one, two, three] = ["one", "two", "three"].map(|message| commit(&world, &app, message));
    let repo = world.repos.path(&app.name);
    let lock = repo.join("refs/heads/main.lock");
    world.recovered.set();
    driver::drive(&world, app.id);
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

#[tokio::test]
async fn a_live_deploy_ends_the_alert_of_a_failed_one_that_was_told_without_a_row() {
    let Fixture { dir: _dir, world, app } = fixture().await;
    without_room(&world, world.alerts.raise(Kind::DeployFailed, "shop", "it failed", "look")).await;
    assert_eq!(world.alerts.told().await.len(), 1);

    let one = commit(&world, &app, "one");
    live(&world, &app, &one).await;

    assert!(world.alerts.told().await.is_empty(), "the next failure would not be told");
}
