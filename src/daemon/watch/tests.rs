use super::*;
use crate::deploys::tests::{Fixture, fixture};

#[tokio::test]
async fn an_app_that_is_calm_again_has_no_alert_also_if_it_was_told_without_a_row() {
    let Fixture { dir: _dir, world, app: _ } = fixture().await;
    // Where the store looks for room: a file system that has none.
    let file = world.config.db();
    let real = file.with_extension("real");
    std::fs::rename(&file, &real).expect("rename");
    std::os::unix::fs::symlink("/proc/version", &file).expect("a link can be made");
    world.alerts.raise(Kind::OutOfMemory, "shop/web", "it died", "look").await;
    std::fs::rename(&real, &file).expect("rename");
    assert!(world.alerts.list(0).await.expect("list").is_empty() && world.alerts.told().await.len() == 1);

    let patience = || Patience::new(ROLE_LIMIT);
    let began = Instant::now().checked_sub(Duration::from_secs(3600)).unwrap_or_else(Instant::now);
    let ends = LastEnds::new(began);
    let mut watch = Watch { docker: patience(), proxy: patience(), dialer: patience(), ends, world: Arc::clone(&world) };
    watch.calm_down().await;

    assert!(world.alerts.told().await.is_empty(), "the next one would not be told");
}
