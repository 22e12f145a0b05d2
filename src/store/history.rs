//! What is remembered of the past, and for how long: rows of ended deploys, old releases and events are dropped by number, per app.

use std::collections::BTreeMap;

use super::{Store, StoreError, Tx};
use crate::model::app::App;

/// A deploy has about ten events; other changes of an app have one each.
const EVENTS_PER_DEPLOY: i64 = 20;
/// Events of apps that are gone, and of no app.
const KEPT_OF_NOBODY: i64 = 1000;

impl Store {
    /// Forgets what is older than the newest `deploys` deploys of the app, but for what is in use: deploys that are not over, the live
    /// release and those that a rollback may name (`releases` that were live), what an instance belongs to, and the deploys of those releases.
    pub async fn history_prune(&self, app: &App, deploys: u32, releases: u32) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        Self::prune_releases_in(&mut tx, app.id, i64::from(deploys.max(releases)), i64::from(releases)).await?;
        // Moves and release commands go with their deploy (on delete cascade).
        sqlx::query(
            "delete from deploys where app_id = ?1 and state in ('live', 'failed', 'cancelled', 'superseded')
                 and id <= (select id from deploys where app_id = ?1 order by id desc limit 1 offset ?2)
                 and (branch_moved = 1 or commit_sha is null or state <> 'live')
                 and id not in (select deploy_id from releases where app_id = ?1)
                 and id not in (select deploy_id from instances where app_id = ?1)
                 and id not in (select retired_by from instances where app_id = ?1 and retired_by is not null)
                 and id not in (select held_by from apps where id = ?1 and held_by is not null)",
        )
        .bind(app.id)
        .bind(i64::from(deploys))
        .execute(&mut *tx)
        .await?;
        sqlx::query(
            "delete from events where app = ?1 and id <= (select id from events where app = ?1 order by id desc limit 1 offset ?2)",
        )
        .bind(app.name.as_str())
        .bind(i64::from(deploys) * EVENTS_PER_DEPLOY)
        .execute(&mut *tx)
        .await?;
        Ok(tx.commit().await?)
    }

    /// `rows` newest are kept, and what [`Store::images_in_use`] counts as needed for `keep`.
    async fn prune_releases_in(tx: &mut Tx, app_id: i64, rows: i64, keep: i64) -> Result<(), StoreError> {
        sqlx::query(
            "delete from releases where app_id = ?1
                 and number <= (select number from releases where app_id = ?1 order by number desc limit 1 offset ?2)
                 and status not in ('pending', 'live')
                 and number not in (select number from releases where app_id = ?1 and status in ('pending', 'live', 'retired')
                                    order by number desc limit ?3)
                 and number not in (select release from instances where app_id = ?1)
                 and number not in (select release from deploys where app_id = ?1 and release is not null
                                    and state not in ('live', 'failed', 'cancelled', 'superseded'))
                 and number not in (select live from apps where id = ?1 and live is not null)",
        )
        .bind(app_id)
        .bind(rows)
        .bind(keep)
        .execute(&mut **tx)
        .await?;
        Ok(())
    }

    /// Forgets the oldest events of apps that are gone, and of no app.
    pub(super) async fn prune_events_of_nobody_in(tx: &mut Tx) -> Result<(), StoreError> {
        sqlx::query(
            "with nobodys as (select id from events where app is null or app not in (select name from apps))
             delete from events where id in (select id from nobodys)
                 and id <= (select id from nobodys order by id desc limit 1 offset ?)",
        )
        .bind(KEPT_OF_NOBODY)
        .execute(&mut **tx)
        .await?;
        Ok(())
    }

    /// How many rows each table has.
    pub async fn row_counts(&self) -> Result<BTreeMap<String, u64>, StoreError> {
        let names: Vec<String> =
            sqlx::query_scalar("select name from sqlite_schema where type = 'table' and name not like '%sql%' order by name")
                .fetch_all(&self.readers)
                .await?;
        let mut counts = BTreeMap::new();
        for name in names {
            let sql = format!("select count(*) from \"{name}\"");
            let rows: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(&self.readers).await?;
            counts.insert(name, u64::try_from(rows).unwrap_or(0));
        }
        Ok(counts)
    }
}
