//! From what the store says to what Docker runs, where something comes in between.

use super::engine::Engine;
use super::*;

const WEB: &str = "[processes.web]\ncommand = \"./serve\"\nstop_signal = \"SIGINT\"\n";

#[tokio::test]
async fn an_instance_without_its_image_is_known_as_one_that_cannot_run_with_what_brings_it_back() {
    let Fixture { dir: _dir, world, app } = fixture().await;
    let deploy = prepared(&world, &app, WEB).await;
    let row = instance(&world, &app, deploy.id, Wanted::Live).await;
    let _engine = Engine::at(&world, |_| (404, r#"{"message": "none"}"#));

    world.make_right(&app, row.id, false).await.expect_err("there is no image");

    let stuck = world.instances.vitals.of(row.id).stuck.expect("told");
    assert_eq!(stuck.why, "the image `paas-u/shop:d1` of v1 is gone from Docker");
    assert!(stuck.next.starts_with("paas deploy -a shop --tarball"), "it has no commit: {}", stuck.next);
    world.store.instances_want(&[row.id], Wanted::Retiring).await.expect("wanted");
    world.make_right(&app, row.id, false).await.expect("nothing to do");
    assert_eq!(world.instances.vitals.of(row.id).stuck, None);
}

#[tokio::test]
async fn an_instance_that_runs_is_none_that_cannot_though_the_dialer_is_away() {
    let Fixture { dir: _dir, world, app } = fixture().await;
    let deploy = prepared(&world, &app, WEB).await;
    let row = instance(&world, &app, deploy.id, Wanted::Live).await;
    let _engine = Engine::at(&world, |_| {
        let running = r#"{"Id": "c1", "State": {"Status": "running", "Running": true, "Pid": 7},
            "NetworkSettings": {"SandboxKey": "/run/netns/x", "Networks": {"paas-u-shop": {"IPAddress": "10.0.0.2"}}}}"#;
        (200, running)
    });

    world.make_right(&app, row.id, false).await.expect_err("nobody can be told the way in");

    assert_eq!(world.instances.vitals.of(row.id).stuck, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_deploy_pauses_while_somebody_puts_it_right_is_stopped_again() {
    let Fixture { dir: _dir, world, app } = fixture().await;
    let deploy = prepared(&world, &app, WEB).await;
    let row = instance(&world, &app, deploy.id, Wanted::Live).await;
    let engine = Engine::at(&world, {
        let (world, runtime) = (Arc::clone(&world), tokio::runtime::Handle::current());
        move |call| match call.rsplit('/').next() {
            Some("json") => (200, r#"{"Id": "c1", "State": {"Status": "paused", "Running": true, "Paused": true}}"#),
            Some("unpause") => {
                // The deploy has stopped it already: as far as it knows nothing runs.
                let paused = async { world.store.instances_want(&[row.id], Wanted::Paused).await.expect("wanted") };
                tokio::task::block_in_place(|| runtime.block_on(paused));
                (204, "")
            }
            _ => (200, r#"{"StatusCode": 0}"#),
        }
    });

    world.make_right(&app, row.id, false).await.expect("looked at");

    let calls = engine.calls();
    assert!(calls.iter().any(|call| call.ends_with("/unpause")), "{calls:?}");
    assert!(world.instances.links.wished(row.id).starts_with("Stop { signal: 2"), "it runs beside the new one");
}
