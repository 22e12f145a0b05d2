use super::engine::Engine;
use super::*;

/// Nobody waits long for what can't answer.
const WEB: &str = "[processes.web]\ncommand = \"./serve\"\n[processes.web.health]\ngrace = \"1s\"\n";

#[tokio::test]
async fn old_instances_of_a_stop_start_stay_stopped_for_as_long_as_new_ones_may_run() {
    let Fixture { dir: _dir, world, app } = fixture().await;
    let (deploy, _) = world.store.deploy_admit(&new_deploy(&app, Origin::Config)).await.expect("admitted");
    let old = instance(&world, &app, DeployId(deploy.id.0 + 1), Wanted::Paused).await;
    // As a daemon leaves it that was restarted while Docker was away.
    let new = instance(&world, &app, deploy.id, Wanted::Gone).await;

    let undone = undoing(&world, &app, deploy);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!undone.is_finished() && wanted(&world, &old).await == Wanted::Paused, "nobody knows whether the new one runs");

    world.store.instance_forget(new.id).await.expect("forgotten");
    until("it does not come back", async || wanted(&world, &old).await == Wanted::Live).await;
}

#[tokio::test]
async fn old_instances_come_back_when_the_new_ones_are_stopped_also_if_those_cannot_be_removed() {
    let Fixture { dir: _dir, world, app } = fixture().await;
    let (deploy, _) = world.store.deploy_admit(&new_deploy(&app, Origin::Config)).await.expect("admitted");
    let old = instance(&world, &app, DeployId(deploy.id.0 + 1), Wanted::Paused).await;
    instance(&world, &app, deploy.id, Wanted::Gone).await;
    let _engine = Engine::at(&world, |call| match call.split_once(' ') {
        Some(("GET", path)) if path.ends_with("/json") => (200, r#"{"State": {"Running": false, "Status": "exited"}}"#),
        _ => (500, "its disk is busy"),
    });

    let _undone = undoing(&world, &app, deploy);
    until("it does not come back", async || wanted(&world, &old).await == Wanted::Live).await;
}

#[tokio::test]
async fn nothing_comes_back_of_an_app_that_goes_or_when_the_daemon_stops() {
    for goes in [true, false] {
        let Fixture { dir: _dir, world, app } = fixture().await;
        let (deploy, _) = world.store.deploy_admit(&new_deploy(&app, Origin::Config)).await.expect("admitted");
        let old = instance(&world, &app, DeployId(deploy.id.0 + 1), Wanted::Paused).await;
        instance(&world, &app, deploy.id, Wanted::Gone).await;
        let undone = undoing(&world, &app, deploy);
        tokio::time::sleep(Duration::from_millis(200)).await;
        if goes {
            world.store.app_mark_destroying(&app.name, "root").await.expect("marked");
        } else {
            world.crew.shut_down(Duration::ZERO).await;
        }
        let whole = tokio::time::timeout(Duration::from_secs(5), undone).await.expect("it waits on").expect("no panic");
        assert!(!whole && wanted(&world, &old).await != Wanted::Live);
    }
}

#[tokio::test]
async fn old_instances_come_back_although_the_rows_could_not_be_read_for_a_time() {
    let Fixture { dir: _dir, world, app } = fixture().await;
    let (deploy, _) = world.store.deploy_admit(&new_deploy(&app, Origin::Config)).await.expect("admitted");
    let old = instance(&world, &app, DeployId(deploy.id.0 + 1), Wanted::Paused).await;
    world.store.spoil_instances().await;

    let undone = undoing(&world, &app, deploy);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!undone.is_finished(), "nobody knows what is to come back");
    world.store.mend_instances().await;

    until("it does not come back", async || wanted(&world, &old).await == Wanted::Live).await;
}

#[tokio::test]
async fn an_end_that_is_done_again_leaves_alone_what_a_later_deploy_has_paused() {
    let Fixture { dir: _dir, world, app } = fixture().await;
    let (first, later, old) = failed_beside(&world, &app, &[State::Building, State::Preparing, State::Starting]).await;

    assert!(world.undo(&first, &app).await);
    assert_eq!(wanted(&world, &old).await, Wanted::Paused, "two would run");
    let later = moved(&world, later, &[State::Failed]).await;
    assert!(world.undo(&later, &app).await);
    assert_eq!(wanted(&world, &old).await, Wanted::Live);
}

#[tokio::test]
async fn an_end_that_is_done_again_beside_a_build_brings_its_own_back() {
    let Fixture { dir: _dir, world, app } = fixture().await;
    let (first, _later, old) = failed_beside(&world, &app, &[State::Building]).await;

    assert!(world.undo(&first, &app).await);
    assert_eq!(wanted(&world, &old).await, Wanted::Live, "the app would be away for as long as the build takes");
}

#[tokio::test]
async fn an_end_that_could_not_be_done_is_tried_again_by_the_same_daemon() {
    let Fixture { dir: _dir, world, app } = fixture().await;
    let first = prepared(&world, &app, WEB).await;
    world.store.deploy_ended(moved(&world, first, &[State::Failed]).await.id).await.expect("noted");
    let old = instance(&world, &app, DeployId(7), Wanted::Paused).await;
    let (deploy, _) = world.store.deploy_admit(&new_deploy(&app, Origin::Config)).await.expect("admitted");
    world.store.deploy_ask_cancel(deploy.id, "root").await.expect("asked");
    world.store.freeze_instances().await;
    world.recovered.set();
    crate::deploys::driver::drive(&world, app.id);
    until("it is not told", async || told(&world, &deploy).contains("cancelled")).await;
    world.store.thaw_instances().await;
    world.wakeups.wake(app.id);
    until("it does not come back", async || wanted(&world, &old).await == Wanted::Live).await;
    let to_end = async || world.store.deploys_to_end(app.id).await.expect("deploys");
    until("it has not ended", async || to_end().await.is_empty()).await;
}

/// A deploy that failed, a later one that has gone so far, and an instance that is paused.
async fn failed_beside(world: &Arc<World>, app: &App, later_states: &[State]) -> (Deploy, Deploy, Instance) {
    let first = prepared(world, app, WEB).await;
    let first = moved(world, first, &[State::Failed]).await;
    let (later, _) = world.store.deploy_admit(&new_deploy(app, Origin::Config)).await.expect("admitted");
    let later = moved(world, later, later_states).await;
    let old = instance(world, app, DeployId(later.id.0 + 1), Wanted::Paused).await;
    (first, later, old)
}

fn undoing(world: &Arc<World>, app: &App, deploy: Deploy) -> tokio::task::JoinHandle<bool> {
    let (world, app) = (Arc::clone(world), app.clone());
    tokio::spawn(async move { world.undo(&deploy, &app).await })
}
