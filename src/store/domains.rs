//! Host names and their owners.

use sqlx::sqlite::SqliteRow;

use super::row::{flag, maybe, text};
use super::{Store, StoreError, Tx};
use crate::base::clock::UnixMillis;
use crate::model::app::{App, Domain};
use crate::names::{AppName, Hostname};

fn domain(row: &SqliteRow) -> Result<Domain, StoreError> {
    Ok(Domain {
        host: text(row, "host", Hostname::parse)?,
        app: text(row, "name", AppName::parse)?,
        redirect_to: maybe(row, "redirect_to", Hostname::parse)?,
        from_manifest: flag(row, "from_manifest")?,
    })
}

impl Store {
    /// All host names of all apps.
    pub async fn domains(&self) -> Result<Vec<Domain>, StoreError> {
        let rows = sqlx::query("select d.*, a.name from domains d join apps a on a.id = d.app_id order by d.host")
            .fetch_all(&self.readers)
            .await?;
        rows.iter().map(domain).collect()
    }

    /// Adds a host name. Taken if any app has it; adding one's own again changes its redirect.
    pub async fn domain_add(
        &self,
        app: &App,
        host: &Hostname,
        redirect_to: Option<&Hostname>,
        by: &str,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        Self::app_open_in(&mut tx, app.id).await?;
        Self::domain_put_in(&mut tx, app, host, redirect_to, false).await?;
        Self::event_in(&mut tx, Some(&app.name), None, by, &format!("domain {host} added")).await?;
        Ok(tx.commit().await?)
    }

    pub async fn domain_remove(&self, app: &App, host: &Hostname, by: &str) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let done = sqlx::query("delete from domains where host = ? and app_id = ?")
            .bind(host.as_str())
            .bind(app.id)
            .execute(&mut *tx)
            .await?;
        if done.rows_affected() == 0 {
            return Err(StoreError::NotFound(format!("app `{}` has no domain `{host}`", app.name)));
        }
        Self::event_in(&mut tx, Some(&app.name), None, by, &format!("domain {host} removed")).await?;
        Ok(tx.commit().await?)
    }

    /// The owner of the first of `hosts` that belongs to another app: asked before a build, so that a deploy fails early.
    pub async fn domain_owned_by_other(
        &self,
        app_id: i64,
        hosts: &[Hostname],
    ) -> Result<Option<(Hostname, AppName)>, StoreError> {
        let all = self.domains().await?;
        let mine = self.app_by_id(app_id).await?.name;
        Ok(all.into_iter().find(|d| hosts.contains(&d.host) && d.app != mine).map(|d| (d.host, d.app)))
    }

    /// Makes the manifest's domains of an app exactly `hosts`; those that a person added stay.
    pub(super) async fn domains_of_manifest_in(tx: &mut Tx, app: &App, hosts: &[Hostname]) -> Result<(), StoreError> {
        sqlx::query("delete from domains where app_id = ? and from_manifest = 1").bind(app.id).execute(&mut **tx).await?;
        for host in hosts {
            Self::domain_put_in(tx, app, host, None, true).await?;
        }
        Ok(())
    }

    async fn domain_put_in(
        tx: &mut Tx,
        app: &App,
        host: &Hostname,
        redirect_to: Option<&Hostname>,
        from_manifest: bool,
    ) -> Result<(), StoreError> {
        // A row of our own that a person made is not taken over by the manifest; one of another app is nobody's but its own.
        let done = sqlx::query(
            "insert into domains (host, app_id, redirect_to, from_manifest, created_at) values (?, ?, ?, ?, ?)
             on conflict (host) do update set
                 redirect_to = case when excluded.from_manifest then redirect_to else excluded.redirect_to end,
                 from_manifest = min(from_manifest, excluded.from_manifest)
             where app_id = excluded.app_id",
        )
        .bind(host.as_str())
        .bind(app.id)
        .bind(redirect_to.map(Hostname::as_str))
        .bind(i64::from(from_manifest))
        .bind(UnixMillis::now().0)
        .execute(&mut **tx)
        .await?;
        if done.rows_affected() == 0 {
            return Err(StoreError::Taken { what: format!("the domain `{host}`") });
        }
        Ok(())
    }
}
