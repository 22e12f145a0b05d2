//! What a start of the daemon finds, and what it may not take for granted.

use std::os::fd::AsRawFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};

use super::engine::Engine;
use super::*;
use crate::logs::{Kind, Source};

#[tokio::test]
async fn a_start_that_cannot_read_the_instances_takes_none_for_gone() {
    let Fixture { dir: _dir, world, app } = fixture().await;
    let row = instance(&world, &app, DeployId(1), Wanted::Live).await;
    let source = Source { instance: Some(row.id), ..Source::of_kind(app.name.clone(), Kind::App) };
    let segment = world.logs.segment(&source).expect("a segment");
    let path = world.config.dialer_socket();
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("mkdir");
    let dialer = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).expect("socket");
    bind(dialer.as_raw_fd(), &UnixAddr::new(&path).expect("address")).expect("bind");
    listen(&dialer, Backlog::new(4).expect("backlog")).expect("listen");
    world.store.spoil_instances().await;

    tokio::time::timeout(Duration::from_secs(5), world.recover()).await.expect("it asks nobody which it then waits for");

    let mut asked = [PollFd::new(std::os::fd::AsFd::as_fd(&dialer), PollFlags::POLLIN)];
    assert_eq!(poll(&mut asked, PollTimeout::ZERO).expect("poll"), 0, "the ways into what runs would be closed");
    assert!(world.logs.is_active(&source, segment.number), "its init writes there");
}

#[tokio::test]
async fn no_image_is_pruned_while_nobody_can_say_which_deploys_are_under_way() {
    let Fixture { dir: _dir, world, app } = fixture().await;
    prepared(&world, &app, "[processes.web]\ncommand = \"./serve\"\n").await;
    let engine = Engine::at(&world, |_| (200, "[]"));
    world.prune(&app).await;
    assert!(!engine.calls().is_empty(), "it looks for images");
    let before = engine.calls().len();
    world.store.spoil_deploys().await;
    world.prune(&app).await;
    assert_eq!(engine.calls().len(), before);
}

#[tokio::test]
async fn the_last_event_of_a_deploy_is_not_lost_with_one_that_a_crash_cut() {
    let Fixture { dir: _dir, world, app } = fixture().await;
    let (deploy, _) = world.store.deploy_admit(&new_deploy(&app, Origin::Config)).await.expect("admitted");
    let deploy = moved(&world, deploy, &[State::Cancelled]).await;
    let file = world.config.state_dir.join("deploys").join(format!("shop-{}.events", deploy.id));
    std::fs::write(file, r#"{"event":"canc"#).expect("write");

    world.before_serving().await.expect("read");
    world.after(&deploy).await;

    let told = told(&world, &deploy);
    assert!(told.lines().any(|line| line.starts_with(r#"{"event":"cancelled""#)), "{told}");
}

#[tokio::test]
async fn what_the_engine_went_on_making_for_an_instance_that_was_given_up_goes() {
    let Fixture { dir: _dir, world, app } = fixture().await;
    let deploy = prepared(&world, &app, "[processes.web]\ncommand = \"./serve\"\n").await;
    let kept = instance(&world, &app, deploy.id, Wanted::Candidate).await;
    let (kept, d) = (world.instances.container_name(&kept), deploy.id);
    // As the engine lists them: the one of a row, its neighbour without a row, one that ran, and a name that is none of an instance.
    let all = [
        ("c1", kept.clone(), "created"),
        ("c2", format!("{}2", kept.trim_end_matches('1')), "created"),
        ("c3", format!("{}3", kept.trim_end_matches('1')), "exited"),
        ("c4", format!("{}x", kept.trim_end_matches('1')), "created"),
    ];
    let engine = Engine::at(&world, move |call| {
        let body = match call {
            "GET /containers/json" => r#"[{"Id": "c1"}, {"Id": "c2"}, {"Id": "c3"}, {"Id": "c4"}]"#.to_owned(),
            call => match all.iter().find(|(id, ..)| call == format!("GET /containers/{id}/json")) {
                Some((id, name, status)) => format!(
                    r#"{{"Id": "{id}", "Name": "/{name}", "State": {{"Status": "{status}"}},
                    "Config": {{"Labels": {{"paas.app": "shop", "paas.process": "web", "paas.deploy": "{d}"}}}}}}"#
                ),
                None => return (204, ""),
            },
        };
        (200, body.leak())
    });

    world.instances.remove_orphans(|_| true).await.expect("swept");

    let removed: Vec<String> = engine.calls().into_iter().filter(|call| call.starts_with("DELETE")).collect();
    assert_eq!(removed, ["DELETE /containers/c2"]);
}

#[tokio::test]
async fn an_app_goes_on_while_a_deploy_of_another_cannot_be_read() {
    let Fixture { dir: _dir, world, app } = fixture().await;
    prepared(&world, &app, "[processes.web]\ncommand = \"./serve\"\n").await;
    world.store.spoil_deploys().await;
    let other = world.store.app_create(&AppName::parse("other").expect("valid"), "root", 100).await.expect("app");
    let (deploy, _) = world.store.deploy_admit(&new_deploy(&other, Origin::Config)).await.expect("admitted");

    world.store.deploys_active().await.expect_err("a row is spoilt");

    assert_eq!(world.next_of(other.id).await.expect("read").map(|d| d.id), Some(deploy.id));
}
