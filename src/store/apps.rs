//! Apps and their scale.

use std::collections::BTreeMap;

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::row::{at, bad, flag, int, number, text};
use super::{Store, StoreError};
use crate::base::clock::UnixMillis;
use crate::model::app::App;
use crate::names::{AppName, DeployId, ProcessName, ReleaseNumber};

fn app(row: &SqliteRow) -> Result<App, StoreError> {
    Ok(App {
        id: int(row, "id")?,
        name: text(row, "name", AppName::parse)?,
        created_at: at(row, "created_at")?,
        live: row.try_get::<Option<i64>, _>("live")?.map(ReleaseNumber),
        subnet: number(row, "subnet")?,
        held_by: row.try_get::<Option<i64>, _>("held_by")?.map(DeployId),
        destroying: flag(row, "destroying")?,
    })
}

impl Store {
    /// Creates an app and gives it the lowest free subnet below `subnets`. Taken if the name is.
    pub async fn app_create(&self, name: &AppName, by: &str, subnets: u32) -> Result<App, StoreError> {
        let mut tx = self.begin().await?;
        let used: Vec<i64> = sqlx::query_scalar("select subnet from apps order by subnet").fetch_all(&mut *tx).await?;
        let subnet = (0..i64::from(subnets)).find(|n| used.binary_search(n).is_err());
        let subnet = subnet.ok_or_else(|| StoreError::Conflict(format!("all {subnets} app networks are in use")))?;
        sqlx::query("insert into apps (name, created_at, subnet) values (?, ?, ?)")
            .bind(name.as_str())
            .bind(UnixMillis::now().0)
            .bind(subnet)
            .execute(&mut *tx)
            .await
            .map_err(|e| StoreError::taken(e, "apps.name", || format!("the app name `{name}`")))?;
        Self::event_in(&mut tx, Some(name), None, by, "app created").await?;
        tx.commit().await?;
        self.app(name).await
    }

    /// Moves the app from `taken` to the next number below `subnets` that no app has (around the end to the first), and gives it.
    pub async fn app_next_subnet(&self, app_id: i64, taken: u32, subnets: u32) -> Result<u32, StoreError> {
        let mut tx = self.begin().await?;
        let used: Vec<i64> = sqlx::query_scalar("select subnet from apps order by subnet").fetch_all(&mut *tx).await?;
        let next = (1..subnets).map(|step| (taken + step) % subnets).find(|n| used.binary_search(&i64::from(*n)).is_err());
        let next = next.ok_or_else(|| StoreError::Conflict(format!("all {subnets} app networks are in use")))?;
        sqlx::query("update apps set subnet = ? where id = ?").bind(next).bind(app_id).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(next)
    }

    pub async fn app(&self, name: &AppName) -> Result<App, StoreError> {
        let row = sqlx::query("select * from apps where name = ?").bind(name.as_str()).fetch_optional(&self.readers).await?;
        row.as_ref().map(app).transpose()?.ok_or_else(|| StoreError::NotFound(format!("app `{name}` does not exist")))
    }

    pub async fn app_by_id(&self, id: i64) -> Result<App, StoreError> {
        let row = sqlx::query("select * from apps where id = ?").bind(id).fetch_optional(&self.readers).await?;
        row.as_ref().map(app).transpose()?.ok_or_else(|| StoreError::NotFound("the app does not exist any more".to_owned()))
    }

    pub async fn apps(&self) -> Result<Vec<App>, StoreError> {
        sqlx::query("select * from apps order by name").fetch_all(&self.readers).await?.iter().map(app).collect()
    }

    /// From now on nothing is admitted for the app; [`Store::app_delete`] ends it.
    pub async fn app_mark_destroying(&self, name: &AppName, by: &str) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        sqlx::query("update apps set destroying = 1 where name = ?").bind(name.as_str()).execute(&mut *tx).await?;
        sqlx::query(
            "update deploys set cancel_asked = 1
             where app_id = (select id from apps where name = ?) and state not in ('live', 'failed', 'cancelled', 'superseded')",
        )
        .bind(name.as_str())
        .execute(&mut *tx)
        .await?;
        sqlx::query("update instances set wanted = 'gone' where app_id = (select id from apps where name = ?)")
            .bind(name.as_str())
            .execute(&mut *tx)
            .await?;
        Self::event_in(&mut tx, Some(name), None, by, "app is being destroyed").await?;
        Ok(tx.commit().await?)
    }

    /// Forgets the app and everything that hangs on it.
    pub async fn app_delete(&self, name: &AppName, by: &str) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        sqlx::query("delete from apps where name = ?").bind(name.as_str()).execute(&mut *tx).await?;
        Self::event_in(&mut tx, Some(name), None, by, "app destroyed").await?;
        Self::prune_events_of_nobody_in(&mut tx).await?;
        Ok(tx.commit().await?)
    }

    /// Requests to the app are held (`Some`) or no longer.
    pub async fn app_hold(&self, app_id: i64, deploy: Option<DeployId>) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        sqlx::query("update apps set held_by = ? where id = ?").bind(deploy.map(|d| d.0)).bind(app_id).execute(&mut *tx).await?;
        Ok(tx.commit().await?)
    }

    pub async fn scale(&self, app_id: i64) -> Result<BTreeMap<ProcessName, u32>, StoreError> {
        let rows =
            sqlx::query("select process, count from scales where app_id = ?").bind(app_id).fetch_all(&self.readers).await?;
        rows.iter().map(|r| Ok((text(r, "process", ProcessName::parse)?, number(r, "count")?))).collect()
    }

    pub async fn scale_set(&self, app: &App, wanted: &BTreeMap<ProcessName, u32>, by: &str) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        for (process, count) in wanted {
            sqlx::query(
                "insert into scales (app_id, process, count) values (?, ?, ?) on conflict do update set count = excluded.count",
            )
            .bind(app.id)
            .bind(process.as_str())
            .bind(i64::from(*count))
            .execute(&mut *tx)
            .await?;
            let what = format!("scaled {process} to {count}");
            Self::event_in(&mut tx, Some(&app.name), None, by, &what).await?;
        }
        Ok(tx.commit().await?)
    }

    /// The app's row as a write sees it; refuses one that is being destroyed.
    pub(super) async fn app_open_in(tx: &mut super::Tx, app_id: i64) -> Result<App, StoreError> {
        let row = sqlx::query("select * from apps where id = ?").bind(app_id).fetch_optional(&mut **tx).await?;
        let found = row.as_ref().map(app).transpose()?.ok_or_else(|| bad("app", "it does not exist any more"))?;
        if found.destroying {
            return Err(StoreError::Conflict(format!("app `{}` is being destroyed", found.name)));
        }
        Ok(found)
    }
}
