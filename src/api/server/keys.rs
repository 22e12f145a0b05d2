//! `/keys`

use axum::Json;
use axum::extract::{Path, State};

use super::Server;
use super::access::Who;
use super::fail::{Fail, internal};
use crate::api::error::ErrorCode;
use crate::api::types::keys::{Key, NewKey};
use crate::base::clock::UnixMillis;
use crate::git;
use crate::model::access::{Right, SshKey};
use crate::names::{KeyId, KeyName};

pub async fn list(State(server): State<Server>, who: Who) -> Result<Json<Vec<Key>>, Fail> {
    who.must(Right::Administer, None)?;
    Ok(Json(server.world.store.keys().await?.into_iter().map(show).collect()))
}

pub async fn add(State(server): State<Server>, who: Who, Json(new): Json<NewKey>) -> Result<Json<Key>, Fail> {
    who.must(Right::Administer, None)?;
    let parsed = git::keys::PublicKey::parse(&new.public_key)
        .map_err(|e| Fail::invalid(e.to_string()).hint("give the public half: `paas keys add laptop < ~/.ssh/id_ed25519.pub`"))?;
    let key = SshKey {
        id: KeyId(0),
        name: new.name,
        algorithm: parsed.kind,
        blob: parsed.base64,
        fingerprint: parsed.fingerprint,
        apps: new.apps,
        deploy_only: new.deploy_only,
        created_at: UnixMillis::now(),
        last_used_at: None,
    };
    let stored = server.world.store.key_add(&key, &who.name()).await?;
    server.world.export_keys().await.map_err(|e| internal(&e))?;
    Ok(Json(show(stored)))
}

pub async fn remove(State(server): State<Server>, who: Who, Path(name): Path<String>) -> Result<Json<Key>, Fail> {
    who.must(Right::Administer, None)?;
    let name = KeyName::parse(&name)?;
    let removed = server.world.store.keys().await?.into_iter().find(|k| k.name == name);
    server.world.store.key_remove(&name, &who.name()).await?;
    server.world.export_keys().await.map_err(|e| internal(&e))?;
    let removed = removed.ok_or_else(|| Fail::new(ErrorCode::NotFound, format!("there is no key `{name}`")))?;
    Ok(Json(show(removed)))
}

fn show(key: SshKey) -> Key {
    Key {
        id: key.id,
        name: key.name,
        kind: key.algorithm,
        fingerprint: key.fingerprint,
        apps: key.apps,
        deploy_only: key.deploy_only,
        added_at: key.created_at,
        last_used_at: key.last_used_at,
    }
}
