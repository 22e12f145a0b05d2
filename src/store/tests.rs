//! Every statement runs here, on a real file.

use std::collections::BTreeMap;

use super::*;
use crate::base::secret::Secret;
use crate::manifest::{Manifest, SourceFiles};
use crate::model::access::SshKey;
use crate::model::app::App;
use crate::model::deploy::{Deploy, Failure, Origin, RequestCounts, State};
use crate::model::instance::Wanted;
use crate::model::release::{Config, Image, Status};
use crate::names::{AppName, BranchName, CommitSha, ConfigKey, DeployId, Hostname, KeyId, KeyName, ProcessName, ReleaseNumber};

mod edge;
mod ends;
mod room;
mod spoil;

struct Fixture {
    _dir: tempfile::TempDir,
    store: Store,
}

async fn fixture() -> Fixture {
    let dir = tempfile::tempdir().expect("temp dir");
    let store = Store::open(&dir.path().join("paas.db"), Sealer::new(&[7; 32])).await.expect("open");
    Fixture { _dir: dir, store }
}

fn name(text: &str) -> AppName {
    AppName::parse(text).expect("valid")
}

fn push() -> Origin {
    Origin::Push { branch: BranchName::parse("main").expect("valid"), old: None }
}

fn commit() -> CommitSha {
    CommitSha::parse(&"a".repeat(40)).expect("valid")
}

async fn admit(store: &Store, app: &App, origin: Origin) -> (Deploy, Vec<DeployId>) {
    let new = NewDeploy { app_id: app.id, origin, commit: Some(commit()), by: None, by_name: "root".to_owned(), push: None };
    store.deploy_admit(&new).await.expect("admit")
}

fn manifest() -> Manifest {
    let procfile = Some("web: ./serve\n".to_owned());
    crate::manifest::read(&SourceFiles { procfile, ..SourceFiles::default() }).expect("manifest")
}

fn new_release(config: &Config) -> NewRelease {
    let image = Image {
        id: "sha256:1".to_owned(),
        tag: "paas-x/shop:d1".to_owned(),
        default_processes: BTreeMap::new(),
        release_command: None,
    };
    NewRelease {
        commit: Some(commit()),
        description: "push main".to_owned(),
        image,
        manifest: manifest(),
        config: config.clone(),
    }
}

/// Takes a deploy of an app to live, as the driver does.
async fn live(store: &Store, app: &App, snapshot: u64) -> Deploy {
    let (deploy, _) = admit(store, app, push()).await;
    store.deploy_move(&deploy, State::Building, "").await.expect("building");
    let deploy = store.deploy(deploy.id).await.expect("deploy");
    let number =
        store.release_record(&deploy, &new_release(&store.config(app.id).await.expect("config"))).await.expect("release");
    let web = ProcessName::parse("web").expect("valid");
    let new = NewInstance { app_id: app.id, release: number, deploy: deploy.id, process: web, index: 1, port: 8080 };
    let row = store.instance_ensure(&new).await.expect("instance");
    assert_eq!(store.instance_ensure(&new).await.expect("again").id, row.id, "a repeated step finds its row");
    store.instance_container(row.id, "c1").await.expect("container");
    for state in [State::Starting, State::Probing, State::Shifting] {
        let seen = store.deploy(deploy.id).await.expect("deploy");
        store.deploy_move(&seen, state, "").await.expect("move");
    }
    let seen = store.deploy(deploy.id).await.expect("deploy");
    let release = store.release(app.id, number).await.expect("release");
    let old: Vec<_> =
        store.instances_of(app.id).await.expect("rows").iter().filter(|i| i.wanted == Wanted::Live).map(|i| i.id).collect();
    let commit = Commit { release: &release, live: &[row.id], retire: &old, config: None, snapshot };
    store.commit_live(&seen, &commit).await.expect("commit");
    store.deploy(deploy.id).await.expect("deploy")
}

#[tokio::test]
async fn a_deploy_goes_from_admission_to_live_and_the_old_release_retires() {
    let f = fixture().await;
    let app = f.store.app_create(&name("shop"), "root", 4).await.expect("app");
    let first = live(&f.store, &app, 1).await;
    let second = live(&f.store, &app, 2).await;
    assert_eq!((first.release, second.release), (Some(ReleaseNumber(1)), Some(ReleaseNumber(2))));
    let app = f.store.app(&app.name).await.expect("app");
    assert_eq!(app.live, Some(ReleaseNumber(2)));
    let rows = f.store.instances().await.expect("instances");
    assert_eq!(rows.iter().map(|i| i.wanted).collect::<Vec<_>>(), [Wanted::Retiring, Wanted::Live]);
    assert_eq!(rows[0].retired_by, Some(second.id));
    let releases = f.store.releases(app.id, 10).await.expect("releases");
    assert_eq!(releases.iter().map(|r| r.status).collect::<Vec<_>>(), [Status::Live, Status::Retired]);
    assert_eq!(f.store.snapshot_number().await.expect("number"), 2);
    let stages: Vec<State> = f.store.deploy_stages(second.id).await.expect("stages").iter().map(|s| s.state).collect();
    assert_eq!(stages, State::ALL[..7]);
    assert_eq!(f.store.images_in_use(1).await.expect("images").len(), 1);
    assert_eq!(f.store.deploys_to_end(app.id).await.expect("to end").len(), 2);
    f.store.deploy_branch_moved(first.id).await.expect("moved");
    f.store.deploy_ended(first.id).await.expect("ended");
    let left = f.store.deploys_to_end(app.id).await.expect("to end");
    assert_eq!(left.iter().map(|d| (d.id, d.branch_moved)).collect::<Vec<_>>(), [(second.id, false)]);
    let counts = InstanceCounts {
        closing: RequestCounts { served: 3, drained: 3, ..RequestCounts::default() },
        answered: 9,
        ..InstanceCounts::default()
    };
    let serving = RequestCounts { served: 4, held: 1, ..RequestCounts::default() };
    for _ in 0..2 {
        f.store.instance_counted(&rows[0], &counts, &serving).await.expect("counts");
    }
    let counted = f.store.deploy(second.id).await.expect("deploy").counts.expect("kept");
    assert_eq!((counted.served, counted.held, counted.drained, counted.complete), (7, 1, 3, true), "counted once, and over");
    assert_eq!(f.store.deploy(first.id).await.expect("deploy").counts.expect("kept").answered, 9);
    f.store.instances_cut_streams(&[rows[0].id]).await.expect("cut");
    f.store.instances_want(&[rows[0].id], Wanted::Gone).await.expect("want");
    assert!(f.store.instance(rows[0].id).await.expect("row").expect("there").cut_streams);
    f.store.instance_forget(rows[0].id).await.expect("forget");
    assert!(f.store.instance(rows[0].id).await.expect("row").is_none());
    assert!(f.store.events(&app.name, 100).await.expect("events").iter().any(|e| e.what.contains("d2 is live")));
}

#[tokio::test]
async fn a_move_is_refused_when_it_is_not_legal_or_the_row_has_moved() {
    let f = fixture().await;
    let app = f.store.app_create(&name("shop"), "root", 4).await.expect("app");
    let (deploy, _) = admit(&f.store, &app, push()).await;
    assert!(matches!(f.store.deploy_move(&deploy, State::Live, "").await, Err(StoreError::Conflict(_))));
    f.store.deploy_move(&deploy, State::Building, "").await.expect("building");
    assert!(matches!(f.store.deploy_move(&deploy, State::Building, "").await, Err(StoreError::Conflict(_))), "seen as queued");
    let seen = f.store.deploy(deploy.id).await.expect("deploy");
    let failure = Failure { stage: State::Building, why: "no".to_owned(), last_lines: vec![], next: "x".to_owned() };
    f.store.deploy_fail(&seen, State::Failed, &failure).await.expect("fail");
    assert_eq!(f.store.deploy(deploy.id).await.expect("deploy").failure, Some(failure));
    assert!(matches!(f.store.deploy_ask_cancel(deploy.id, "root").await, Err(StoreError::Conflict(_))));
}

#[tokio::test]
async fn a_newer_push_supersedes_a_queued_one_and_a_cancel_is_noted() {
    let f = fixture().await;
    let app = f.store.app_create(&name("shop"), "root", 4).await.expect("app");
    let (first, none) = admit(&f.store, &app, push()).await;
    let (second, over) = admit(&f.store, &app, push()).await;
    assert_eq!((none, over), (vec![], vec![first.id]));
    assert_eq!(f.store.deploy(first.id).await.expect("deploy").state, State::Superseded);
    assert!(f.store.deploy_ask_cancel(second.id, "root").await.expect("cancel").cancel_asked);
    assert_eq!(f.store.deploys_active().await.expect("active").len(), 1);
    assert_eq!(f.store.deploys(app.id, 10).await.expect("list")[0].id, second.id);
}

#[tokio::test]
async fn config_is_sealed_at_rest_and_bound_to_its_app_and_key() {
    let f = fixture().await;
    let app = f.store.app_create(&name("shop"), "root", 4).await.expect("app");
    let key = ConfigKey::parse("TOKEN").expect("valid");
    let config = Config::from([(key.clone(), Secret::new("canary-4711".to_owned()))]);
    f.store.config_change(&app, &config, &[], "root").await.expect("set");
    assert_eq!(f.store.config(app.id).await.expect("config"), config);
    live(&f.store, &app, 1).await;
    assert_eq!(f.store.release_config(app.id, ReleaseNumber(1)).await.expect("snapshot"), config);
    f.store.config_change(&app, &Config::new(), std::slice::from_ref(&key), "root").await.expect("unset");
    assert!(f.store.config(app.id).await.expect("config").is_empty());
    f.store.close().await;
    for entry in std::fs::read_dir(f._dir.path()).expect("dir") {
        let bytes = std::fs::read(entry.expect("entry").path()).expect("file");
        assert!(!bytes.windows(11).any(|w| w == b"canary-4711"), "a value stands in the database in clear");
    }
    let sealer = Sealer::new(&[7; 32]);
    let sealed = sealer.seal(b"x", "config/1/TOKEN");
    assert!(sealer.open(&sealed, "config/2/TOKEN").is_err());
    assert!(Sealer::new(&[8; 32]).open(&sealed, "config/1/TOKEN").is_err());
}

#[tokio::test]
async fn a_name_a_host_and_a_key_have_one_owner() {
    let f = fixture().await;
    let shop = f.store.app_create(&name("shop"), "root", 2).await.expect("app");
    let other = f.store.app_create(&name("other"), "root", 2).await.expect("app");
    assert_ne!(shop.subnet, other.subnet);
    assert!(matches!(f.store.app_create(&name("third"), "root", 2).await, Err(StoreError::Conflict(_))), "no subnet left");
    assert!(matches!(f.store.app_create(&name("shop"), "root", 9).await, Err(StoreError::Taken { .. })));
    assert_eq!(f.store.app_next_subnet(shop.id, shop.subnet, 3).await.expect("one is free"), 2);
    assert!(matches!(f.store.app_next_subnet(other.id, other.subnet, 2).await.map(|n| n != other.subnet), Ok(true)));
    let host = Hostname::parse("shop.example").expect("valid");
    f.store.domain_add(&shop, &host, None, "root").await.expect("add");
    f.store.domain_add(&shop, &host, Some(&Hostname::parse("www.shop.example").expect("valid")), "root").await.expect("again");
    assert!(matches!(f.store.domain_add(&other, &host, None, "root").await, Err(StoreError::Taken { .. })));
    assert_eq!(
        f.store.domain_owned_by_other(other.id, std::slice::from_ref(&host)).await.expect("ask"),
        Some((host.clone(), name("shop")))
    );
    assert!(f.store.domains().await.expect("list")[0].redirect_to.is_some());
    f.store.domain_remove(&shop, &host, "root").await.expect("remove");
    assert!(f.store.domain_remove(&shop, &host, "root").await.is_err());
}

#[tokio::test]
async fn a_key_is_kept_with_its_limits() {
    let f = fixture().await;
    let key = SshKey {
        id: KeyId(0),
        name: KeyName::parse("laptop").expect("valid"),
        algorithm: "ssh-ed25519".to_owned(),
        blob: "AAAA".to_owned(),
        fingerprint: "SHA256:x".to_owned(),
        apps: Some(vec![name("shop")]),
        deploy_only: true,
        created_at: crate::base::clock::UnixMillis(0),
        last_used_at: None,
    };
    let stored = f.store.key_add(&key, "root").await.expect("add");
    assert_eq!((stored.apps.clone(), stored.deploy_only), (key.apps.clone(), true));
    assert!(matches!(f.store.key_add(&key, "root").await, Err(StoreError::Taken { .. })));
    let renamed = SshKey { name: KeyName::parse("other").expect("valid"), ..key };
    assert!(matches!(f.store.key_add(&renamed, "root").await, Err(StoreError::Taken { .. })), "the same key under another name");
    f.store.key_used(stored.id).await.expect("used");
    assert!(f.store.key(stored.id).await.expect("key").expect("there").last_used_at.is_some());
    f.store.key_remove(&stored.name, "root").await.expect("remove");
    assert!(f.store.keys().await.expect("keys").is_empty());
}

#[tokio::test]
async fn one_push_is_admitted_once() {
    let f = fixture().await;
    let app = f.store.app_create(&name("shop"), "root", 4).await.expect("app");
    let of = |push: &str| NewDeploy {
        app_id: app.id,
        origin: self::push(),
        commit: Some(commit()),
        by: None,
        by_name: "root".to_owned(),
        push: Some(push.to_owned()),
    };
    let (first, _) = f.store.deploy_admit(&of("a")).await.expect("admit");
    f.store.deploy_move(&first, State::Building, "").await.expect("building");
    let (again, superseded) = f.store.deploy_admit(&of("a")).await.expect("admit");
    assert_eq!((again.id, again.state, superseded.len()), (first.id, State::Building, 0));
    let (other, _) = f.store.deploy_admit(&of("b")).await.expect("admit");
    assert_ne!(other.id, first.id);
    assert_eq!((first.by, first.by_name.as_deref()), (None, Some("root")), "who asked is known without a key too");
}

#[tokio::test]
async fn an_app_that_is_being_destroyed_takes_nothing_new() {
    let f = fixture().await;
    let app = f.store.app_create(&name("shop"), "root", 4).await.expect("app");
    live(&f.store, &app, 1).await;
    let scale = BTreeMap::from([(ProcessName::parse("web").expect("valid"), 3)]);
    f.store.scale_set(&app, &scale, "root").await.expect("scale");
    assert_eq!(f.store.scale(app.id).await.expect("scale"), scale);
    f.store.app_hold(app.id, Some(DeployId(1))).await.expect("hold");
    assert_eq!(f.store.app_by_id(app.id).await.expect("app").held_by, Some(DeployId(1)));
    f.store.app_mark_destroying(&app.name, "root").await.expect("mark");
    let new =
        NewDeploy { app_id: app.id, origin: Origin::Config, commit: None, by: None, by_name: "root".to_owned(), push: None };
    assert!(matches!(f.store.deploy_admit(&new).await, Err(StoreError::Conflict(_))));
    f.store.app_delete(&app.name, "root").await.expect("delete");
    assert!(f.store.apps().await.expect("apps").is_empty());
    assert!(f.store.instances().await.expect("instances").is_empty());
}

#[tokio::test]
async fn the_release_command_is_remembered_from_its_start() {
    let f = fixture().await;
    let app = f.store.app_create(&name("shop"), "root", 4).await.expect("app");
    let (deploy, _) = admit(&f.store, &app, push()).await;
    assert_eq!(f.store.release_command(deploy.id).await.expect("ask"), ReleaseCommand::NotStarted);
    f.store.release_command_started(deploy.id).await.expect("start");
    f.store.release_command_started(deploy.id).await.expect("a repeated step");
    assert_eq!(f.store.release_command(deploy.id).await.expect("ask"), ReleaseCommand::Started);
    f.store.release_command_ended(deploy.id, 3).await.expect("end");
    assert_eq!(f.store.release_command(deploy.id).await.expect("ask"), ReleaseCommand::Ended { code: 3 });
}

#[tokio::test]
async fn what_was_stored_is_there_after_opening_again() {
    let f = fixture().await;
    let first = f.store.setting_or("install", || "uuid-1".to_owned()).await.expect("setting");
    f.store.snapshot_set(9).await.expect("snapshot");
    f.store.close().await;
    let again = Store::open(&f._dir.path().join("paas.db"), Sealer::new(&[7; 32])).await.expect("open");
    assert_eq!(again.setting_or("install", || "uuid-2".to_owned()).await.expect("setting"), first);
    assert_eq!(again.snapshot_number().await.expect("number"), 9);
}

#[tokio::test]
async fn the_past_is_bounded_per_app_and_what_is_in_use_stays() {
    let f = fixture().await;
    let app = f.store.app_create(&name("shop"), "root", 16).await.expect("app");
    let other = f.store.app_create(&name("other"), "root", 16).await.expect("app");
    let kept_by_other = live(&f.store, &other, 1).await;
    let first = live(&f.store, &app, 2).await;
    let mut newest = first.clone();
    for n in 3..20 {
        newest = live(&f.store, &app, n).await;
        f.store.deploy_branch_moved(newest.id).await.expect("moved");
        // Instances of old releases go; those of the first stay, as if it still drained.
        for row in
            f.store.instances_of(app.id).await.expect("rows").iter().filter(|i| i.deploy != newest.id && i.deploy != first.id)
        {
            f.store.instance_forget(row.id).await.expect("forgotten");
        }
        f.store.history_prune(&app, 4, 2).await.expect("pruned");
    }
    let (active, _) = admit(&f.store, &app, push()).await;
    f.store.history_prune(&app, 4, 2).await.expect("pruned");
    let ids: Vec<_> = f.store.deploys(app.id, 100).await.expect("deploys").iter().map(|d| d.id).collect();
    assert_eq!(
        ids.len(),
        7,
        "the newest four, those of kept releases, the one that still drains and the one that retired it: {ids:?}"
    );
    for kept in [active.id, newest.id, first.id] {
        assert!(ids.contains(&kept), "{kept} is not in {ids:?}");
    }
    let releases: Vec<i64> = f.store.releases(app.id, 100).await.expect("releases").iter().map(|r| r.number.0).collect();
    assert_eq!(releases, [18, 17, 16, 15, 1]);
    let counts = f.store.row_counts().await.expect("counts");
    assert_eq!(counts["deploys"], 7 + 1);
    assert!(counts["deploy_moves"] <= 7 * counts["deploys"], "{counts:?}");
    assert!(f.store.events(&app.name, 1000).await.expect("events").len() <= 4 * 20 + 10);
    assert_eq!(f.store.deploy(kept_by_other.id).await.expect("deploy").id, kept_by_other.id);
    assert_eq!(f.store.release(app.id, ReleaseNumber(18)).await.expect("the live one").status, Status::Live);
}

#[tokio::test]
async fn events_of_apps_that_are_gone_are_bounded() {
    let f = fixture().await;
    for n in 0..400 {
        let app = name(&format!("a{n}"));
        f.store.app_create(&app, "root", 16).await.expect("app");
        f.store.app_mark_destroying(&app, "root").await.expect("marked");
        f.store.app_delete(&app, "root").await.expect("gone");
    }
    let events = f.store.row_counts().await.expect("counts")["events"];
    assert!((900..=1000).contains(&events), "{events}");
}

#[tokio::test]
async fn ends_of_an_app_and_alerts_that_are_over_are_bounded() {
    use crate::base::clock::UnixMillis;
    use crate::model::alert::Kind;
    use crate::model::end::{Cause, End, Told};
    use crate::names::InstanceId;

    let f = fixture().await;
    let app = f.store.app_create(&name("shop"), "root", 16).await.expect("app");
    for n in 0..210 {
        let end = End {
            at: UnixMillis(n),
            instance: InstanceId(1),
            process: ProcessName::parse("web").expect("valid"),
            index: 1,
            release: ReleaseNumber(1),
            live: true,
            told: Told::of(Cause::Exit),
        };
        f.store.end_record(&app, &end, None).await.expect("kept");
        let subject = n.to_string();
        let new = NewAlert { kind: Kind::DeployFailed, subject: &subject, occurrence: "", text: "x", hint: "y" };
        assert!(f.store.alert_raise(&new, &[]).await.expect("raised"));
        f.store.alert_clear(Kind::DeployFailed, &subject, "over", &[]).await.expect("cleared");
    }
    let rows = f.store.row_counts().await.expect("counts");
    assert_eq!((rows["ends"], rows["alerts"]), (200, 201), "the last one was cleared after the last look");
    assert_eq!(f.store.ends(app.id, 1).await.expect("ends")[0].at, UnixMillis(209), "the newest stay");
}
