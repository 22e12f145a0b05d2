//! What comes next in an app's log, for as long as somebody wants to know.

use std::time::Duration;

use futures_util::Stream;
use tokio::task::JoinHandle;

use super::merge::Merge;
use super::{Cursor, LogError, Page};

/// How often a follower looks for new lines. Half of it is the average delay of a line.
const LOOK: Duration = Duration::from_millis(80);

/// Reads on from a cursor. Each follower reads at its own pace and holds up nobody.
pub struct Follow {
    merge: Option<Merge>,
    reading: Option<JoinHandle<(Merge, Result<Page, LogError>)>>,
    cursor: Cursor,
}

impl Follow {
    pub(super) fn new(merge: Merge, cursor: Cursor) -> Self {
        Self { merge: Some(merge), reading: None, cursor }
    }

    /// Waits for new lines; gives them with the cursor after them. `None` only if the runtime shuts down.
    /// Cancel-safe: yes, a page that was being read is given by the next call.
    pub async fn next(&mut self) -> Option<Result<Page, LogError>> {
        loop {
            if self.reading.is_none() {
                let mut merge = self.merge.take()?;
                self.reading = Some(tokio::task::spawn_blocking(move || {
                    let page = merge.page();
                    (merge, page)
                }));
            }
            let outcome = match &mut self.reading {
                Some(reading) => reading.await,
                None => return None,
            };
            self.reading = None;
            let (merge, page) = outcome.ok()?;
            self.merge = Some(merge);
            match page {
                Ok(page) if page.lines.is_empty() && !page.more => self.cursor = page.cursor,
                Ok(page) => {
                    self.cursor = page.cursor.clone();
                    return Some(Ok(page));
                }
                Err(e) => return Some(Err(e)),
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Where the follower stands: after all that `next` gave.
    pub fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// The same as a stream.
    pub fn into_stream(self) -> impl Stream<Item = Result<Page, LogError>> + Send {
        futures_util::stream::unfold(self, |mut follow| async move { follow.next().await.map(|page| (page, follow)) })
    }
}
