//! One re-enterable step per state. Every arm may run twice: look before you make. The driver, not this file, writes the move
//! (but for the two that are one transaction with what they record: the release, and the commit point).

use std::time::Duration;

use crate::base::crash::{self, Point};
use crate::deploys::error::StepError;
use crate::deploys::plan::{self, Plan};
use crate::deploys::source::Outcome;
use crate::deploys::world::World;
use crate::instances::lifecycle::InstanceError;
use crate::instances::memory;
use crate::instances::probe::Verdict;
use crate::manifest::Strategy;
use crate::model::app::App;
use crate::model::deploy::{Deploy, Origin, State};
use crate::model::instance::{Instance, Wanted};
use crate::model::release::{Process, Release};
use crate::names::ProcessName;
use crate::store::NewInstance;
use crate::tasks::release_command::CommandEnd;

/// What the driver does next.
#[derive(Debug)]
pub enum Next {
    Move(State),
    /// The step has written its own move.
    Moved,
    Wait(Duration),
}

/// What most steps need to know.
struct Scene {
    app: App,
    release: Release,
    processes: Vec<Process>,
    plan: Plan,
    instances: Vec<Instance>,
}

impl Scene {
    fn made(&self, deploy: &Deploy) -> Vec<&Instance> {
        self.instances.iter().filter(|i| i.deploy == deploy.id && i.wanted == Wanted::Candidate).collect()
    }

    fn made_web(&self, deploy: &Deploy) -> Vec<&Instance> {
        self.made(deploy).into_iter().filter(|i| i.takes_requests()).collect()
    }

    fn process(&self, row: &Instance) -> Option<&Process> {
        self.processes.iter().find(|p| p.name == row.process)
    }
}

impl World {
    /// Runs the step of the deploy's state once. `waited`: how long this daemon has seen it in that state, by a clock that does not jump.
    /// Cancel-safe: no; the driver never drops it.
    pub async fn step(&self, deploy: &Deploy, waited: Duration) -> Result<Next, StepError> {
        match deploy.state {
            State::Queued => Ok(Next::Move(State::Building)),
            State::Building => self.record_release(deploy).await,
            State::Preparing => self.prepare(deploy).await,
            State::Starting => self.start(deploy).await,
            State::Probing => self.probe(deploy, waited).await,
            State::Shifting => self.shift(deploy).await,
            State::Live | State::Failed | State::Cancelled | State::Superseded => Ok(Next::Moved),
        }
    }

    async fn scene(&self, deploy: &Deploy) -> Result<Scene, StepError> {
        let app = self.store.app_by_id(deploy.app_id).await?;
        let number = deploy.release.ok_or_else(|| StepError::new("the deploy has lost its release", "push again"))?;
        let release = self.store.release(app.id, number).await?;
        let processes = release.processes();
        let instances = self.store.instances_of(app.id).await?;
        let plan = plan::plan(deploy.id, &deploy.origin, &processes, &self.store.scale(app.id).await?, &instances);
        Ok(Scene { app, release, processes, plan, instances })
    }

    async fn record_release(&self, deploy: &Deploy) -> Result<Next, StepError> {
        match self.bring(deploy).await? {
            Outcome::New(new) => {
                crash::point(Point::BeforeMovePreparing);
                let number = self.store.release_record(deploy, &new).await?;
                tracing::info!(app = %deploy.app, deploy = %deploy.id, release = %number, "release {number} of {} is recorded", deploy.app);
            }
            Outcome::Again(release) => self.store.release_reuse(deploy, &release).await?,
        }
        crash::point(Point::AfterMovePreparing);
        Ok(Next::Moved)
    }

    async fn prepare(&self, deploy: &Deploy) -> Result<Next, StepError> {
        let scene = self.scene(deploy).await?;
        self.refuse_what_cannot_fit(&scene)?;
        self.instances.network(&scene.app).await?;
        let image = self.instances.image(&scene.app.name, &scene.release).await?;
        let config = self.store.release_config(scene.app.id, scene.release.number).await?;
        // Not by each try of a step that waits for Docker.
        if scene.made(deploy).is_empty() {
            let text = format!("Creating {} instance(s) of {}", scene.plan.make.len(), scene.release.number);
            self.feeds.step(&deploy.app, deploy.id, text);
        }
        let making = scene.plan.make.iter().filter_map(|(name, index)| {
            let process = scene.processes.iter().find(|p| p.name == *name)?;
            let port = crate::instances::spec::port(&process.spec, &image);
            let (app, release) = (&scene.app, &scene.release);
            let new = NewInstance {
                app_id: app.id,
                release: release.number,
                deploy: deploy.id,
                process: name.clone(),
                index: *index,
                port,
            };
            let (image, config) = (&image, &config);
            Some(async move { self.instances.create_gated(app, release, config, process, &new, image).await })
        });
        // All run to their end before the first error counts: a dropped creation would leave a container that no row knows.
        let made = futures_util::future::join_all(making).await;
        let made: Vec<Instance> = made.into_iter().collect::<Result<_, _>>()?;
        for row in &made {
            self.instances.wait_for_init(row).await?;
        }
        crash::point(Point::InitsReported);
        if deploy.origin.brings_source() {
            self.run_release_command(deploy, &scene).await?;
        }
        Ok(Next::Move(State::Starting))
    }

    fn refuse_what_cannot_fit(&self, scene: &Scene) -> Result<(), StepError> {
        if scene.release.manifest.deploy.strategy == Strategy::StopStart {
            return Ok(());
        }
        let default = self.config.limits.memory;
        let limit =
            |name: &ProcessName| scene.processes.iter().find(|p| p.name == *name).and_then(|p| p.spec.memory).unwrap_or(default);
        let new: Vec<u64> = scene.plan.make.iter().map(|(name, _)| limit(name)).collect();
        match memory::host().and_then(|host| memory::refuse(host, &new)) {
            None => Ok(()),
            Some(why) => Err(StepError::new(
                &why,
                "lower `memory` or the number of instances, or set `[deploy] strategy = \"stop-start\"`",
            )),
        }
    }

    async fn run_release_command(&self, deploy: &Deploy, scene: &Scene) -> Result<(), StepError> {
        let Some(command) = scene.release.release_command() else { return Ok(()) };
        match self.release_command(deploy, &scene.app, &scene.release, command).await? {
            CommandEnd::Done => Ok(()),
            CommandEnd::Cancelled => Err(StepError::Cancelled),
            CommandEnd::Failed { why, last_lines } => {
                Err(StepError::Failed { why, last_lines, next: "mend the release command and push again".to_owned() })
            }
        }
    }

    async fn start(&self, deploy: &Deploy) -> Result<Next, StepError> {
        let scene = self.scene(deploy).await?;
        if scene.release.manifest.deploy.strategy == Strategy::StopStart && !matches!(deploy.origin, Origin::Scale) {
            self.make_room(deploy, &scene.app, &scene.plan).await?;
        }
        for row in scene.made_web(deploy) {
            self.register_running(row).await?;
            self.instances.open(row);
        }
        Ok(Next::Move(State::Probing))
    }

    async fn probe(&self, deploy: &Deploy, waited: Duration) -> Result<Next, StepError> {
        let scene = self.scene(deploy).await?;
        let host = self.own_host(&scene.app);
        for row in scene.made_web(deploy) {
            // A daemon that was restarted since the gate was opened, or a dialer, does not know of it.
            self.instances.open_quietly(row);
            if !self.instances.is_registered(row) {
                self.register_running(row).await?;
            }
            let Some(process) = scene.process(row) else { continue };
            let health = &process.spec.health;
            match self.instances.probe(row, health, &host).await {
                Verdict::Healthy => {}
                _ if self.revive(&scene, row, process).await? => return Ok(Next::Wait(pause(waited))),
                Verdict::Ended { why, last_lines } => {
                    let why = format!("{} {why} before it was healthy", row.label());
                    return Err(StepError::Failed {
                        why,
                        last_lines,
                        next: format!("paas logs -a {} -p {}", deploy.app, row.label()),
                    });
                }
                Verdict::NotYet { .. } if waited < health.grace => return Ok(Next::Wait(pause(waited))),
                Verdict::NotYet { why } => {
                    let why =
                        format!("{} was not healthy within {}: {why}", row.label(), humantime::format_duration(health.grace));
                    let last_lines = self.last_lines(row).await;
                    let next = format!(
                        "paas logs -a {} -p {}; a slow boot needs a longer `grace` under [processes.web.health]",
                        deploy.app,
                        row.label()
                    );
                    return Err(StepError::Failed { why, last_lines, next });
                }
            }
        }
        crash::point(Point::ProbePassed);
        Ok(Next::Move(State::Shifting))
    }

    /// The way into a new instance. One whose container was stopped meanwhile has not failed: it gets there when it is revived.
    async fn register_running(&self, row: &Instance) -> Result<(), StepError> {
        match self.instances.register(row).await {
            Err(InstanceError::NotRunning(_)) => Ok(()),
            done => Ok(done?),
        }
    }

    /// A new instance whose container was stopped (with Docker, or by somebody's hand) has not failed: it begins again. True: it did.
    /// An app that ends does not end its container: its init starts it again there.
    async fn revive(&self, scene: &Scene, row: &Instance, process: &Process) -> Result<bool, StepError> {
        let init = self.instances.links.state(row.id);
        if init.is_some_and(|init| init.connected && init.last_end.is_none()) {
            return Ok(false);
        }
        match self.instances.state(row).await? {
            Some(container) if container.running => return Ok(false),
            Some(_) => {}
            None => {
                let why = format!("the container of {} was removed before it was healthy", row.label());
                return Err(StepError::new(&why, "push again"));
            }
        }
        tracing::warn!(app = %row.app, instance = %row.id, "the container of {} was stopped before it was healthy; it is started again", row.label());
        self.instances.network(&scene.app).await?;
        let image = self.instances.image(&scene.app.name, &scene.release).await?;
        let config = self.store.release_config(scene.app.id, scene.release.number).await?;
        self.instances.start_gated(&scene.app, &scene.release, &config, process, row, &image).await?;
        self.instances.wait_for_init(row).await?;
        self.instances.register(row).await?;
        Ok(true)
    }

    async fn shift(&self, deploy: &Deploy) -> Result<Next, StepError> {
        let scene = self.scene(deploy).await?;
        if self.too_many_generations(&scene.instances).await? {
            return Ok(Next::Wait(Duration::from_millis(200)));
        }
        let mut live: Vec<_> = scene.made(deploy).iter().map(|i| i.id).collect();
        live.extend(&scene.plan.keep);
        let config = match deploy.origin {
            Origin::Rollback { .. } => Some(self.store.release_config(scene.app.id, scene.release.number).await?),
            _ => None,
        };
        self.note_counts(&scene.plan.retire);
        self.note_counts(&scene.plan.keep);
        self.publisher.commit(deploy, &scene.release, &live, &scene.plan.retire, config.as_ref()).await?;
        Ok(Next::Moved)
    }
}

/// Fast at first, for apps that boot in no time; slower the longer it takes.
fn pause(waited: Duration) -> Duration {
    (waited / 10).clamp(Duration::from_millis(5), Duration::from_secs(1))
}
