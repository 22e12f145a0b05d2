//! How many requests of each app wait: for a route that holds, an instance that restarts, or the end of a maintenance. Never touched by one that does not wait.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::names::AppName;

#[derive(Debug, Default)]
pub struct Held(Mutex<BTreeMap<AppName, u64>>);

impl Held {
    /// A place for one more, until it is dropped. None: `limit` of the app wait already.
    pub fn take(&self, app: &AppName, limit: u64) -> Option<Place<'_>> {
        let mut waiting = self.waiting();
        let count = waiting.entry(app.clone()).or_default();
        if *count >= limit {
            return None;
        }
        *count += 1;
        Some(Place { of: self, app: app.clone() })
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<AppName, u64>> {
        // Whole between any two statements.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
pub struct Place<'a> {
    of: &'a Held,
    app: AppName,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut waiting = self.of.waiting();
        if let Some(count) = waiting.get_mut(&self.app) {
            *count -= 1;
            if *count == 0 {
                waiting.remove(&self.app);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_app_has_its_own_places_and_leaves_nothing_behind() {
        let (held, app) = (Held::default(), |name| AppName::parse(name).expect("a name"));
        let places: Vec<_> = (0..2).map(|_| held.take(&app("shop"), 2).expect("room")).collect();
        assert!(held.take(&app("shop"), 2).is_none() && held.take(&app("blog"), 2).is_some());
        drop(places);
        assert!(held.take(&app("shop"), 1).is_some());
        assert!(held.waiting().is_empty());
    }
}
