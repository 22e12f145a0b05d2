use super::*;

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
async fn a_source_is_kept_while_nobody_can_say_who_needs_it() {
    let Fixture { dir, world, app } = fixture().await;
    let part = dir.path().join("part");
    std::fs::write(&part, "a tar").expect("write");
    let new = new_deploy(&app, Origin::Tarball { sha256: "aa11".to_owned() });
    let deploy = world.admit_upload(&new, "aa11", &part).await.expect("admitted");

    world.store.spoil_deploys().await;
    world.drop_source(&deploy).await;

    assert!(world.source_path(&deploy).exists());
}

/// The file of a commit has one name for all deploys of it, as that of an upload has.
#[tokio::test]
async fn every_admission_waits_for_the_removal_of_a_source() {
    let Fixture { dir: _dir, world, app } = fixture().await;
    let removal = world.sources_turn.lock().await;
    let admission = tokio::spawn({
        let (world, new) = (Arc::clone(&world), new_deploy(&app, Origin::Config));
        async move { world.admit(&new).await }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(world.store.deploys_active().await.expect("deploys").is_empty());
    drop(removal);
    admission.await.expect("no panic").expect("admitted");
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

#[tokio::test]
async fn a_deploy_that_cannot_be_read_back_is_not_stored() {
    let Fixture { dir: _dir, world, app } = fixture().await;
    world.store.spoil_new_deploys().await;

    world.admit(&new_deploy(&app, Origin::Config)).await.expect_err("nobody can read it");

    assert_eq!(world.store.row_counts().await.expect("counts")["deploys"], 0, "its caller was told of an error");
}
