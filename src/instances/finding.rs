//! What is wrong with the container of an instance that should run. Pure.

use crate::docker::{ContainerState, ContainerStatus};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    Fine,
    /// There is no container, or it is just being removed.
    Gone,
    /// It has ended, and can be started.
    Stopped {
        exit_code: i64,
    },
    /// It is made of something else than the release: another one must take its place.
    Unfit,
    Paused,
    /// It runs, outside of the app's network.
    OffNetwork,
}

impl Finding {
    /// `image` is the release's, by id; `network` the app's, by name.
    pub fn of(state: Option<&ContainerState>, image: &str, network: &str) -> Finding {
        let Some(state) = state else { return Finding::Gone };
        match state.status {
            ContainerStatus::Dead | ContainerStatus::Removing => Finding::Gone,
            ContainerStatus::Paused => Finding::Paused,
            _ if state.running && state.addresses.contains_key(network) => Finding::Fine,
            _ if state.running => Finding::OffNetwork,
            _ if state.image != image => Finding::Unfit,
            _ => Finding::Stopped { exit_code: state.exit_code },
        }
    }

    /// What a person is told, and what is done about it. `with_docker`: Docker itself has just come back.
    pub fn told(self, with_docker: bool) -> Option<String> {
        let text = match self {
            Finding::Fine => return None,
            Finding::Gone => "its container is gone: somebody removed it; another one takes its place".to_owned(),
            Finding::Stopped { .. } if with_docker => "its container stopped with Docker; it is started again".to_owned(),
            Finding::Stopped { exit_code } => {
                format!("its container was stopped from outside (exit code {exit_code}); it is started again")
            }
            Finding::Unfit => "its container is not of this release; another one takes its place".to_owned(),
            Finding::Paused => "its container was paused from outside; it is resumed".to_owned(),
            Finding::OffNetwork => "its container was taken off the app's network; it is connected again".to_owned(),
        };
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn container(status: ContainerStatus, running: bool, network: Option<&str>) -> ContainerState {
        ContainerState {
            id: "c".to_owned(),
            name: "paas-1-shop-d1-web-1".to_owned(),
            status,
            running,
            pid: 1,
            exit_code: 143,
            oom_killed: false,
            error: None,
            sandbox_key: None,
            image: "sha256:a".to_owned(),
            labels: BTreeMap::new(),
            started_at: None,
            addresses: network.map(|n| (n.to_owned(), "10.0.0.2".to_owned())).into_iter().collect(),
        }
    }

    #[test]
    fn each_state_of_a_container_has_its_finding() {
        use ContainerStatus as S;
        let of = |c: &ContainerState| Finding::of(Some(c), "sha256:a", "net");
        assert_eq!(Finding::of(None, "sha256:a", "net"), Finding::Gone);
        assert_eq!(of(&container(S::Running, true, Some("net"))), Finding::Fine);
        assert_eq!(of(&container(S::Running, true, Some("other"))), Finding::OffNetwork);
        assert_eq!(of(&container(S::Paused, true, Some("net"))), Finding::Paused);
        assert_eq!(of(&container(S::Exited, false, None)), Finding::Stopped { exit_code: 143 });
        assert_eq!(of(&container(S::Created, false, None)), Finding::Stopped { exit_code: 143 });
        assert_eq!(of(&container(S::Removing, false, None)), Finding::Gone);
        let mut other = container(S::Exited, false, None);
        other.image = "sha256:b".to_owned();
        assert_eq!(of(&other), Finding::Unfit);
    }

    #[test]
    fn whatever_is_wrong_is_told_and_a_stop_by_docker_is_no_stop_by_a_person() {
        assert_eq!(Finding::Fine.told(false), None);
        let stopped = Finding::Stopped { exit_code: 0 };
        assert!(stopped.told(true).is_some_and(|t| t.contains("with Docker")));
        assert!(stopped.told(false).is_some_and(|t| t.contains("from outside")));
    }
}
