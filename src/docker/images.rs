//! Images: look, tag, import, pull, remove.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bollard::query_parameters as q;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};

use super::client::{CHANGE_LIMIT, Docker, READ_LIMIT};
use super::error::DockerError;
use super::labels;

/// An image's own wishes. Its labels are the builder's words, not ours: nothing may be decided by them.
#[derive(Debug, Clone, Default)]
pub struct ImageInfo {
    /// `sha256:…`
    pub id: String,
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    /// Empty: root.
    pub user: String,
    /// Empty: `/`.
    pub workdir: String,
    /// `KEY=value`
    pub env: Vec<String>,
    /// TCP ports of EXPOSE, ascending.
    pub exposed_ports: Vec<u16>,
    /// Bytes, shared layers counted.
    pub size: u64,
    pub labels: BTreeMap<String, String>,
    /// SHELL of the Dockerfile; None: `/bin/sh -c`.
    pub shell: Option<Vec<String>>,
    pub stop_signal: Option<String>,
    pub tags: Vec<String>,
    /// `repository@sha256:…`, as registries know it.
    pub digests: Vec<String>,
}

/// One line of the list of images.
#[derive(Debug, Clone)]
pub struct ImageListing {
    pub id: String,
    pub tags: Vec<String>,
    /// Seconds since 1970.
    pub created: i64,
    pub size: u64,
}

impl Docker {
    /// What every image repository of this installation starts with: `paas-<install8>/`.
    pub fn image_prefix(&self) -> String {
        format!("paas-{}/", labels::short_install(self.install()))
    }

    /// Looks an image up by id or reference. None = not on this host; nothing is pulled. Cancel-safe: yes, reads only.
    pub async fn image(&self, reference: &str) -> Result<Option<ImageInfo>, DockerError> {
        let act = format!("inspecting image {reference}");
        match self.call(&act, READ_LIMIT, |c| async move { c.inspect_image(reference).await }).await {
            Ok(found) => Ok(Some(info_of(found))),
            Err(DockerError::NotFound(_)) => Ok(None),
            Err(other) => Err(other),
        }
    }

    /// Removes one tag, or by id the image with all its tags. A missing one is fine. Conflict = a container uses it.
    pub async fn remove_image(&self, id_or_tag: &str) -> Result<(), DockerError> {
        let options = q::RemoveImageOptionsBuilder::new().force(false).build();
        let act = format!("removing image {id_or_tag}");
        match self.call(&act, CHANGE_LIMIT, |c| async move { c.remove_image(id_or_tag, Some(options), None).await }).await {
            Ok(_) | Err(DockerError::NotFound(_)) => Ok(()),
            Err(other) => Err(other),
        }
    }

    /// Images that have a tag in our repositories. (By name, not by label: labels are inherited and can be written by anybody.)
    /// Cancel-safe: yes, reads only.
    pub async fn list_our_images(&self) -> Result<Vec<ImageListing>, DockerError> {
        self.list_images(&format!("{}*", self.image_prefix())).await
    }

    /// Images with a tag that matches the pattern `repository/*` or `repository:tag`.
    pub async fn list_images(&self, pattern: &str) -> Result<Vec<ImageListing>, DockerError> {
        let filters = HashMap::from([("reference", vec![pattern.to_owned()])]);
        let options = q::ListImagesOptionsBuilder::new().filters(&filters).build();
        let listed = self.call("listing images", READ_LIMIT, |c| async move { c.list_images(Some(options)).await }).await?;
        let line = |image: bollard::models::ImageSummary| ImageListing {
            id: image.id,
            tags: image.repo_tags,
            created: image.created,
            size: u64::try_from(image.size).unwrap_or(0),
        };
        Ok(listed.into_iter().map(line).collect())
    }

    /// Gives an image the further name `repository:tag`.
    pub async fn tag(&self, id: &str, reference: &str) -> Result<(), DockerError> {
        let (repository, tag) = split_reference(reference);
        let options = q::TagImageOptionsBuilder::new().repo(repository).tag(tag).build();
        let act = format!("tagging image {id} as {reference}");
        self.call(&act, CHANGE_LIMIT, |c| async move { c.tag_image(id, Some(options)).await }).await
    }

    /// Makes an image of one layer from the tar of a root filesystem; `changes` are Dockerfile lines (`ENV …`, `LABEL …`). Gives its id.
    pub async fn import<S>(&self, rootfs: S, repository: &str, tag: &str, changes: Vec<String>) -> Result<String, DockerError>
    where
        S: Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    {
        let options = q::CreateImageOptionsBuilder::new().from_src("-").repo(repository).tag(tag).changes(changes).build();
        let act = format!("importing image {repository}:{tag}");
        self.call(&act, IMPORT_LIMIT, |c| async move {
            let mut answers = Box::pin(c.create_image(Some(options), Some(bollard::body_try_stream(rootfs)), None));
            while let Some(answer) = answers.next().await {
                answer?;
            }
            Ok(())
        })
        .await?;
        let reference = format!("{repository}:{tag}");
        self.image(&reference).await?.map(|i| i.id).ok_or(DockerError::NotFound(reference))
    }

    /// Pulls an image. NotFound = the registry has none of that name; Unavailable, Api and Protocol = the registry is not to be had.
    pub async fn pull(&self, reference: &str, limit: Duration) -> Result<(), DockerError> {
        let (name, tag) = split_reference(reference);
        let options = q::CreateImageOptionsBuilder::new().from_image(name).tag(tag).build();
        let act = format!("pulling image {reference}");
        self.call(&act, limit, |c| async move {
            let mut answers = Box::pin(c.create_image(Some(options), None, None));
            while let Some(answer) = answers.next().await {
                answer?;
            }
            Ok(())
        })
        .await
    }

    /// Frees build cache until at most `keep_bytes` are left; gives what was freed, in bytes. The engine frees the least recently used first.
    pub async fn prune_build_cache(&self, keep_bytes: u64) -> Result<u64, DockerError> {
        // Engines before API 1.48 know `keep-storage`, later ones `reserved-space`; both ignore what they do not know.
        let path = format!("/build/prune?keep-storage={keep_bytes}&reserved-space={keep_bytes}");
        let answer = self.post(&path, IMPORT_LIMIT, "pruning the build cache").await?;
        Ok(answer.get("SpaceReclaimed").and_then(serde_json::Value::as_u64).unwrap_or(0))
    }
}

/// Importing and pruning move gigabytes.
const IMPORT_LIMIT: Duration = Duration::from_secs(600);

/// `host:5000/name:tag` → (`host:5000/name`, `tag`); a digest stays with the name, as the engine wants it.
pub(super) fn split_reference(reference: &str) -> (&str, &str) {
    if reference.contains('@') {
        return (reference, "");
    }
    match reference.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (reference, "latest"),
    }
}

fn info_of(found: bollard::models::ImageInspect) -> ImageInfo {
    let config = found.config.unwrap_or_default();
    let mut ports: Vec<u16> = config
        .exposed_ports
        .unwrap_or_default()
        .iter()
        .filter_map(|port| match port.split_once('/') {
            Some((number, "tcp")) => number.parse().ok(),
            Some(_) => None,
            None => port.parse().ok(),
        })
        .collect();
    ports.sort_unstable();
    ImageInfo {
        id: found.id.unwrap_or_default(),
        entrypoint: config.entrypoint.unwrap_or_default(),
        cmd: config.cmd.unwrap_or_default(),
        user: config.user.unwrap_or_default(),
        workdir: config.working_dir.unwrap_or_default(),
        env: config.env.unwrap_or_default(),
        exposed_ports: ports,
        size: found.size.and_then(|n| u64::try_from(n).ok()).unwrap_or(0),
        labels: config.labels.unwrap_or_default().into_iter().collect(),
        shell: config.shell.filter(|s| !s.is_empty()),
        stop_signal: config.stop_signal.filter(|s| !s.is_empty()),
        tags: found.repo_tags.unwrap_or_default(),
        digests: found.repo_digests.unwrap_or_default(),
    }
}
