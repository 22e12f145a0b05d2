//! Deploys and their moves. The driver is the only caller of [`Store::deploy_move`].

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::row::{at, flag, int, json, known, maybe, maybe_json, text, to_json};
use super::{Store, StoreError, Tx};
use crate::base::clock::UnixMillis;
use crate::model::deploy::{Deploy, Failure, Origin, State, may_move};
use crate::names::{AppName, CommitSha, DeployId, KeyId, ReleaseNumber};

/// What admission stores.
#[derive(Debug, Clone)]
pub struct NewDeploy {
    pub app_id: i64,
    pub origin: Origin,
    pub commit: Option<CommitSha>,
    pub by: Option<KeyId>,
    /// Whose deploy it is: `root`, `key laptop`.
    pub by_name: String,
    /// The push that it comes from: the same one is admitted once.
    pub push: Option<String>,
}

/// When a deploy entered a state.
#[derive(Debug, Clone, Copy)]
pub struct StageEntry {
    pub state: State,
    pub at: UnixMillis,
}

const SELECT: &str = "select d.*, a.name as app from deploys d join apps a on a.id = d.app_id";

fn deploy(row: &SqliteRow) -> Result<Deploy, StoreError> {
    Ok(Deploy {
        id: DeployId(int(row, "id")?),
        app_id: int(row, "app_id")?,
        app: text(row, "app", AppName::parse)?,
        origin: json(row, "origin")?,
        state: text(row, "state", |v| known(State::parse(v)))?,
        commit: maybe(row, "commit_sha", CommitSha::parse)?,
        release: row.try_get::<Option<i64>, _>("release")?.map(ReleaseNumber),
        by: row.try_get::<Option<i64>, _>("by_key")?.map(KeyId),
        by_name: row.try_get("by_name")?,
        cancel_asked: flag(row, "cancel_asked")?,
        branch_moved: flag(row, "branch_moved")?,
        created_at: at(row, "created_at")?,
        entered_at: at(row, "entered_at")?,
        failure: maybe_json(row, "failure")?,
        counts: maybe_json(row, "counts")?,
    })
}

impl Store {
    /// Stores a deploy as Queued and ends the queued ones that it takes the place of, in one transaction. Gives the deploy and those it superseded.
    /// A push that was admitted before gives its deploy, as it is now.
    pub async fn deploy_admit(&self, new: &NewDeploy) -> Result<(Deploy, Vec<DeployId>), StoreError> {
        let mut tx = self.begin().await?;
        let app = Self::app_open_in(&mut tx, new.app_id).await?;
        let sql = format!("{SELECT} where d.app_id = ? and d.push = ?");
        let known =
            sqlx::query(sqlx::AssertSqlSafe(sql)).bind(new.app_id).bind(new.push.as_deref()).fetch_optional(&mut *tx).await?;
        if let Some(known) = known {
            return Ok((deploy(&known)?, Vec::new()));
        }
        let now = UnixMillis::now();
        let queued = sqlx::query(sqlx::AssertSqlSafe(format!("{SELECT} where d.app_id = ? and d.state = 'queued'")))
            .bind(new.app_id)
            .fetch_all(&mut *tx)
            .await?;
        let id: i64 = sqlx::query_scalar(
            "insert into deploys (app_id, origin, state, commit_sha, by_key, by_name, created_at, entered_at, push)
             values (?, ?, 'queued', ?, ?, ?, ?, ?, ?) returning id",
        )
        .bind(new.app_id)
        .bind(to_json(&new.origin))
        .bind(new.commit.as_ref().map(CommitSha::as_str))
        .bind(new.by.map(|k| k.0))
        .bind(&new.by_name)
        .bind(now.0)
        .bind(now.0)
        .bind(new.push.as_deref())
        .fetch_one(&mut *tx)
        .await?;
        let id = DeployId(id);
        Self::entry_in(&mut tx, id, State::Queued, now).await?;
        Self::event_in(&mut tx, Some(&app.name), Some(id), &new.by_name, &format!("{id} admitted: {}", new.origin.describe()))
            .await?;
        let mut superseded = Vec::new();
        for row in &queued {
            let older = deploy(row)?;
            if new.origin.supersedes(&older.origin) {
                let why = format!("{id} came after it");
                Self::move_in(&mut tx, &older, State::Superseded, &why).await?;
                superseded.push(older.id);
            }
        }
        let stored = sqlx::query(sqlx::AssertSqlSafe(format!("{SELECT} where d.id = ?"))).bind(id.0).fetch_one(&mut *tx).await?;
        // Read before the commit, after which nothing may fail.
        let stored = deploy(&stored)?;
        tx.commit().await?;
        Ok((stored, superseded))
    }

    pub async fn deploy(&self, id: DeployId) -> Result<Deploy, StoreError> {
        let row =
            sqlx::query(sqlx::AssertSqlSafe(format!("{SELECT} where d.id = ?"))).bind(id.0).fetch_optional(&self.readers).await?;
        row.as_ref().map(deploy).transpose()?.ok_or_else(|| StoreError::NotFound(format!("deploy {id} does not exist")))
    }

    /// Deploys that are not over, oldest first.
    pub async fn deploys_active(&self) -> Result<Vec<Deploy>, StoreError> {
        let sql = format!("{SELECT} where d.state not in ('live', 'failed', 'cancelled', 'superseded') order by d.id");
        sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(&self.readers).await?.iter().map(deploy).collect()
    }

    /// The same of one app: rows of others that can't be read are no reason to stop it.
    pub async fn deploys_active_of(&self, app_id: i64) -> Result<Vec<Deploy>, StoreError> {
        let sql =
            format!("{SELECT} where d.app_id = ? and d.state not in ('live', 'failed', 'cancelled', 'superseded') order by d.id");
        sqlx::query(sqlx::AssertSqlSafe(sql)).bind(app_id).fetch_all(&self.readers).await?.iter().map(deploy).collect()
    }

    /// The app's newest deploys, newest first.
    pub async fn deploys(&self, app_id: i64, limit: u32) -> Result<Vec<Deploy>, StoreError> {
        let sql = format!("{SELECT} where d.app_id = ? order by d.id desc limit ?");
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(app_id).bind(i64::from(limit)).fetch_all(&self.readers).await?;
        rows.iter().map(deploy).collect()
    }

    /// The newest failed deploys since then, newest first.
    pub async fn deploys_failed(&self, since: UnixMillis, limit: u32) -> Result<Vec<Deploy>, StoreError> {
        let sql = format!("{SELECT} where d.state = 'failed' and d.entered_at >= ? order by d.id desc limit ?");
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(since.0).bind(i64::from(limit)).fetch_all(&self.readers).await?;
        rows.iter().map(deploy).collect()
    }

    pub async fn deploy_stages(&self, id: DeployId) -> Result<Vec<StageEntry>, StoreError> {
        let rows = sqlx::query("select state, at from deploy_moves where deploy_id = ? order by rowid")
            .bind(id.0)
            .fetch_all(&self.readers)
            .await?;
        rows.iter().map(|r| Ok(StageEntry { state: text(r, "state", |v| known(State::parse(v)))?, at: at(r, "at")? })).collect()
    }

    /// Moves a deploy, by compare-and-set on the state the caller saw, with its event. Conflict if the move is not legal or the row moved meanwhile.
    pub async fn deploy_move(&self, seen: &Deploy, to: State, why: &str) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        Self::move_in(&mut tx, seen, to, why).await?;
        Ok(tx.commit().await?)
    }

    /// Moves a deploy to Failed or Cancelled with the reason kept; its release, if it made one, is marked failed.
    pub async fn deploy_fail(&self, seen: &Deploy, to: State, failure: &Failure) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        Self::move_in(&mut tx, seen, to, &failure.why).await?;
        sqlx::query("update deploys set failure = ? where id = ?")
            .bind(to_json(failure))
            .bind(seen.id.0)
            .execute(&mut *tx)
            .await?;
        sqlx::query("update releases set status = 'failed' where deploy_id = ? and status = 'pending'")
            .bind(seen.id.0)
            .execute(&mut *tx)
            .await?;
        Ok(tx.commit().await?)
    }

    /// Notes that somebody wants the deploy to end; the driver acts on it. Conflict if it is over.
    pub async fn deploy_ask_cancel(&self, id: DeployId, by: &str) -> Result<Deploy, StoreError> {
        let mut tx = self.begin().await?;
        let done = sqlx::query(
            "update deploys set cancel_asked = 1 where id = ? and state not in ('live', 'failed', 'cancelled', 'superseded')",
        )
        .bind(id.0)
        .execute(&mut *tx)
        .await?;
        let now =
            sqlx::query(sqlx::AssertSqlSafe(format!("{SELECT} where d.id = ?"))).bind(id.0).fetch_optional(&mut *tx).await?;
        let now =
            now.as_ref().map(deploy).transpose()?.ok_or_else(|| StoreError::NotFound(format!("deploy {id} does not exist")))?;
        if done.rows_affected() == 0 {
            return Err(StoreError::Conflict(format!("deploy {id} is over: it is {}", now.state)));
        }
        Self::event_in(&mut tx, Some(&now.app), Some(id), by, &format!("cancel of {id} asked for")).await?;
        tx.commit().await?;
        Ok(now)
    }

    /// The app's deploys that are over, but not all of what follows their end is done; oldest first.
    pub async fn deploys_to_end(&self, app_id: i64) -> Result<Vec<Deploy>, StoreError> {
        let over = "d.state in ('live', 'failed', 'cancelled', 'superseded')";
        let sql = format!("{SELECT} where d.app_id = ? and d.ended = 0 and {over} order by d.id");
        sqlx::query(sqlx::AssertSqlSafe(sql)).bind(app_id).fetch_all(&self.readers).await?.iter().map(deploy).collect()
    }

    /// Notes that all of what follows the end of a deploy is done.
    pub async fn deploy_ended(&self, id: DeployId) -> Result<(), StoreError> {
        sqlx::query("update deploys set ended = 1 where id = ?").bind(id.0).execute(&mut *self.writer().await?).await?;
        Ok(())
    }

    pub async fn deploy_branch_moved(&self, id: DeployId) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        sqlx::query("update deploys set branch_moved = 1 where id = ?").bind(id.0).execute(&mut *tx).await?;
        Ok(tx.commit().await?)
    }

    pub(super) async fn move_in(tx: &mut Tx, seen: &Deploy, to: State, why: &str) -> Result<(), StoreError> {
        let (id, from) = (seen.id, seen.state);
        if !may_move(from, to) {
            return Err(StoreError::Conflict(format!("deploy {id} may not move from {from} to {to}")));
        }
        let now = UnixMillis::now();
        let done = sqlx::query("update deploys set state = ?, entered_at = ? where id = ? and state = ?")
            .bind(to.as_str())
            .bind(now.0)
            .bind(id.0)
            .bind(from.as_str())
            .execute(&mut **tx)
            .await?;
        if done.rows_affected() == 0 {
            return Err(StoreError::Conflict(format!("deploy {id} is not {from} any more")));
        }
        Self::entry_in(tx, id, to, now).await?;
        let what = if why.is_empty() { format!("{id} is {to}") } else { format!("{id} is {to}: {why}") };
        Self::event_in(tx, Some(&seen.app), Some(id), "paas", &what).await
    }

    async fn entry_in(tx: &mut Tx, id: DeployId, state: State, now: UnixMillis) -> Result<(), StoreError> {
        sqlx::query("insert into deploy_moves (deploy_id, state, at) values (?, ?, ?)")
            .bind(id.0)
            .bind(state.as_str())
            .bind(now.0)
            .execute(&mut **tx)
            .await?;
        Ok(())
    }
}
