//! A disk without room is noticed before a write is tried.

use std::time::Duration;

use super::*;

/// What waits for the one connection while the disk fills would end the daemon if it were tried.
#[tokio::test]
async fn a_write_that_waited_while_the_disk_filled_is_not_tried() {
    let f = fixture().await;
    let link = f._dir.path().join("looked-at");
    std::os::unix::fs::symlink(f._dir.path(), &link).expect("a link");
    let store = Store { file: link.clone(), ..f.store.clone() };
    let holder = store.begin().await.expect("there is room");
    let statement = tokio::spawn({
        let store = store.clone();
        async move { store.alert_message_done(1).await }
    });
    let transaction = tokio::spawn({
        let store = store.clone();
        async move { store.begin().await.map(drop) }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!statement.is_finished() && !transaction.is_finished(), "both wait");

    // A file of the kernel's: its filesystem has no room.
    std::fs::remove_file(&link).expect("removed");
    std::os::unix::fs::symlink("/proc/version", &link).expect("a link");
    holder.rollback().await.expect("given back");
    assert!(matches!(statement.await.expect("no panic"), Err(StoreError::NoRoom)));
    assert!(matches!(transaction.await.expect("no panic"), Err(StoreError::NoRoom)));
}
