//! The daemon's side of the API: who asks, may they, and one handler per question.
//!
//! Owns: the router (its table of contents), the identity of a connection, errors → answers. Uses: every domain. Never: decides what a domain decides.
//! Invariant: no handler runs before the identity of its connection is known, and each names the right it needs.

mod access;
mod alerts;
mod apps;
mod certs;
mod config;
mod crashes;
mod deploys;
mod disk;
mod domains;
mod events;
mod fail;
mod git;
mod keys;
mod linger;
mod logs;
mod maintenance;
mod metrics;
mod processes;
mod prometheus;
mod push;
mod releases;
mod routes;
mod sessions;
mod status;
mod why;

pub mod accept;
pub mod doctor;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{delete, get, post};

use crate::base::clock::UnixMillis;
use crate::deploys::world::World;

/// What every handler can reach.
#[derive(Clone)]
pub struct Server {
    pub world: Arc<World>,
    pub started_at: UnixMillis,
}

/// Every call of the API.
pub fn router(server: Server) -> Router {
    Router::new()
        .route("/version", get(status::version))
        .route("/status", get(status::status))
        .route("/doctor", get(doctor::doctor))
        .route("/alerts", get(alerts::list))
        .route("/alerts/test", post(alerts::test))
        .route("/disk", get(disk::disk))
        .route("/apps", get(apps::list).post(apps::create))
        .route("/apps/{app}", get(apps::info).delete(apps::destroy))
        .route("/apps/{app}/config", get(config::list).patch(config::change))
        .route("/apps/{app}/domains", get(domains::list).post(domains::add))
        .route("/apps/{app}/domains/{host}", delete(domains::remove))
        .route("/apps/{app}/deploys", get(deploys::list).post(deploys::create))
        .route("/deploys/{deploy}", get(deploys::info))
        .route("/deploys/{deploy}/follow", get(deploys::follow))
        .route("/deploys/{deploy}/cancel", post(deploys::cancel))
        .route("/apps/{app}/releases", get(releases::list))
        .route("/apps/{app}/rollback", post(releases::rollback))
        .route("/apps/{app}/ps", get(processes::ps))
        .route("/apps/{app}/scale", post(processes::scale))
        .route("/apps/{app}/restart", post(processes::restart))
        .route("/apps/{app}/run", post(sessions::run))
        .route("/apps/{app}/exec", post(sessions::exec))
        .route("/apps/{app}/why", get(why::why))
        .route("/apps/{app}/crashes", get(crashes::list))
        .route("/apps/{app}/crashes/{id}", get(crashes::get))
        .route("/apps/{app}/logs", get(logs::logs))
        .route("/apps/{app}/metrics", get(metrics::of_app))
        .route("/metrics", get(metrics::all))
        .route("/apps/{app}/maintenance", get(maintenance::show).put(maintenance::set))
        .route("/certs", get(certs::list).post(certs::add))
        .route("/certs/{host}", get(certs::show).delete(certs::remove))
        .route("/routes/explain", post(routes::explain_one))
        .route("/keys", get(keys::list).post(keys::add))
        .route("/keys/{name}", delete(keys::remove))
        .route("/git/session", post(git::session))
        .route("/git/push", post(push::push))
        // Uploads are streamed and counted by the strict reader, not by axum.
        .layer(DefaultBodyLimit::max(2 << 20))
        .layer(axum::middleware::from_fn_with_state(server.clone(), disk::room_for_changes))
        .with_state(server)
}
