//! Whether the database can still be relied on. Once it cannot, this process does not write to it again: it ends, and the next one reads what
//! is really there.
//!
//! Of the process and not of a handle: an error of SQLite does not say which handle it came by, and a daemon has one database.

use std::sync::LazyLock;

use tokio::sync::watch;

static WHY: LazyLock<watch::Sender<Option<String>>> = LazyLock::new(|| watch::channel(None).0);

/// The first reason stays.
pub(super) fn note(why: &str) {
    let first = WHY.send_if_modified(|known| {
        let first = known.is_none();
        if first {
            *known = Some(why.to_owned());
        }
        first
    });
    if first {
        tracing::error!("the database cannot be relied on any more: {why}");
    }
}

pub(super) fn why() -> Option<String> {
    WHY.borrow().clone()
}

/// Ends when the database cannot be relied on any more, with the reason. Cancel-safe: yes.
pub async fn broken() -> String {
    let mut watch = WHY.subscribe();
    match watch.wait_for(Option::is_some).await.map(|why| why.clone()) {
        Ok(Some(why)) => why,
        // The sender is a static: it never goes.
        Ok(None) | Err(_) => std::future::pending().await,
    }
}
