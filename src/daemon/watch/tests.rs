use super::*;
use crate::deploys::tests::{Fixture, fixture, without_room};

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

    let patience = || Patience::new(ROLE_LIMIT);
    let began = Instant::now().checked_sub(Duration::from_secs(3600)).unwrap_or_else(Instant::now);
    let ends = LastEnds::new(began);
    let mut watch = Watch { docker: patience(), proxy: patience(), dialer: patience(), ends, world: Arc::clone(&world) };
    watch.calm_down().await;
    watch.ends_of_the_hour().await;
    watch.certificates().await;
    watch.stuck().await;

    let told = world.alerts.told().await;
    assert_eq!(told, [(Kind::DockerDown, "shop/web".to_owned())], "the next one of any other would not be told");
}
