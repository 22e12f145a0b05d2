//! One build from a cleaned source to an image.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::buildpack::Buildpack;
use super::certificates;
use super::context::{self, ContextPlan};
use super::detect::{self, Way};
use super::dockerfile;
use super::error::BuildError;
use super::explain;
use super::ignore::Ignore;
use super::languages::{self, Ask};
use super::lines::{BuildLine, Lines, Mask, Teller, say};
use super::named_image;
use super::source::{self, SourceLimits, SourceSummary, SourceTree};
use super::stack::{Stack, bad_template};
use super::template::render;
use crate::base::filesystem::Filesystem;
use crate::base::secret::Secret;
use crate::config::HostConfig;
use crate::docker::buildkit::{SolveError, SolveJob, Solved, StepEvent};
use crate::docker::{Docker, labels};
use crate::manifest::{CommandLine, Manifest};
use crate::model::disk;
use crate::names::{AppName, CommitSha, DeployId, ProcessName};

/// Builds for one installation. Cheap to clone.
#[derive(Clone)]
pub struct Builder {
    pub(super) docker: Docker,
    pub(super) config: Arc<HostConfig>,
    stack: Stack,
    install: String,
    pub(super) cache_pruned: Arc<std::sync::Mutex<Option<Instant>>>,
}

/// What is to be built.
pub struct BuildRequest<'a> {
    pub app: AppName,
    pub deploy: DeployId,
    /// A cleaned tar, made by [`Builder::receive_source`].
    pub source: PathBuf,
    pub manifest: &'a Manifest,
    pub commit: Option<CommitSha>,
    /// Values of the config keys that the manifest names under `[build] secrets`.
    pub secrets: BTreeMap<String, Secret<String>>,
}

/// What a build made.
#[derive(Debug, Clone)]
pub struct Built {
    /// `sha256:…`
    pub image_id: String,
    pub tag: String,
    /// "package.json is there"
    pub why_chosen: String,
    /// What processes run where no file of the app's says so.
    pub default_processes: BTreeMap<ProcessName, CommandLine>,
    pub release_command: Option<CommandLine>,
    /// Steps of the Dockerfile, and how many came from the cache.
    pub steps: u32,
    pub cached_steps: u32,
}

/// An image named by the manifest may have to come over a slow line.
const PULL_LIMIT: Duration = Duration::from_secs(900);

impl Builder {
    /// Takes the uuid of this installation: its first eight characters name images and caches.
    pub fn new(docker: Docker, config: Arc<HostConfig>, install: String) -> Self {
        let stack = Stack::new(docker.clone(), config.clone());
        Self { docker, config, stack, install, cache_pruned: Arc::default() }
    }

    /// The name a deploy's image gets: `paas-<install8>/<app>:d12`.
    pub fn tag_for(&self, app: &AppName, deploy: DeployId) -> String {
        format!("{}{app}:{deploy}", self.docker.image_prefix())
    }

    /// Reads untrusted tar bytes (what `git archive` writes, or an upload: tar, gzip or zstd, by its first bytes) and leaves a cleaned tar at
    /// `to`, whole or not at all; re-runnable. `strip` drops one folder that everything lies in. Limits are the host config's.
    pub async fn receive_source(
        &self,
        from: impl tokio::io::AsyncRead + Send + Unpin,
        to: &std::path::Path,
        strip: bool,
    ) -> Result<SourceSummary, BuildError> {
        let folder = to.parent().unwrap_or(to);
        let total = Filesystem::of(folder).map_or(0, |fs| fs.total);
        let limits = SourceLimits {
            bytes: self.config.limits.source_bytes,
            files: self.config.limits.source_files,
            keep_free: disk::reserve(self.config.limits.disk_reserve, total),
        };
        source::receive(from, to, strip, limits).await
    }

    /// Makes the base images of the named buildpacks ahead of the first push that needs them; an unknown name is an error. With a registry as
    /// source nothing is made: which version is needed is not known yet.
    pub async fn prepare_stack(&self, names: &[&str], lines: &Lines) -> Result<(), BuildError> {
        let kind = self.stack.kind(lines).await?;
        let packs = Buildpack::all(&self.config.state_dir)?;
        for name in names {
            let pack = packs.iter().find(|p| p.name == *name).ok_or_else(|| BuildError::Unfit {
                why: format!("there is no buildpack `{name}`"),
                hint: format!("there are: {}", packs.iter().map(|p| p.name.as_str()).collect::<Vec<_>>().join(", ")),
            })?;
            if matches!(kind, languages::StackKind::Debian(_)) {
                self.stack.images(pack, "", kind, lines).await?;
            }
        }
        Ok(())
    }

    /// Builds. Lines come while it runs. Ends early with Cancelled when `cancel` turns true, with TooLong after `[build] timeout`; either
    /// way, and when dropped, the engine's build is cancelled and only cache is left. Re-runnable: the same tag is set anew.
    pub async fn build(
        &self,
        request: &BuildRequest<'_>,
        lines: Lines,
        mut cancel: watch::Receiver<bool>,
    ) -> Result<Built, BuildError> {
        let limit = self.config.build.timeout;
        tokio::select! {
            done = tokio::time::timeout(limit, self.build_whole(request, &lines)) => {
                done.unwrap_or(Err(BuildError::TooLong { after: limit }))
            }
            // A sender that is gone can't cancel any more.
            Ok(_) = cancel.wait_for(|cancelled| *cancelled) => Err(BuildError::Cancelled),
        }
    }

    async fn build_whole(&self, request: &BuildRequest<'_>, lines: &Lines) -> Result<Built, BuildError> {
        let started = Instant::now();
        let (tar, root) = (request.source.clone(), request.manifest.build.path.clone());
        let state_dir = self.config.state_dir.clone();
        let looked = tokio::task::spawn_blocking(move || {
            Ok::<_, BuildError>((SourceTree::open(&tar, root.as_deref())?, Buildpack::all(&state_dir)?))
        });
        let (tree, packs) = looked.await.map_err(|e| BuildError::Archive { why: e.to_string() })??;
        let choice = detect::choose(&tree, &request.manifest.build, &packs)?;
        if !choice.also.is_empty() {
            let text = format!(
                "this also looks like {}; name the one you mean in paas.toml: [build] buildpack = \"…\"",
                choice.also.join(" and ")
            );
            say(lines, BuildLine::warning(text)).await;
        }
        let mut built = match &choice.way {
            Way::Image { reference } => self.take_image(request, reference, lines).await?,
            Way::Dockerfile { path } => {
                say(lines, BuildLine::step(format!("Building {path} ({})", choice.why))).await;
                self.by_dockerfile(request, &tree, path, lines).await?
            }
            Way::Buildpack { name } => {
                let pack = packs.iter().find(|p| p.name == *name).expect("the choice is one of the buildpacks");
                say(lines, BuildLine::step(format!("{} app detected ({})", pack.title, choice.why))).await;
                self.by_buildpack(request, &tree, pack, &packs, lines).await?
            }
        };
        let seconds = started.elapsed().as_secs_f32();
        let text = format!("Built in {seconds:.1} s; {} of {} steps came from the cache", built.cached_steps, built.steps);
        say(lines, BuildLine::step(text)).await;
        built.why_chosen = choice.why;
        Ok(built)
    }

    async fn take_image(&self, request: &BuildRequest<'_>, reference: &str, lines: &Lines) -> Result<Built, BuildError> {
        if self.docker.image(reference).await?.is_none() {
            say(lines, BuildLine::step(format!("Pulling {reference}"))).await;
            self.docker.pull(reference, PULL_LIMIT).await.map_err(|error| explain::no_image(reference, &error))?;
        }
        let found = self.docker.image(reference).await?;
        let found = found.ok_or_else(|| explain::no_image(reference, &"it is gone"))?;
        // Looked at by what the reference came to: a name has many spellings, and an id has none of the app's.
        if !named_image::may_run(&found, &self.docker.image_prefix(), &request.app) {
            return Err(explain::image_of_another(reference));
        }
        let image_id = found.id;
        let tag = self.tag_for(&request.app, request.deploy);
        self.docker.tag(&image_id, &tag).await?;
        Ok(self.built(Solved { image_id, steps: 0, cached: 0 }, tag))
    }

    async fn by_dockerfile(
        &self,
        request: &BuildRequest<'_>,
        tree: &SourceTree,
        path: &str,
        lines: &Lines,
    ) -> Result<Built, BuildError> {
        let (own, text) = (tree.text(&format!("{path}.dockerignore")), tree.text(path).unwrap_or_default());
        let rules = own.or_else(|| tree.text(".dockerignore")).unwrap_or_default();
        let ignore = Ignore::parse(&rules).map_err(|why| BuildError::Unfit {
            why: format!(".dockerignore has a pattern that can't be understood: {why}"),
            hint: "mend the pattern".to_owned(),
        })?;
        let plan = ContextPlan {
            tar: Some(request.source.clone()),
            root: request.manifest.build.path.clone(),
            ignore,
            always: vec![path.to_owned()],
            ..ContextPlan::default()
        };
        let mut job = self.job(request, plan, path.to_owned(), lines).await;
        job.target = request.manifest.build.target.clone();
        let teller = Teller { titles: None, mask: Mask::of(&request.secrets) };
        let tag = job.tag.clone();
        let solved = solve_and_tell(&self.docker, job, &teller, lines).await;
        solved.map(|s| self.built(s, tag)).map_err(|e| explain::failure(e, &text, path, &teller.mask))
    }

    async fn by_buildpack(
        &self,
        request: &BuildRequest<'_>,
        tree: &SourceTree,
        pack: &Buildpack,
        packs: &[Buildpack],
        lines: &Lines,
    ) -> Result<Built, BuildError> {
        let kind = self.stack.kind(lines).await?;
        let scope = self.scope(&request.app);
        let ask = Ask { app: &request.app, scope: &scope, tree, manifest: request.manifest, stack: kind };
        let mut plan = languages::plan(&pack.name, &ask)?;
        for note in std::mem::take(&mut plan.notes) {
            say(lines, BuildLine::output(note)).await;
        }
        for warning in std::mem::take(&mut plan.warnings) {
            say(lines, BuildLine::warning(warning)).await;
        }
        let images = self.stack.images(pack, &plan.version, kind, lines).await?;
        let mut values = std::mem::take(&mut plan.values);
        values.insert("build_image".to_owned(), images.build);
        values.insert("run_image".to_owned(), images.run);
        values.insert("static_run_image".to_owned(), String::new());
        let mut extra = files_of(pack, "pack");
        for name in &plan.also {
            let other =
                packs.iter().find(|p| p.name == *name).ok_or_else(|| bad_template(&pack.name, &format!("it needs {name}")))?;
            values.insert(format!("{name}_run_image"), self.stack.images(other, "", kind, lines).await?.run);
            extra.extend(files_of(other, name));
        }
        dockerfile::common_values(&mut values, &scope, request.manifest, &request.secrets);
        certificates::offer(&mut values, self.config.build.ca_certificates.is_some());
        let text =
            render(pack.text("Dockerfile.tmpl").unwrap_or_default(), &values).map_err(|why| bad_template(&pack.name, &why))?;
        extra.push(("Dockerfile".to_owned(), text.as_bytes().to_vec()));
        let context = ContextPlan {
            tar: Some(request.source.clone()),
            root: request.manifest.build.path.clone(),
            prefix: "app".to_owned(),
            ignore: dockerfile::never_sent(&pack.name),
            extra,
            ..ContextPlan::default()
        };
        let job = self.job(request, context, "Dockerfile".to_owned(), lines).await;
        let teller = Teller { titles: Some(plan.titles), mask: Mask::of(&request.secrets) };
        let tag = job.tag.clone();
        let solved = solve_and_tell(&self.docker, job, &teller, lines).await.map_err(|e| explain::pack_failure(e, &teller))?;
        Ok(Built { default_processes: plan.processes, ..self.built(solved, tag) })
    }

    async fn job(&self, request: &BuildRequest<'_>, plan: ContextPlan, dockerfile: String, lines: &Lines) -> SolveJob {
        let mut build_args = proxy_args();
        build_args.extend(request.manifest.build.args.clone());
        build_args.extend(request.commit.iter().map(|commit| ("SOURCE_VERSION".to_owned(), commit.to_string())));
        // Else a cache mount without an id of its own is shared by all apps: one could read and poison another's.
        build_args.insert("BUILDKIT_CACHE_MOUNT_NS".to_owned(), self.scope(&request.app));
        let bytes = |(id, secret): (&String, &Secret<String>)| (id.clone(), Secret::new(secret.reveal().clone().into_bytes()));
        let mut secrets: BTreeMap<_, _> = request.secrets.iter().map(bytes).collect();
        let ca = certificates::read(self.config.build.ca_certificates.as_ref(), lines).await;
        secrets.extend(ca.map(|ca| (certificates::SECRET_ID.to_owned(), ca)));
        let revision = request.commit.iter().map(|c| ("org.opencontainers.image.revision".to_owned(), c.to_string()));
        SolveJob {
            context: context::stream(plan),
            dockerfile,
            tag: self.tag_for(&request.app, request.deploy),
            target: None,
            build_args,
            labels: revision.collect(),
            secrets,
        }
    }

    fn built(&self, solved: Solved, tag: String) -> Built {
        Built {
            image_id: solved.image_id,
            tag,
            why_chosen: String::new(),
            default_processes: BTreeMap::new(),
            release_command: None,
            steps: solved.steps,
            cached_steps: solved.cached,
        }
    }

    fn scope(&self, app: &AppName) -> String {
        format!("{}-{app}", labels::short_install(&self.install))
    }
}

fn files_of(pack: &Buildpack, folder: &str) -> Vec<(String, Vec<u8>)> {
    pack.extra_files().map(|(name, bytes)| (format!("{folder}/{name}"), bytes.to_vec())).collect()
}

/// The proxies that this process was given; BuildKit knows these names, and they neither count for the cache nor stay in the image.
pub(super) fn proxy_args() -> BTreeMap<String, String> {
    let names = [
        "HTTP_PROXY",
        "http_proxy",
        "HTTPS_PROXY",
        "https_proxy",
        "NO_PROXY",
        "no_proxy",
        "FTP_PROXY",
        "ftp_proxy",
        "ALL_PROXY",
        "all_proxy",
    ];
    names.iter().filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?))).collect()
}

/// Solves and passes on what happens as lines.
pub(super) async fn solve_and_tell(docker: &Docker, job: SolveJob, teller: &Teller, lines: &Lines) -> Result<Solved, SolveError> {
    let (sender, mut events) = tokio::sync::mpsc::channel::<StepEvent>(256);
    let telling = async {
        while let Some(event) = events.recv().await {
            if let Some(line) = teller.line(&event) {
                say(lines, line).await;
            }
        }
    };
    let (solved, ()) = tokio::join!(docker.solve(job, sender), telling);
    solved
}
