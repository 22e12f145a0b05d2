//! What the engine's objects take on disk, in bytes.

use std::collections::BTreeMap;
use std::time::Duration;

use bollard::query_parameters as q;
use serde_json::Value;

use super::client::{Docker, READ_LIMIT};
use super::error::DockerError;

/// The engine walks folders to answer.
const WALK_LIMIT: Duration = Duration::from_secs(30);

impl Docker {
    /// The layers of an image: what identifies each (it and all below it) and its size. Empty if the image is gone.
    /// Images that share layers give the same ones, so that a map of several counts each once. Cancel-safe: yes, reads only.
    pub async fn layers(&self, image: &str) -> Result<BTreeMap<String, u64>, DockerError> {
        let act = format!("reading the layers of image {image}");
        let found = self.call(&act, READ_LIMIT, |c| async move { c.inspect_image(image).await }).await;
        let ids = match found {
            Ok(found) => found.root_fs.and_then(|fs| fs.layers).unwrap_or_default(),
            Err(DockerError::NotFound(_)) => return Ok(BTreeMap::new()),
            Err(other) => return Err(other),
        };
        let history = match self.get(&format!("/images/{image}/history"), READ_LIMIT, &act).await {
            Err(DockerError::NotFound(_)) => return Ok(BTreeMap::new()),
            other => other?,
        };
        Ok(chain(&ids, &layer_sizes(&history, ids.len())))
    }

    /// The build cache of the whole engine: it is shared, and a record does not say whose build made it. Cancel-safe: yes, reads only.
    pub async fn build_cache_bytes(&self) -> Result<u64, DockerError> {
        // Engines before API 1.42 do not know `type` and answer with everything.
        let answer = self.get("/system/df?type=build-cache", WALK_LIMIT, "asking for the build cache").await?;
        Ok(cache_bytes(&answer))
    }

    /// What our containers have written to their own layer. (Ours: by name prefix and label, as everywhere.) Cancel-safe: yes, reads only.
    pub async fn container_bytes(&self) -> Result<u64, DockerError> {
        let label = format!("{}={}", super::labels::INSTALL, self.install());
        let filters = std::collections::HashMap::from([("label", vec![label])]);
        let options = q::ListContainersOptionsBuilder::new().all(true).size(true).filters(&filters).build();
        let act = "asking what containers have written";
        let listed = self.call(act, WALK_LIMIT, |c| async move { c.list_containers(Some(options)).await }).await?;
        let prefix = self.name_prefix();
        let ours = listed.into_iter().filter(|container| {
            let names = container.names.as_deref().unwrap_or_default();
            names.iter().any(|name| name.trim_start_matches('/').starts_with(&prefix))
        });
        Ok(ours.filter_map(|c| c.size_rw).filter_map(|n| u64::try_from(n).ok()).sum())
    }
}

/// Sizes of the layers from below, out of an image's history: one entry per step, the newest first, most of them without a layer.
fn layer_sizes(history: &Value, layers: usize) -> Vec<u64> {
    let steps = history.as_array().map(Vec::as_slice).unwrap_or_default();
    let sizes: Vec<u64> = steps.iter().rev().filter_map(|step| step.get("Size").and_then(Value::as_u64)).collect();
    if sizes.len() == layers {
        return sizes;
    }
    // A step without a size made no layer, or an empty one; which it was changes no sum. The rest of the layers count as empty.
    let mut sizes: Vec<u64> = sizes.into_iter().filter(|n| *n > 0).collect();
    sizes.resize(sizes.len().max(layers), 0);
    sizes
}

/// A layer is what it is on top of those below it.
fn chain(ids: &[String], sizes: &[u64]) -> BTreeMap<String, u64> {
    let mut below = String::new();
    let mut all = BTreeMap::new();
    for (n, size) in sizes.iter().enumerate() {
        below.push('/');
        below.push_str(ids.get(n).map_or("", String::as_str));
        all.insert(below.clone(), *size);
    }
    all
}

/// From both shapes of the answer: a list of records, or (since API 1.52) a sum.
fn cache_bytes(answer: &Value) -> u64 {
    if let Some(total) = answer.pointer("/BuildCacheUsage/TotalSize").and_then(Value::as_u64) {
        return total;
    }
    let records = answer.get("BuildCache").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    // A shared record lies in an image's layer too, and counts there.
    let own = records.iter().filter(|r| r.get("Shared").and_then(Value::as_bool) != Some(true));
    own.filter_map(|r| r.get("Size").and_then(Value::as_u64)).sum()
}

/// Whether the engine or a program in a build says that its disk is full (ENOSPC as strerror(3) words it; there is no code for it in the API).
pub fn is_no_space(message: &str) -> bool {
    message.contains("no space left on device") || message.contains("No space left on device")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn layers_that_images_share_count_once() {
        let history = json!([{"Size": 5}, {"Size": 0}, {"Size": 100}]);
        assert_eq!(layer_sizes(&history, 2), [100, 5]);
        assert_eq!(layer_sizes(&history, 3), [100, 0, 5]);
        let base = chain(&["a".to_owned()], &[100]);
        let mut all = chain(&["a".to_owned(), "b".to_owned()], &[100, 5]);
        all.extend(base);
        all.extend(chain(&["a".to_owned(), "c".to_owned()], &[100, 7]));
        assert_eq!(all.values().sum::<u64>(), 112);
    }

    #[test]
    fn the_build_cache_is_read_from_old_and_new_engines() {
        let old = json!({"BuildCache": [{"Size": 3, "Shared": false}, {"Size": 100, "Shared": true}, {"Size": 4}]});
        assert_eq!(cache_bytes(&old), 7);
        assert_eq!(cache_bytes(&json!({"BuildCacheUsage": {"TotalSize": 12}})), 12);
        assert_eq!(cache_bytes(&json!({})), 0);
    }

    #[test]
    fn a_full_disk_of_the_engine_is_told_from_its_words() {
        assert!(is_no_space("failed to copy files: copy file range failed: no space left on device"));
        assert!(is_no_space("cp: error writing '/x': No space left on device"));
        assert!(!is_no_space("no such file or directory"));
    }
}
