//! Read the row, run its step, write the move: the only writer of moves. One task per app; they share the build slots and nothing else.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::base::crash::{self, Point};
use crate::deploys::error::StepError;
use crate::deploys::feed::{Happened, StageTime, Tone};
use crate::deploys::step::Next;
use crate::deploys::world::World;
use crate::model::alert::Kind;
use crate::model::app::App;
use crate::model::deploy::{Deploy, Failure, State};
use crate::names::DeployId;
use crate::store::StoreError;

/// How long a deploy waits for Docker to come back before it fails.
const ENGINE_LIMIT: Duration = Duration::from_secs(300);
/// Between looks at an engine that is away.
const ENGINE_PAUSE: Duration = Duration::from_secs(1);
/// Before a row is read again that moved under a step, or could not be written.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// How many lines of a dying instance people are shown.
const LAST_LINES: usize = 20;

/// Starts the driver of an app unless it runs.
pub fn drive(world: &Arc<World>, app_id: i64) {
    let driving = Arc::clone(world);
    let started = world.crew.start_once(&format!("driver of app {app_id}"), async move { driving.drive_app(app_id).await });
    if started {
        world.wakeups.wake(app_id);
    }
}

impl World {
    /// Takes the app's deploys one after the other until the app is gone or the daemon stops.
    async fn drive_app(self: &Arc<Self>, app_id: i64) {
        let mut stopping = self.crew.stopping();
        let wakeup = self.wakeups.of(app_id);
        tokio::select! {
            () = self.recovered.wait() => self.finish_ended(app_id).await,
            _ = stopping.changed() => return,
        }
        while !*stopping.borrow() {
            match self.next_of(app_id).await {
                Ok(Some(deploy)) => self.drive_one(deploy).await,
                Ok(None) => {
                    // Subscribed before the query (the permit is kept), so no wake-up is lost; the poll is for what nobody announced.
                    tokio::select! {
                        () = wakeup.notified() => {}
                        _ = stopping.changed() => {}
                        () = tokio::time::sleep(Duration::from_secs(30)) => {}
                    }
                    self.finish_rest(app_id).await;
                }
                Err(StoreError::NotFound(_)) => return,
                Err(e) => {
                    tracing::error!(app_id, "reading the deploys: {e}");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }

    pub(super) async fn next_of(&self, app_id: i64) -> Result<Option<Deploy>, StoreError> {
        let app = self.store.app_by_id(app_id).await?;
        if app.destroying {
            return Err(StoreError::NotFound("it is being destroyed".to_owned()));
        }
        Ok(self.store.deploys_active_of(app_id).await?.into_iter().next())
    }

    /// Runs one deploy to its end, or until the daemon stops.
    async fn drive_one(self: &Arc<Self>, mut deploy: Deploy) {
        let stopping = self.crew.stopping();
        let mut away_since: Option<Instant> = None;
        // A restarted daemon gives the state its whole time again: the row has only the wall clock, which may have jumped.
        let mut entered = Instant::now();
        while !deploy.state.is_over() && !*stopping.borrow() {
            if !self.disk.store_has_room() {
                self.say(&deploy, Tone::Warning, "The disk of the server is full: waiting for room".to_owned());
                self.wait_for_room().await;
            }
            let outcome =
                if deploy.cancel_asked { Err(StepError::Cancelled) } else { self.step(&deploy, entered.elapsed()).await };
            match outcome {
                Ok(next) => {
                    if away_since.take().is_some() {
                        self.say(&deploy, Tone::Step, "Docker answers again; going on".to_owned());
                    }
                    self.go_on(&deploy, next).await;
                }
                Err(StepError::Raced(why)) => {
                    tracing::info!(app = %deploy.app, deploy = %deploy.id, "looking again: {why}");
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                Err(StepError::EngineAway(why)) => {
                    let since = *away_since.get_or_insert_with(|| {
                        self.say(&deploy, Tone::Warning, format!("Waiting for Docker: {why}"));
                        Instant::now()
                    });
                    if since.elapsed() > ENGINE_LIMIT {
                        let next = "start Docker on the server (`systemctl start docker`), then push again";
                        self.end(
                            &deploy,
                            State::Failed,
                            &format!("Docker did not answer for {} s", ENGINE_LIMIT.as_secs()),
                            Vec::new(),
                            next,
                        )
                        .await;
                    } else {
                        tokio::time::sleep(ENGINE_PAUSE).await;
                    }
                }
                Err(StepError::Cancelled) => {
                    self.end(&deploy, State::Cancelled, "it was cancelled", Vec::new(), "push again when you want it").await
                }
                Err(StepError::Moot(why)) => {
                    self.say(&deploy, Tone::Warning, why.clone());
                    self.end(&deploy, State::Cancelled, &why, Vec::new(), "git push deploy main").await
                }
                Err(StepError::Failed { why, last_lines, next }) => {
                    self.end(&deploy, State::Failed, &why, last_lines, &next).await
                }
            }
            // One that is over and could not be read would end without what follows.
            let Some(now) = self.read("the deploy", || self.store.deploy(deploy.id)).await else { return };
            if now.state != deploy.state {
                entered = Instant::now();
            }
            deploy = now;
        }
        self.after(&deploy).await;
    }

    async fn go_on(&self, deploy: &Deploy, next: Next) {
        match next {
            Next::Move(to) => {
                let points = to.crash_points();
                if let Some((before, _)) = points {
                    crash::point(before);
                }
                if let Err(e) = self.store.deploy_move(deploy, to, "").await {
                    tracing::warn!(app = %deploy.app, deploy = %deploy.id, "moving to {to}: {e}");
                    tokio::time::sleep(LOOK_AGAIN).await;
                    return;
                }
                if let Some((_, after)) = points {
                    crash::point(after);
                }
                self.announce(deploy, to);
            }
            Next::Moved => {
                if let Ok(now) = self.store.deploy(deploy.id).await
                    && now.state != deploy.state
                {
                    self.announce(deploy, now.state);
                }
            }
            Next::Wait(pause) => {
                let mut cancel = self.cancels.watch(deploy.id);
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    _ = cancel.wait_for(|asked| *asked) => {}
                }
            }
        }
    }

    fn announce(&self, deploy: &Deploy, state: State) {
        tracing::info!(app = %deploy.app, deploy = %deploy.id, "deploy {} of {} is {state}", deploy.id, deploy.app);
        let at = crate::base::clock::UnixMillis::now();
        self.feeds.tell(&deploy.app, deploy.id, &Happened::State { state, at });
    }

    /// Writes Failed or Cancelled. What the deploy made is removed afterwards: the row says that it is to go, whatever crashes.
    async fn end(&self, deploy: &Deploy, to: State, why: &str, mut last_lines: Vec<String>, next: &str) {
        last_lines.drain(..last_lines.len().saturating_sub(LAST_LINES));
        let failure = Failure { stage: deploy.state, why: why.to_owned(), last_lines, next: next.to_owned() };
        let points = to.crash_points();
        if let Some((before, _)) = points {
            crash::point(before);
        }
        if let Err(e) = self.store.deploy_fail(deploy, to, &failure).await {
            tracing::warn!(app = %deploy.app, deploy = %deploy.id, "moving to {to}: {e}");
            tokio::time::sleep(Duration::from_millis(200)).await;
            return;
        }
        if let Some((_, after)) = points {
            crash::point(after);
        }
        tracing::warn!(app = %deploy.app, deploy = %deploy.id, stage = %deploy.state, "deploy {} of {} is {to}: {why}", deploy.id, deploy.app);
    }

    /// Ends a deploy that no driver takes any more: its app goes.
    pub(super) async fn cancel_now(self: &Arc<Self>, deploy: &Deploy) {
        self.end(deploy, State::Cancelled, "the app was destroyed", Vec::new(), "nothing to do").await;
        self.feeds.tell(&deploy.app, deploy.id, &Happened::Cancelled { still_serves: None });
    }

    /// What follows the end of a deploy. Every part may be done again: after a crash a start calls it for those that have not ended.
    pub(super) async fn after(self: &Arc<Self>, deploy: &Deploy) {
        let Some(app) = self.read("the app", || self.store.app_by_id(deploy.app_id)).await else { return };
        let mut whole = true;
        match deploy.state {
            State::Live => {
                self.settle(&app).await;
                whole = self.move_branch(deploy).await;
                self.tell_live(deploy).await;
                self.alert_over(deploy).await;
                crash::point(Point::LiveTold);
            }
            State::Failed | State::Cancelled => {
                whole = self.undo(deploy, &app).await;
                let happened = match (&deploy.failure, deploy.state) {
                    (Some(failure), State::Failed) => Happened::Failed { failure: failure.clone(), still_serves: app.live },
                    _ => Happened::Cancelled { still_serves: app.live },
                };
                self.unpin(deploy).await;
                self.deploy_log(deploy, &format!("deploy {} is {}", deploy.id, deploy.state));
                self.feeds.tell(&deploy.app, deploy.id, &happened);
                self.alert_failed(deploy, &app).await;
                crash::point(Point::FailureTold);
            }
            State::Superseded => {
                self.unpin(deploy).await;
                self.tell_superseded(deploy).await;
            }
            State::Queued | State::Building | State::Preparing | State::Starting | State::Probing | State::Shifting => return,
        }
        self.cancels.forget(deploy.id);
        self.drop_source(deploy).await;
        crash::point(Point::SourceDropped);
        self.prune(&app).await;
        // What could not be done (it was logged) is tried again by the driver when it has nothing else to do, and by the next start.
        if whole && let Err(e) = self.store.deploy_ended(deploy.id).await {
            tracing::warn!(app = %deploy.app, deploy = %deploy.id, "noting the end: {e}");
        }
        crash::point(Point::DeployEnded);
    }

    /// A crash may have come between the end of a deploy and what follows it.
    async fn finish_ended(self: &Arc<Self>, app_id: i64) {
        let Some(app) = self.read("the app", || self.store.app_by_id(app_id)).await else { return };
        if app.destroying {
            return;
        }
        let to_end = self.read("what has not ended", || self.store.deploys_to_end(app_id)).await;
        for deploy in to_end.unwrap_or_default() {
            self.after(&deploy).await;
        }
        self.settle(&app).await;
    }

    async fn tell_superseded(&self, deploy: &Deploy) {
        let all = self.store.deploys(deploy.app_id, u32::MAX).await.unwrap_or_default();
        let by = deploy.superseded_by(&all).unwrap_or(deploy.id);
        self.feeds.tell(&deploy.app, deploy.id, &Happened::Superseded { by });
    }

    /// A deploy that failed may have had nobody looking. Told once, however often a start comes by here.
    async fn alert_failed(&self, deploy: &Deploy, app: &App) {
        let (Some(failure), State::Failed) = (&deploy.failure, deploy.state) else { return };
        let serves = app.live.map_or_else(|| "nothing serves yet".to_owned(), |live| format!("{live} still serves"));
        let text = format!("deploy {} of {} failed at {}: {}; {serves}", deploy.id, deploy.app, failure.stage, failure.why);
        let id = deploy.id.to_string();
        self.alerts.raise_once(Kind::DeployFailed, deploy.app.as_str(), &id, &text, &failure.next).await;
    }

    /// What was wrong with an earlier release is over; a failure of a later deploy is not.
    async fn alert_over(&self, deploy: &Deploy) {
        let subject = deploy.app.as_str();
        // One that was told without a row is of this daemon's time, in which deploys ended in their order.
        let open = self.alerts.open(Kind::DeployFailed, subject).await;
        if open.is_none_or(|open| open.occurrence.parse::<DeployId>().is_ok_and(|failed| failed < deploy.id)) {
            self.alerts.clear(Kind::DeployFailed, subject, &format!("deploy {} of {subject} is live", deploy.id)).await;
        }
    }

    async fn tell_live(&self, deploy: &Deploy) {
        let (Some(release), Ok(app)) = (deploy.release, self.store.app_by_id(deploy.app_id).await) else { return };
        let stages = self.stage_times(deploy).await;
        let urls = self.urls(&app).await;
        self.deploy_log(deploy, &format!("deploy {} is live: {release} serves", deploy.id));
        let counts = deploy.counts.unwrap_or_default();
        self.feeds.tell(&deploy.app, deploy.id, &Happened::Live { release, commit: deploy.commit.clone(), urls, stages, counts });
    }

    /// How long each state lasted, in the order it was entered.
    pub async fn stage_times(&self, deploy: &Deploy) -> Vec<StageTime> {
        let entries = self.store.deploy_stages(deploy.id).await.unwrap_or_default();
        entries
            .windows(2)
            .map(|pair| StageTime {
                stage: pair[0].state,
                ms: u64::try_from(pair[1].at.since(pair[0].at).as_millis()).unwrap_or(u64::MAX),
            })
            .collect()
    }
}
