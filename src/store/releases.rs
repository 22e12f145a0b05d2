//! Releases and the release command.

use std::collections::BTreeMap;

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::row::{at, bad, int, json, known, maybe, text, to_json};
use super::{Store, StoreError};
use crate::base::clock::UnixMillis;
use crate::manifest::Manifest;
use crate::model::deploy::{Deploy, State};
use crate::model::release::{Config, Image, Release, Status};
use crate::names::{CommitSha, DeployId, ReleaseNumber};

/// What a build ends with.
#[derive(Debug, Clone)]
pub struct NewRelease {
    pub commit: Option<CommitSha>,
    pub description: String,
    pub image: Image,
    pub manifest: Manifest,
    pub config: Config,
}

/// Where the release command of a deploy stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReleaseCommand {
    NotStarted,
    /// It may have run: its container has to be asked.
    Started,
    Ended {
        code: i64,
    },
}

fn release(row: &SqliteRow) -> Result<Release, StoreError> {
    Ok(Release {
        app_id: int(row, "app_id")?,
        number: ReleaseNumber(int(row, "number")?),
        deploy: DeployId(int(row, "deploy_id")?),
        commit: maybe(row, "commit_sha", CommitSha::parse)?,
        description: row.try_get("description")?,
        image: json(row, "image")?,
        manifest: json(row, "manifest")?,
        created_at: at(row, "created_at")?,
        status: text(row, "status", |v| known(Status::parse(v)))?,
    })
}

fn bound(app_id: i64, number: i64) -> String {
    format!("release/{app_id}/{number}")
}

impl Store {
    /// Records the release that a deploy made and moves the deploy to Preparing, in one transaction.
    pub async fn release_record(&self, seen: &Deploy, new: &NewRelease) -> Result<ReleaseNumber, StoreError> {
        let mut tx = self.begin().await?;
        let last: Option<i64> =
            sqlx::query_scalar("select max(number) from releases where app_id = ?").bind(seen.app_id).fetch_one(&mut *tx).await?;
        let number = last.unwrap_or(0) + 1;
        let plain: BTreeMap<&str, &String> = new.config.iter().map(|(k, v)| (k.as_str(), v.reveal())).collect();
        let sealed = self.sealer.seal(to_json(&plain).as_bytes(), &bound(seen.app_id, number));
        sqlx::query(
            "insert into releases (app_id, number, deploy_id, commit_sha, description, image, manifest, config_sealed, created_at, status)
             values (?, ?, ?, ?, ?, ?, ?, ?, ?, 'pending')",
        )
        .bind(seen.app_id)
        .bind(number)
        .bind(seen.id.0)
        .bind(new.commit.as_ref().map(CommitSha::as_str))
        .bind(&new.description)
        .bind(to_json(&new.image))
        .bind(to_json(&new.manifest))
        .bind(sealed)
        .bind(UnixMillis::now().0)
        .execute(&mut *tx)
        .await?;
        sqlx::query("update deploys set release = ?, commit_sha = coalesce(?, commit_sha) where id = ?")
            .bind(number)
            .bind(new.commit.as_ref().map(CommitSha::as_str))
            .bind(seen.id.0)
            .execute(&mut *tx)
            .await?;
        Self::move_in(&mut tx, seen, State::Preparing, &format!("v{number}")).await?;
        tx.commit().await?;
        Ok(ReleaseNumber(number))
    }

    /// For a deploy that starts the live release again (restart, scale): notes its number and moves the deploy to Preparing.
    pub async fn release_reuse(&self, seen: &Deploy, release: &Release) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        sqlx::query("update deploys set release = ?, commit_sha = ? where id = ?")
            .bind(release.number.0)
            .bind(release.commit.as_ref().map(CommitSha::as_str))
            .bind(seen.id.0)
            .execute(&mut *tx)
            .await?;
        Self::move_in(&mut tx, seen, State::Preparing, &format!("{} again", release.number)).await?;
        Ok(tx.commit().await?)
    }

    pub async fn release(&self, app_id: i64, number: ReleaseNumber) -> Result<Release, StoreError> {
        let row = sqlx::query("select * from releases where app_id = ? and number = ?")
            .bind(app_id)
            .bind(number.0)
            .fetch_optional(&self.readers)
            .await?;
        row.as_ref().map(release).transpose()?.ok_or_else(|| StoreError::NotFound(format!("release {number} does not exist")))
    }

    /// The app's newest releases, newest first.
    pub async fn releases(&self, app_id: i64, limit: u32) -> Result<Vec<Release>, StoreError> {
        let rows = sqlx::query("select * from releases where app_id = ? order by number desc limit ?")
            .bind(app_id)
            .bind(i64::from(limit))
            .fetch_all(&self.readers)
            .await?;
        rows.iter().map(release).collect()
    }

    /// The config that the release was made with.
    pub async fn release_config(&self, app_id: i64, number: ReleaseNumber) -> Result<Config, StoreError> {
        let sealed: Vec<u8> = sqlx::query_scalar("select config_sealed from releases where app_id = ? and number = ?")
            .bind(app_id)
            .bind(number.0)
            .fetch_one(&self.readers)
            .await?;
        let plain = self.sealer.open(&sealed, &bound(app_id, number.0))?;
        serde_json::from_slice(&plain).map_err(|e| bad("release config", e))
    }

    /// Image ids and tags that may not be pruned: per app those of the live release and of the newest `keep` that were ever live or are pending.
    pub async fn images_in_use(&self, keep: u32) -> Result<Vec<Image>, StoreError> {
        let rows = sqlx::query(
            "select image from (
                 select r.image, r.status, row_number() over (partition by r.app_id order by r.number desc) as age
                 from releases r where r.status in ('pending', 'live', 'retired')
             ) where age <= ? or status in ('pending', 'live')
             union
             select r.image from releases r join instances i on i.app_id = r.app_id and i.release = r.number",
        )
        .bind(i64::from(keep))
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(|r| json(r, "image")).collect()
    }

    pub async fn release_command(&self, deploy: DeployId) -> Result<ReleaseCommand, StoreError> {
        let row = sqlx::query("select ended_at, exit_code from release_commands where deploy_id = ?")
            .bind(deploy.0)
            .fetch_optional(&self.readers)
            .await?;
        Ok(match row {
            None => ReleaseCommand::NotStarted,
            Some(row) => match row.try_get::<Option<i64>, _>("exit_code")? {
                None => ReleaseCommand::Started,
                Some(code) => ReleaseCommand::Ended { code },
            },
        })
    }

    /// Written before the command's container is started: from here on it may have run.
    pub async fn release_command_started(&self, deploy: DeployId) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        sqlx::query("insert into release_commands (deploy_id, started_at) values (?, ?) on conflict do nothing")
            .bind(deploy.0)
            .bind(UnixMillis::now().0)
            .execute(&mut *tx)
            .await?;
        Ok(tx.commit().await?)
    }

    pub async fn release_command_ended(&self, deploy: DeployId, code: i64) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        sqlx::query("update release_commands set ended_at = ?, exit_code = ? where deploy_id = ?")
            .bind(UnixMillis::now().0)
            .bind(code)
            .bind(deploy.0)
            .execute(&mut *tx)
            .await?;
        Ok(tx.commit().await?)
    }
}
