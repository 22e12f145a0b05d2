//! What a container wrote into its own file system.

use std::collections::HashMap;

use bollard::models::ChangeType;
use bollard::query_parameters as q;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};

use super::client::{CHANGE_LIMIT, Docker, READ_LIMIT};
use super::error::DockerError;
use super::labels;

impl Docker {
    /// Name and bytes of the writable layer of every container of this installation. The engine walks each layer: not for often.
    /// Cancel-safe: yes, reads only.
    pub async fn layer_sizes(&self) -> Result<Vec<(String, u64)>, DockerError> {
        let filters = HashMap::from([("label", vec![format!("{}={}", labels::INSTALL, self.install())])]);
        let options = q::ListContainersOptionsBuilder::new().size(true).filters(&filters).build();
        let call = |c: bollard::Docker| async move { c.list_containers(Some(options)).await };
        let listed = self.call("measuring the containers' disks", CHANGE_LIMIT, call).await?;
        let one = |c: bollard::models::ContainerSummary| {
            let name = c.names?.first()?.trim_start_matches('/').to_owned();
            Some((name, u64::try_from(c.size_rw.unwrap_or(0)).unwrap_or(0)))
        };
        Ok(listed.into_iter().filter_map(one).collect())
    }

    /// The paths that were added or changed in the container's writable layer. Cancel-safe: yes, reads only.
    pub async fn changed_paths(&self, id: &str) -> Result<Vec<String>, DockerError> {
        let act = format!("asking what container {id} wrote");
        let changes = self.call(&act, READ_LIMIT, |c| async move { c.container_changes(id).await }).await?;
        let kept = changes.unwrap_or_default().into_iter().filter(|c| c.kind != ChangeType::_2);
        Ok(kept.map(|c| c.path).collect())
    }

    /// One path of the container as the engine archives it: a tar stream, to be read by someone who believes nothing of it. The engine
    /// resolves links inside the container's own root and does not follow the last one. Dropping the stream ends the transfer.
    pub async fn archive(&self, id: &str, path: &str) -> Result<impl Stream<Item = std::io::Result<Bytes>> + use<>, DockerError> {
        let client = self.negotiated().await?.with_timeout(READ_LIMIT);
        let options = q::DownloadFromContainerOptionsBuilder::new().path(path).build();
        Ok(client.download_from_container(id, Some(options)).map(|part| part.map_err(std::io::Error::other)))
    }
}
