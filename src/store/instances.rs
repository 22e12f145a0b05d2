//! Instances, and the commit point that makes a new set of them live.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::row::{at, bad, flag, int, known, number, text, to_json};
use super::{Store, StoreError};
use crate::base::clock::UnixMillis;
use crate::model::deploy::{Deploy, RequestCounts, State};
use crate::model::instance::{Instance, Wanted};
use crate::model::release::{Config, Release};
use crate::names::{AppName, DeployId, InstanceId, ProcessName, ReleaseNumber};

/// An instance that a deploy is about to make.
#[derive(Debug, Clone)]
pub struct NewInstance {
    pub app_id: i64,
    pub release: ReleaseNumber,
    pub deploy: DeployId,
    pub process: ProcessName,
    pub index: u32,
    pub port: u16,
}

/// What becomes true at the commit point of a deploy, in one transaction.
#[derive(Debug, Clone)]
pub struct Commit<'a> {
    pub release: &'a Release,
    /// These serve from now on.
    pub live: &'a [InstanceId],
    /// These finish their work and go.
    pub retire: &'a [InstanceId],
    /// A rollback brings the config of its release back.
    pub config: Option<&'a Config>,
    /// The number of the snapshot that the proxy has prepared.
    pub snapshot: u64,
}

const SELECT: &str = "select i.*, a.name as app from instances i join apps a on a.id = i.app_id";

fn instance(row: &SqliteRow) -> Result<Instance, StoreError> {
    Ok(Instance {
        id: InstanceId(int(row, "id")?),
        app_id: int(row, "app_id")?,
        app: text(row, "app", AppName::parse)?,
        release: ReleaseNumber(int(row, "release")?),
        deploy: DeployId(int(row, "deploy_id")?),
        process: text(row, "process", ProcessName::parse)?,
        index: number(row, "idx")?,
        port: u16::try_from(int(row, "port")?).map_err(|e| bad("port", e))?,
        container: row.try_get("container")?,
        wanted: text(row, "wanted", |v| known(Wanted::parse(v)))?,
        retired_by: row.try_get::<Option<i64>, _>("retired_by")?.map(DeployId),
        cut_streams: flag(row, "cut_streams")?,
        counted: flag(row, "counted")?,
        created_at: at(row, "created_at")?,
    })
}

impl Store {
    /// The row of an instance, made now or by an earlier try of the same step.
    pub async fn instance_ensure(&self, new: &NewInstance) -> Result<Instance, StoreError> {
        let mut tx = self.begin().await?;
        sqlx::query(
            "insert into instances (app_id, release, deploy_id, process, idx, port, wanted, created_at)
             values (?, ?, ?, ?, ?, ?, 'candidate', ?) on conflict do nothing",
        )
        .bind(new.app_id)
        .bind(new.release.0)
        .bind(new.deploy.0)
        .bind(new.process.as_str())
        .bind(i64::from(new.index))
        .bind(i64::from(new.port))
        .bind(UnixMillis::now().0)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        let sql = format!("{SELECT} where i.deploy_id = ? and i.process = ? and i.idx = ?");
        let row = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(new.deploy.0)
            .bind(new.process.as_str())
            .bind(i64::from(new.index))
            .fetch_one(&self.readers)
            .await?;
        instance(&row)
    }

    pub async fn instance_container(&self, id: InstanceId, container: &str) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        sqlx::query("update instances set container = ? where id = ?").bind(container).bind(id.0).execute(&mut *tx).await?;
        Ok(tx.commit().await?)
    }

    pub async fn instance(&self, id: InstanceId) -> Result<Option<Instance>, StoreError> {
        let sql = format!("{SELECT} where i.id = ?");
        let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id.0).fetch_optional(&self.readers).await?;
        row.as_ref().map(instance).transpose()
    }

    pub async fn instances(&self) -> Result<Vec<Instance>, StoreError> {
        let sql = format!("{SELECT} order by i.app_id, i.id");
        sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(&self.readers).await?.iter().map(instance).collect()
    }

    pub async fn instances_of(&self, app_id: i64) -> Result<Vec<Instance>, StoreError> {
        let sql = format!("{SELECT} where i.app_id = ? order by i.process, i.idx, i.id");
        sqlx::query(sqlx::AssertSqlSafe(sql)).bind(app_id).fetch_all(&self.readers).await?.iter().map(instance).collect()
    }

    /// Changes what is wanted of some instances.
    pub async fn instances_want(&self, ids: &[InstanceId], wanted: Wanted) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        for id in ids {
            sqlx::query("update instances set wanted = ? where id = ?")
                .bind(wanted.as_str())
                .bind(id.0)
                .execute(&mut *tx)
                .await?;
        }
        Ok(tx.commit().await?)
    }

    /// Their streams get no more time.
    pub async fn instances_cut_streams(&self, ids: &[InstanceId]) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        for id in ids {
            sqlx::query("update instances set cut_streams = 1 where id = ?").bind(id.0).execute(&mut *tx).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Forgets an instance whose container is gone.
    pub async fn instance_forget(&self, id: InstanceId) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        sqlx::query("delete from instances where id = ?").bind(id.0).execute(&mut *tx).await?;
        Ok(tx.commit().await?)
    }

    /// The commit point: the deploy is Live, its release is the app's, its instances serve and the old ones retire: all or nothing.
    pub async fn commit_live(&self, seen: &Deploy, commit: &Commit<'_>) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let app = Self::app_open_in(&mut tx, seen.app_id).await?;
        let number = commit.release.number;
        // Whoever was told that it is being cancelled is not told that it is live.
        let cancel_asked: i64 =
            sqlx::query_scalar("select cancel_asked from deploys where id = ?").bind(seen.id.0).fetch_one(&mut *tx).await?;
        if cancel_asked != 0 {
            return Err(StoreError::Conflict(format!("deploy {} is to be cancelled", seen.id)));
        }
        Self::move_in(&mut tx, seen, State::Live, &format!("{number} serves")).await?;
        sqlx::query("update releases set status = 'retired' where app_id = ? and status = 'live'")
            .bind(app.id)
            .execute(&mut *tx)
            .await?;
        sqlx::query("update releases set status = 'live' where app_id = ? and number = ?")
            .bind(app.id)
            .bind(number.0)
            .execute(&mut *tx)
            .await?;
        sqlx::query("update apps set live = ?, held_by = null where id = ?")
            .bind(number.0)
            .bind(app.id)
            .execute(&mut *tx)
            .await?;
        for id in commit.live {
            sqlx::query("update instances set wanted = 'live', release = ? where id = ?")
                .bind(number.0)
                .bind(id.0)
                .execute(&mut *tx)
                .await?;
        }
        for id in commit.retire {
            sqlx::query("update instances set wanted = 'retiring', retired_by = ? where id = ? and wanted in ('live', 'paused')")
                .bind(seen.id.0)
                .bind(id.0)
                .execute(&mut *tx)
                .await?;
        }
        // With nothing to wait for there is nothing to count.
        let counts = RequestCounts { complete: commit.retire.is_empty(), ..RequestCounts::default() };
        sqlx::query("update deploys set counts = ? where id = ?")
            .bind(to_json(&counts))
            .bind(seen.id.0)
            .execute(&mut *tx)
            .await?;
        Self::domains_of_manifest_in(&mut tx, &app, &commit.release.manifest.domains).await?;
        if let Some(config) = commit.config {
            self.config_replace_in(&mut tx, seen, config).await?;
        }
        Self::snapshot_set_in(&mut tx, commit.snapshot).await?;
        Ok(tx.commit().await?)
    }

    /// The number of the last snapshot that was or may have been activated.
    pub async fn snapshot_number(&self) -> Result<u64, StoreError> {
        let text: Option<String> =
            sqlx::query_scalar("select value from settings where key = 'snapshot'").fetch_optional(&self.readers).await?;
        text.map_or(Ok(0), |t| t.parse().map_err(|e| bad("snapshot", e)))
    }

    pub async fn snapshot_set(&self, number: u64) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        Self::snapshot_set_in(&mut tx, number).await?;
        Ok(tx.commit().await?)
    }

    async fn snapshot_set_in(tx: &mut super::Tx, number: u64) -> Result<(), StoreError> {
        sqlx::query("insert into settings (key, value) values ('snapshot', ?) on conflict do update set value = excluded.value")
            .bind(number.to_string())
            .execute(&mut **tx)
            .await?;
        Ok(())
    }
}
