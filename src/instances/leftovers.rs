//! One-off containers (release commands, `run`) that nobody waits for any more.

use std::collections::BTreeSet;

use crate::docker::ContainerStatus;
use crate::instances::lifecycle::{InstanceError, Instances};
use crate::instances::spec;
use crate::names::{AppName, DeployId};

impl Instances {
    /// Removes the container of a deploy's release command; missing is fine. One that cannot be removed now is removed later.
    pub async fn remove_one_off(&self, app: &AppName, deploy: DeployId) -> Result<(), InstanceError> {
        let name = self.release_container(app, deploy);
        Ok(self.docker.remove(&name).await.inspect_err(|_| self.remove_later(&name))?)
    }

    fn release_container(&self, app: &AppName, deploy: DeployId) -> String {
        spec::container_name(&self.install, app, deploy, "release", 1)
    }

    /// Remembers a one-off container of ours that must go.
    pub fn remove_later(&self, name: &str) {
        self.names_to_go().insert(name.to_owned());
    }

    /// Removes what could not be removed before. To be called when the engine answers.
    pub async fn remove_leftovers(&self) {
        let names = self.names_to_go().clone();
        for name in names {
            match self.docker.remove(&name).await {
                Ok(()) => drop(self.names_to_go().remove(&name)),
                Err(e) => tracing::warn!(container = name, "removing a one-off container: {e}; it is tried again"),
            }
        }
    }

    fn names_to_go(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.leftovers.lock().expect("no code panics while it holds the names of leftovers")
    }

    /// Removes what an earlier daemon left: `run`s whose number this daemon did not give, which is asked of `given` after they were listed
    /// (nobody is attached to them any more), release commands of deploys that are over, and containers that the engine went on making when
    /// their instance was given up already.
    pub async fn remove_orphans(&self, given: impl Fn(u64) -> bool) -> Result<(), InstanceError> {
        let containers = self.docker.list_ours().await?;
        // Read after they were listed: a row is there before its container and until that is gone.
        let rows = self.store.instances().await?;
        let wanted: BTreeSet<String> = rows.iter().map(|row| self.container_name(row)).collect();
        for container in containers {
            let label = |key: &str| container.labels.get(key).map(String::as_str).unwrap_or_default();
            let Ok(app) = AppName::parse(label("paas.app")) else { continue };
            let goes = match label("paas.process") {
                "run" => {
                    let number = container.name.strip_prefix(&format!("{}-{app}-run-", spec::prefix(&self.install)));
                    number.and_then(|n| n.parse::<u64>().ok()).is_some_and(|n| !given(n))
                }
                "release" => match DeployId::parse(label("paas.deploy")) {
                    Ok(id) if container.name == self.release_container(&app, id) => {
                        self.store.deploy(id).await.is_ok_and(|deploy| deploy.state.is_over())
                    }
                    _ => false,
                },
                process => match DeployId::parse(label("paas.deploy")) {
                    Ok(id) if container.status == ContainerStatus::Created => {
                        let of_deploy = format!("{}-{app}-{id}-{process}-", spec::prefix(&self.install));
                        let index = container.name.strip_prefix(&of_deploy);
                        index.is_some_and(|n| n.parse::<u32>().is_ok()) && !wanted.contains(&container.name)
                    }
                    _ => false,
                },
            };
            if goes {
                self.docker.remove(&container.id).await?;
            }
        }
        Ok(())
    }

    /// Removes one-off containers of an app that is going (the release command, `run`): ours by label and by name.
    pub async fn remove_strays(&self, app: &AppName) -> Result<(), InstanceError> {
        let start = format!("{}-{app}-", spec::prefix(&self.install));
        for container in self.docker.list_ours().await? {
            let of_app = container.labels.get("paas.app").is_some_and(|name| name == app.as_str());
            if of_app && container.name.starts_with(&start) {
                self.docker.remove(&container.id).await?;
            }
        }
        Ok(())
    }
}
