//! `/certs`

use axum::Json;
use axum::extract::{Path, Query, State};

use super::Server;
use super::access::Who;
use super::fail::Fail;
use crate::api::error::ErrorCode;
use crate::api::types::certs::{Cert, CertQuery, ExportedCert, NewCert};
use crate::base::clock::UnixMillis;
use crate::certs;
use crate::model::access::Right;
use crate::model::certificate::{Certificate, Spoilt};
use crate::names::HostPattern;

pub async fn list(State(server): State<Server>, who: Who) -> Result<Json<Vec<Cert>>, Fail> {
    who.must(Right::Administer, None)?;
    let all = server.world.publisher.certificates().await?;
    Ok(Json(all.good.iter().map(shown).chain(all.spoilt.iter().map(spoilt)).collect()))
}

pub async fn add(State(server): State<Server>, who: Who, Json(new): Json<NewCert>) -> Result<Json<Cert>, Fail> {
    who.must(Right::Administer, None)?;
    if new.hosts.is_empty() || new.hosts.len() > 100 {
        return Err(Fail::invalid("name the hosts that it is for: at least one, at most 100"));
    }
    let now = UnixMillis::now();
    let facts = certs::check(&new.hosts, &new.chain, new.key.reveal(), now).map_err(|e| Fail::invalid(e.to_string()))?;
    let certificate = Certificate { hosts: new.hosts, facts, chain: new.chain, key: new.key, created_at: now };
    server.world.store.certificate_put(&certificate, &who.name()).await?;
    server.publish_routes().await?;
    Ok(Json(shown(&certificate)))
}

pub async fn show(
    State(server): State<Server>,
    who: Who,
    Path(host): Path<String>,
    Query(query): Query<CertQuery>,
) -> Result<Json<ExportedCert>, Fail> {
    who.must(Right::Administer, None)?;
    let found = server.certificate_for(&HostPattern::parse(&host)?).await?;
    let found = found.map_err(|spoilt| Fail::new(ErrorCode::Conflict, spoilt.text()).hint(spoilt.todo()))?;
    if query.with_key {
        tracing::info!(by = who.name(), "the private key of the certificate for {host} was exported");
    }
    let key = Some(found.key.clone()).filter(|_| query.with_key);
    Ok(Json(ExportedCert { cert: shown(&found), chain: found.chain, key }))
}

pub async fn remove(State(server): State<Server>, who: Who, Path(host): Path<String>) -> Result<Json<Cert>, Fail> {
    who.must(Right::Administer, None)?;
    let host = HostPattern::parse(&host)?;
    let found = server.certificate_for(&host).await?;
    server.world.store.certificate_remove(&host, &who.name()).await?;
    server.publish_routes().await?;
    Ok(Json(found.as_ref().map_or_else(spoilt, shown)))
}

impl Server {
    async fn certificate_for(&self, host: &HostPattern) -> Result<Result<Certificate, Spoilt>, Fail> {
        let all = self.world.publisher.certificates().await?;
        let good = all.good.iter().find(|c| c.hosts.contains(host)).cloned().map(Ok);
        let found = good.or_else(|| all.spoilt.iter().find(|s| s.hosts.contains(host)).cloned().map(Err));
        found.ok_or_else(|| {
            Fail::new(ErrorCode::NotFound, format!("there is no certificate for `{host}`")).hint("`paas certs list` shows them")
        })
    }
}

pub fn shown(certificate: &Certificate) -> Cert {
    let (facts, now) = (&certificate.facts, UnixMillis::now());
    Cert {
        hosts: certificate.hosts.clone(),
        names: facts.names.clone(),
        issuer: facts.issuer.clone(),
        key_type: facts.key_type.clone(),
        not_before: facts.not_before,
        not_after: facts.not_after,
        fingerprint: facts.fingerprint.clone(),
        added_at: certificate.created_at,
        ends_soon: certificate.ends_soon(now),
        days_left: certificate.days_left(now),
        trouble: None,
    }
}

fn spoilt(spoilt: &Spoilt) -> Cert {
    let facts = spoilt.facts.clone().unwrap_or_default();
    Cert {
        hosts: spoilt.hosts.clone(),
        names: facts.names,
        issuer: facts.issuer,
        key_type: facts.key_type,
        not_before: facts.not_before,
        not_after: facts.not_after,
        fingerprint: facts.fingerprint,
        added_at: UnixMillis(0),
        ends_soon: false,
        days_left: 0,
        trouble: Some(spoilt.why.clone()),
    }
}
