//! How instances end, as far as the store is concerned.

use std::sync::Mutex;

use tokio::sync::{broadcast, watch};

use super::*;
use crate::base::clock::UnixMillis;
use crate::instances::ends::end_of;
use crate::instances::link::Change;
use crate::model::end::{Cause, Told};
use crate::names::CrashId;
use crate::store::StoreError;
use crate::wire::init::EndReport;

#[tokio::test]
async fn an_end_for_which_there_was_no_room_is_kept_when_there_is() {
    let Fixture { dir: _dir, world, app } = fixture().await;
    let row = instance(&world, &app, DeployId(1), Wanted::Live).await;
    let (tell, heard) = broadcast::channel(4);
    let (stop, stopping) = watch::channel(false);
    let kept: Arc<Mutex<Vec<Option<i32>>>> = Arc::default();
    let recording = tokio::spawn({
        let (instances, kept) = (Arc::clone(&world.instances), Arc::clone(&kept));
        instances.record_ends(heard, stopping, move |_, end| kept.lock().expect("no panic").push(end.told.code))
    });
    let report =
        EndReport { code: Some(3), at_ms: Some(5000), will_restart_in_ms: Some(1000), in_a_row: 1, ..EndReport::default() };

    without_room(&world, async {
        tell.send((row.id, Change::Ended(report))).expect("somebody listens");
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(kept.lock().expect("no panic").is_empty());
    })
    .await;

    until("it is kept", async || *kept.lock().expect("no panic") == [Some(3)]).await;
    assert_eq!(world.store.ends(app.id, 10).await.expect("ends").len(), 1);
    stop.send(true).expect("it runs");
    recording.await.expect("no panic");
}

#[tokio::test]
async fn a_crash_loop_is_an_event_once_also_if_its_third_end_was_told_to_nobody() {
    let Fixture { dir: _dir, world, app } = fixture().await;
    let row = instance(&world, &app, DeployId(1), Wanted::Live).await;
    let ended = async |at: i64, in_a_row: u32| {
        let told = Told { code: Some(3), in_a_row, ..Told::of(Cause::Exit) };
        assert!(world.instances.keep(&row, &end_of(&row, UnixMillis(at), told)).await.expect("kept"));
    };
    for (at, in_a_row) in [(1000, 1), (2000, 4), (3000, 5), (9000, 1), (10_000, 2), (11_000, 3), (12_000, 4)] {
        ended(at, in_a_row).await;
    }
    let told = world.store.events(&app.name, 50).await.expect("events");
    let loops: Vec<String> = told.into_iter().map(|e| e.what).filter(|what| what.contains("in a crash loop")).collect();
    assert_eq!(loops.len(), 2, "{loops:?}");
    assert!(loops[0].contains("(4 ends in a row)") && loops[1].contains("(3 ends in a row)"), "{loops:?}");
}

#[tokio::test]
async fn a_loss_is_kept_although_the_end_before_it_lies_in_the_future() {
    let Fixture { dir: _dir, world, app } = fixture().await;
    let row = instance(&world, &app, DeployId(1), Wanted::Live).await;
    world.store.instance_container(row.id, "c1").await.expect("noted");
    let row = world.store.instance(row.id).await.expect("read").expect("it is there");
    let kept = async || world.store.ends(app.id, 10).await.expect("ends").len();
    let before = UnixMillis(UnixMillis::now().0 + 3_600_000);
    world.instances.keep(&row, &end_of(&row, before, Told::of(Cause::Lost))).await.expect("kept");

    world.instances.keep_loss(&row, None).await.expect("looked at");
    assert_eq!(kept().await, 2);
    world.instances.keep_loss(&row, None).await.expect("looked at");
    assert_eq!(kept().await, 2, "that is the same one");
}

/// A write without room ends the daemon, and the next one would end at the same place.
#[tokio::test]
async fn no_write_is_tried_where_there_is_no_room_for_it() {
    let Fixture { dir: _dir, world, app } = fixture().await;
    let (deploy, _) = world.store.deploy_admit(&new_deploy(&app, Origin::Config)).await.expect("admitted");
    without_room(&world, async {
        assert!(matches!(world.store.deploy_ended(deploy.id).await, Err(StoreError::NoRoom)));
        assert!(matches!(world.store.alert_message_done(1).await, Err(StoreError::NoRoom)));
        assert!(matches!(world.store.crash_file_forget(app.id, CrashId(1)).await, Err(StoreError::NoRoom)));
    })
    .await;
    world.store.deploy_ended(deploy.id).await.expect("noted");
}
