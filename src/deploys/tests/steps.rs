use super::engine::Engine;
use super::*;
use crate::deploys::error::StepError;
use crate::deploys::step::Next;

const WEB: &str = "[processes.web]\ncommand = \"./serve\"\n";

#[tokio::test]
async fn a_step_that_waits_for_docker_says_what_it_makes_when_it_makes_it() {
    let Fixture { dir: _dir, world, app } = fixture().await;
    let deploy = prepared(&world, &app, WEB).await;
    for _ in 0..2 {
        world.step(&deploy, Duration::ZERO).await.expect_err("there is no engine");
    }
    assert_eq!(told(&world, &deploy), "");
}

#[tokio::test]
async fn a_new_instance_that_docker_stopped_before_it_was_opened_is_started_again() {
    let Fixture { dir: _dir, world, app } = fixture().await;
    let deploy = prepared(&world, &app, WEB).await;
    instance(&world, &app, deploy.id, Wanted::Candidate).await;
    let engine = Engine::at(&world, |call| match call.split_once(' ') {
        Some(("GET", path)) if path.starts_with("/containers/") => (200, r#"{"State": {"Running": false, "Status": "exited"}}"#),
        _ => (500, "no more of it is played"),
    });

    let deploy = moved(&world, deploy, &[State::Starting]).await;
    let next = world.step(&deploy, Duration::ZERO).await;
    assert!(matches!(next, Ok(Next::Move(State::Probing))), "{next:?}");
    let deploy = moved(&world, deploy, &[State::Probing]).await;
    world.step(&deploy, Duration::ZERO).await.expect_err("it gets as far as the network");
    assert!(engine.calls().iter().any(|call| call.contains("/networks")), "{:?}", engine.calls());
}

#[tokio::test]
async fn the_reading_of_a_source_ends_when_its_deploy_is_cancelled() {
    let Fixture { dir: _dir, world, app } = fixture().await;
    let origin = Origin::Push { branch: BranchName::parse("main").expect("valid"), old: None };
    let new = NewDeploy { commit: Some(commit(&world, &app, "one")), ..new_deploy(&app, origin) };
    let (deploy, _) = world.store.deploy_admit(&new).await.expect("admitted");
    world.cancels.cancel(deploy.id);

    let ended = world.bring(&deploy).await;

    assert!(matches!(ended, Err(StepError::Cancelled)));
    assert!(!world.source_path(&deploy).exists(), "it was read to its end all the same");
}
