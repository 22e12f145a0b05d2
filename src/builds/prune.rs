//! Giving disk space back, and refusing a build that cannot fit.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::error::BuildError;
use super::run::{BuildRequest, Builder};
use crate::docker::DockerError;
use crate::names::AppName;

/// Build cache that may stay; the engine frees what was not used for longest.
const CACHE_BYTES: u64 = 20 << 30;
/// Asking the engine to prune reads its whole cache list; deploys come more often than it grows.
const CACHE_PAUSE: Duration = Duration::from_secs(3600);
/// What must be free beside the source itself, so that a build does not fill the disk under running apps.
const RESERVE_BYTES: u64 = 1 << 30;

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
            let freed = self.docker.prune_build_cache(CACHE_BYTES).await?;
            tracing::debug!(freed, "the build cache was bounded");
        }
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

    /// Refuses a build when the engine's disk has less than the source's size and a reserve left.
    pub(super) async fn refuse_full_disk(&self, request: &BuildRequest<'_>) -> Result<(), BuildError> {
        let root = self.docker.engine().await?.root_dir;
        let source = tokio::fs::metadata(&request.source).await.map_or(0, |m| m.len());
        // An engine elsewhere, or a folder that we may not even look at: nothing is known, so nothing is refused.
        let Ok(disk) = nix::sys::statvfs::statvfs(&root) else { return Ok(()) };
        let free = disk.blocks_available().saturating_mul(disk.fragment_size());
        if free >= RESERVE_BYTES + source * 3 {
            return Ok(());
        }
        Err(BuildError::Unfit {
            why: format!("the disk of the Docker engine has {} MiB left, which is too little for a build", free >> 20),
            hint: "free some: `docker system df` shows what takes it".to_owned(),
        })
    }
}
