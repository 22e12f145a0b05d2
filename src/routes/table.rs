//! Rows → snapshot. Pure: no clock, no I/O.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::base::clock::UnixMillis;
use crate::manifest::{AccessLog, AccessSpec, HttpSpec, Https, Tls};
use crate::model::app::Domain;
use crate::model::certificate::Certificate;
use crate::model::instance::{Instance, Wanted};
use crate::model::maintenance::Maintenance;
use crate::names::{AppName, CommitSha, HostPattern, Hostname, InstanceId};
use crate::wire::proxy::{self as wire, AccessLines, Action, DrainBudget, Front, Route, Rules, Snapshot, Target};

/// How long a held request waits at most, whatever the deploy's own limits are.
const HOLD_LIMIT: Duration = Duration::from_secs(60);

/// What is in flight at an instance that hangs may not come to an end at all.
pub const SUSPEND_DRAIN: Duration = Duration::from_secs(10);

/// An app as the routes see it.
#[derive(Debug, Clone)]
pub struct AppView {
    pub app_id: i64,
    pub name: AppName,
    /// A deploy replaces instances that cannot run twice: requests wait.
    pub held: bool,
    /// It is being worked on.
    pub maintenance: Option<Maintenance>,
    /// As the live release's manifest has it.
    pub http: HttpSpec,
    pub instances: Vec<InstanceView>,
}

/// An instance with what its release says about leaving.
#[derive(Debug, Clone)]
pub struct InstanceView {
    pub row: Instance,
    pub commit: Option<CommitSha>,
    pub drain: Duration,
    pub drain_streams: Duration,
    /// It is being restarted where it is: no new requests, and what is in flight has [`SUSPEND_DRAIN`].
    pub suspended: bool,
}

/// Everything a snapshot is made of.
#[derive(Debug, Clone)]
pub struct View {
    pub apps: Vec<AppView>,
    pub domains: Vec<Domain>,
    /// Apps answer at `<app>.<domain>`; without one at `<app>.localhost`.
    pub base: Option<Hostname>,
    pub commit_header: bool,
    /// What a certificate that has not ended speaks for.
    pub certified: Vec<HostPattern>,
    /// Certificates, trusted proxies, what one client may take of the proxy.
    pub front: Front,
}

/// A commit point that has not been written yet: the view as it will be.
#[derive(Debug, Clone)]
pub struct Pending {
    pub app_id: i64,
    pub live: Vec<InstanceId>,
    pub retire: Vec<InstanceId>,
    /// The domains of the new release's manifest.
    pub domains: Vec<Hostname>,
    pub http: HttpSpec,
}

/// The host name under which an app answers without any domain of its own.
pub fn own_host(app: &AppName, base: Option<&Hostname>) -> Option<Hostname> {
    let under = base.map_or("localhost", Hostname::as_str);
    Hostname::parse(&format!("{app}.{under}")).ok()
}

/// Changes the view to what it will be once `pending` is committed.
pub fn apply(view: &mut View, pending: &Pending) {
    let Some(app) = view.apps.iter_mut().find(|a| a.app_id == pending.app_id) else { return };
    app.held = false;
    app.http = pending.http.clone();
    for instance in &mut app.instances {
        if pending.live.contains(&instance.row.id) {
            instance.row.wanted = Wanted::Live;
        } else if pending.retire.contains(&instance.row.id) {
            instance.row.wanted = Wanted::Retiring;
        }
    }
    let name = app.name.clone();
    view.domains.retain(|d| d.app != name || !d.from_manifest || pending.domains.contains(&d.host));
    for host in &pending.domains {
        if !view.domains.iter().any(|d| d.host == *host) {
            view.domains.push(Domain { host: host.clone(), app: name.clone(), redirect_to: None, from_manifest: true });
        }
    }
}

/// The snapshot of a view under a number.
pub fn snapshot(view: &View, version: u64) -> Snapshot {
    let (mut own_routes, mut added_routes, mut targets) = (Vec::new(), Vec::new(), Vec::new());
    for app in &view.apps {
        let web = || app.instances.iter().filter(|i| i.row.wanted == Wanted::Live && i.row.takes_requests());
        let serving: Vec<InstanceId> = web().filter(|i| !i.suspended).map(|i| i.row.id).collect();
        // All that there are come back in a moment: their requests wait.
        let action = if app.held || (serving.is_empty() && web().next().is_some()) {
            Action::Hold { limit_ms: millis(HOLD_LIMIT) }
        } else {
            Action::Forward { targets: serving }
        };
        if let Some(host) = own_host(&app.name, view.base.as_ref()) {
            let rules = rules(app, &host, &view.certified);
            own_routes.push(Route { host, app: app.name.clone(), action: action.clone(), rules });
        }
        for domain in view.domains.iter().filter(|d| d.app == app.name) {
            let action = domain.redirect_to.clone().map_or(action.clone(), |to| Action::Redirect { to });
            let rules = rules(app, &domain.host, &view.certified);
            added_routes.push(Route { host: domain.host.clone(), app: app.name.clone(), action, rules });
        }
        targets.extend(app.instances.iter().filter_map(|i| target(i, app.held)));
    }
    // Own names first: whatever the table says, no app can take another's. One bad entry must block nothing.
    let mut seen = BTreeSet::new();
    let mut routes: Vec<Route> = own_routes.into_iter().chain(added_routes).collect();
    routes.retain(|route| seen.insert(route.host.clone()));
    Snapshot { version, routes, targets, commit_header: view.commit_header, front: view.front.clone() }
}

/// What the proxy shows to clients. One that has ended is shown still, as clients then say what is wrong with it; but not for a host that
/// another speaks for which has not: an exact name wins over a wildcard, and would hide the good one.
pub fn shown(certificates: Vec<Certificate>, now: UnixMillis) -> Vec<wire::Certificate> {
    let valid: Vec<HostPattern> = certificates.iter().filter(|c| !c.has_ended(now)).flat_map(|c| c.hosts.clone()).collect();
    let shown = certificates.into_iter().map(|c| {
        let hidden = |host: &HostPattern| c.has_ended(now) && valid.iter().any(|v| v.includes(host));
        let names = c.hosts.iter().filter(|host| !hidden(host)).map(ToString::to_string).collect();
        wire::Certificate { names, chain: c.chain, key: c.key }
    });
    shown.filter(|c| !c.names.is_empty()).collect()
}

/// What the app wants of requests for one of its host names.
fn rules(app: &AppView, host: &Hostname, certified: &[HostPattern]) -> Rules {
    Rules {
        passthrough: app.http.tls == Tls::Passthrough,
        https_redirect: match app.http.https {
            Https::Redirect => true,
            Https::Both => false,
            // Never to a page that browsers refuse: one whose certificate has ended, or that has only the self-signed one.
            Https::Auto => certified.iter().any(|pattern| pattern.covers(host)),
        },
        hsts: app.http.hsts,
        max_body: app.http.max_body,
        maintenance: app.maintenance.as_ref().map(|m| wire::Maintenance { message: m.message.clone(), hold_ms: millis(m.hold) }),
        access: access_lines(app.http.access),
    }
}

fn access_lines(spec: AccessSpec) -> AccessLines {
    match spec.log {
        AccessLog::All => AccessLines { sample_ppm: spec.sample_ppm, troubles: true },
        AccessLog::Errors => AccessLines { sample_ppm: 0, troubles: true },
        AccessLog::None => AccessLines { sample_ppm: 0, troubles: false },
    }
}

fn target(instance: &InstanceView, held: bool) -> Option<Target> {
    let row = &instance.row;
    if !row.takes_requests() {
        return None;
    }
    let drain = match row.wanted {
        // Held: nothing new comes, and the daemon waits for the end of what runs. A later snapshot without the hold takes the drain back.
        // One that is paused already stays: what waits in vain meanwhile counts there, and its counts begin anew in no case.
        Wanted::Live | Wanted::Paused if held => {
            Some(DrainBudget { requests_ms: millis(instance.drain), streams_ms: millis(instance.drain) })
        }
        Wanted::Live if instance.suspended => {
            let limit = millis(instance.drain.min(SUSPEND_DRAIN));
            Some(DrainBudget { requests_ms: limit, streams_ms: limit })
        }
        Wanted::Live => None,
        Wanted::Retiring => Some(DrainBudget {
            requests_ms: millis(instance.drain),
            // A third generation needs the place: streams get what requests get.
            streams_ms: millis(if row.cut_streams { instance.drain } else { instance.drain_streams.max(instance.drain) }),
        }),
        Wanted::Candidate | Wanted::Paused | Wanted::Gone => return None,
    };
    Some(Target {
        id: row.id,
        app: row.app.clone(),
        process: row.process.clone(),
        release: row.release,
        commit: instance.commit.clone(),
        drain,
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
