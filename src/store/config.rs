//! The environment that an app's owner set, sealed at rest.

use sqlx::Row;

use super::row::{bad, text};
use super::{Store, StoreError, Tx};
use crate::base::secret::Secret;
use crate::model::app::App;
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
        let mut what: Vec<String> = set.keys().map(|k| format!("set {k}")).collect();
        what.extend(unset.iter().map(|k| format!("unset {k}")));
        Self::event_in(&mut tx, Some(&app.name), None, by, &format!("config: {}", what.join(", "))).await?;
        Ok(tx.commit().await?)
    }

    /// Makes the app's config exactly `config`: a rollback brings its release's back.
    pub(super) async fn config_replace_in(&self, tx: &mut Tx, app_id: i64, config: &Config) -> Result<(), StoreError> {
        sqlx::query("delete from config where app_id = ?").bind(app_id).execute(&mut **tx).await?;
        for (key, value) in config {
            self.config_put_in(tx, app_id, key, value).await?;
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
