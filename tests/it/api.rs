//! One API, two sides: each route has a client method, each method a route, and each method understands what the daemon answers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use paas::api::client::{Client, ClientError, Events, Transport};
use paas::api::error::ErrorCode;
use paas::api::stream::Frame;
use paas::api::types::apps::NewApp;
use paas::api::types::certs::NewCert;
use paas::api::types::config::ConfigPatch;
use paas::api::types::deploys::{DeployEvent, NewDeploy};
use paas::api::types::domains::NewDomain;
use paas::api::types::git::{GitService, PushRequest, SessionRequest};
use paas::api::types::keys::NewKey;
use paas::api::types::logs::LogsQuery;
use paas::api::types::maintenance::SetMaintenance;
use paas::api::types::processes::{ExecRequest, Restart, RunRequest};
use paas::api::types::releases::Rollback;
use paas::api::types::routes::{ExplainRequest, Outcome};
use paas::base::secret::Secret;
use paas::names::{AppName, ConfigKey, CrashId, HostPattern, Hostname, KeyName, ProcessName, ReleaseNumber};

use crate::support::{Tarball, World};

/// The text of every Rust file below a folder of the source.
fn source(folder: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut text = String::new();
    for entry in std::fs::read_dir(&folder).expect("the folder is there").map(|e| e.expect("an entry").path()) {
        if entry.extension().is_some_and(|e| e == "rs") && !entry.ends_with("tests.rs") {
            text += &std::fs::read_to_string(&entry).expect("source is text");
        }
    }
    text
}

/// `/apps/{app}/logs{}` and `/apps/{app}/logs?tail=true` are the route `/apps/{}/logs`.
fn normalised(path: &str) -> String {
    let path = path.split('?').next().unwrap_or_default();
    let parts = path.split('/').map(|part| match part.split_once('{') {
        Some(("", _)) => "{}",
        Some((fixed, _)) => fixed,
        None => part,
    });
    parts.collect::<Vec<_>>().join("/")
}

/// What the router answers to: `POST /apps/{}/deploys`.
fn routes() -> BTreeSet<String> {
    let text = source("src/api/server");
    let mut found = BTreeSet::new();
    for line in text.lines().filter_map(|line| line.trim().strip_prefix(".route(\"")) {
        let (path, handlers) = line.split_once('"').expect("a path ends");
        for method in ["get", "post", "put", "patch", "delete"].iter().filter(|m| handlers.contains(&format!("{m}("))) {
            found.insert(format!("{} {}", method.to_uppercase(), normalised(path)));
        }
    }
    found
}

/// What the client asks for.
fn calls() -> BTreeSet<String> {
    let text = source("src/api/client");
    let mut found = BTreeSet::new();
    for (method, rest) in text.split("Method::").skip(1).filter_map(|rest| rest.split_once(',')) {
        let path = rest.split('"').nth(1).filter(|path| path.starts_with('/'));
        // The path stands beside its method, not somewhere further down.
        if let Some(path) = path.filter(|_| rest.find('"').is_some_and(|at| at < 40)) {
            found.insert(format!("{method} {}", normalised(path)));
        }
    }
    let upgrades = text.split("self.upgrade(").skip(1).filter_map(|rest| rest.split('"').nth(1));
    found.extend(upgrades.map(|path| format!("POST {}", normalised(path))));
    found
}

#[test]
fn every_route_has_a_client_method_and_every_method_a_route() {
    let (routes, calls) = (routes(), calls());
    assert!(routes.len() >= 28, "the router was not read: {routes:?}");
    assert_eq!(routes, calls, "left: the router's routes; right: what the client asks for");
}

/// Reads a deploy's stream to its end and gives the last event.
async fn end_of(events: Result<Events<DeployEvent>, ClientError>) -> DeployEvent {
    let mut events = events.expect("the change is taken");
    let mut last = None;
    while let Some(event) = events.next().await.expect("the stream can be understood") {
        last = Some(event);
    }
    last.filter(DeployEvent::is_last).expect("a stream ends with its outcome")
}

#[track_caller]
fn is_live(event: &DeployEvent) {
    assert!(matches!(event, DeployEvent::Live { .. }), "{event:?}");
}

fn refused<T>(answer: Result<T, ClientError>, code: ErrorCode) {
    match answer {
        Err(ClientError::Refused(error)) => assert_eq!(error.code, code, "{error:?}"),
        Err(other) => panic!("refused without a reason of ours: {other}"),
        Ok(_) => panic!("taken, though it should be refused as {code:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_client_method_understands_the_real_daemon() {
    let w = World::shared("api");
    let client = Client::new(Transport::socket(w.run_dir().join("api.sock")));
    let app = AppName::parse(&w.app("api")).expect("a name");

    assert_eq!(client.version().await.expect("a version").version, env!("CARGO_PKG_VERSION"));
    assert!(client.status().await.expect("a status").docker.ok);
    let disk = client.disk().await.expect("the disks");
    assert!(disk.filesystems.iter().any(|f| f.holds.iter().any(|h| h == "state")) && disk.rows.contains_key("apps"), "{disk:?}");
    assert!(client.doctor().await.expect("findings").findings.iter().any(|f| f.area == "docker"));
    client.alerts().await.expect("alerts");
    refused(client.test_alerts().await, ErrorCode::Invalid);
    assert_eq!(client.create_app(&NewApp { name: app.clone() }).await.expect("made").name, app);
    refused(client.create_app(&NewApp { name: app.clone() }).await, ErrorCode::Conflict);
    assert!(client.apps().await.expect("apps").iter().any(|a| a.name == app));

    let tarball = std::io::Cursor::new(Tarball::testapp("one").gz());
    is_live(&end_of(client.deploy_tarball(&app, tarball, true).await).await);
    let failed = end_of(client.deploy(&app, &NewDeploy::Image("no-such-image".to_owned()), true).await).await;
    assert!(matches!(failed, DeployEvent::Failed { .. }), "{failed:?}");
    let deploys = client.deploys(&app).await.expect("deploys");
    let first = deploys.iter().map(|d| d.id).min().expect("a deploy");
    let info = client.deploy_info(first).await.expect("one deploy");
    assert!(info.stages.len() >= 5 && info.deploy.state == "live", "{info:?}");
    is_live(&end_of(client.follow(first).await).await);
    refused(client.cancel(first).await, ErrorCode::Conflict);

    assert!(client.why(&app).await.expect("a story").release.is_some());
    assert!(client.crashes(&app).await.expect("crash files").is_empty());
    refused(client.crash_file(&app, CrashId(999)).await, ErrorCode::NotFound);

    settings(&client, &app).await;
    front(&client, &app).await;
    processes(&client, &app).await;
    keys(&client, &app).await;

    let destroyed = client.destroy_app(&app).await.expect("destroyed");
    assert_eq!(destroyed.app, app);
    refused(client.app(&app).await, ErrorCode::NotFound);
}

async fn settings(client: &Client, app: &AppName) {
    let key = ConfigKey::parse("COLOUR").expect("a key");
    let set = BTreeMap::from([(key.clone(), Secret::new("green".to_owned()))]);
    is_live(&end_of(client.change_config(app, &ConfigPatch { set, unset: Vec::new() }).await).await);
    assert_eq!(client.config(app).await.expect("config").values[&key].reveal(), "green");

    let host = Hostname::parse("api.example.com").expect("a host");
    client.add_domain(app, &NewDomain { host: host.clone(), redirect_to: None }).await.expect("added");
    assert!(client.domains(app).await.expect("domains").iter().any(|d| d.host == host));
    assert!(client.app(app).await.expect("the app").domains.iter().any(|d| d.host == host));
    assert_eq!(client.remove_domain(app, &host).await.expect("removed").host, host);

    assert_eq!(client.releases(app).await.expect("releases").len(), 2);
    is_live(&end_of(client.rollback(app, &Rollback { to: Some(ReleaseNumber(1)) }).await).await);
}

async fn front(client: &Client, app: &AppName) {
    let on = SetMaintenance { on: true, message: Some("soon".to_owned()), hold_ms: 0 };
    assert!(client.set_maintenance(app, &on).await.expect("on").since.is_some());
    assert_eq!(client.maintenance(app).await.expect("shown").message.as_deref(), Some("soon"));
    let url = client.app(app).await.expect("the app").urls.pop().expect("a URL");
    let asked = ExplainRequest { url, method: "GET".to_owned(), headers: Vec::new(), from: [192, 0, 2, 1].into() };
    assert_eq!(client.explain(&asked).await.expect("explained").outcome, Outcome::Maintenance);
    let off = SetMaintenance { on: false, message: None, hold_ms: 0 };
    assert_eq!(client.set_maintenance(app, &off).await.expect("off").since, None);

    let key = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(vec!["api.example.com".to_owned()]).expect("a name");
    let chain = params.self_signed(&key).expect("signed").pem();
    let host = HostPattern::parse("api.example.com").expect("a host");
    let new = NewCert { hosts: vec![host.clone()], chain, key: Secret::new(key.serialize_pem()) };
    assert_eq!(client.add_cert(&new).await.expect("added").hosts, std::slice::from_ref(&host));
    refused(client.add_cert(&NewCert { key: Secret::new(String::new()), ..new.clone() }).await, ErrorCode::Invalid);
    assert!(client.certs().await.expect("certs").iter().any(|c| c.hosts == [host.clone()]));
    assert_eq!(client.cert(&host, false).await.expect("one").key, None);
    assert_eq!(client.cert(&host, true).await.expect("one").key, Some(new.key));
    assert_eq!(client.remove_cert(&host).await.expect("removed").hosts, std::slice::from_ref(&host));
    refused(client.remove_cert(&host).await, ErrorCode::NotFound);
}

async fn processes(client: &Client, app: &AppName) {
    let web = ProcessName::parse("web").expect("a name");
    is_live(&end_of(client.scale(app, &BTreeMap::from([(web.clone(), 2)])).await).await);
    is_live(&end_of(client.restart(app, &Restart { process: Some(web) }).await).await);
    // The old ones may still be retiring.
    assert!(client.ps(app).await.expect("ps").processes[0].instances.len() >= 2);

    let command = vec!["/testapp".to_owned(), "release".to_owned()];
    let run = RunRequest { command: command.clone(), tty: false, size: None, env: BTreeMap::new() };
    ends(client.run(app, &run).await).await;
    let exec = ExecRequest { instance: Some("web.1".to_owned()), command, tty: false, size: None };
    ends(client.exec(app, &exec).await).await;

    let mut lines = client.logs(app, &LogsQuery { num: Some(5), ..LogsQuery::default() }).await.expect("logs");
    assert!(lines.next().await.expect("a line can be understood").is_some());
}

/// The command comes to an end with a code, whatever it thinks of its arguments.
async fn ends(session: Result<paas::api::client::Interactive, ClientError>) {
    let mut session = session.expect("the command begins");
    session.input.send(&Frame::Eof).await.expect("stdin can be closed");
    while let Some(frame) = session.output.next().await.expect("frames can be understood") {
        match frame {
            Frame::Exit(_) => return,
            Frame::Error(error) => panic!("{error:?}"),
            _ => {}
        }
    }
    panic!("the session ended without an exit code");
}

async fn keys(client: &Client, app: &AppName) {
    let name = KeyName::parse("someone@home").expect("a name");
    let public_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUYSYvJhVUQ1NDTNSLQiGRQ5JTSKCi8Ze8wFFwJk".to_owned();
    let new = NewKey { name: name.clone(), public_key, apps: None, deploy_only: true };
    assert_eq!(client.add_key(&new).await.expect("added").name, name);
    assert!(client.keys().await.expect("keys").iter().any(|k| k.name == name));

    let asked = SessionRequest { app: app.clone(), service: GitService::ReceivePack };
    assert!(client.git_session(&asked).await.expect("a session").repo.ends_with(format!("{app}/repo.git")));
    let push = PushRequest {
        app: app.clone(),
        commands: Vec::new(),
        options: Vec::new(),
        atomic: false,
        resume: None,
        reported: Vec::new(),
        push: None,
    };
    // No command, no report: an empty stream, or a refusal with a reason. What counts is that the answer is understood.
    match client.git_push(&push).await {
        Ok(mut events) => assert!(events.next().await.expect("the stream can be understood").is_none()),
        Err(error) => assert!(matches!(error, ClientError::Refused(_)), "{error}"),
    }
    assert_eq!(client.remove_key(&name).await.expect("removed").name, name);
}
