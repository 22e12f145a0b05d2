//! Which instances a deploy makes, keeps and retires. Pure.

use std::collections::BTreeMap;

use crate::model::deploy::Origin;
use crate::model::instance::{Instance, Wanted};
use crate::model::release::{Process, default_count};
use crate::names::{DeployId, InstanceId, ProcessName};

/// The outcome: what is to be made; which of the live ones go on; which go.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    pub make: Vec<(ProcessName, u32)>,
    pub keep: Vec<InstanceId>,
    pub retire: Vec<InstanceId>,
}

/// Takes the process types of the release, the counts that a person asked for, and the app's instances as stored.
pub fn plan(
    deploy: DeployId,
    origin: &Origin,
    processes: &[Process],
    scale: &BTreeMap<ProcessName, u32>,
    instances: &[Instance],
) -> Plan {
    let mut plan = Plan::default();
    let serving: Vec<&Instance> =
        instances.iter().filter(|i| i.deploy != deploy && matches!(i.wanted, Wanted::Live | Wanted::Paused)).collect();
    let mut kept: BTreeMap<&ProcessName, Vec<u32>> = BTreeMap::new();
    for instance in &serving {
        let same_release = match origin {
            Origin::Scale => true,
            Origin::Restart { process: Some(only) } => instance.process != *only,
            _ => false,
        };
        let stays = same_release && instance.index <= count(processes, scale, &instance.process);
        if stays {
            kept.entry(&instance.process).or_default().push(instance.index);
            plan.keep.push(instance.id);
        } else {
            plan.retire.push(instance.id);
        }
    }
    for process in processes {
        let there = kept.get(&process.name).map(Vec::as_slice).unwrap_or_default();
        let missing = (1..=count(processes, scale, &process.name)).filter(|index| !there.contains(index));
        plan.make.extend(missing.map(|index| (process.name.clone(), index)));
    }
    plan
}

fn count(processes: &[Process], scale: &BTreeMap<ProcessName, u32>, name: &ProcessName) -> u32 {
    let Some(process) = processes.iter().find(|p| p.name == *name) else { return 0 };
    scale.get(name).copied().unwrap_or_else(|| default_count(process))
}

#[cfg(test)]
mod tests;
