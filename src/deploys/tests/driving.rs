//! The driver, where what it reads can't be read for a time.

use super::*;
use crate::deploys::driver::drive;
use crate::deploys::feed::Happened;

/// A deploy that somebody cancelled while it waited.
async fn cancelled(world: &World, app: &App) -> Deploy {
    let (deploy, _) = world.store.deploy_admit(&new_deploy(app, Origin::Config)).await.expect("admitted");
    world.store.deploy_ask_cancel(deploy.id, "root").await.expect("asked")
}

async fn has_ended(world: &World, deploy: &Deploy) -> bool {
    let open = world.store.deploys_to_end(deploy.app_id).await.expect("deploys");
    told(world, deploy).contains("cancelled") && open.is_empty()
}

#[tokio::test]
async fn what_follows_an_end_is_done_although_the_deploy_could_not_be_read_when_it_was_over() {
    let Fixture { dir: _dir, world, app } = fixture().await;
    let deploy = cancelled(&world, &app).await;
    world.store.spoil_deploys_that_end().await;
    world.recovered.set();
    drive(&world, app.id);
    until("it is not cancelled", async || world.store.deploy(deploy.id).await.is_err()).await;
    world.store.mend_deploys().await;
    until("nobody is told of it", async || has_ended(&world, &deploy).await).await;
}

#[tokio::test]
async fn what_follows_an_end_is_done_although_the_app_could_not_be_read() {
    let Fixture { dir: _dir, world, app } = fixture().await;
    let deploy = cancelled(&world, &app).await;
    let deploy = moved(&world, deploy, &[State::Cancelled]).await;
    world.store.spoil_apps().await;
    let after = tokio::spawn({
        let (world, deploy) = (Arc::clone(&world), deploy.clone());
        async move { world.after(&deploy).await }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    world.store.mend_apps().await;
    after.await.expect("no panic");
    assert!(has_ended(&world, &deploy).await);
}

#[tokio::test]
async fn a_start_ends_what_a_crash_left_although_it_could_not_be_read_at_first() {
    for of_app in [true, false] {
        let Fixture { dir: _dir, world, app } = fixture().await;
        let deploy = cancelled(&world, &app).await;
        let deploy = moved(&world, deploy, &[State::Cancelled]).await;
        match of_app {
            true => world.store.spoil_apps().await,
            false => world.store.spoil_deploys().await,
        }
        world.recovered.set();
        drive(&world, app.id);
        tokio::time::sleep(Duration::from_millis(300)).await;
        match of_app {
            true => world.store.mend_apps().await,
            false => world.store.mend_deploys().await,
        }
        until("nobody is told of it", async || has_ended(&world, &deploy).await).await;
    }
}

#[tokio::test]
async fn a_start_that_cannot_read_the_apps_drives_them_when_it_can() {
    let Fixture { dir: _dir, world, app } = fixture().await;
    world.store.spoil_apps().await;
    let recovery = tokio::spawn({
        let world = Arc::clone(&world);
        async move { world.recover().await }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    world.store.mend_apps().await;
    recovery.await.expect("no panic");
    assert!(world.crew.runs(&format!("driver of app {}", app.id)));
}

#[tokio::test]
async fn what_was_superseded_is_told_although_it_could_not_be_read_at_first_and_by_what() {
    let Fixture { dir: _dir, world, app } = fixture().await;
    let branch = BranchName::parse("main").expect("valid");
    let push = new_deploy(&app, Origin::Push { branch, old: None });
    let first = world.admit(&push).await.expect("admitted");
    world.admit(&new_deploy(&app, Origin::Scale)).await.expect("it takes nobody's place");
    world.store.spoil_deploys_that_end().await;
    let third = world.admit(&push).await.expect("admitted");
    tokio::time::sleep(Duration::from_millis(200)).await;
    world.store.mend_deploys().await;
    until("nobody is told of it", async || told(&world, &first).contains("superseded")).await;
    let by_third = serde_json::to_string(&Happened::Superseded { by: third.id }).expect("plain data");
    assert!(told(&world, &first).contains(&by_third), "{}", told(&world, &first));
}
