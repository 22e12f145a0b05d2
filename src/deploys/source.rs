//! Building: what the deploy starts from → an image, a manifest and the config of a new release.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::base::crash::{self, Point};
use crate::builds::{self, BuildError, BuildLine, BuildRequest, LineKind};
use crate::deploys::error::StepError;
use crate::deploys::feed::{self, Happened, Tone};
use crate::deploys::world::World;
use crate::manifest::{self, Manifest};
use crate::model::deploy::{Deploy, Origin};
use crate::model::disk::Area;
use crate::model::release::{Image, Release};
use crate::store::NewRelease;

/// What Building ends with.
pub enum Outcome {
    New(Box<NewRelease>),
    /// The live release once more.
    Again(Box<Release>),
}

impl World {
    /// Makes or finds the image. Re-enterable: a cleaned source that is there is used, and the engine's cache makes a second build short.
    pub(super) async fn bring(&self, deploy: &Deploy) -> Result<Outcome, StepError> {
        match &deploy.origin {
            Origin::Push { .. } | Origin::Tarball { .. } => {
                let source = self.source(deploy).await?;
                let manifest = self.read_manifest(&source)?;
                self.build(deploy, source, manifest).await
            }
            Origin::Image { reference } => self.take_image(deploy, reference).await,
            Origin::Restart { .. } | Origin::Scale => Ok(Outcome::Again(Box::new(self.live_release(deploy).await?))),
            Origin::Config => {
                let live = self.live_release(deploy).await?;
                self.anew(deploy, live, None).await
            }
            Origin::Rollback { to } => {
                let old = self.store.release(deploy.app_id, *to).await?;
                let config = self.store.release_config(deploy.app_id, *to).await?;
                self.anew(deploy, old, Some(config)).await
            }
        }
    }

    /// None is live where settings were changed while the app's first deploy was under way, and that one failed. Its failure is what there is to
    /// tell and to mend, so the change is none.
    async fn live_release(&self, deploy: &Deploy) -> Result<Release, StepError> {
        let app = self.store.app_by_id(deploy.app_id).await?;
        let moot = "the deploy before this one did not go live: the change is stored, and the next deploy will use it";
        let number = app.live.ok_or_else(|| StepError::Moot(moot.to_owned()))?;
        Ok(self.store.release(app.id, number).await?)
    }

    /// A new release out of an old one's image and manifest, with its config or the app's present one.
    async fn anew(
        &self,
        deploy: &Deploy,
        old: Release,
        config: Option<crate::model::release::Config>,
    ) -> Result<Outcome, StepError> {
        if self.docker.image(&old.image.id).await?.is_none() {
            let why = format!(
                "the image of {} was pruned; only the newest {} releases are kept",
                old.number, self.config.limits.keep_releases
            );
            return Err(StepError::new(&why, "paas releases"));
        }
        let config = match config {
            Some(config) => config,
            None => self.store.config(deploy.app_id).await?,
        };
        let description = deploy.origin.describe();
        Ok(Outcome::New(Box::new(NewRelease {
            commit: old.commit,
            description,
            image: old.image,
            manifest: old.manifest,
            config,
        })))
    }

    /// The cleaned tar of a push or an upload.
    async fn source(&self, deploy: &Deploy) -> Result<PathBuf, StepError> {
        let path = self.source_path(deploy);
        if !path.exists() {
            self.disk.refuse("the source of a build", Area::State, 0).await?;
            let started = std::time::Instant::now();
            let Some(commit) = &deploy.commit else {
                return Err(StepError::new("the uploaded archive is gone", "upload it again with `paas deploy --tarball`"));
            };
            let archive =
                self.repos.archive(&deploy.app, commit).await.map_err(|e| StepError::new(&e.to_string(), "push again"))?;
            let limit = self.config.build.timeout;
            let reading = tokio::time::timeout(limit, self.builder.receive_source(archive, &path, false));
            let received = self.cancels.unless(deploy.id, reading).await?;
            let received = received.unwrap_or(Err(BuildError::TooLong { after: limit }))?;
            let (files, kib) = (received.files, received.bytes.div_ceil(1024));
            let text = format!("Read {files} files, {kib} KiB, in {:.2} s", started.elapsed().as_secs_f32());
            self.say(deploy, Tone::Output, text);
        }
        crash::point(Point::ContextOpened);
        Ok(path)
    }

    /// Where the source of a deploy lies while it is needed: named by content, so that a crash between upload and admission leaves no riddle.
    pub fn source_path(&self, deploy: &Deploy) -> PathBuf {
        let name = match (&deploy.origin, &deploy.commit) {
            (Origin::Tarball { sha256 }, _) => return self.upload_path(sha256),
            (_, Some(commit)) => format!("{}-{commit}", deploy.app),
            (_, None) => deploy.id.to_string(),
        };
        self.config.builds_dir().join(format!("{name}.tar"))
    }

    /// Where the upload with this content lies while a deploy needs it.
    pub(super) fn upload_path(&self, sha256: &str) -> PathBuf {
        self.config.builds_dir().join(format!("{sha256}.tar"))
    }

    fn read_manifest(&self, source: &std::path::Path) -> Result<Manifest, StepError> {
        let files = builds::read_manifest_files(source, None)?;
        manifest::read(&files).map_err(|e| {
            let mend = "mend the file and push again; `paas check` reads it on your machine";
            let next = e.hint().map_or_else(|| mend.to_owned(), |hint| format!("{hint}; {mend}"));
            StepError::new(&e.to_string(), &next)
        })
    }

    async fn build(&self, deploy: &Deploy, source: PathBuf, manifest: Manifest) -> Result<Outcome, StepError> {
        for warning in &manifest.warnings {
            self.feeds.warn(&deploy.app, deploy.id, warning);
        }
        self.refuse_taken_domains(deploy, &manifest).await?;
        let config = self.store.config(deploy.app_id).await?;
        let secrets: BTreeMap<_, _> =
            manifest.build.secrets.iter().filter_map(|key| Some((key.to_string(), config.get(key)?.clone()))).collect();
        let request = BuildRequest {
            app: deploy.app.clone(),
            deploy: deploy.id,
            source,
            manifest: &manifest,
            commit: deploy.commit.clone(),
            secrets,
        };
        let waiting = self.build_slots.take(deploy.id, |ahead| {
            self.feeds.step(&deploy.app, deploy.id, format!("Waiting for a place to build: {ahead} waiting before this one"));
        });
        let slot = self.cancels.unless(deploy.id, waiting).await?;
        self.refuse_full_engine(&request.source).await?;
        crash::point(Point::BuildStarted);
        let (lines, mut printed) = tokio::sync::mpsc::channel::<BuildLine>(256);
        let building = self.builder.build(&request, lines, self.cancels.watch(deploy.id));
        let printing = async {
            while let Some(line) = printed.recv().await {
                let tone = match line.kind {
                    LineKind::Step => Tone::Step,
                    LineKind::Output => Tone::Output,
                    LineKind::Warning => Tone::Warning,
                    LineKind::Error => Tone::Error,
                };
                self.say(deploy, tone, line.text);
            }
        };
        let (built, ()) = tokio::join!(building, printing);
        drop(slot);
        let built = match built {
            Err(full) if full.filled_engine() => return Err(self.filled(full).await),
            built => built?,
        };
        crash::point(Point::BuildEnded);
        let image = Image {
            id: built.image_id,
            tag: built.tag,
            default_processes: built.default_processes,
            release_command: built.release_command,
        };
        let commit = deploy.commit.clone();
        Ok(Outcome::New(Box::new(NewRelease { commit, description: deploy.origin.describe(), image, manifest, config })))
    }

    /// Before a build: it needs its source as context, as a layer, and again for what it makes of it. The cache is shortened first.
    async fn refuse_full_engine(&self, source: &std::path::Path) -> Result<(), StepError> {
        let needed = tokio::fs::metadata(source).await.map_or(0, |meta| meta.len()).saturating_mul(3);
        if self.disk.refuse("a build", Area::Docker, needed).await.is_ok() {
            return Ok(());
        }
        if let Err(e) = self.builder.prune_cache().await {
            tracing::warn!("shortening the build cache: {e}");
        }
        Ok(self.disk.refuse("a build", Area::Docker, needed).await?)
    }

    /// A build that found the engine's disk full says what uses it: most pushers can't look.
    async fn filled(&self, error: BuildError) -> StepError {
        let told = self.disk.tell(Area::Docker).await;
        match StepError::from(error) {
            StepError::Failed { why, last_lines, next } => {
                let next = told.map_or_else(|| next.clone(), |told| format!("{next} ({told})"));
                StepError::Failed { why, last_lines, next }
            }
            other => other,
        }
    }

    /// One line of a deploy, to those who watch and to the app's log.
    pub(super) fn say(&self, deploy: &Deploy, tone: Tone, text: String) {
        let text = feed::plain(&text);
        self.deploy_log(deploy, &text);
        self.feeds.tell(&deploy.app, deploy.id, &Happened::Line { tone, text });
    }

    async fn refuse_taken_domains(&self, deploy: &Deploy, manifest: &Manifest) -> Result<(), StepError> {
        // An app's own name under the host's domain belongs to it as much as what is in the table.
        let others = self.store.apps().await?.into_iter().filter(|app| app.id != deploy.app_id);
        let own_of_other = others.map(|app| self.own_host(&app)).find(|host| manifest.domains.contains(host));
        let in_table = self.store.domain_owned_by_other(deploy.app_id, &manifest.domains).await?;
        match own_of_other.or(in_table.map(|(host, _owner)| host)) {
            None => Ok(()),
            Some(host) => {
                let why = format!("paas.toml: the domain `{host}` under [domains] belongs to another app");
                Err(StepError::new(&why, "remove it from paas.toml, or from the other app with `paas domains remove`"))
            }
        }
    }

    async fn take_image(&self, deploy: &Deploy, reference: &str) -> Result<Outcome, StepError> {
        let Some(image) = self.docker.image(reference).await? else {
            let why = format!("the engine has no image `{reference}`");
            return Err(StepError::new(&why, "load it on the server with `docker load` or `docker pull`, then deploy again"));
        };
        let manifest =
            manifest::read(&manifest::SourceFiles::default()).map_err(|e| StepError::new(&e.to_string(), "report this"))?;
        let tag = self.builder.tag_for(&deploy.app, deploy.id);
        self.docker.tag(&image.id, &tag).await?;
        let config = self.store.config(deploy.app_id).await?;
        let image = Image { id: image.id, tag, default_processes: BTreeMap::new(), release_command: None };
        let description = deploy.origin.describe();
        Ok(Outcome::New(Box::new(NewRelease { commit: deploy.commit.clone(), description, image, manifest, config })))
    }
}

/// The branch that deploys where the manifest names none.
pub fn default_branch() -> crate::names::BranchName {
    crate::names::BranchName::parse("main").expect("`main` is a valid branch")
}
