//! One instance from what the store says to what Docker runs. One task per instance at a time; whoever is troubled longest goes first.

use std::sync::Arc;
use std::time::Duration;

use crate::base::backoff::Backoff;
use crate::deploys::error::StepError;
use crate::deploys::world::World;
use crate::docker::{ContainerState, DockerError};
use crate::instances::finding::Finding;
use crate::instances::lifecycle::InstanceError;
use crate::instances::spec;
use crate::logs::{Kind, Source, Stream};
use crate::model::app::App;
use crate::model::instance::{Instance, Wanted};
use crate::model::release::Release;
use crate::names::{AppName, InstanceId};

/// Between tries for one instance while Docker answers.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// How long workers wait for everything that serves requests, when Docker comes up or back.
const WEB_FIRST: Duration = Duration::from_secs(5);

/// Of one who waits for an app to run again; putting right goes on without it.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

impl World {
    /// Starts to look at every instance that should run (of one app, or of all), and to put right what is not as it should be.
    /// `with_docker`: Docker itself has just come back, or is seen for the first time.
    pub(super) async fn put_right(self: &Arc<Self>, only: Option<&AppName>, with_docker: bool) {
        let (apps, rows) = match (self.store.apps().await, self.store.instances().await) {
            (Ok(apps), Ok(rows)) => (apps, rows),
            (Err(e), _) | (_, Err(e)) => return tracing::error!("reading what should run: {e}"),
        };
        self.looks.forget_others(&rows);
        let mut rows: Vec<Instance> =
            rows.into_iter().filter(|row| row.wanted == Wanted::Live && only.is_none_or(|app| row.app == *app)).collect();
        self.looks.in_turn(&mut rows);
        let serving: Vec<InstanceId> = rows.iter().filter(|row| row.takes_requests()).map(|row| row.id).collect();
        let mut workers_wait = with_docker;
        for row in rows {
            if workers_wait && !row.takes_requests() {
                workers_wait = false;
                // People wait for an answer; a worker's job can wait a moment longer, but not for an app that can't be started.
                let _ = tokio::time::timeout(WEB_FIRST, self.looks.quiet(&serving)).await;
            }
            let Some(app) = apps.iter().find(|a| a.id == row.app_id && !a.destroying).cloned() else { continue };
            if self.looks.begin(row.id) {
                let world = Arc::clone(self);
                // The marks keep tasks of one instance apart; the name is only to be told.
                let name = format!("putting right {} ({})", row.id, self.serial());
                self.crew.start_once(&name, async move { world.look_until_right(&app, row.id, with_docker).await });
            }
        }
    }

    /// The same for one app, and waits for the end: for who must know that its instances run. At most `LONGEST_WAIT`.
    pub(super) async fn reconcile_app(self: &Arc<Self>, app: &App) {
        self.put_right(Some(&app.name), false).await;
        let rows = self.store.instances_of(app.id).await.unwrap_or_default();
        let ids: Vec<InstanceId> = rows.iter().map(|row| row.id).collect();
        if tokio::time::timeout(LONGEST_WAIT, self.looks.quiet(&ids)).await.is_err() {
            tracing::warn!(app = %app.name, "not everything of {} runs yet", app.name);
        }
    }

    async fn look_until_right(self: &Arc<Self>, app: &App, id: InstanceId, with_docker: bool) {
        let mut pause = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let mut stopping = self.crew.stopping();
        loop {
            let looked = {
                let _turn = self.looks.turn().await;
                self.look_at(app, id, with_docker).await
            };
            match looked {
                // When Docker comes back everything is looked at anew.
                Ok(()) | Err(StepError::EngineAway(_)) => {
                    if !self.looks.end(id) {
                        return;
                    }
                }
                Err(e) => {
                    tracing::warn!(app = %app.name, instance = %id, "{id} cannot be put right yet: {e:?}; it is tried again");
                    tokio::select! {
                        () = tokio::time::sleep(pause.pause()) => {}
                        _ = stopping.changed() => return,
                    }
                }
            }
        }
    }

    /// Looks once and puts right what is wrong; one that is being restarted is whoever's who restarts it.
    async fn look_at(self: &Arc<Self>, app: &App, id: InstanceId, with_docker: bool) -> Result<(), StepError> {
        if self.publisher.is_suspended(id) {
            return Ok(());
        }
        self.make_right(app, id, with_docker).await
    }

    /// Every act may be repeated.
    pub(super) async fn make_right(self: &Arc<Self>, app: &App, id: InstanceId, with_docker: bool) -> Result<(), StepError> {
        let Some(row) = self.store.instance(id).await?.filter(|row| row.wanted == Wanted::Live) else {
            self.instances.vitals.stuck(id, None);
            return Ok(());
        };
        // The link must listen for whatever runs: an init that reconnects brings its state with it.
        self.instances.listen(&row)?;
        let release = self.store.release(app.id, row.release).await?;
        let state = self.instances.found(&row).await?;
        let network = spec::network_name(&self.install, &app.name);
        let finding = Finding::of(state.as_ref(), &release.image.id, &network);
        // What was read may be old by now: nothing is started or opened that is not wanted any more.
        if !matches!(self.store.instance(id).await?, Some(now) if now.wanted == Wanted::Live) {
            return Ok(());
        }
        // First, as its init may connect at any moment: an earlier wish to stop must not meet it.
        if !self.waits_for_forerunner(app, &row).await? {
            self.instances.open_quietly(&row);
        }
        if let Some(told) = finding.told(with_docker) {
            self.tell_trouble(&row, &told);
        }
        if !matches!(finding, Finding::Fine | Finding::Paused | Finding::OffNetwork)
            && let Err(e) = self.instances.keep_loss(&row, state.as_ref()).await
        {
            tracing::warn!(app = %app.name, instance = %id, "the end of {} could not be kept: {e}", row.label());
        }
        if finding == Finding::Fine {
            self.instances.vitals.stuck(id, None);
        } else {
            let done = self.mend(app, &row, finding, state.as_ref(), &network).await;
            if self.took_back_unwanted(&row, &release).await? {
                return Ok(());
            }
            self.note_stuck(id, &done);
            done?;
        }
        let state = if finding == Finding::Fine { state } else { self.instances.state(&row).await? };
        self.reach(&row, state.as_ref()).await?;
        if let Some(lasted) = self.looks.trouble_over(id) {
            let text = format!("{} runs again after {:.1} s", row.label(), lasted.as_secs_f32());
            tracing::info!(app = %app.name, instance = %id, "{text}");
            self.platform_log(&app.name, &text);
        }
        Ok(())
    }

    async fn mend(
        &self,
        app: &App,
        row: &Instance,
        finding: Finding,
        state: Option<&ContainerState>,
        network: &str,
    ) -> Result<(), StepError> {
        match (finding, state) {
            (Finding::Fine, _) => Ok(()),
            (Finding::Paused, Some(state)) => Ok(self.instances.docker.unpause(&state.id).await?),
            (Finding::OffNetwork, Some(state)) => {
                self.instances.network(app).await?;
                Ok(self.instances.docker.connect(network, &state.id).await?)
            }
            (Finding::Stopped { .. }, Some(state)) => self.start_again(app, row, state).await,
            (Finding::Gone | Finding::Unfit, _) | (_, None) => self.make_again(app, row).await,
        }
    }

    /// That Docker is away is told of by itself. One that answers, but not to this, keeps the instance from running.
    fn note_stuck(&self, id: InstanceId, done: &Result<(), StepError>) {
        let told = match done {
            Ok(()) => None,
            Err(StepError::EngineAway(_)) if self.instances.docker.health().is_bad() => None,
            Err(e) => Some(e.told()),
        };
        self.instances.vitals.stuck(id, told);
    }

    /// A deploy that pauses an instance writes that first and stops it then: if that came between the look and the start, nobody else would stop
    /// what was started, and it would run beside the one that must be alone.
    async fn took_back_unwanted(&self, row: &Instance, release: &Release) -> Result<bool, StepError> {
        // One that is to go is stopped and removed by who ends it, as often as that takes.
        if !self.store.instance(row.id).await?.is_some_and(|now| now.wanted == Wanted::Paused) {
            return Ok(false);
        }
        let (signal, limit) = release.stop_rule(&row.process);
        // No later look finds it, as it is not live: whoever started it sees to it.
        while let Err(e) = self.instances.stop(row, &signal, limit).await {
            tracing::warn!(app = %row.app, instance = %row.id, "stopping {}, which is paused: {e}; it is tried again", row.label());
            tokio::time::sleep(FIRST_PAUSE).await;
            let wanted = self.store.instance(row.id).await?.map(|now| now.wanted);
            if wanted != Some(Wanted::Paused) || *self.crew.stopping().borrow() {
                break;
            }
        }
        Ok(true)
    }

    /// A worker may have to wait for the end of its forerunner: opening it is the switch's business while there is one. What a failed deploy made
    /// is none: its gate was never opened.
    pub(super) async fn waits_for_forerunner(&self, app: &App, row: &Instance) -> Result<bool, StepError> {
        if row.takes_requests() {
            return Ok(false);
        }
        let rows = self.store.instances_of(app.id).await?;
        Ok(rows.iter().any(|i| i.process == row.process && i.wanted == Wanted::Retiring))
    }

    /// The dialer must know the way into the container that runs now.
    async fn reach(&self, row: &Instance, state: Option<&ContainerState>) -> Result<(), StepError> {
        let reachable = match state {
            Some(state) => self.instances.reachable(row, state).await,
            None => false,
        };
        if !reachable && row.takes_requests() {
            self.instances.register(row).await?;
        }
        Ok(())
    }

    /// The stopped container is ours and made of the same release: nothing is made anew, unless the engine cannot start it.
    async fn start_again(&self, app: &App, row: &Instance, state: &ContainerState) -> Result<(), StepError> {
        self.instances.network(app).await?;
        match self.instances.docker.start(&state.id).await {
            Ok(()) => Ok(()),
            Err(e) if e.is_unavailable() => Err(e.into()),
            // Above all: its network was removed and made again, and the engine remembers the old one's id.
            Err(e) => {
                tracing::warn!(app = %app.name, instance = %row.id, "{} cannot be started again ({e}); another container takes its place", row.label());
                self.platform_log(
                    &app.name,
                    &format!("{}: its container cannot be started again; another one takes its place", row.label()),
                );
                self.make_again(app, row).await
            }
        }
    }

    async fn make_again(&self, app: &App, row: &Instance) -> Result<(), StepError> {
        let release = self.store.release(app.id, row.release).await?;
        let config = self.store.release_config(app.id, row.release).await?;
        let image = self.instances.image(&app.name, &release).await?;
        self.instances.network(app).await?;
        let Some(process) = release.processes().into_iter().find(|p| p.name == row.process) else { return Ok(()) };
        self.instances.docker.remove(&self.instances.container_name(row)).await?;
        let made = self.instances.start_gated(app, &release, &config, &process, row, &image).await;
        match made {
            Err(InstanceError::Docker(DockerError::NotFound(what))) => {
                Err(StepError::Raced(format!("{what}: removed while {} was made", row.label())))
            }
            made => Ok(made?),
        }
    }

    /// Told once per trouble: in the daemon's log and in the app's.
    fn tell_trouble(&self, row: &Instance, what: &str) {
        if self.looks.note_trouble(row.id) {
            tracing::warn!(app = %row.app, instance = %row.id, "{}: {what}", row.label());
            self.platform_log(&row.app, &format!("{}: {what}", row.label()));
        }
    }

    /// One line into the app's log, as process `platform`.
    pub(super) fn platform_log(&self, app: &AppName, text: &str) {
        match self.logs.writer(&Source::of_kind(app.clone(), Kind::Platform)) {
            Ok(writer) => writer.line(Stream::Stdout, text),
            Err(e) => tracing::warn!(%app, "the app's log cannot be written: {e}"),
        }
    }
}
