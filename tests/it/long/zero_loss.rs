//! The promise of `zero_loss` for an hour's worth of deploys.

use crate::support::World;
use crate::zero_loss::deploys_under_load;

#[test]
fn fifty_deploys_under_uploads_streams_and_sockets_lose_none_of_a_hundred_thousand_requests() {
    let w = World::start();
    let tally = deploys_under_load(&w, 50, true);
    eprintln!("{}", tally.line());
    tally.agrees();
    assert!(tally.answered() >= 100_000, "{}", tally.line());
}
