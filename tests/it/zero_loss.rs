//! Deploy after deploy under traffic that checks every answer: nothing is lost, and the deploys' own counts are those of the clients.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Counted, Door, Kind, Lasting, LastingOutcome, Repo, Traffic, World, eventually};

/// One round of the kinds of deploys: each makes new instances in its own way. Two pushes come first, so that a rollback goes back to a
/// release with the same budgets. The first two deploys are a round's beginning of their own.
const ROUND: [&str; 5] = ["push", "push", "restart", "config", "rollback"];
const LENGTH: Duration = Duration::from_secs(20);
/// Of events that deploys cut short: longer than a deploy.
const SHORT: Duration = Duration::from_secs(8);
/// Clients at once, each with one request after another.
const QUICK: usize = 6;
/// As fast as one client asks.
const EVERY: Duration = Duration::from_millis(2);

/// What clients and deploys counted.
pub struct Tally {
    pub quick: Counted,
    pub lasting: LastingOutcome,
    /// All of the app, oldest first; and when the command that made each of them ended, the first and the last left out.
    pub deploys: Vec<Value>,
    pub ends: Vec<Instant>,
    pub took: Duration,
}

#[test]
fn twenty_deploys_under_load_lose_nothing_and_count_what_the_clients_count() {
    let w = World::start();
    let tally = deploys_under_load(&w, 20, false);
    eprintln!("{}", tally.line());
    tally.agrees();
}

/// The first two deploys change under uploads and streams of 20 s and sockets with a budget of their own; with `all_along` so do the others,
/// without it they have sockets with a short one.
pub fn deploys_under_load(w: &World, count: usize, all_along: bool) -> Tally {
    deploys_under_load_with(w, count, all_along, |_| {})
}

/// The same, with something done under the load before each deploy (counted from 1).
pub fn deploys_under_load_with(w: &World, count: usize, all_along: bool, mut before: impl FnMut(usize)) -> Tally {
    let (app, repo) = (w.app("steady"), Repo::testapp("v-0"));
    repo.write("paas.toml", budgets(22, 24)).commit("budgets");
    w.push(&repo, &app).ok();
    let begun = Instant::now();
    let ways = w.ways();
    assert_eq!(ways.len(), QUICK);
    let quick = Traffic::by(&ways, EVERY, &w.host(&app), &app);
    let (first, closable) = all_that_lasts(w);
    let mut lasting = Some(Lasting::start(&[first, closable.clone()].concat(), &w.host(&app), LENGTH));
    quick.wait_for(200);
    let (mut outcome, mut ends) = (LastingOutcome::default(), Vec::new());
    for n in 1..=count {
        let turn = n == 3 && !all_along;
        if let Some(first) = lasting.take_if(|_| turn) {
            outcome = first.stop();
            repo.write("paas.toml", budgets(1, 1));
        }
        before(n);
        one_deploy(w, &repo, &app, n);
        // Those of before would have the long budget.
        lasting = lasting.or_else(|| Some(Lasting::start(&closable, &w.host(&app), SHORT)));
        ends.push(Instant::now());
        quick.wait_for(100);
    }
    outcome.add(lasting.map(Lasting::stop).unwrap_or_default());
    let quick = quick.stop();
    // The last release's instances go too, so that what they answered is counted.
    w.paas(&["ps", "scale", "-a", &app, "web=0"]).ok();
    eventually("every old instance is gone", Duration::from_secs(60), || w.instances(&app).is_empty().then_some(()));
    // The world has no other app, so the deploys are numbered through.
    let deploys = (1..=count + 2).map(|n| w.paas(&["deploys", "info", &format!("d{n}"), "--json"]).ok().json()).collect();
    Tally { quick, lasting: outcome, deploys, ends, took: begun.elapsed() }
}

type Clients = Vec<(Door, Kind)>;

/// By every door: what has to come to its own end, and what the proxy may close properly.
fn all_that_lasts(w: &World) -> (Clients, Clients) {
    let (plain, tls, h2) = (Door::Plain(w.proxy()), Door::Tls(w.proxy_tls()), Door::H2(w.proxy_tls()));
    let whole = [(plain, Kind::Upload), (tls, Kind::Upload), (h2, Kind::Upload), (plain, Kind::Stream), (h2, Kind::Stream)];
    let closable = [(plain, Kind::Socket), (tls, Kind::Socket), (plain, Kind::Events), (tls, Kind::Events), (h2, Kind::Events)];
    (whole.to_vec(), closable.to_vec())
}

fn budgets(drain: u32, streams: u32) -> String {
    format!("[deploy]\ndrain = \"{drain}s\"\ndrain_streams = \"{streams}s\"\n")
}

fn one_deploy(w: &World, repo: &Repo, app: &str, n: usize) {
    match ROUND[(if n < 3 { n - 1 } else { n - 3 }) % ROUND.len()] {
        "push" => {
            repo.release(&format!("v-{n}"));
            w.push(repo, app).ok();
        }
        "restart" => drop(w.paas(&["ps", "restart", "-a", app]).ok()),
        "config" => drop(w.paas(&["config", "set", "-a", app, &format!("ROUND={n}")]).ok()),
        _ => drop(w.paas(&["rollback", "-a", app]).ok()),
    }
}

impl Tally {
    pub fn answered(&self) -> u64 {
        self.quick.answered + self.lasting.ended.iter().filter(|e| !e.closed).count() as u64
    }

    fn sum(&self, what: &str) -> u64 {
        self.deploys.iter().filter_map(|d| d["counts"][what].as_u64()).sum()
    }

    /// One line for people.
    pub fn line(&self) -> String {
        let mut stages: BTreeMap<&str, u64> = BTreeMap::new();
        for stage in self.deploys.iter().filter_map(|d| d["stages"].as_array()).flatten() {
            *stages.entry(stage["stage"].as_str().unwrap_or_default()).or_default() += stage["ms"].as_u64().unwrap_or(0);
        }
        let of = |kind: Kind| self.lasting.ended.iter().filter(|e| e.kind == kind).count();
        format!(
            "{} deploys in {:.0} s: {} answers (told to go {} times), {} uploads, {} streams, {} streams of events, \
             {} sockets with {} echoes; {} failed; counted by the deploys: {} answered, {} drained, {} retried, {} cut, {} dropped; slowest answer {:?}; ms in stages: {stages:?}",
            self.deploys.len(),
            self.took.as_secs_f32(),
            self.quick.answered,
            self.quick.told_to_go,
            of(Kind::Upload),
            of(Kind::Stream),
            of(Kind::Events),
            of(Kind::Socket),
            self.lasting.echoes,
            self.quick.failed.len() + self.lasting.failed.len(),
            self.sum("answered"),
            self.sum("drained"),
            self.sum("retried"),
            self.sum("cut"),
            self.sum("dropped"),
            self.quick.slowest,
        )
    }

    /// Nothing was lost, and both sides say so, deploy by deploy.
    #[track_caller]
    pub fn agrees(&self) {
        self.quick.nothing_failed();
        assert!(self.lasting.failed.is_empty(), "{:?}", self.lasting.failed);
        assert!(self.deploys.iter().all(|d| d["state"] == "live" && d["counts"]["complete"] == true), "{:#?}", self.deploys);
        assert_eq!((self.sum("dropped"), self.sum("held")), (0, 0), "{}", self.line());
        let closed = self.lasting.ended.iter().filter(|e| e.closed).count() as u64;
        assert!(closed > 0, "nothing came to the end of its budget");
        assert_eq!(self.sum("cut"), closed, "closed at their budget: {}", self.line());
        assert_eq!(self.sum("answered"), self.answered(), "{}", self.line());
        for (pair, end) in self.deploys.windows(2).zip(&self.ends) {
            let old = pair[0]["release"]
                .as_str()
                .and_then(|r| self.quick.by_release.get(r))
                .filter(|_| pair[0]["release"] != pair[1]["release"]);
            assert!(
                old.is_none_or(|old| old.last_start < *end),
                "the old release answered a request of after the end of {}",
                pair[1]["id"]
            );
        }
        self.releases_agree();
        self.drains_agree();
    }

    /// What each release answered, as the clients saw it and as the deploys of that release counted it.
    fn releases_agree(&self) {
        let mut seen: BTreeMap<&str, u64> = self.quick.by_release.iter().map(|(r, of)| (r.as_str(), of.answered)).collect();
        for lasting in self.lasting.ended.iter().filter(|e| !e.closed) {
            match lasting.kind {
                Kind::Socket => *seen.entry("sockets").or_default() += 1,
                Kind::Upload | Kind::Stream | Kind::Events => *seen.entry(lasting.by.as_str()).or_default() += 1,
            }
        }
        // A socket names a version, which two releases may have: those that were not closed for us are two at most, at the very end.
        let sockets = seen.remove("sockets").unwrap_or(0);
        let mut counted: BTreeMap<&str, u64> = BTreeMap::new();
        for deploy in &self.deploys {
            let release = deploy["release"].as_str().expect("a live deploy has a release");
            *counted.entry(release).or_default() += deploy["counts"]["answered"].as_u64().unwrap_or(0);
        }
        let off: u64 = counted.iter().map(|(r, n)| n.abs_diff(seen.get(r).copied().unwrap_or(0))).sum();
        assert_eq!(off, sockets, "by release, clients: {seen:?}, deploys: {counted:?}");
    }

    /// What each deploy drained: all that lasted over the change, and at most one quick request of each client beside it.
    fn drains_agree(&self) {
        for (n, pair) in self.deploys.windows(2).enumerate() {
            let (old, new) = (&pair[0]["release"], &pair[1]["release"]);
            // What lasts over two deploys may have been drained by the first: a restart has two sets of instances of one release.
            let restarts = self.deploys[..=n].windows(2).rev().take_while(|two| two.iter().all(|d| d["release"] == *old));
            let earlier: u64 = restarts.filter_map(|two| two[1]["counts"]["drained"].as_u64()).sum();
            let drained = pair[1]["counts"]["drained"].as_u64().expect("a number");
            let of = |r: &Value| self.quick.by_release.get(r.as_str().unwrap_or_default());
            let (Some(_), Some(after)) = (of(old), of(new)) else { continue };
            if old == new {
                continue;
            }
            // Over the change for certain: answered by the old release after the new one's first answer had come.
            let over = self
                .lasting
                .ended
                .iter()
                .filter(|e| !e.closed && e.by == *old && e.ended > after.first_end + Duration::from_millis(100));
            let over = over.count() as u64;
            assert!(
                over <= drained + earlier && drained <= over + QUICK as u64 + 4,
                "{old} to {new}: {drained} drained, {over} lasted: {}",
                self.line()
            );
        }
    }
}
