//! ssh keys and what each may do.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::row::{at, flag, int, text};
use super::{Store, StoreError};
use crate::base::clock::UnixMillis;
use crate::model::access::SshKey;
use crate::names::{AppName, KeyId, KeyName};

impl Store {
    /// Adds a key; `key.id` is ignored and given anew. Taken if its name or the key itself is known.
    pub async fn key_add(&self, key: &SshKey, by: &str) -> Result<SshKey, StoreError> {
        let mut tx = self.begin().await?;
        let id: i64 = sqlx::query_scalar(
            "insert into ssh_keys (name, algorithm, blob, fingerprint, limited, deploy_only, created_at)
             values (?, ?, ?, ?, ?, ?, ?) returning id",
        )
        .bind(key.name.as_str())
        .bind(&key.algorithm)
        .bind(&key.blob)
        .bind(&key.fingerprint)
        .bind(i64::from(key.apps.is_some()))
        .bind(i64::from(key.deploy_only))
        .bind(UnixMillis::now().0)
        .fetch_one(&mut *tx)
        .await
        .map_err(|e| match StoreError::taken(e, "ssh_keys.name", || format!("the key name `{}`", key.name)) {
            StoreError::Sql(e) => StoreError::taken(e, "ssh_keys.blob", || format!("the key {}", key.fingerprint)),
            other => other,
        })?;
        for app in key.apps.iter().flatten() {
            sqlx::query("insert or ignore into ssh_key_apps (key_id, app) values (?, ?)")
                .bind(id)
                .bind(app.as_str())
                .execute(&mut *tx)
                .await?;
        }
        Self::event_in(&mut tx, None, None, by, &format!("key {} added ({})", key.name, key.fingerprint)).await?;
        tx.commit().await?;
        self.key(KeyId(id)).await?.ok_or_else(|| StoreError::NotFound("the key was removed at once".to_owned()))
    }

    pub async fn key_remove(&self, name: &KeyName, by: &str) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let done = sqlx::query("delete from ssh_keys where name = ?").bind(name.as_str()).execute(&mut *tx).await?;
        if done.rows_affected() == 0 {
            return Err(StoreError::NotFound(format!("there is no key `{name}`")));
        }
        Self::event_in(&mut tx, None, None, by, &format!("key {name} removed")).await?;
        Ok(tx.commit().await?)
    }

    pub async fn key(&self, id: KeyId) -> Result<Option<SshKey>, StoreError> {
        Ok(self.keys().await?.into_iter().find(|k| k.id == id))
    }

    pub async fn keys(&self) -> Result<Vec<SshKey>, StoreError> {
        let rows = sqlx::query("select * from ssh_keys order by id").fetch_all(&self.readers).await?;
        let limits = sqlx::query("select key_id, app from ssh_key_apps order by app").fetch_all(&self.readers).await?;
        rows.iter().map(|row| key(row, &limits)).collect()
    }

    pub async fn key_used(&self, id: KeyId) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        sqlx::query("update ssh_keys set last_used_at = ? where id = ?")
            .bind(UnixMillis::now().0)
            .bind(id.0)
            .execute(&mut *tx)
            .await?;
        Ok(tx.commit().await?)
    }
}

fn key(row: &SqliteRow, limits: &[SqliteRow]) -> Result<SshKey, StoreError> {
    let id = int(row, "id")?;
    let mut apps = Vec::new();
    for limit in limits {
        if int(limit, "key_id")? == id {
            apps.push(text(limit, "app", AppName::parse)?);
        }
    }
    Ok(SshKey {
        id: KeyId(id),
        name: text(row, "name", KeyName::parse)?,
        algorithm: row.try_get("algorithm")?,
        blob: row.try_get("blob")?,
        fingerprint: row.try_get("fingerprint")?,
        apps: flag(row, "limited")?.then_some(apps),
        deploy_only: flag(row, "deploy_only")?,
        created_at: at(row, "created_at")?,
        last_used_at: row.try_get::<Option<i64>, _>("last_used_at")?.map(UnixMillis),
    })
}
