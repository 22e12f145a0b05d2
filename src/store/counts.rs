//! What deploys have counted: added once per instance, in the transaction that notes it.

use super::row::{maybe_json, to_json};
use super::{Store, StoreError, Tx};
use crate::model::deploy::RequestCounts;
use crate::model::instance::Instance;
use crate::names::DeployId;

/// What an instance did that is about to go.
#[derive(Debug, Clone, Copy, Default)]
pub struct InstanceCounts {
    /// After it was closed: the retiring deploy's.
    pub closing: RequestCounts,
    /// Before it was closed.
    pub own: RequestCounts,
    /// All that it answered in its life.
    pub answered: u64,
}

impl Store {
    /// Adds what a retired instance did to the deploy that retires it and to the one that made it; nothing if that was done before.
    /// `serving` is what the instances did that took over: it counts for the retiring deploy if this was its last old instance.
    pub async fn instance_counted(
        &self,
        row: &Instance,
        counts: &InstanceCounts,
        serving: &RequestCounts,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let done =
            sqlx::query("update instances set counted = 1 where id = ? and counted = 0").bind(row.id.0).execute(&mut *tx).await?;
        if done.rows_affected() == 0 {
            return Ok(());
        }
        if let Some(by) = row.retired_by {
            let last = !Self::window_is_open_in(&mut tx, by).await?;
            let complete = RequestCounts { complete: true, ..*serving };
            let more = if last { counts.closing.plus(&complete) } else { counts.closing };
            Self::add_counts_in(&mut tx, by, &more).await?;
        }
        // It goes while older ones that its own deploy retired still finish: then it is part of that change-over too.
        let open = Self::window_is_open_in(&mut tx, row.deploy).await?;
        let own = if open { counts.own } else { RequestCounts::default() };
        Self::add_counts_in(&mut tx, row.deploy, &RequestCounts { answered: counts.answered, ..own }).await?;
        Ok(tx.commit().await?)
    }

    /// Does an instance that the deploy retired still finish?
    async fn window_is_open_in(tx: &mut Tx, deploy: DeployId) -> Result<bool, StoreError> {
        let left: i64 = sqlx::query_scalar("select count(*) from instances where retired_by = ? and counted = 0")
            .bind(deploy.0)
            .fetch_one(&mut **tx)
            .await?;
        Ok(left > 0)
    }

    async fn add_counts_in(tx: &mut Tx, deploy: DeployId, more: &RequestCounts) -> Result<(), StoreError> {
        let row = sqlx::query("select counts from deploys where id = ?").bind(deploy.0).fetch_optional(&mut **tx).await?;
        // The row of an old deploy may have been pruned.
        let Some(row) = row else { return Ok(()) };
        let so_far: RequestCounts = maybe_json(&row, "counts")?.unwrap_or_default();
        sqlx::query("update deploys set counts = ? where id = ?")
            .bind(to_json(&so_far.plus(more)))
            .bind(deploy.0)
            .execute(&mut **tx)
            .await?;
        Ok(())
    }
}
