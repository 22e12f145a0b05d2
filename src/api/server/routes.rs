//! `/routes/explain`: the proxy's own functions, asked about the snapshot that the proxies serve.

use axum::Json;
use axum::extract::State;

use super::Server;
use super::access::Who;
use super::fail::Fail;
use crate::api::error::ErrorCode;
use crate::api::types::routes::{Change, ExplainRequest, Explanation, HeaderChange, Outcome, Target, TargetState};
use crate::base::clock::UnixMillis;
use crate::base::size::bytes;
use crate::model::access::Right;
use crate::model::app::App;
use crate::names::{Hostname, InstanceId};
use crate::proxy::explain::{self, ChangeKind, Explained, Question, explain};
use crate::wire::proxy::{Action, Route, Snapshot};

pub async fn explain_one(
    State(server): State<Server>,
    who: Who,
    Json(asked): Json<ExplainRequest>,
) -> Result<Json<Explanation>, Fail> {
    let (question, url) = server.question(&asked)?;
    let proxies = &server.world.publisher.proxies;
    let snapshot = proxies.current();
    let explained = explain(snapshot.as_deref(), &question);
    let route = explained.host.as_ref().and_then(|host| snapshot.as_ref()?.routes.iter().find(|r| r.host == *host));
    // Whose app it is not learns no more than the public does.
    let visible = route.is_none_or(|route| who.0.may(Right::Deploy, Some(&route.app)));
    if !visible {
        let why = format!("{} may not see the app that answers there", who.0.describe());
        return Err(Fail::new(ErrorCode::Denied, why));
    }
    let app = match route {
        Some(route) => server.world.store.apps().await?.into_iter().find(|app| app.name == route.app),
        None => None,
    };
    let mut answer = Explanation {
        method: asked.method.clone(),
        url,
        from: asked.from,
        trusted: explained.origin.is_some_and(|o| o.trusted),
        client: explained.origin.map(|o| o.client),
        snapshot: snapshot.as_ref().map(|s| s.version),
        proxies: proxies.connected(),
        host: explained.host.clone(),
        app: route.map(|r| r.app.clone()),
        rule: None,
        outcome: outcome(&explained),
        why: why(&explained, route),
        status: explained.status,
        location: location(&explained),
        targets: snapshot.as_deref().zip(route).map(|(s, route)| server.targets(s, route, app.as_ref())).unwrap_or_default(),
        request: changes(&explained.request),
        answer: changes(&explained.answer),
        maintenance: None,
        certificate: None,
        self_signed: explained.certificate.as_ref().is_some_and(Vec::is_empty),
        max_body: route.and_then(|r| r.rules.max_body),
        hsts: route.and_then(|r| r.rules.hsts),
    };
    if let (Some(app), Some(host)) = (&app, &explained.host) {
        let domains = server.domains_of(app).await?;
        answer.rule = domains.into_iter().find(|d| d.host == *host).map(|d| d.origin);
        let maintenance = server.world.store.maintenance(app.id).await?;
        answer.maintenance = maintenance.map(|m| super::maintenance::shown(&app.name, Some(&m)));
    }
    if let Some(names) = explained.certificate.filter(|names| !names.is_empty()) {
        let shown_for =
            |c: &crate::model::certificate::Certificate| c.hosts.iter().any(|h| names.iter().any(|n| n == h.as_str()));
        let all = server.world.publisher.certificates().await?;
        answer.certificate = all.good.iter().find(|c| shown_for(c)).map(super::certs::shown);
    }
    Ok(Json(answer))
}

impl Server {
    /// The request as bytes would say it, and the URL with its scheme.
    fn question(&self, asked: &ExplainRequest) -> Result<(Question, String), Fail> {
        let url = if asked.url.contains("://") { asked.url.clone() } else { format!("http://{}", asked.url) };
        let no_url = || Fail::invalid("the URL must be like http://shop.example.com/path?query");
        let uri: http::Uri = url.parse().map_err(|_| no_url())?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(no_url()),
        };
        let authority = uri.authority().map(http::uri::Authority::as_str).filter(|a| !a.contains('@')).ok_or_else(no_url)?;
        let mut fields = asked.headers.clone();
        let lines = |text: &str| text.contains(['\r', '\n', '\0']);
        if lines(&asked.method) || fields.iter().any(|(name, value)| lines(name) || lines(value)) {
            return Err(Fail::invalid("a method or header is one line"));
        }
        if !fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            fields.insert(0, ("Host".to_owned(), authority.to_owned()));
        }
        let question = Question {
            method: asked.method.clone(),
            target: uri.path_and_query().map_or("/", |p| p.as_str()).to_owned(),
            fields,
            from: asked.from,
            tls,
            port: uri.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            https_port: self.world.publisher.proxies.listening_tls().first().map(std::net::SocketAddr::port),
            at: UnixMillis::now(),
        };
        Ok((question, url))
    }

    fn targets(&self, snapshot: &Snapshot, route: &Route, app: Option<&App>) -> Vec<Target> {
        let live = |id: InstanceId| matches!(&route.action, Action::Forward { targets } if targets.contains(&id));
        let held = app.is_some_and(|app| app.held_by.is_some());
        let state = |id| match id {
            id if live(id) => TargetState::Live,
            id if self.world.publisher.is_suspended(id) => TargetState::Suspended,
            _ if held => TargetState::Held,
            _ => TargetState::Draining,
        };
        let mut all: Vec<Target> = snapshot
            .targets
            .iter()
            .filter(|t| t.app == route.app)
            .map(|t| Target {
                id: t.id,
                process: t.process.clone(),
                release: t.release,
                commit: t.commit.clone(),
                state: state(t.id),
            })
            .collect();
        all.sort_by_key(|t| (t.state != TargetState::Live, t.id));
        all
    }
}

fn outcome(explained: &Explained) -> Outcome {
    match &explained.outcome {
        explain::Outcome::Refused(_) => Outcome::Refused,
        explain::Outcome::NotReady => Outcome::NotReady,
        explain::Outcome::UnknownHost => Outcome::UnknownHost,
        explain::Outcome::Secure(_) | explain::Outcome::Redirect(_) => Outcome::Redirected,
        explain::Outcome::Maintenance { .. } => Outcome::Maintenance,
        explain::Outcome::TooLarge(_) => Outcome::TooLarge,
        explain::Outcome::Hold { .. } => Outcome::Held,
        explain::Outcome::NoInstance => Outcome::NoInstance,
        explain::Outcome::Passthrough(_) => Outcome::PassedThrough,
        explain::Outcome::Forward(_) => Outcome::Forwarded,
    }
}

fn location(explained: &Explained) -> Option<String> {
    match &explained.outcome {
        explain::Outcome::Secure(to) | explain::Outcome::Redirect(to) => Some(to.clone()),
        _ => None,
    }
}

fn why(explained: &Explained, route: Option<&Route>) -> String {
    let app = route.map(|r: &Route| r.app.to_string()).unwrap_or_default();
    let host = explained.host.as_ref().map(Hostname::to_string).unwrap_or_default();
    let instances = |ids: &[InstanceId]| match ids {
        [one] => format!("{one}, the only instance that takes requests"),
        more => format!("the one of {} instances with the fewest requests", more.len()),
    };
    match &explained.outcome {
        explain::Outcome::Refused(why) => why.clone(),
        explain::Outcome::NotReady => "the proxy has no routes yet".to_owned(),
        explain::Outcome::UnknownHost if host.is_empty() => "its Host is no name that an app could have".to_owned(),
        explain::Outcome::UnknownHost => format!("no app answers at `{host}`; `paas domains add {host} -a APP` changes that"),
        explain::Outcome::Secure(_) => format!("{app} wants https (`[http] https` in paas.toml), and the request came without"),
        explain::Outcome::Redirect(_) => format!("{app} redirects `{host}` to another host (`paas domains list -a {app}`)"),
        explain::Outcome::Maintenance { hold_ms: 0 } => {
            format!("{app} is in maintenance; `paas maintenance off -a {app}` ends it")
        }
        explain::Outcome::Maintenance { hold_ms } => {
            format!("{app} is in maintenance: the request waits {} s for its end, then gets the page", *hold_ms as f64 / 1000.0)
        }
        explain::Outcome::TooLarge(limit) => format!("its body is over the limit of {app}, {}", bytes(*limit)),
        explain::Outcome::Hold { limit_ms } => {
            format!("it waits for an instance of {app}, at most {} s: all are being replaced or restarted", limit_ms / 1000)
        }
        explain::Outcome::NoInstance => format!("no instance of {app} takes requests; `paas why {app}` tells more"),
        explain::Outcome::Passthrough(ids) => format!("{app} ends TLS itself: the connection goes to {}", instances(ids)),
        explain::Outcome::Forward(ids) => format!("it goes to {}", instances(ids)),
    }
}

fn changes(all: &[explain::Change]) -> Vec<HeaderChange> {
    let one = |c: &explain::Change| HeaderChange {
        change: match c.kind {
            ChangeKind::Kept => Change::Kept,
            ChangeKind::Added => Change::Added,
            ChangeKind::Replaced => Change::Replaced,
            ChangeKind::Removed => Change::Removed,
        },
        name: c.name.clone(),
        value: c.value.clone(),
        why: c.why.to_owned(),
    };
    all.iter().map(one).collect()
}
