//! What an app has to do to be called healthy again.

use std::time::Duration;

use crate::init::world::{Instance, World, config, temp};

#[test]
fn a_run_of_a_minute_ends_a_crash_loop_and_the_next_pause_is_the_first_one_again() {
    let dir = temp();
    let world = World::new(dir.path(), config());
    let _instance = Instance::shell(&world, "echo x >> runs; [ $(wc -l < runs) != 4 ] || sleep 61; exit 1");
    world.open();
    world.wait(|s| s.restarts >= 3);
    std::thread::sleep(Duration::from_secs(61));
    let state = world.wait(|s| s.restarts >= 4);
    let end = state.last_end.expect("report");
    assert!(end.in_a_row <= 2 && end.will_restart_in_ms <= Some(200), "{end:?}");
}
