//! Two proxies at once, as during an upgrade.

use tokio::io::DuplexStream;

use super::*;
use crate::config::LogsConfig;
use crate::logs::LogStore;
use crate::names::{AppName, ProcessName, ReleaseNumber};
use crate::wire::proxy::{DrainBudget, Front, Target, ToProxy};

const PATIENCE: Duration = Duration::from_secs(10);
const LOGS: LogsConfig = LogsConfig { max_bytes_per_app: 1 << 20, lines_per_second: 10, burst: 10 };
const TARGET: InstanceId = InstanceId(7);

/// A proxy's end of the connection.
struct Proxy(DuplexStream);

/// No proxy yet, and an app with one instance.
fn nobody(folder: &tempfile::TempDir) -> Arc<Proxies> {
    let proxies = Proxies::new(AccessLog::new(LogStore::open(folder.path().to_owned(), &LOGS)));
    proxies.know(Known { apps: BTreeSet::from([shop()]), instances: BTreeSet::from([TARGET]) });
    proxies
}

fn shop() -> AppName {
    AppName::parse("shop").expect("an app")
}

impl Proxy {
    async fn connect(proxies: &Arc<Proxies>, generation: &str) -> Proxy {
        Self::connect_as(proxies, generation, VERSION).await
    }

    async fn connect_as(proxies: &Arc<Proxies>, generation: &str, version: u32) -> Proxy {
        let mut proxy = Self::connect_to(proxies);
        let hello = FromProxy::Hello {
            version,
            pid: 1,
            generation: generation.to_owned(),
            active: None,
            listening: Vec::new(),
            listening_tls: Vec::new(),
        };
        proxy.say(hello).await;
        proxy
    }

    /// One that says nothing yet.
    fn connect_to(proxies: &Arc<Proxies>) -> Proxy {
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        tokio::spawn(Arc::clone(proxies).serve(theirs));
        Proxy(ours)
    }

    async fn say(&mut self, message: FromProxy) {
        frame::write(&mut self.0, &message).await.expect("the daemon reads");
    }

    /// Obeys until the snapshot is active.
    async fn follow(&mut self, version: u64) {
        loop {
            match frame::read::<ToProxy>(&mut self.0, MESSAGE_LIMIT).await.expect("a message").expect("not the end") {
                ToProxy::Prepare(snapshot) => self.say(FromProxy::Prepared { version: snapshot.version }).await,
                ToProxy::Activate { version: active } => {
                    self.say(FromProxy::Activated { version: active }).await;
                    if active == version {
                        return;
                    }
                }
            }
        }
    }

    /// Obeys until the snapshot is prepared.
    async fn follow_prepared(&mut self, version: u64) {
        let asked = frame::read::<ToProxy>(&mut self.0, MESSAGE_LIMIT).await.expect("a message").expect("not the end");
        assert!(matches!(&asked, ToProxy::Prepare(asked) if asked.version == version), "{asked:?}");
        self.say(FromProxy::Prepared { version }).await;
    }

    async fn count(&mut self, served: u64, in_flight: u64) {
        self.say(FromProxy::Counts(vec![TargetCounts { served, in_flight, ..TargetCounts::zero(TARGET) }])).await;
    }
}

fn draining(version: u64) -> Arc<Snapshot> {
    let target = Target {
        id: TARGET,
        app: shop(),
        process: ProcessName::parse("web").expect("a process"),
        release: ReleaseNumber(1),
        commit: None,
        drain: Some(DrainBudget { requests_ms: 1000, streams_ms: 1000 }),
    };
    Arc::new(Snapshot { version, routes: Vec::new(), targets: vec![target], commit_header: false, front: Front::default() })
}

#[tokio::test]
async fn both_get_the_routes_a_drain_waits_for_both_and_their_counts_are_added() {
    let folder = tempfile::tempdir().expect("a temp dir");
    let proxies = nobody(&folder);
    let mut old = Proxy::connect(&proxies, "old").await;
    let mut new = Proxy::connect(&proxies, "new").await;
    proxies.wait(PATIENCE, |inner| (inner.connected.len() == 2).then_some(())).await.expect("both are connected");

    let snapshot = draining(3);
    let publish = async {
        proxies.prepare(&snapshot, true).await.expect("prepared");
        proxies.activate(Arc::clone(&snapshot)).await.expect("activated");
    };
    tokio::join!(publish, old.follow(3), new.follow(3));

    old.count(5, 1).await;
    new.count(2, 0).await;
    new.say(FromProxy::DrainEnded { target: TARGET, forced: 0 }).await;
    assert!(!proxies.drained(TARGET, Duration::from_millis(300)).await, "the old one still has a request");
    assert_eq!((proxies.counts(TARGET).served, proxies.counts(TARGET).in_flight), (7, 1));

    old.count(6, 0).await;
    old.say(FromProxy::DrainEnded { target: TARGET, forced: 0 }).await;
    assert!(proxies.drained(TARGET, PATIENCE).await);
    drop(old);
    proxies.wait(PATIENCE, |inner| (inner.connected.len() == 1).then_some(())).await.expect("the old one is gone");
    assert_eq!(proxies.counts(TARGET).served, 8, "what a process counted stays when it is gone");
}

#[tokio::test]
async fn a_daemon_that_has_just_begun_waits_for_the_second_proxy() {
    let folder = tempfile::tempdir().expect("a temp dir");
    let proxies = nobody(&folder);
    let mut new = Proxy::connect(&proxies, "new").await;
    new.say(FromProxy::DrainEnded { target: TARGET, forced: 0 }).await;
    let late = async {
        tokio::time::sleep(Duration::from_millis(250)).await;
        Proxy::connect(&proxies, "old").await
    };
    let (drained, _old) = tokio::join!(proxies.drained(TARGET, Duration::from_millis(500)), late);
    assert!(!drained, "the one that came later may have something in flight");
}

#[tokio::test]
async fn what_a_newer_proxy_tells_is_passed_over_and_it_stays_connected() {
    let folder = tempfile::tempdir().expect("a temp dir");
    let proxies = nobody(&folder);
    let mut proxy = Proxy::connect(&proxies, "newer").await;
    let counts = serde_json::to_value(TargetCounts { served: 3, ..TargetCounts::zero(TARGET) }).expect("encode");
    let mut newer = counts.clone();
    newer["quality"] = serde_json::json!([1, 2]);
    for message in [
        serde_json::json!({ "Weather": { "rain": true } }),
        serde_json::json!({ "Counts": [newer] }),
        serde_json::json!({ "Counts": "in another shape" }),
    ] {
        frame::write(&mut proxy.0, &message).await.expect("the daemon reads");
    }
    let snapshot = draining(4);
    let activated = tokio::join!(proxies.activate(Arc::clone(&snapshot)), proxy.follow(4)).0;
    activated.expect("it is still there and obeys");
    assert_eq!((proxies.counts(TARGET).served, proxies.connected()), (3, 1));
}

/// Waits until so many are connected.
async fn connected(proxies: &Arc<Proxies>, count: usize) {
    proxies.wait(PATIENCE, |inner| (inner.connected.len() == count).then_some(())).await.expect("so many are connected");
}

#[tokio::test]
async fn a_proxy_that_speaks_otherwise_is_closed() {
    let folder = tempfile::tempdir().expect("a temp dir");
    let proxies = nobody(&folder);
    let mut other = Proxy::connect_as(&proxies, "other", VERSION + 1).await;
    let answer = tokio::time::timeout(PATIENCE, frame::read::<ToProxy>(&mut other.0, MESSAGE_LIMIT)).await;
    assert!(matches!(answer, Ok(Ok(None))), "{answer:?}");
    assert_eq!(proxies.connected(), 0);
}

#[tokio::test]
async fn routes_that_one_proxy_refuses_are_not_prepared_and_none_is_passed_over() {
    let folder = tempfile::tempdir().expect("a temp dir");
    let proxies = nobody(&folder);
    let (mut old, mut new) = (Proxy::connect(&proxies, "old").await, Proxy::connect(&proxies, "new").await);
    connected(&proxies, 2).await;
    let snapshot = draining(3);
    let answers = async {
        new.say(FromProxy::Prepared { version: 3 }).await;
        // The other one has its time.
        tokio::time::sleep(Duration::from_millis(200)).await;
        old.say(FromProxy::Rejected { version: 3, why: "odd".to_owned() }).await;
    };
    let (prepared, ()) = tokio::join!(proxies.prepare(&snapshot, true), answers);
    assert!(matches!(&prepared, Err(ProxyTrouble::Rejected(why)) if why == "odd"), "{prepared:?}");

    // Activated is what every one of them has said.
    let answers = async {
        new.say(FromProxy::Activated { version: 4 }).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(proxies.versions().iter().max(), Some(&4));
        old.say(FromProxy::Activated { version: 4 }).await;
    };
    let (activated, ()) = tokio::join!(proxies.activate(draining(4)), answers);
    activated.expect("both have said so");
    assert_eq!(proxies.versions(), [4, 4]);
}

#[tokio::test]
async fn one_that_comes_between_prepare_and_activate_is_prepared_first() {
    let folder = tempfile::tempdir().expect("a temp dir");
    let proxies = nobody(&folder);
    let snapshot = draining(3);
    proxies.prepare(&snapshot, false).await.expect("nobody is asked");
    let mut late = Proxy::connect(&proxies, "late").await;
    connected(&proxies, 1).await;
    let activate = tokio::spawn({
        let (proxies, snapshot) = (Arc::clone(&proxies), Arc::clone(&snapshot));
        async move { proxies.activate(snapshot).await }
    });
    let asked = frame::read::<ToProxy>(&mut late.0, MESSAGE_LIMIT).await.expect("a message").expect("not the end");
    assert!(matches!(&asked, ToProxy::Prepare(asked) if asked.version == 3), "{asked:?}");
    late.say(FromProxy::Activated { version: 3 }).await;
    activate.await.expect("no panic").expect("activated");
    // Whoever comes later is told the current routes by itself.
    let mut later = Proxy::connect(&proxies, "later").await;
    tokio::time::timeout(PATIENCE, later.follow(3)).await.expect("it is told");
}

#[tokio::test]
async fn a_drain_is_over_when_a_proxy_is_there_that_says_so_and_of_this_drain() {
    let folder = tempfile::tempdir().expect("a temp dir");
    let proxies = nobody(&folder);
    let soon = Duration::from_millis(200);
    assert!(!proxies.drained(TARGET, soon).await, "nobody is there to say so");
    let mut proxy = Proxy::connect(&proxies, "one").await;
    connected(&proxies, 1).await;
    tokio::join!(async { proxies.activate(draining(3)).await.expect("activated") }, proxy.follow(3));
    proxy.count(5, 1).await;
    proxy.say(FromProxy::DrainEnded { target: TARGET, forced: 1 }).await;
    assert!(proxies.drained(TARGET, PATIENCE).await);
    // It serves again, and drains again: what was said of before does not count.
    let serving = Snapshot { version: 4, targets: Vec::new(), ..Snapshot::clone(&draining(4)) };
    tokio::join!(async { proxies.activate(Arc::new(serving)).await.expect("activated") }, proxy.follow(4));
    tokio::join!(async { proxies.activate(draining(5)).await.expect("activated") }, proxy.follow(5));
    assert!(!proxies.drained(TARGET, soon).await, "the end of an earlier drain");

    // The end of this one is on its way while it is made to serve again.
    let serving = |version| Arc::new(Snapshot { version, targets: Vec::new(), ..Snapshot::clone(&draining(version)) });
    let late = async {
        proxy.say(FromProxy::DrainEnded { target: TARGET, forced: 0 }).await;
        proxy.follow(6).await;
    };
    tokio::join!(async { proxies.activate(serving(6)).await.expect("activated") }, late);
    tokio::join!(async { proxies.activate(draining(7)).await.expect("activated") }, proxy.follow(7));
    assert!(!proxies.drained(TARGET, soon).await, "the late end of an earlier drain");
    proxy.say(FromProxy::DrainEnded { target: TARGET, forced: 0 }).await;
    assert!(proxies.drained(TARGET, PATIENCE).await);
    // And also while it drains once more, as the daemon did not wait for an answer.
    for snapshot in [serving(8), draining(9)] {
        tokio::time::timeout(soon, proxies.activate(snapshot)).await.expect_err("it takes its time");
    }
    proxy.say(FromProxy::DrainEnded { target: TARGET, forced: 0 }).await;
    assert!(!proxies.drained(TARGET, soon).await, "the late end of the drain before the last");
    proxy.follow(9).await;
    assert!(!proxies.drained(TARGET, soon).await, "it has not said so of this one");
    proxy.say(FromProxy::DrainEnded { target: TARGET, forced: 0 }).await;
    assert!(proxies.drained(TARGET, PATIENCE).await);
    // A drain that goes on in the next snapshot is over still.
    let next = async {
        tokio::time::timeout(soon, proxies.activate(draining(10))).await.expect_err("it takes its time");
    };
    next.await;
    assert!(proxies.drained(TARGET, soon).await);
    proxy.follow(10).await;
    // A process that is gone has nothing in flight.
    drop(proxy);
    connected(&proxies, 0).await;
    assert_eq!((proxies.counts(TARGET).served, proxies.counts(TARGET).in_flight), (5, 0));
}

#[tokio::test]
async fn a_proxy_that_is_connected_and_does_not_follow_is_named_and_nothing_piles_up_for_it() {
    let folder = tempfile::tempdir().expect("a temp dir");
    let proxies = nobody(&folder);
    let (mut good, mut frozen) = (Proxy::connect(&proxies, "good").await, Proxy::connect(&proxies, "frozen").await);
    connected(&proxies, 2).await;
    tokio::join!(async { proxies.activate(draining(1)).await.expect("activated") }, good.follow(1), frozen.follow(1));
    assert_eq!(proxies.complaint(Duration::ZERO), None);

    // What it is asked alone tells of it: no snapshot becomes the current one.
    let prepared = tokio::time::timeout(Duration::from_millis(200), proxies.prepare(&draining(2), true)).await;
    prepared.expect_err("it is waited for");
    good.follow_prepared(2).await;
    let complaint = proxies.complaint(Duration::from_millis(200)).expect("one that owes an answer");
    assert!(complaint.contains("process id 1 has not confirmed the newest routes"), "{complaint}");
    assert_eq!(proxies.complaint(Duration::from_secs(10)), None, "it may take a moment");

    frozen.follow_prepared(2).await;
    proxies.wait(PATIENCE, |inner| inner.connected.values().any(|p| p.prepared == 2).then_some(())).await.expect("it answers");
    drop(good);
    connected(&proxies, 1).await;
    assert_eq!(proxies.complaint(Duration::ZERO), None, "it has answered");

    // Current routes that it does not act by tell of it as well, however many more come.
    for version in 3..1000 {
        let snapshot = draining(version);
        let asked = tokio::time::timeout(Duration::ZERO, proxies.prepare(&snapshot, true)).await;
        asked.expect_err("it is waited for");
        tokio::time::timeout(Duration::ZERO, proxies.activate(snapshot)).await.expect_err("it is waited for");
    }
    assert!(proxies.complaint(Duration::ZERO).is_some());
    frozen.say(FromProxy::Rejected { version: 999, why: "odd".to_owned() }).await;
    proxies.wait(PATIENCE, |inner| inner.connected.values().any(|p| p.rejected.is_some()).then_some(())).await.expect("told");
    assert!(proxies.complaint(Duration::ZERO).expect("it serves by older ones").contains("has refused the newest routes"));
    frozen.follow(999).await;
    proxies.wait(PATIENCE, |inner| inner.connected.values().all(|p| p.activated == 999).then_some(())).await.expect("it follows");
    assert_eq!(proxies.complaint(Duration::ZERO), None);
}

#[tokio::test]
async fn nothing_is_taken_in_of_what_is_not_there_and_a_hello_is_short() {
    let folder = tempfile::tempdir().expect("a temp dir");
    let proxies = nobody(&folder);
    let mut proxy = Proxy::connect(&proxies, "one").await;
    let other = InstanceId(8);
    proxy.say(FromProxy::Counts([TARGET, other].map(|of| TargetCounts { served: 3, ..TargetCounts::zero(of) }).to_vec())).await;
    let sums = || crate::wire::metrics::Sums { by_class: [0, 0, 3, 0, 0, 0], ..Default::default() };
    let apps = ["shop", "invented"].map(|app| AppName::parse(app).expect("an app"));
    let told = apps.map(|app| crate::wire::metrics::AppMetrics { app, sums: sums() });
    proxy.say(FromProxy::Metrics(crate::wire::metrics::Metrics { targets: Vec::new(), apps: told.to_vec() })).await;
    let taken = |_: &Inner| proxies.meters().app(&shop()).is_some().then_some(());
    proxies.wait(PATIENCE, taken).await.expect("what is there is taken in");
    assert_eq!((proxies.counts(TARGET).served, proxies.counts(other).served), (3, 0));
    assert!(proxies.meters().app(&AppName::parse("invented").expect("an app")).is_none());
    // Told late, of an instance that is gone.
    proxies.forget(TARGET);
    proxy.count(9, 0).await;
    proxy.say(FromProxy::Prepared { version: 5 }).await;
    proxies.wait(PATIENCE, |inner| inner.connected.values().any(|p| p.prepared == 5).then_some(())).await.expect("heard");
    assert_eq!(proxies.counts(TARGET).served, 0);

    let mut long = Proxy::connect(&proxies, &"x".repeat(HELLO_SIZE)).await;
    let answer = tokio::time::timeout(PATIENCE, frame::read::<ToProxy>(&mut long.0, MESSAGE_LIMIT)).await;
    assert!(matches!(answer, Ok(Ok(None))), "{answer:?}");
}
