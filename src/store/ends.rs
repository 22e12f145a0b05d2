//! Ends of runs, and the crash files that were kept.

use sqlx::sqlite::SqliteRow;

use super::row::{at, bad, flag, int, json, number, text, to_json};
use super::{Store, StoreError};
use crate::base::clock::UnixMillis;
use crate::model::app::App;
use crate::model::crash::{CrashFile, NewCrashFile};
use crate::model::end::{End, Ends, KEPT};
use crate::names::{AppName, CrashId, InstanceId, ProcessName, ReleaseNumber};

fn end(row: &SqliteRow) -> Result<End, StoreError> {
    Ok(End {
        at: at(row, "at")?,
        instance: InstanceId(int(row, "instance_id")?),
        process: text(row, "process", ProcessName::parse)?,
        index: number(row, "idx")?,
        release: ReleaseNumber(int(row, "release")?),
        live: flag(row, "live")?,
        told: json(row, "told")?,
    })
}

fn crash_file(row: &SqliteRow) -> Result<CrashFile, StoreError> {
    Ok(CrashFile {
        id: CrashId(int(row, "id")?),
        at: at(row, "at")?,
        process: text(row, "process", ProcessName::parse)?,
        index: number(row, "idx")?,
        release: ReleaseNumber(int(row, "release")?),
        path: text(row, "path", |v| Ok::<_, String>(v.to_owned()))?,
        bytes: u64::try_from(int(row, "bytes")?).map_err(|e| bad("bytes", e))?,
    })
}

impl Store {
    /// Keeps an end, with an event beside it if one is given. False: it is known already.
    pub async fn end_record(&self, app: &App, end: &End, event: Option<&str>) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let new = sqlx::query(
            "insert into ends (app_id, at, instance_id, process, idx, release, live, told)
             values (?, ?, ?, ?, ?, ?, ?, ?) on conflict do nothing",
        )
        .bind(app.id)
        .bind(end.at.0)
        .bind(end.instance.0)
        .bind(end.process.as_str())
        .bind(i64::from(end.index))
        .bind(end.release.0)
        .bind(i64::from(end.live))
        .bind(to_json(&end.told))
        .execute(&mut *tx)
        .await?;
        if new.rows_affected() == 0 {
            return Ok(false);
        }
        sqlx::query(
            "delete from ends where app_id = ? and id not in (select id from ends where app_id = ? order by id desc limit ?)",
        )
        .bind(app.id)
        .bind(app.id)
        .bind(KEPT)
        .execute(&mut *tx)
        .await?;
        if let Some(what) = event {
            Self::event_in(&mut tx, Some(&app.name), None, "paas", what).await?;
        }
        tx.commit().await?;
        Ok(true)
    }

    /// The newest ends of an app, newest first.
    pub async fn ends(&self, app_id: i64, limit: u32) -> Result<Vec<End>, StoreError> {
        let rows = sqlx::query("select * from ends where app_id = ? order by at desc, id desc limit ?")
            .bind(app_id)
            .bind(i64::from(limit))
            .fetch_all(&self.readers)
            .await?;
        rows.iter().map(end).collect()
    }

    /// Where at least `least` runs have ended from `since` to `now`, candidates of deploys left out; of each app those with most ends first.
    pub async fn ends_counted(&self, since: UnixMillis, now: UnixMillis, least: u32) -> Result<Vec<Ends>, StoreError> {
        let rows = sqlx::query(
            "select e.app_id, a.name as app, e.process, e.idx, count(*) as ends, max(e.at) as last from ends e join apps a on a.id = e.app_id
             where e.live = 1 and e.at > ? and e.at <= ?
             group by e.app_id, e.process, e.idx having count(*) >= ? order by e.app_id, ends desc, e.process, e.idx",
        )
        .bind(since.0)
        .bind(now.0)
        .bind(i64::from(least))
        .fetch_all(&self.readers)
        .await?;
        let read = |row: &SqliteRow| {
            Ok(Ends {
                app_id: int(row, "app_id")?,
                app: text(row, "app", AppName::parse)?,
                process: text(row, "process", ProcessName::parse)?,
                index: number(row, "idx")?,
                ends: number(row, "ends")?,
                last: at(row, "last")?,
            })
        };
        rows.iter().map(read).collect()
    }

    /// Notes a crash file, or finds the row of the same one.
    pub async fn crash_file_add(&self, app_id: i64, new: &NewCrashFile) -> Result<CrashId, StoreError> {
        let id: i64 = sqlx::query_scalar(
            "insert into crash_files (app_id, at, instance_id, process, idx, release, path, modified, bytes)
             values (?, ?, ?, ?, ?, ?, ?, ?, ?) on conflict (instance_id, path, modified, bytes) do update set bytes = bytes
             returning id",
        )
        .bind(app_id)
        .bind(new.at.0)
        .bind(new.instance.0)
        .bind(new.process.as_str())
        .bind(i64::from(new.index))
        .bind(new.release.0)
        .bind(&new.path)
        .bind(new.modified)
        .bind(i64::try_from(new.bytes).map_err(|e| bad("bytes", e))?)
        .fetch_one(&mut *self.writer().await?)
        .await?;
        Ok(CrashId(id))
    }

    /// When the newest one that is kept of an instance was written: seconds since 1970.
    pub async fn crash_file_newest(&self, instance: InstanceId) -> Result<Option<i64>, StoreError> {
        let newest = "select max(modified) from crash_files where instance_id = ?";
        Ok(sqlx::query_scalar(newest).bind(instance.0).fetch_one(&self.readers).await?)
    }

    /// The crash files of an app, newest first.
    pub async fn crash_files(&self, app_id: i64) -> Result<Vec<CrashFile>, StoreError> {
        let rows = sqlx::query("select * from crash_files where app_id = ? order by id desc")
            .bind(app_id)
            .fetch_all(&self.readers)
            .await?;
        rows.iter().map(crash_file).collect()
    }

    pub async fn crash_file_forget(&self, app_id: i64, id: CrashId) -> Result<(), StoreError> {
        sqlx::query("delete from crash_files where app_id = ? and id = ?")
            .bind(app_id)
            .bind(id.0)
            .execute(&mut *self.writer().await?)
            .await?;
        Ok(())
    }
}
