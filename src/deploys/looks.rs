//! Who is being looked at, in which order, and who has been troubled since when. In memory: a new daemon looks at everybody.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::model::instance::Instance;
use crate::names::InstanceId;

/// How many containers are put right at the same time: starting one takes a core for a third of a second.
const AT_ONCE: usize = 4;

/// Who is being looked at, and who was found troubled since when.
pub struct Looks {
    /// True: look again, something happened meanwhile.
    running: Mutex<BTreeMap<InstanceId, bool>>,
    troubled: Mutex<BTreeMap<InstanceId, Instant>>,
    turns: Semaphore,
    /// What an earlier daemon left in Docker is gone.
    pub swept: AtomicBool,
    /// When this daemon did.
    pub began: Instant,
}

impl Default for Looks {
    fn default() -> Self {
        Self {
            running: Mutex::default(),
            troubled: Mutex::default(),
            turns: Semaphore::new(AT_ONCE),
            swept: AtomicBool::new(false),
            began: Instant::now(),
        }
    }
}

impl Looks {
    /// A place among the few that are put right at the same time; given back when dropped.
    pub async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // The semaphore is never closed.
        self.turns.acquire().await.ok()
    }

    /// False: somebody looks already, and will look once more.
    pub fn begin(&self, id: InstanceId) -> bool {
        let mut running = self.running();
        let free = !running.contains_key(&id);
        running.insert(id, !free);
        free
    }

    /// True: look again.
    pub fn end(&self, id: InstanceId) -> bool {
        let mut running = self.running();
        let again = running.get(&id).copied().unwrap_or(false);
        if again {
            running.insert(id, false);
        } else {
            running.remove(&id);
        }
        again
    }

    fn is_looking(&self, id: InstanceId) -> bool {
        self.running().contains_key(&id)
    }

    /// Ends when nobody looks at any of `ids`.
    pub async fn quiet(&self, ids: &[InstanceId]) {
        while ids.iter().any(|id| self.is_looking(*id)) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn running(&self) -> std::sync::MutexGuard<'_, BTreeMap<InstanceId, bool>> {
        self.running.lock().expect("no code panics while it holds this lock")
    }

    fn troubled(&self) -> std::sync::MutexGuard<'_, BTreeMap<InstanceId, Instant>> {
        self.troubled.lock().expect("no code panics while it holds this lock")
    }

    /// True: it is news.
    pub fn note_trouble(&self, id: InstanceId) -> bool {
        let mut troubled = self.troubled();
        let is_new = !troubled.contains_key(&id);
        troubled.entry(id).or_insert_with(Instant::now);
        is_new
    }

    /// How long it lasted, if there was any.
    pub fn trouble_over(&self, id: InstanceId) -> Option<Duration> {
        self.troubled().remove(&id).map(|since| since.elapsed())
    }

    /// Instances that are gone have no trouble any more.
    pub fn forget_others(&self, rows: &[Instance]) {
        self.troubled().retain(|id, _| rows.iter().any(|row| row.id == *id));
    }

    /// Those that serve requests first, then those that have been troubled for longest.
    pub fn in_turn(&self, rows: &mut [Instance]) {
        let troubled = self.troubled();
        let now = Instant::now();
        rows.sort_by_key(|row| (!row.takes_requests(), troubled.get(&row.id).copied().unwrap_or(now), row.id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: i64, process: &str) -> Instance {
        Instance::example(id, process)
    }

    #[test]
    fn web_goes_first_then_the_longest_troubled() {
        let looks = Looks::default();
        for id in [4, 2] {
            assert!(looks.note_trouble(InstanceId(id)), "it is news");
            assert!(!looks.note_trouble(InstanceId(id)), "it is none the second time");
        }
        let mut rows = vec![row(1, "worker"), row(2, "web"), row(3, "web"), row(4, "web"), row(5, "worker")];
        looks.in_turn(&mut rows);
        assert_eq!(rows.iter().map(|r| r.id.0).collect::<Vec<_>>(), [4, 2, 3, 1, 5]);
        assert!(looks.trouble_over(InstanceId(4)).is_some() && looks.trouble_over(InstanceId(4)).is_none());
        looks.forget_others(&[row(3, "web")]);
        assert!(looks.note_trouble(InstanceId(2)), "an instance that is gone is forgotten");
    }

    #[test]
    fn what_happens_during_a_look_leads_to_another_one() {
        let (looks, id) = (Looks::default(), InstanceId(7));
        assert!(looks.begin(id));
        assert!(!looks.begin(id), "one at a time");
        assert!(looks.end(id), "it is looked at again");
        assert!(looks.is_looking(id) && !looks.end(id));
        assert!(!looks.is_looking(id) && looks.begin(id));
    }
}
