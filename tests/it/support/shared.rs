//! A world for several tests.

use std::ops::Deref;
use std::sync::Arc;

use super::world::World;

/// A hold on a world that other tests use too; shows its logs if the test that holds it fails.
pub struct Shared(pub(super) Arc<World>);

impl Deref for Shared {
    type Target = World;
    fn deref(&self) -> &World {
        &self.0
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.0.logs_of_roles());
        }
    }
}
