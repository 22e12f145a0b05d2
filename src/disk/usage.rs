//! Who uses how much: our folders by walking them, the engine's objects by asking it for those that our store knows.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{Disk, folder_size};
use crate::docker::DockerError;
use crate::model::disk::{Area, Use};

impl Disk {
    pub(super) async fn state_uses(&self) -> Vec<Use> {
        let dir = &self.config.state_dir;
        let database = ["paas.db", "paas.db-wal"].map(|name| dir.join(name)).to_vec();
        let parts: Vec<(&'static str, Vec<PathBuf>)> = vec![
            ("database", database),
            ("repositories", vec![self.config.apps_dir()]),
            ("sources of builds", vec![self.config.builds_dir()]),
            ("output of deploys", vec![self.config.state_dir.join("deploys")]),
            ("paas itself in instances", vec![self.config.bin_dir(), self.config.instances_dir()]),
        ];
        walked(Area::State, parts).await
    }

    pub(super) async fn log_uses(&self) -> Vec<Use> {
        walked(Area::Logs, vec![("logs", vec![self.config.logs_dir()])]).await
    }

    pub(super) async fn docker_uses(&self) -> Vec<Use> {
        let (images, cache, containers) =
            tokio::join!(self.image_bytes(), self.docker.build_cache_bytes(), self.docker.container_bytes());
        let known = |what, found: Result<u64, DockerError>| Use { area: Area::Docker, what, bytes: found.ok() };
        vec![known("images", images), known("build cache", cache), known("containers", containers)]
    }

    /// The layers of the images of all apps, and of the base images that they stand on: those lie below them.
    async fn image_bytes(&self) -> Result<u64, DockerError> {
        let mut layers = BTreeMap::new();
        for image in self.docker.list_our_images().await? {
            layers.extend(self.docker.layers(&image.id).await?);
        }
        Ok(layers.values().sum())
    }

    /// Rows of the store by table.
    pub async fn rows(&self) -> Result<BTreeMap<String, u64>, crate::store::StoreError> {
        self.store.row_counts().await
    }
}

async fn walked(area: Area, parts: Vec<(&'static str, Vec<PathBuf>)>) -> Vec<Use> {
    let walk = move || {
        let sum = |paths: &[PathBuf]| paths.iter().map(|path| folder_size::bytes(path)).sum();
        parts.into_iter().map(|(what, paths)| Use { area, what, bytes: Some(sum(&paths)) }).collect()
    };
    tokio::task::spawn_blocking(walk).await.unwrap_or_default()
}
