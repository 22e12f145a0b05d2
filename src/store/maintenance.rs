//! Which apps are being worked on.

use std::collections::BTreeMap;
use std::time::Duration;

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::row::{at, bad, int};
use super::{Store, StoreError};
use crate::model::app::App;
use crate::model::maintenance::Maintenance;

fn maintenance(row: &SqliteRow) -> Result<Maintenance, StoreError> {
    let hold = u64::try_from(int(row, "hold_ms")?).map_err(|e| bad("hold_ms", e))?;
    Ok(Maintenance {
        message: row.try_get("message")?,
        hold: Duration::from_millis(hold),
        since: at(row, "since")?,
        by: row.try_get("by")?,
    })
}

impl Store {
    /// By app id.
    pub async fn maintenances(&self) -> Result<BTreeMap<i64, Maintenance>, StoreError> {
        let rows = sqlx::query("select * from maintenance").fetch_all(&self.readers).await?;
        rows.iter().map(|row| Ok((int(row, "app_id")?, maintenance(row)?))).collect()
    }

    pub async fn maintenance(&self, app_id: i64) -> Result<Option<Maintenance>, StoreError> {
        Ok(self.maintenances().await?.remove(&app_id))
    }

    /// Begins it, or changes what clients get; it is since when it first began.
    pub async fn maintenance_set(&self, app: &App, wanted: &Maintenance) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        Self::app_open_in(&mut tx, app.id).await?;
        sqlx::query(
            "insert into maintenance (app_id, message, hold_ms, since, by) values (?, ?, ?, ?, ?)
             on conflict (app_id) do update set message = excluded.message, hold_ms = excluded.hold_ms",
        )
        .bind(app.id)
        .bind(wanted.message.as_deref())
        .bind(i64::try_from(wanted.hold.as_millis()).unwrap_or(i64::MAX))
        .bind(wanted.since.0)
        .bind(&wanted.by)
        .execute(&mut *tx)
        .await?;
        Self::event_in(&mut tx, Some(&app.name), None, &wanted.by, "maintenance on").await?;
        Ok(tx.commit().await?)
    }

    /// Ends it; false: there was none.
    pub async fn maintenance_clear(&self, app: &App, by: &str) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let done = sqlx::query("delete from maintenance where app_id = ?").bind(app.id).execute(&mut *tx).await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        Self::event_in(&mut tx, Some(&app.name), None, by, "maintenance off").await?;
        tx.commit().await?;
        Ok(true)
    }
}
