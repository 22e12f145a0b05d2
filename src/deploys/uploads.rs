//! Uploads that are read at one time are few: each holds a thread for blocking work until its last byte has come, and all else that reads
//! files, builds and logs needs those threads too.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Of the 512 threads that tokio has for blocking work.
pub const AT_ONCE: usize = 16;
/// Of one key or user, so that it takes several to keep all others out.
pub const OF_ONE: usize = 4;
/// Who comes when all places are taken waits so long: a few tarballs that are sent at once each get their turn.
const PATIENCE: Duration = Duration::from_secs(60);
/// From the first byte to the last: 2 GiB, the most that a source has by default, at 150 KB per second.
pub const LIMIT: Duration = Duration::from_secs(4 * 3600);

/// The places for uploads.
pub struct Uploads {
    all: Arc<Semaphore>,
    /// Those who hold or wait for a place; the others' are gone and swept at the next look.
    own: Mutex<BTreeMap<String, Weak<Semaphore>>>,
    patience: Duration,
}

/// The right to be read, given back when dropped.
#[derive(Debug)]
pub struct Place {
    _own: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

/// Why there is no place.
#[derive(Debug, thiserror::Error)]
pub enum NoPlace {
    #[error("{OF_ONE} uploads of {who} are under way, and one key or user may have no more at a time")]
    Own { who: String },
    #[error("{AT_ONCE} uploads are under way, and the server takes no more at a time")]
    All,
}

impl Default for Uploads {
    fn default() -> Self {
        Self::waiting(PATIENCE)
    }
}

impl Uploads {
    fn waiting(patience: Duration) -> Self {
        Self { all: Arc::new(Semaphore::new(AT_ONCE)), own: Mutex::default(), patience }
    }

    /// Waits for a place, one minute at most. To be called before anything of the body is read. Cancel-safe: yes.
    pub async fn take(&self, who: &str) -> Result<Place, NoPlace> {
        let own = self.own_of(who);
        let deadline = tokio::time::Instant::now() + self.patience;
        // The own one first: who waits for himself keeps nobody else waiting.
        let own = tokio::time::timeout_at(deadline, own.acquire_owned()).await;
        let own = own.map_err(|_| NoPlace::Own { who: who.to_owned() })?.expect("nobody closes it");
        let all = tokio::time::timeout_at(deadline, Arc::clone(&self.all).acquire_owned()).await;
        let all = all.map_err(|_| NoPlace::All)?.expect("nobody closes it");
        Ok(Place { _own: own, _all: all })
    }

    fn own_of(&self, who: &str) -> Arc<Semaphore> {
        let mut own = self.own.lock().expect("no code panics while it holds this lock");
        own.retain(|_, places| places.strong_count() > 0);
        own.get(who).and_then(Weak::upgrade).unwrap_or_else(|| {
            let places = Arc::new(Semaphore::new(OF_ONE));
            own.insert(who.to_owned(), Arc::downgrade(&places));
            places
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_key_gets_few_places_all_get_a_bounded_number_and_who_ends_gives_his_back() {
        let uploads = Uploads::waiting(Duration::from_millis(50));
        let mut held = Vec::new();
        for _ in 0..OF_ONE {
            held.push(uploads.take("key a").await.expect("a place"));
        }
        let refused = uploads.take("key a").await.expect_err("too many of one");
        assert!(refused.to_string().contains("4 uploads of key a are under way"), "{refused}");

        for n in OF_ONE..AT_ONCE {
            held.push(uploads.take(&format!("key {n}")).await.expect("a place"));
        }
        let refused = uploads.take("key z").await.expect_err("too many in all");
        assert!(refused.to_string().contains("16 uploads are under way"), "{refused}");

        held.remove(0);
        held.push(uploads.take("key a").await.expect("what was given back"));
        held.clear();
        uploads.take("key b").await.expect("a place");
        assert_eq!(uploads.own.lock().expect("lock").len(), 1, "who is gone is forgotten");
    }
}
