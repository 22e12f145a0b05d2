//! The route table: built whole from a snapshot, never changed, swapped at once.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::meter::Own;
use super::target::{Claim, Target};
use super::tls::{self, certs::Certs, config::Servers};
use crate::base::cidr::Cidr;
use crate::names::{AppName, Hostname, InstanceId};
use crate::wire::limits::Limits;
use crate::wire::proxy::{self as wire, Rules, Snapshot};

#[derive(Debug)]
pub struct Table {
    /// None until the first snapshot is active.
    pub version: Option<u64>,
    pub commit_header: bool,
    /// Proxies in front of us.
    pub trusted: Vec<Cidr>,
    pub limits: Limits,
    routes: HashMap<Hostname, Arc<Route>>,
    pub targets: BTreeMap<InstanceId, Arc<Target>>,
    /// By app: what is measured of requests that reach no target.
    pub own: BTreeMap<AppName, Arc<Own>>,
    pub certs: Arc<Certs>,
    /// For new TLS connections; shows `certs`.
    pub tls: Servers,
}

impl Default for Table {
    fn default() -> Self {
        let certs: Arc<Certs> = Arc::default();
        let tls = tls::config::servers(Arc::clone(&certs) as _);
        Self {
            version: None,
            commit_header: false,
            trusted: Vec::new(),
            limits: Limits::default(),
            routes: HashMap::new(),
            targets: BTreeMap::new(),
            own: BTreeMap::new(),
            certs,
            tls,
        }
    }
}

#[derive(Debug)]
pub struct Route {
    pub app: AppName,
    pub rules: Rules,
    pub action: Action,
    /// TLS connections for this host go to the instance undecrypted, so the app has nothing to say over plain HTTP.
    pub passthrough: bool,
    pub own: Arc<Own>,
    /// Where the search for the least loaded target begins, so that ties go round.
    next: AtomicUsize,
}

#[derive(Debug)]
pub enum Action {
    Forward(Vec<Arc<Target>>),
    Redirect(Hostname),
    Hold(Duration),
}

/// Why a snapshot is refused; the old one stays.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSnapshot {
    #[error("host {0} has two routes")]
    HostTwice(Hostname),
    #[error("target {0} stands twice")]
    TargetTwice(InstanceId),
    #[error("target {0} was something else before")]
    TargetChanged(InstanceId),
    #[error("the route of {host} names target {target}, which the snapshot does not have")]
    NoTarget { host: Hostname, target: InstanceId },
    #[error("the route of {host} names target {target}, which drains")]
    Draining { host: Hostname, target: InstanceId },
    #[error("the route of {host} names target {target} of another app")]
    ForeignTarget { host: Hostname, target: InstanceId },
    #[error("{0} redirects to itself")]
    RedirectsToItself(Hostname),
    #[error("nobody could be served within its limits")]
    Limits,
}

impl Table {
    /// Builds the table; targets that `before` has are taken over with their counts.
    pub fn build(snapshot: &Snapshot, before: &Table) -> Result<Self, BadSnapshot> {
        let mut targets = BTreeMap::new();
        for about in &snapshot.targets {
            let target = match before.targets.get(&about.id) {
                Some(old) if same(&old.about, about) => Arc::clone(old),
                Some(_) => return Err(BadSnapshot::TargetChanged(about.id)),
                None => Arc::new(Target::new(about.clone())),
            };
            if targets.insert(about.id, target).is_some() {
                return Err(BadSnapshot::TargetTwice(about.id));
            }
        }
        let draining: Vec<InstanceId> = snapshot.targets.iter().filter(|t| t.drain.is_some()).map(|t| t.id).collect();
        let mut routes = HashMap::with_capacity(snapshot.routes.len());
        let mut own_of = BTreeMap::new();
        for route in &snapshot.routes {
            let action = action(route, &targets, &draining)?;
            // A redirect is our own answer.
            let passthrough = route.rules.passthrough && !matches!(action, Action::Redirect(_));
            let (app, rules) = (route.app.clone(), route.rules.clone());
            let kept = || before.own.get(&app).map(Arc::clone).unwrap_or_default();
            let own = Arc::clone(own_of.entry(app.clone()).or_insert_with(kept));
            let built = Route { app, rules, action, passthrough, own, next: AtomicUsize::new(0) };
            if routes.insert(route.host.clone(), Arc::new(built)).is_some() {
                return Err(BadSnapshot::HostTwice(route.host.clone()));
            }
        }
        let front = &snapshot.front;
        if !front.limits.are_usable() {
            return Err(BadSnapshot::Limits);
        }
        let certs = Arc::new(Certs::build(front, &before.certs));
        let tls = tls::config::servers(Arc::clone(&certs) as _);
        Ok(Self {
            version: Some(snapshot.version),
            commit_header: snapshot.commit_header,
            trusted: front.trusted.clone(),
            limits: front.limits,
            routes,
            targets,
            own: own_of,
            certs,
            tls,
        })
    }

    pub fn route(&self, host: &Hostname) -> Option<&Arc<Route>> {
        self.routes.get(host)
    }
}

/// The same instance; whether it drains may change.
fn same(a: &wire::Target, b: &wire::Target) -> bool {
    (&a.app, &a.process, a.release, &a.commit) == (&b.app, &b.process, b.release, &b.commit)
}

fn action(
    route: &wire::Route,
    targets: &BTreeMap<InstanceId, Arc<Target>>,
    draining: &[InstanceId],
) -> Result<Action, BadSnapshot> {
    let host = || route.host.clone();
    match &route.action {
        wire::Action::Hold { limit_ms } => Ok(Action::Hold(Duration::from_millis(*limit_ms))),
        wire::Action::Redirect { to } if *to == route.host => Err(BadSnapshot::RedirectsToItself(host())),
        wire::Action::Redirect { to } => Ok(Action::Redirect(to.clone())),
        wire::Action::Forward { targets: ids } => {
            let find = |id: &InstanceId| match targets.get(id) {
                None => Err(BadSnapshot::NoTarget { host: host(), target: *id }),
                Some(_) if draining.contains(id) => Err(BadSnapshot::Draining { host: host(), target: *id }),
                Some(target) if target.about.app != route.app => Err(BadSnapshot::ForeignTarget { host: host(), target: *id }),
                Some(target) => Ok(Arc::clone(target)),
            };
            ids.iter().map(find).collect::<Result<_, _>>().map(Action::Forward)
        }
    }
}

/// What choosing among a route's targets came to.
#[derive(Debug)]
pub enum Choice {
    Claimed(Claim),
    /// None is left that was not tried.
    Nothing,
    /// The chosen one began to drain: a newer table is there.
    LookAgain,
}

impl Route {
    /// Claims the target with the least in flight among those not in `tried`; ties go round.
    pub fn choose(&self, targets: &[Arc<Target>], tried: &[InstanceId]) -> Choice {
        let begin = self.next.fetch_add(1, Ordering::Relaxed);
        let turned = (0..targets.len()).map(|i| &targets[(begin.wrapping_add(i)) % targets.len()]);
        // min_by_key gives the first of equals, which the turn made a different one each time.
        let best = turned.filter(|t| !tried.contains(&t.id())).min_by_key(|t| t.in_flight());
        match best.map(Target::claim) {
            None => Choice::Nothing,
            Some(Some(claim)) => Choice::Claimed(claim),
            Some(None) => Choice::LookAgain,
        }
    }
}
