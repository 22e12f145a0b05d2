//! `/doctor`: the findings about what only the daemon knows: the engine it talks to, its store, and the three views of what runs.

use std::path::PathBuf;

use axum::Json;
use axum::extract::State;

use super::Server;
use super::access::Who;
use super::fail::Fail;
use crate::api::types::doctor::{Finding, Findings, Level};
use crate::base::clock::UnixMillis;
use crate::docker::ContainerState;
use crate::doctor::drift::{Live, Views};
use crate::doctor::{self, drift, engine, host, look};
use crate::instances::spec;
use crate::model::access::Right;
use crate::model::alert::Kind;
use crate::model::instance::Wanted;

pub async fn doctor(State(server): State<Server>, who: Who) -> Result<Json<Findings>, Fail> {
    who.must(Right::Administer, None)?;
    let world = &server.world;
    let asked = world.docker.engine().await;
    let words = asked.as_ref().map_err(ToString::to_string);
    let mut found = engine::judge(words.as_ref().map(|info| *info).map_err(String::as_str));
    let folders: Vec<PathBuf> = [world.config.state_dir.clone()].into_iter().chain(asked.ok().map(|e| e.root_dir)).collect();
    let mut disks = look::disks(&folders, world.config.limits.disk_reserve);
    // In our unit everything but our own folders is read-only to us (ProtectSystem=strict): of others we can't tell.
    disks
        .iter_mut()
        .filter(|disk| *disk.path != *world.config.state_dir.to_string_lossy())
        .for_each(|disk| disk.read_only = false);
    found.extend(disks.iter().flat_map(host::disk));
    let check = world.store.check().await.map_err(|e| e.to_string());
    found.push(drift::store(check.as_deref().map_err(String::as_str)));
    match server.views().await {
        Ok(views) => found.extend(drift::judge(&views)),
        Err(e) => found.push(doctor::warning("routes", format!("what runs can't be compared: {e}"), "paas doctor (again)")),
    }
    found.extend(server.alerts_found().await);
    found.extend(server.certificates_found().await);
    Ok(Json(Findings::of(found.into_iter().map(shown).collect())))
}

impl Server {
    async fn views(&self) -> Result<Views, Box<dyn std::error::Error + Send + Sync>> {
        let world = &self.world;
        let snapshot = world.store.snapshot_number().await?;
        // Routes that are published right now are no drift: both are read close together, the store first.
        let proxies = world.publisher.proxies.versions();
        let containers = world.docker.list_ours().await?;
        let networks = world.docker.list_our_networks().await?;
        let targets = world.instances.dial.list().await?;
        let rows = world.store.instances().await?;
        let mut views = Views { snapshot, proxies, ..Views::default() };
        for row in rows.iter().filter(|row| row.wanted == Wanted::Live) {
            let name = world.instances.container_name(row);
            let runs = containers.iter().any(|c| c.name == name && c.running);
            let in_a_network = networks.contains(&spec::network_name(&world.install, &row.app));
            if runs && !in_a_network && !views.without_network.iter().any(|app| *app == row.app.as_str()) {
                views.without_network.push(row.app.to_string());
            }
            let unreachable = runs && row.takes_requests() && !targets.contains(&row.id);
            views.live.push(Live { name: format!("{} {}", row.app, row.label()), runs: Some(runs), unreachable });
        }
        let known: Vec<String> = rows.iter().map(|row| world.instances.container_name(row)).collect();
        // A `run` or a release command has no row.
        let one_off = |c: &ContainerState| matches!(c.labels.get("paas.process").map(String::as_str), Some("run" | "release"));
        let strangers = containers.into_iter().filter(|c| !known.contains(&c.name) && !one_off(c));
        views.unknown = strangers.map(|c| c.name).collect();
        views.stale_targets = targets.iter().filter(|target| rows.iter().all(|row| row.id != **target)).count();
        Ok(views)
    }

    /// One finding for each that ends soon or can't be used.
    async fn certificates_found(&self) -> Vec<doctor::Finding> {
        let all = match self.world.publisher.certificates().await {
            Ok(all) => all,
            Err(e) => return vec![doctor::problem("certs", format!("certificates can't be read: {e}"), "paas certs list")],
        };
        let now = UnixMillis::now();
        let spoilt = all.spoilt.iter().map(|spoilt| doctor::problem("certs", spoilt.text(), spoilt.todo()));
        let soon = all.good.iter().filter(|certificate| certificate.ends_soon(now)).map(|certificate| {
            let (hosts, days) = (certificate.shown_for(), certificate.days_left(now));
            let todo = format!("paas certs add {hosts} --chain FILE --key FILE");
            if certificate.has_ended(now) {
                return doctor::problem("certs", format!("the certificate for {hosts} has ended"), todo);
            }
            doctor::warning("certs", format!("the certificate for {hosts} ends in {days} days"), todo)
        });
        spoilt.chain(soon).collect()
    }

    async fn alerts_found(&self) -> Vec<doctor::Finding> {
        let alerts = &self.world.alerts;
        let mut found: Vec<doctor::Finding> = match alerts.list(0).await {
            // Certificates have findings of their own.
            Ok(open) => open
                .into_iter()
                .filter(|a| !matches!(a.kind, Kind::CertificateEnds | Kind::CertificateSpoilt))
                .map(|a| doctor::warning("alerts", a.text, a.hint))
                .collect(),
            Err(e) => vec![doctor::warning("alerts", format!("open alerts can't be read: {e}"), "paas alerts")],
        };
        found.push(if alerts.sinks().is_empty() {
            let todo =
                "set `webhook` or `exec` under [alerts] in /etc/paas/paas.toml, restart paas-daemon, then `paas alerts test`";
            doctor::warning("alerts", "nobody is told when something goes wrong", todo)
        } else {
            doctor::ok("alerts", "somebody is told when something goes wrong; `paas alerts test` tries it")
        });
        found
    }
}

/// A finding of the domain as the API gives it.
pub fn shown(finding: doctor::Finding) -> Finding {
    let level = match finding.level {
        doctor::Level::Ok => Level::Ok,
        doctor::Level::Warning => Level::Warning,
        doctor::Level::Problem => Level::Problem,
    };
    Finding { level, area: finding.area, found: finding.found, todo: finding.todo }
}
