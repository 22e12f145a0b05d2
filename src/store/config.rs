//! The environment that an app's owner set, sealed at rest.

use std::collections::BTreeSet;

use sqlx::Row;

use super::row::{bad, maybe_json, text, to_json};
use super::{Store, StoreError, Tx};
use crate::base::secret::Secret;
use crate::model::app::App;
use crate::model::deploy::Deploy;
use crate::model::release::Config;
use crate::names::ConfigKey;

fn bound(app_id: i64, key: &ConfigKey) -> String {
    format!("config/{app_id}/{key}")
}

impl Store {
    pub async fn config(&self, app_id: i64) -> Result<Config, StoreError> {
        let rows = sqlx::query("select key, sealed from config where app_id = ?").bind(app_id).fetch_all(&self.readers).await?;
        let mut config = Config::new();
        for row in rows {
            let key = text(&row, "key", ConfigKey::parse)?;
            let plain = self.sealer.open(row.try_get("sealed")?, &bound(app_id, &key))?;
            let value = String::from_utf8(plain).map_err(|e| bad("config", e))?;
            config.insert(key, Secret::new(value));
        }
        Ok(config)
    }

    /// Sets and unsets keys in one transaction. The event names keys, never values.
    pub async fn config_change(&self, app: &App, set: &Config, unset: &[ConfigKey], by: &str) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        Self::app_open_in(&mut tx, app.id).await?;
        for (key, value) in set {
            self.config_put_in(&mut tx, app.id, key, value).await?;
        }
        for key in unset {
            sqlx::query("delete from config where app_id = ? and key = ?")
                .bind(app.id)
                .bind(key.as_str())
                .execute(&mut *tx)
                .await?;
        }
        Self::keep_keys_in(&mut tx, app.id, set.keys().chain(unset)).await?;
        let mut what: Vec<String> = set.keys().map(|k| format!("set {k}")).collect();
        what.extend(unset.iter().map(|k| format!("unset {k}")));
        Self::event_in(&mut tx, Some(&app.name), None, by, &format!("config: {}", what.join(", "))).await?;
        Ok(tx.commit().await?)
    }

    /// A rollback that has not reached its commit point leaves these keys alone then: they were changed after it was asked for.
    async fn keep_keys_in<'a>(tx: &mut Tx, app_id: i64, keys: impl Iterator<Item = &'a ConfigKey>) -> Result<(), StoreError> {
        let rows = sqlx::query(
            "select id, config_kept from deploys where app_id = ? and json_extract(origin, '$.kind') = 'rollback'
             and state not in ('live', 'failed', 'cancelled', 'superseded')",
        )
        .bind(app_id)
        .fetch_all(&mut **tx)
        .await?;
        let keys: Vec<&ConfigKey> = keys.collect();
        for row in rows {
            let mut kept: BTreeSet<ConfigKey> = maybe_json(&row, "config_kept")?.unwrap_or_default();
            kept.extend(keys.iter().map(|key| (*key).clone()));
            sqlx::query("update deploys set config_kept = ? where id = ?")
                .bind(to_json(&kept))
                .bind(row.try_get::<i64, _>("id")?)
                .execute(&mut **tx)
                .await?;
        }
        Ok(())
    }

    /// Makes the app's config that of `config`, as a rollback does at its commit point, but for the keys that were changed since it was asked for.
    pub(super) async fn config_replace_in(&self, tx: &mut Tx, seen: &Deploy, config: &Config) -> Result<(), StoreError> {
        let row = sqlx::query("select config_kept from deploys where id = ?").bind(seen.id.0).fetch_one(&mut **tx).await?;
        let kept: BTreeSet<ConfigKey> = maybe_json(&row, "config_kept")?.unwrap_or_default();
        sqlx::query("delete from config where app_id = ? and key not in (select value from json_each(?))")
            .bind(seen.app_id)
            .bind(to_json(&kept))
            .execute(&mut **tx)
            .await?;
        for (key, value) in config.iter().filter(|(key, _)| !kept.contains(key)) {
            self.config_put_in(tx, seen.app_id, key, value).await?;
        }
        Ok(())
    }

    async fn config_put_in(&self, tx: &mut Tx, app_id: i64, key: &ConfigKey, value: &Secret<String>) -> Result<(), StoreError> {
        let sealed = self.sealer.seal(value.reveal().as_bytes(), &bound(app_id, key));
        sqlx::query(
            "insert into config (app_id, key, sealed) values (?, ?, ?) on conflict do update set sealed = excluded.sealed",
        )
        .bind(app_id)
        .bind(key.as_str())
        .bind(sealed)
        .execute(&mut **tx)
        .await?;
        Ok(())
    }
}
