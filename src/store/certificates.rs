//! Certificates; their keys are sealed at rest. A row that can't be read is given as spoilt, and spoils nothing else: all hosts of the
//! installation hang on this one question.

use std::collections::BTreeMap;

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::row::{at, bad, int, json, text, to_json};
use super::{Store, StoreError, Tx};
use crate::base::clock::UnixMillis;
use crate::base::secret::Secret;
use crate::model::certificate::{Certificate, Certificates, Facts, Spoilt};
use crate::names::HostPattern;

fn bound(fingerprint: &str) -> String {
    format!("certificate/{fingerprint}")
}

/// What it says of itself.
fn facts(row: &SqliteRow) -> Result<Facts, StoreError> {
    Ok(Facts {
        fingerprint: row.try_get("fingerprint")?,
        names: json(row, "names")?,
        issuer: row.try_get("issuer")?,
        key_type: row.try_get("key_type")?,
        not_before: at(row, "not_before")?,
        not_after: at(row, "not_after")?,
    })
}

impl Store {
    fn certificate(&self, row: &SqliteRow, hosts: Vec<HostPattern>) -> Result<Certificate, StoreError> {
        let facts = facts(row)?;
        let key = self.sealer.open(row.try_get("sealed")?, &bound(&facts.fingerprint))?;
        Ok(Certificate {
            hosts,
            chain: row.try_get("chain")?,
            key: Secret::new(String::from_utf8(key).map_err(|_| bad("sealed", "it is no text"))?),
            facts,
            created_at: at(row, "created_at")?,
        })
    }

    /// All of them, in the order in which they came.
    pub async fn certificates(&self) -> Result<Certificates, StoreError> {
        let mut hosts: BTreeMap<i64, Vec<Result<HostPattern, StoreError>>> = BTreeMap::new();
        for row in sqlx::query("select * from certificate_hosts order by host").fetch_all(&self.readers).await? {
            hosts.entry(int(&row, "certificate_id")?).or_default().push(text(&row, "host", HostPattern::parse));
        }
        let mut all = Certificates::default();
        for row in sqlx::query("select * from certificates order by id").fetch_all(&self.readers).await? {
            let (good, bad): (Vec<_>, Vec<_>) =
                hosts.remove(&int(&row, "id")?).unwrap_or_default().into_iter().partition(Result::is_ok);
            let hosts: Vec<HostPattern> = good.into_iter().flatten().collect();
            match bad.into_iter().find_map(Result::err).map_or_else(|| self.certificate(&row, hosts.clone()), Err) {
                Ok(certificate) => all.good.push(certificate),
                Err(e) => all.spoilt.push(Spoilt { hosts, facts: facts(&row).ok(), why: e.to_string() }),
            }
        }
        Ok(all)
    }

    /// Shows a certificate for its hosts from now on, in the place of what was shown for them.
    pub async fn certificate_put(&self, new: &Certificate, by: &str) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let facts = &new.facts;
        let id: i64 = sqlx::query_scalar(
            "insert into certificates
             (fingerprint, chain, sealed, names, issuer, key_type, not_before, not_after, source, created_at)
             values (?, ?, ?, ?, ?, ?, ?, ?, 'added', ?)
             on conflict (fingerprint) do update set
                 chain = excluded.chain,
                 sealed = excluded.sealed,
                 names = excluded.names,
                 issuer = excluded.issuer,
                 key_type = excluded.key_type,
                 not_before = excluded.not_before,
                 not_after = excluded.not_after
             returning id",
        )
        .bind(&facts.fingerprint)
        .bind(&new.chain)
        .bind(self.sealer.seal(new.key.reveal().as_bytes(), &bound(&facts.fingerprint)))
        .bind(to_json(&facts.names))
        .bind(&facts.issuer)
        .bind(&facts.key_type)
        .bind(facts.not_before.0)
        .bind(facts.not_after.0)
        .bind(UnixMillis::now().0)
        .fetch_one(&mut *tx)
        .await?;
        for host in &new.hosts {
            sqlx::query("insert or replace into certificate_hosts (host, certificate_id) values (?, ?)")
                .bind(host.as_str())
                .bind(id)
                .execute(&mut *tx)
                .await?;
            Self::event_in(&mut tx, None, None, by, &format!("certificate for {host} added ({})", facts.issuer)).await?;
        }
        Self::certificates_unused_in(&mut tx).await?;
        Ok(tx.commit().await?)
    }

    /// Shows none for this host any more.
    pub async fn certificate_remove(&self, host: &HostPattern, by: &str) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let done = sqlx::query("delete from certificate_hosts where host = ?").bind(host.as_str()).execute(&mut *tx).await?;
        if done.rows_affected() == 0 {
            return Err(StoreError::NotFound(format!("there is no certificate for `{host}`")));
        }
        Self::certificates_unused_in(&mut tx).await?;
        Self::event_in(&mut tx, None, None, by, &format!("certificate for {host} removed")).await?;
        Ok(tx.commit().await?)
    }

    /// A key that nothing needs is not kept.
    async fn certificates_unused_in(tx: &mut Tx) -> Result<(), StoreError> {
        sqlx::query("delete from certificates where id not in (select certificate_id from certificate_hosts)")
            .execute(&mut **tx)
            .await?;
        Ok(())
    }
}
