use super::engine::Engine;
use super::*;
use crate::deploys::retire::retire;

#[tokio::test]
async fn a_retirement_goes_on_after_a_time_in_which_the_store_could_not_be_read() {
    let Fixture { dir: _dir, world, app } = fixture().await;
    let row = instance(&world, &app, DeployId(1), Wanted::Gone).await;
    let name = format!("retiring {}", row.id);

    world.store.spoil_instances().await;
    let begun = tokio::spawn({
        let (world, app) = (Arc::clone(&world), app.clone());
        async move { retire(&world, &app).await }
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

/// A `stop-start` may wait for it.
#[tokio::test]
async fn a_retirement_is_tried_again_within_a_moment_however_long_docker_was_away() {
    let Fixture { dir: _dir, world, app } = fixture().await;
    instance(&world, &app, DeployId(1), Wanted::Gone).await;
    let engine = Engine::at(&world, |_| (503, "it starts"));
    retire(&world, &app).await;
    // The fifth try of one whose pauses double comes after 7.5 s.
    until("it is not tried again at once", async || engine.calls().len() >= 5).await;
}

#[tokio::test]
async fn what_has_finished_and_cannot_be_removed_holds_up_no_later_deploy() {
    let Fixture { dir: _dir, world, app: _ } = fixture().await;
    let row = |id: i64, counted: bool| Instance {
        wanted: Wanted::Retiring,
        retired_by: Some(DeployId(id)),
        cut_streams: true,
        counted,
        ..Instance::example(id, "web")
    };
    let is_too_many = async |rows: &[Instance]| world.too_many_generations(rows).await.expect("nothing is asked");
    assert!(is_too_many(&[row(1, false), row(2, false)]).await);
    assert!(!is_too_many(&[row(1, true), row(2, false)]).await);
}
