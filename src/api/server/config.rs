//! `/apps/{app}/config`

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::response::Response;

use super::Server;
use super::access::Who;
use super::events::nothing;
use super::fail::Fail;
use crate::api::types::config::{ConfigPatch, ConfigValues};
use crate::model::access::Right;
use crate::model::deploy::Origin;
use crate::names::ConfigKey;

/// One value; the kernel refuses environments with larger strings (execve(2), MAX_ARG_STRLEN is 128 KiB).
const LONGEST_VALUE: usize = 100 << 10;

pub async fn list(State(server): State<Server>, who: Who, path: Path<String>) -> Result<Json<ConfigValues>, Fail> {
    let app = server.app(&who, Right::Operate, path).await?;
    Ok(Json(ConfigValues { values: server.world.store.config(app.id).await? }))
}

/// Stores the change, then makes a release with it. The change stays stored even if that release does not become live.
pub async fn change(
    State(server): State<Server>,
    who: Who,
    path: Path<String>,
    patch: Result<Json<ConfigPatch>, JsonRejection>,
) -> Result<Response, Fail> {
    let Json(patch) = patch?;
    let app = server.app(&who, Right::Operate, path).await?;
    for (key, value) in &patch.set {
        refuse_reserved(key)?;
        if value.reveal().len() > LONGEST_VALUE {
            return Err(Fail::invalid(format!("the value of `{key}` is longer than {LONGEST_VALUE} bytes")));
        }
        if value.reveal().contains('\0') {
            return Err(Fail::invalid(format!("the value of `{key}` holds a NUL byte, which no environment can carry")));
        }
    }
    let before = server.world.store.config(app.id).await?;
    let changes =
        patch.set.iter().any(|(key, value)| before.get(key) != Some(value)) || patch.unset.iter().any(|k| before.contains_key(k));
    // A change whose own release did not become live is stored, but does not serve yet: saying it again tries again.
    let active = server.world.store.deploys_active_of(app.id).await?;
    let serves = match app.live {
        Some(live) => server.world.store.release_config(app.id, live).await? == before,
        // A first deploy that is under way may have taken its config before.
        None => active.is_empty(),
    };
    // A rollback on its way may bring another value back: then this change is one, although nothing differs yet.
    let going_back = active.iter().any(|d| matches!(d.origin, Origin::Rollback { .. }));
    if !changes && serves && !going_back {
        return Ok(nothing("the config is like that already"));
    }
    server.world.store.config_change(&app, &patch.set, &patch.unset, &who.name()).await?;
    if !server.goes_live_without(&app).await? {
        return Ok(nothing("stored; the first deploy will use it"));
    }
    let deploy = server.admit(&app, Origin::Config, None, &who).await?;
    Ok(server.events(&deploy, true))
}

fn refuse_reserved(key: &ConfigKey) -> Result<(), Fail> {
    let ours = key.as_str() == "PORT" || key.as_str().starts_with("PAAS_");
    if ours {
        let fail = Fail::invalid(format!("`{key}` is given by paas itself"));
        return Err(fail.hint("the port is set by `port` under [processes.web] in paas.toml"));
    }
    Ok(())
}
