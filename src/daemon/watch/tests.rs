use super::*;
use crate::deploys::tests::{Fixture, fixture, instance, until, without_room};
use crate::instances::vitals::Stuck;
use crate::names::DeployId;
use crate::wire::frame;
use crate::wire::proxy::{FromProxy, VERSION};

/// One that has looked for an hour.
fn watching(world: &Arc<World>) -> Watch {
    let patience = || Patience::new(ROLE_LIMIT);
    let began = Instant::now().checked_sub(Duration::from_secs(3600)).unwrap_or_else(Instant::now);
    let ends = LastEnds::new(began);
    Watch { docker: patience(), proxy: patience(), dialer: patience(), ends, world: Arc::clone(world) }
}

#[tokio::test]
async fn what_was_told_without_a_row_is_over_when_it_is_not_so_any_more() {
    let Fixture { dir: _dir, world, app: _ } = fixture().await;
    let kinds = [
        Kind::OutOfMemory,
        Kind::CrashLoop,
        Kind::EndsOften,
        Kind::CannotRun,
        Kind::CertificateEnds,
        Kind::CertificateSpoilt,
        Kind::DockerDown,
    ];
    without_room(&world, async {
        for kind in kinds {
            world.alerts.raise(kind, "shop/web", "it died", "look").await;
        }
    })
    .await;
    assert!(world.alerts.list(0).await.expect("list").is_empty() && world.alerts.told().await.len() == kinds.len());

    let mut watch = watching(&world);
    watch.calm_down().await;
    watch.ends_of_the_hour().await;
    watch.certificates().await;
    watch.stuck().await;

    let told = world.alerts.told().await;
    assert_eq!(told, [(Kind::DockerDown, "shop/web".to_owned())], "the next one of any other would not be told");
}

#[tokio::test]
async fn what_cannot_be_made_to_run_is_told_after_a_while_and_is_over_only_when_it_runs_or_need_not() {
    let Fixture { dir: _dir, world, app } = fixture().await;
    let watch = watching(&world);
    let row = instance(&world, &app, DeployId(1), Wanted::Live).await;
    let stuck_for = |seconds: u64| {
        let since = Instant::now();
        let last = since + Duration::from_secs(seconds);
        let stuck = Stuck { since, last, why: "its image is gone".to_owned(), next: "deploy it".to_owned() };
        world.instances.vitals.change(row.id, |v| v.stuck = Some(stuck));
    };
    let open = async || world.alerts.open(Kind::CannotRun, "shop/web").await.map(|alert| (alert.text, alert.hint));

    stuck_for(8);
    watch.stuck().await;
    assert_eq!(open().await, None, "the next try may do it");
    stuck_for(11);
    watch.stuck().await;
    let told = open().await.expect("told");
    assert_eq!(told, ("web.1 of shop can't be made to run: its image is gone".to_owned(), "deploy it".to_owned()));

    // A deploy that may fail has it paused; and nothing is known of it by a new daemon, but that it does not run.
    world.store.instances_want(&[row.id], Wanted::Paused).await.expect("wanted");
    watch.stuck().await;
    world.store.instances_want(&[row.id], Wanted::Live).await.expect("wanted");
    world.instances.vitals.stuck(row.id, None);
    watch.stuck().await;
    assert!(open().await.is_some(), "it does not run");

    world.store.instance_forget(row.id).await.expect("forgotten");
    watch.stuck().await;
    assert!(open().await.is_none());
}

#[tokio::test]
async fn routes_that_could_not_be_published_are_published_while_docker_is_away() {
    let Fixture { dir: _dir, world, app: _ } = fixture().await;
    without_room(&world, async {
        world.publisher.publish().await.expect_err("its number can't be noted");
    })
    .await;
    assert!(world.publisher.is_dirty());

    watching(&world).look().await;

    until("it is done within one look", async || !world.publisher.is_dirty()).await;
    assert!(world.docker.answers().await.is_err() && world.publisher.proxies.current().is_some());
}

#[tokio::test]
async fn a_proxy_that_is_connected_and_does_not_answer_is_told_of_until_it_is_gone() {
    let Fixture { dir: _dir, world, app: _ } = fixture().await;
    let mut watch = watching(&world);
    let connect = async |pid: u32, connected: usize| {
        let (mut ours, theirs) = tokio::io::duplex(1 << 20);
        tokio::spawn(Arc::clone(&world.publisher.proxies).serve(theirs));
        let (generation, listening, listening_tls) = (pid.to_string(), Vec::new(), Vec::new());
        let hello = FromProxy::Hello { version: VERSION, pid, generation, active: None, listening, listening_tls };
        frame::write(&mut ours, &hello).await.expect("said");
        until("it is connected", async || world.publisher.proxies.connected() == connected).await;
        ours
    };
    let open = async || world.alerts.open(Kind::RoleDown, "proxy").await.map(|alert| alert.text);
    let frozen = connect(71, 1).await;
    watch.proxies().await;
    assert_eq!(open().await, None);

    let refused = world.publisher.publish().await.expect_err("it is waited for").to_string();
    assert!(refused.contains("process id 71"), "{refused}");
    watch.proxies().await;
    let text = open().await.expect("told");
    assert!(text.contains("process id 71 has not confirmed the newest routes"), "{text}");

    let _other = connect(72, 2).await;
    watch.proxies().await;
    assert!(open().await.is_some(), "the other one makes it no better");
    drop(frozen);
    until("it is gone", async || world.publisher.proxies.connected() == 1).await;
    watch.proxies().await;
    assert_eq!(open().await, None);
}
