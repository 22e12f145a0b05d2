//! Looks after what the installation stands on, and raises or clears the alerts about it. The verdicts are `alerts::judge`'s.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::broadcast::error::RecvError;

use crate::alerts::judge::{LastEnds, Patience, Verdict, certificates, disk, ends_within_an_hour};
use crate::base::clock::UnixMillis;
use crate::base::size::bytes;
use crate::deploys::world::World;
use crate::instances::link::Change;
use crate::model::alert::Kind;
use crate::model::end::{End, Ends, KEPT, OFTEN_WITHIN, SELDOM, crash_loop_phrase, is_crash_loop, often_phrase};
use crate::model::instance::{Instance, Wanted};
use crate::names::InstanceId;
use crate::wire::init::EndReport;

/// Between looks.
const POLL: Duration = Duration::from_secs(5);
/// A role that is started again is back within a second; an engine that is restarted takes some.
const ROLE_LIMIT: Duration = Duration::from_secs(10);
const ENGINE_LIMIT: Duration = Duration::from_secs(15);

/// What is made anew may meet an error that is over at the next try.
const STUCK_LIMIT: Duration = Duration::from_secs(10);

struct Watch {
    world: Arc<World>,
    docker: Patience,
    proxy: Patience,
    dialer: Patience,
    ends: LastEnds,
}

/// Watches until the daemon stops. Cancel-safe: yes; every look stands for itself.
pub async fn watch(world: Arc<World>) {
    let mut stopping = world.crew.stopping();
    let mut changes = world.instances.links.subscribe();
    let now = Instant::now();
    let mut watch = Watch {
        docker: Patience::new(ENGINE_LIMIT),
        proxy: Patience::new(ROLE_LIMIT),
        dialer: Patience::new(ROLE_LIMIT),
        ends: LastEnds::new(now),
        world,
    };
    let mut ticks = tokio::time::interval(POLL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = stopping.changed() => return,
            _ = ticks.tick() => watch.look().await,
            change = changes.recv() => match change {
                Ok((instance, Change::Ended(report))) => watch.ended(instance, &report).await,
                // Some were missed: the next end of a loop counts as well.
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            },
        }
    }
}

impl Watch {
    async fn look(&mut self) {
        self.routes();
        self.roles().await;
        self.proxies().await;
        self.disks().await;
        self.certificates().await;
        self.calm_down().await;
        self.ends_of_the_hour().await;
        self.stuck().await;
    }

    /// Whatever else is away. Beside this watch: a proxy that does not answer is waited for.
    fn routes(&self) {
        if self.world.publisher.is_dirty() {
            let world = Arc::clone(&self.world);
            self.world.crew.start_once("publishing the routes", async move { world.publish_if_dirty().await });
        }
    }

    /// What should run and can't be made to.
    async fn stuck(&self) {
        let (alerts, vitals) = (&self.world.alerts, &self.world.instances.vitals);
        let Ok(mut rows) = self.world.store.instances().await else { return };
        // What a deploy has paused may have to run again.
        rows.retain(|row| matches!(row.wanted, Wanted::Live | Wanted::Paused));
        let of = |row: &Instance| format!("{}/{}", row.app, row.process);
        let connected = |row: &Instance| self.world.instances.links.state(row.id).is_some_and(|s| s.connected);
        for row in &rows {
            let stuck = vitals.of(row.id).stuck.filter(|stuck| stuck.last - stuck.since > STUCK_LIMIT);
            if let Some(stuck) = stuck.filter(|_| row.wanted == Wanted::Live && !connected(row)) {
                let text = format!("{} of {} can't be made to run: {}", row.label(), row.app, stuck.why);
                let next = if stuck.next.is_empty() { format!("paas why -a {}", row.app) } else { stuck.next };
                alerts.raise(Kind::CannotRun, &of(row), &text, &next).await;
            }
        }
        for (kind, subject) in alerts.told().await {
            let own: Vec<&Instance> = rows.iter().filter(|row| of(row) == subject).collect();
            // A new daemon knows nobody's trouble yet: it is over when each runs.
            let over = own.iter().all(|row| row.wanted == Wanted::Live && connected(row));
            if kind == Kind::CannotRun && over {
                let text = match own.is_empty() {
                    true => format!("nothing of {subject} is to run any more"),
                    false => format!("{subject} runs again"),
                };
                alerts.clear(kind, &subject, &text).await;
            }
        }
    }

    async fn roles(&mut self) {
        let alerts = &self.world.alerts;
        let engine = self.world.docker.answers().await;
        match self.docker.look(engine.is_ok(), Instant::now()) {
            Verdict::Raise => {
                let why = engine.err().map(|e| e.to_string()).unwrap_or_default();
                let text = format!("Docker does not answer: {why}; apps that run go on, deploys wait");
                alerts.raise(Kind::DockerDown, "docker", &text, "systemctl start docker").await;
            }
            Verdict::Clear => alerts.clear(Kind::DockerDown, "docker", "Docker answers again").await,
            Verdict::Keep => {}
        }
        let dialer = self.world.instances.dial.list().await;
        match self.dialer.look(dialer.is_ok(), Instant::now()) {
            Verdict::Raise => {
                let why = dialer.err().map(|e| e.to_string()).unwrap_or_default();
                let text = format!("the dialer does not answer: {why}; no new connection reaches an app");
                alerts.raise(Kind::RoleDown, "dialer", &text, "systemctl restart paas-dialer (or `paas up`)").await;
            }
            Verdict::Clear => alerts.clear(Kind::RoleDown, "dialer", "the dialer answers again").await,
            Verdict::Keep => {}
        }
    }

    async fn proxies(&mut self) {
        let (alerts, proxies) = (&self.world.alerts, &self.world.publisher.proxies);
        let hint = "systemctl restart paas-proxy (or `paas up`)";
        // One that is connected and frozen, say: it is waited for in vain at each change.
        if let Some(complaint) = proxies.complaint(ROLE_LIMIT) {
            self.proxy.look(true, Instant::now());
            let text = format!("{complaint}; routes do not change as they should, and deploys fail");
            return alerts.raise(Kind::RoleDown, "proxy", &text, hint).await;
        }
        match self.proxy.look(proxies.connected() > 0, Instant::now()) {
            Verdict::Raise => {
                let text = "no proxy is connected to the daemon: requests may be refused, and routes do not change";
                alerts.raise(Kind::RoleDown, "proxy", text, hint).await;
            }
            Verdict::Clear => {
                alerts.clear(Kind::RoleDown, "proxy", "a proxy is connected and acts by the newest routes").await;
            }
            Verdict::Keep => {}
        }
    }

    async fn disks(&self) {
        for space in self.world.disk.spaces().await {
            let subject = space.path.display().to_string();
            match disk(space.free, space.reserve) {
                Verdict::Raise => {
                    let text = format!("the disk of {subject} has {} free of {}", bytes(space.free), bytes(space.total));
                    let hint = "pushes and builds are refused until there is room; `paas disk` shows what uses it";
                    self.world.alerts.raise(Kind::DiskLow, &subject, &text, hint).await;
                }
                Verdict::Clear => {
                    let text = format!("the disk of {subject} has {} free again", bytes(space.free));
                    self.world.alerts.clear(Kind::DiskLow, &subject, &text).await;
                }
                Verdict::Keep => {}
            }
        }
    }

    /// No key is opened for this: the routes' publisher knows what it read when a certificate changed last.
    async fn certificates(&self) {
        let alerts = &self.world.alerts;
        // What can't be read now is looked at again; `paas doctor` says why.
        let Ok(all) = self.world.publisher.known_certificates().await else { return };
        let due = certificates(&all, UnixMillis::now());
        for new in &due {
            alerts.raise_once(new.kind, &new.subject, &new.occurrence, &new.text, &new.hint).await;
        }
        for (kind, subject) in alerts.told().await {
            let over = match kind {
                Kind::CertificateEnds => "no certificate that ends soon is shown for",
                Kind::CertificateSpoilt => "no certificate is unusable for",
                Kind::DiskLow
                | Kind::CrashLoop
                | Kind::EndsOften
                | Kind::OutOfMemory
                | Kind::CannotRun
                | Kind::DeployFailed
                | Kind::DockerDown
                | Kind::RoleDown => continue,
            };
            if !due.iter().any(|due| due.kind == kind && due.subject == subject) {
                alerts.clear(kind, &subject, &format!("{over} {subject} any more")).await;
            }
        }
    }

    /// An app ended by itself. Those of a deploy that is not live yet are the deploy's own story.
    async fn ended(&mut self, id: InstanceId, report: &EndReport) {
        let Ok(Some(row)) = self.world.store.instance(id).await else { return };
        if row.wanted != Wanted::Live {
            return;
        }
        let subject = format!("{}/{}", row.app, row.process);
        self.ends.ended(&subject, Instant::now());
        let hint = format!("paas logs -a {} -p {}", row.app, row.process);
        if report.out_of_memory {
            let text = format!("{subject} {}", report.summary());
            let hint = format!("raise `memory` of [processes.{}] in paas.toml, or find the leak: {hint}", row.process);
            self.world.alerts.raise(Kind::OutOfMemory, &subject, &text, &hint).await;
        }
        if is_crash_loop(report.in_a_row) {
            let what = crash_loop_phrase(report.in_a_row);
            let text = format!("{} of {} is {what}: it {}", row.label(), row.app, report.summary());
            self.world.alerts.raise(Kind::CrashLoop, &subject, &text, &hint).await;
        }
    }

    /// What runs long enough between its ends to be in no crash loop, and ends again and again.
    async fn ends_of_the_hour(&self) {
        let (world, now) = (&self.world, UnixMillis::now());
        let since = UnixMillis(now.0.saturating_sub(i64::try_from(OFTEN_WITHIN.as_millis()).unwrap_or(i64::MAX)));
        let Ok(counted) = world.store.ends_counted(since, now, SELDOM).await else { return };
        let verdict = |place: &Ends| ends_within_an_hour(place.ends, now.since(place.last));
        for place in counted.iter().filter(|place| verdict(place) == Verdict::Raise) {
            let subject = place.subject();
            // A crash loop is told of already.
            if world.alerts.open(Kind::CrashLoop, &subject).await.is_some() {
                continue;
            }
            let label = place.label();
            let newest = world.store.ends(place.app_id, KEPT).await.unwrap_or_default();
            let last = newest.iter().find(|e| e.live && e.label() == label).map(End::phrase).unwrap_or_default();
            let text = format!("{label} of {} {}; the last time it {last}", place.app, often_phrase(place.ends));
            world.alerts.raise(Kind::EndsOften, &subject, &text, &format!("paas why -a {}", place.app)).await;
        }
        for (kind, subject) in world.alerts.told().await {
            let goes_on = counted.iter().any(|place| place.subject() == subject && verdict(place) != Verdict::Clear);
            if kind == Kind::EndsOften && !goes_on {
                let text = format!("each instance of {subject} has ended less than {SELDOM} times within an hour");
                world.alerts.clear(kind, &subject, &text).await;
            }
        }
    }

    /// Ends the alerts of processes that have been quiet for long enough.
    async fn calm_down(&mut self) {
        let now = Instant::now();
        self.ends.tidy(now);
        for (kind, subject) in self.world.alerts.told().await {
            if matches!(kind, Kind::CrashLoop | Kind::OutOfMemory) && self.ends.is_calm(&subject, now) {
                let text = format!("{subject} has run for 10 minutes without an end");
                self.world.alerts.clear(kind, &subject, &text).await;
            }
        }
    }
}

#[cfg(test)]
mod tests;
