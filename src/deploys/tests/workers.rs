//! Other process types than `web`, which switch at the commit point.

use super::*;

/// An old worker of its own release, and a new one of the live release, which stops otherwise.
async fn at_the_commit_point(world: &World, app: &App, switch: &str) -> (App, Instance, Instance) {
    let mut rows = Vec::new();
    for (signal, wanted) in [("SIGINT", Wanted::Retiring), ("SIGQUIT", Wanted::Live)] {
        let toml = format!(
            "[processes.worker]\ncommand = \"./work\"\nswitch = \"{switch}\"\nstop_signal = \"{signal}\"\nstop_timeout = \"7s\"\n"
        );
        let deploy = prepared(world, app, &toml).await;
        let release = deploy.release.expect("recorded");
        let process = ProcessName::parse("worker").expect("valid");
        let new = NewInstance { app_id: app.id, release, deploy: deploy.id, process, index: 1, port: 8080 };
        let row = world.store.instance_ensure(&new).await.expect("instance");
        world.store.instances_want(&[row.id], wanted).await.expect("wanted");
        world.instances.listen(&row).expect("listen");
        rows.push(world.store.instance(row.id).await.expect("read").expect("it is there"));
    }
    let new = rows.pop().expect("two");
    (App { live: Some(new.release), ..app.clone() }, rows.remove(0), new)
}

#[tokio::test]
async fn an_old_worker_is_told_to_stop_by_the_rule_of_its_own_release() {
    let Fixture { dir: _dir, world, app } = fixture().await;
    let (app, old, new) = at_the_commit_point(&world, &app, "after-term").await;
    world.switch_workers(&app).await.expect("switched");
    assert_eq!(world.instances.links.wished(old.id), "Stop { signal: 2, timeout_ms: 7000 }");
    assert_eq!(world.instances.links.wished(new.id), "Open");
}

#[tokio::test]
async fn an_exclusive_worker_opens_when_it_is_known_that_the_old_one_has_ended_and_if_it_is_still_wanted() {
    for still in [true, false] {
        let Fixture { dir: _dir, world, app } = fixture().await;
        let (app, old, new) = at_the_commit_point(&world, &app, "exclusive").await;
        let waits = format!("exclusive switch of {}", new.id);
        world.switch_workers(&app).await.expect("switched");
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(world.instances.links.wished(new.id), "StayGated", "there is no engine that could tell");
        if !still {
            world.store.instances_want(&[new.id], Wanted::Retiring).await.expect("wanted");
        }
        world.store.instance_forget(old.id).await.expect("forgotten");
        until("it waits on", async || !world.crew.runs(&waits)).await;
        assert_eq!(world.instances.links.wished(new.id), if still { "Open" } else { "StayGated" });
    }
}

#[tokio::test]
async fn a_worker_that_comes_back_waits_for_none_whose_gate_was_never_opened() {
    let Fixture { dir: _dir, world, app } = fixture().await;
    let back = instance_of(&world, &app, DeployId(1), "worker", Wanted::Live).await;
    let failed = instance_of(&world, &app, DeployId(2), "worker", Wanted::Gone).await;
    assert!(!world.waits_for_forerunner(&app, &back).await.expect("read"), "it may be long until that is removed");
    world.store.instances_want(&[failed.id], Wanted::Retiring).await.expect("wanted");
    assert!(world.waits_for_forerunner(&app, &back).await.expect("read"));
}
