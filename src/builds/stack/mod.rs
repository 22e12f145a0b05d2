//! Base images: from a registry, or made on this host out of Debian packages.
//!
//! Owns: which source is used (`kind`), the images that buildpacks build on (`images`), the Debian base itself (`base`).
//! Uses: docker. Never: touches an image of an app. Invariant: a stack image's tag holds a hash of its whole recipe, so that a changed
//! recipe is another image and an unchanged one is made once per host.

mod base;
mod images;

use std::sync::Arc;
use std::time::{Duration, Instant};

pub use base::{base_tag, make_base};
pub use images::bad_template;

use super::certificates;
use super::error::BuildError;
use super::languages::StackKind;
use super::lines::{BuildLine, Lines, say};
use crate::config::{DebianRelease, HostConfig, StackSource};
use crate::docker::Docker;

/// The base images of one host.
#[derive(Clone)]
pub struct Stack {
    docker: Docker,
    config: Arc<HostConfig>,
    /// When the registry was last not to be had.
    no_registry: Arc<std::sync::Mutex<Option<Instant>>>,
    /// One stack image is made at a time: the second app that needs it finds it.
    making: Arc<tokio::sync::Mutex<()>>,
}

/// A registry that answers at all answers within this; a slow one would cost every build of `auto` so much.
const REGISTRY_LIMIT: Duration = Duration::from_secs(30);
/// How long a registry that did not answer is left alone.
const REGISTRY_PAUSE: Duration = Duration::from_secs(600);

impl Stack {
    pub fn new(docker: Docker, config: Arc<HostConfig>) -> Self {
        Self { docker, config, no_registry: Arc::default(), making: Arc::default() }
    }

    /// Which source is used now. `auto` takes the registry's Debian image where it is present or can be pulled, else Debian packages, and
    /// says so.
    pub async fn kind(&self, lines: &Lines) -> Result<StackKind, BuildError> {
        let debian = StackKind::Debian(self.config.stack.debian.number());
        match self.config.stack.source {
            StackSource::Debian => Ok(debian),
            StackSource::Registry => Ok(StackKind::Registry),
            StackSource::Auto => {
                let reference = registry_base(self.config.stack.debian);
                if self.docker.image(&reference).await?.is_some() {
                    return Ok(StackKind::Registry);
                }
                // No lock is held while the registry is asked: at worst two builds ask.
                let known_away =
                    self.no_registry.lock().expect("no panic while it is held").is_some_and(|at| at.elapsed() < REGISTRY_PAUSE);
                if !known_away {
                    match self.docker.pull(&reference, REGISTRY_LIMIT).await {
                        Ok(()) => return Ok(StackKind::Registry),
                        Err(error) => tracing::info!(%error, "the image registry is not to be had"),
                    }
                    *self.no_registry.lock().expect("no panic while it is held") = Some(Instant::now());
                }
                let text = format!(
                    "No image registry answers: using base images made from Debian {} packages",
                    self.config.stack.debian.number()
                );
                say(lines, BuildLine::step(text)).await;
                Ok(debian)
            }
        }
    }

    /// The image that everything of `kind` starts from. In Debian's case it must be there: making it needs root.
    async fn base(&self, kind: StackKind) -> Result<String, BuildError> {
        if kind == StackKind::Registry {
            return Ok(registry_base(self.config.stack.debian));
        }
        let tag = base_tag(self.config.stack.debian, &self.config.stack.mirror);
        match self.docker.image(&tag).await? {
            Some(_) => Ok(tag),
            None => Err(BuildError::Unfit {
                why: format!("the base image {tag} is not on this host"),
                hint: "run `paas stack build` on the server as root: it makes the image from Debian packages in half a minute"
                    .to_owned(),
            }),
        }
    }
}

fn registry_base(release: DebianRelease) -> String {
    format!("debian:{}", release.codename())
}
