//! Alerts and the messages about them that are still to be sent.

use std::time::Duration;

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::row::{at, int, known, number, text};
use super::{Store, StoreError, Tx};
use crate::base::clock::UnixMillis;
use crate::model::alert::{Alert, Event, Kind};
use crate::names::AppName;

/// So many closed alerts are remembered.
const KEPT: i64 = 200;

/// One that is raised now.
#[derive(Debug, Clone, Copy)]
pub struct NewAlert<'a> {
    pub kind: Kind,
    pub subject: &'a str,
    pub occurrence: &'a str,
    pub text: &'a str,
    pub hint: &'a str,
}

/// A message for one receiver.
#[derive(Debug, Clone)]
pub struct AlertMessage {
    pub id: i64,
    pub alert: Alert,
    /// `raised` or `recovered`.
    pub event: String,
    pub text: String,
    pub at: UnixMillis,
    /// How often it was tried in vain.
    pub tries: u32,
}

impl Store {
    /// Raises an alert and queues one message for each of `sinks`. False if it is known: open already, or this very occurrence was told before.
    /// A new occurrence takes the place of an open one.
    pub async fn alert_raise(&self, new: &NewAlert<'_>, sinks: &[&str]) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let known: i64 = sqlx::query_scalar(
            "select count(*) from alerts where kind = ? and subject = ? and occurrence = ? and (cleared_at is null or occurrence <> '')",
        )
        .bind(new.kind.as_str())
        .bind(new.subject)
        .bind(new.occurrence)
        .fetch_one(&mut *tx)
        .await?;
        if known > 0 {
            return Ok(false);
        }
        let now = UnixMillis::now();
        Self::alert_close_in(&mut tx, new.kind, new.subject, now).await?;
        let id: i64 = sqlx::query_scalar(
            "insert into alerts (kind, subject, occurrence, text, hint, raised_at) values (?, ?, ?, ?, ?, ?) returning id",
        )
        .bind(new.kind.as_str())
        .bind(new.subject)
        .bind(new.occurrence)
        .bind(new.text)
        .bind(new.hint)
        .bind(now.0)
        .fetch_one(&mut *tx)
        .await?;
        Self::alert_queue_in(&mut tx, id, Event::Raised, new.text, sinks, now).await?;
        sqlx::query(
            "delete from alerts where cleared_at is not null
             and id not in (select id from alerts where cleared_at is not null order by id desc limit ?)",
        )
        .bind(KEPT)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Clears the open alert and queues the good news. False if none is open. Writes nothing then.
    pub async fn alert_clear(&self, kind: Kind, subject: &str, text: &str, sinks: &[&str]) -> Result<bool, StoreError> {
        if self.alert_open(kind, subject).await?.is_none() {
            return Ok(false);
        }
        let mut tx = self.begin().await?;
        let now = UnixMillis::now();
        let Some(id) = Self::alert_close_in(&mut tx, kind, subject, now).await? else { return Ok(false) };
        Self::alert_queue_in(&mut tx, id, Event::Recovered, text, sinks, now).await?;
        tx.commit().await?;
        Ok(true)
    }

    async fn alert_close_in(tx: &mut Tx, kind: Kind, subject: &str, now: UnixMillis) -> Result<Option<i64>, StoreError> {
        let closed = "update alerts set cleared_at = ? where kind = ? and subject = ? and cleared_at is null returning id";
        Ok(sqlx::query_scalar(closed).bind(now.0).bind(kind.as_str()).bind(subject).fetch_optional(&mut **tx).await?)
    }

    async fn alert_queue_in(
        tx: &mut Tx,
        alert: i64,
        event: Event,
        text: &str,
        sinks: &[&str],
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        for sink in sinks {
            sqlx::query("insert into alert_messages (alert_id, sink, event, text, at, next_at) values (?, ?, ?, ?, ?, ?)")
                .bind(alert)
                .bind(sink)
                .bind(event.as_str())
                .bind(text)
                .bind(now.0)
                .bind(now.0)
                .execute(&mut **tx)
                .await?;
        }
        Ok(())
    }

    pub async fn alert_open(&self, kind: Kind, subject: &str) -> Result<Option<Alert>, StoreError> {
        let row = sqlx::query("select * from alerts where kind = ? and subject = ? and cleared_at is null")
            .bind(kind.as_str())
            .bind(subject)
            .fetch_optional(&self.readers)
            .await?;
        row.as_ref().map(alert).transpose()
    }

    /// The open ones, then the newest closed ones: at most `closed` of those.
    pub async fn alerts(&self, closed: u32) -> Result<Vec<Alert>, StoreError> {
        let rows = sqlx::query(
            "select * from alerts where cleared_at is null
             or id in (select id from alerts where cleared_at is not null order by id desc limit ?)
             order by cleared_at is not null, id desc",
        )
        .bind(i64::from(closed))
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(alert).collect()
    }

    /// Forgets what is about an app that is gone.
    pub async fn alerts_forget(&self, app: &AppName) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        sqlx::query("delete from alerts where subject = ? or subject like ?")
            .bind(app.as_str())
            .bind(format!("{app}/%"))
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// The oldest message for `sink` that may be sent at `now`. One that would wait longer than `longest`, which no pause is, was noted by a
    /// clock that has been set back since: it is due at once.
    pub async fn alert_message_due(
        &self,
        sink: &str,
        now: UnixMillis,
        longest: Duration,
    ) -> Result<Option<AlertMessage>, StoreError> {
        let latest = now.0.saturating_add(i64::try_from(longest.as_millis()).unwrap_or(i64::MAX));
        let row = sqlx::query(
            "select a.*, m.id as message_id, m.event, m.text as message_text, m.at, m.tries
             from alert_messages m join alerts a on a.id = m.alert_id
             where m.sink = ? and m.done = 0 and (m.next_at <= ? or m.next_at > ?) order by m.id limit 1",
        )
        .bind(sink)
        .bind(now.0)
        .bind(latest)
        .fetch_optional(&self.readers)
        .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(AlertMessage {
            id: int(&row, "message_id")?,
            alert: alert(&row)?,
            event: row.try_get("event")?,
            text: row.try_get("message_text")?,
            at: at(&row, "at")?,
            tries: number(&row, "tries")?,
        }))
    }

    /// It was delivered, or is given up.
    pub async fn alert_message_done(&self, id: i64) -> Result<(), StoreError> {
        sqlx::query("update alert_messages set done = 1 where id = ?").bind(id).execute(&mut *self.writer().await?).await?;
        Ok(())
    }

    /// It failed once more and may be tried again at `next`.
    pub async fn alert_message_failed(&self, id: i64, next: UnixMillis) -> Result<(), StoreError> {
        sqlx::query("update alert_messages set tries = tries + 1, next_at = ? where id = ?")
            .bind(next.0)
            .bind(id)
            .execute(&mut *self.writer().await?)
            .await?;
        Ok(())
    }
}

fn alert(row: &SqliteRow) -> Result<Alert, StoreError> {
    Ok(Alert {
        id: int(row, "id")?,
        kind: text(row, "kind", |v| known(Kind::parse(v)))?,
        subject: row.try_get("subject")?,
        occurrence: row.try_get("occurrence")?,
        text: row.try_get("text")?,
        hint: row.try_get("hint")?,
        raised_at: at(row, "raised_at")?,
        cleared_at: row.try_get::<Option<i64>, _>("cleared_at")?.map(UnixMillis),
    })
}
