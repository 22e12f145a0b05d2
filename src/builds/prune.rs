//! Giving disk space back.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::error::BuildError;
use super::run::Builder;
use crate::docker::DockerError;
use crate::names::AppName;

/// Asking the engine to prune reads its whole cache list; deploys come more often than it grows.
const CACHE_PAUSE: Duration = Duration::from_secs(600);

impl Builder {
    /// Removes the app's images (by our tags) that are not in `keep`, and bounds the build cache. Images that a container uses stay. An
    /// empty `keep` removes nothing: an empty store must not delete.
    pub async fn prune(&self, app: &AppName, keep: &[String]) -> Result<(), BuildError> {
        if keep.is_empty() {
            return Ok(());
        }
        self.remove_images(app, keep).await?;
        let due = {
            let mut last = self.cache_pruned.lock().expect("no panic while it is held");
            let due = last.is_none_or(|at| at.elapsed() > CACHE_PAUSE);
            if due {
                *last = Some(Instant::now());
            }
            due
        };
        if due {
            self.prune_cache().await?;
        }
        Ok(())
    }

    /// Bounds the build cache now; the engine frees what was not used for longest. It is the cache of the whole engine: a record does not
    /// say whose build made it, so no app has a share of its own.
    pub async fn prune_cache(&self) -> Result<(), BuildError> {
        let freed = self.docker.prune_build_cache(self.config.build.cache_limit).await?;
        tracing::debug!(freed, "the build cache was bounded");
        Ok(())
    }

    /// Removes all images of an app that is destroyed.
    pub async fn remove_all(&self, app: &AppName) -> Result<(), BuildError> {
        self.remove_images(app, &[]).await
    }

    async fn remove_images(&self, app: &AppName, keep: &[String]) -> Result<(), BuildError> {
        let keep: BTreeSet<&str> = keep.iter().map(String::as_str).collect();
        let repository = format!("{}{app}", self.docker.image_prefix());
        for image in self.docker.list_images(&repository).await? {
            // Another name of the same image, and so somebody else's wish to keep it, is left alone.
            for tag in image.tags.iter().filter(|t| t.starts_with(&format!("{repository}:")) && !keep.contains(t.as_str())) {
                match self.docker.remove_image(tag).await {
                    Ok(()) => tracing::debug!(%app, tag, "image removed"),
                    Err(DockerError::Conflict(why)) => tracing::debug!(%app, tag, why, "image is in use"),
                    Err(other) => return Err(other.into()),
                }
            }
        }
        Ok(())
    }
}
