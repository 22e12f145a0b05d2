//! The audit trail: who did what, when.

use sqlx::Row;

use super::row::{at, maybe, text};
use super::{Store, StoreError, Tx};
use crate::base::clock::UnixMillis;
use crate::names::{AppName, DeployId};

#[derive(Debug, Clone)]
pub struct Event {
    pub at: UnixMillis,
    pub app: Option<AppName>,
    pub deploy: Option<DeployId>,
    pub by: String,
    pub what: String,
}

impl Store {
    pub(super) async fn event_in(
        tx: &mut Tx,
        app: Option<&AppName>,
        deploy: Option<DeployId>,
        by: &str,
        what: &str,
    ) -> Result<(), StoreError> {
        sqlx::query("insert into events (at, app, deploy_id, by, what) values (?, ?, ?, ?, ?)")
            .bind(UnixMillis::now().0)
            .bind(app.map(AppName::as_str))
            .bind(deploy.map(|d| d.0))
            .bind(by)
            .bind(what)
            .execute(&mut **tx)
            .await?;
        Ok(())
    }

    /// The newest `limit` events of an app, oldest first.
    pub async fn events(&self, app: &AppName, limit: u32) -> Result<Vec<Event>, StoreError> {
        let rows = sqlx::query("select * from (select * from events where app = ? order by id desc limit ?) order by id")
            .bind(app.as_str())
            .bind(i64::from(limit))
            .fetch_all(&self.readers)
            .await?;
        rows.iter()
            .map(|r| {
                Ok(Event {
                    at: at(r, "at")?,
                    app: maybe(r, "app", AppName::parse)?,
                    deploy: r.try_get::<Option<i64>, _>("deploy_id")?.map(DeployId),
                    by: text(r, "by", |v| Ok::<_, String>(v.to_owned()))?,
                    what: text(r, "what", |v| Ok::<_, String>(v.to_owned()))?,
                })
            })
            .collect()
    }
}
