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
