use super::*;
use crate::manifest::ProcessSpec;

fn name(text: &str) -> ProcessName {
    ProcessName::parse(text).expect("valid")
}

fn process(text: &str) -> Process {
    Process { name: name(text), command: None, spec: ProcessSpec::default() }
}

fn live(id: i64, process: &str, index: u32) -> Instance {
    Instance { index, ..Instance::example(id, process) }
}

#[test]
fn a_push_makes_everything_anew_and_retires_what_serves() {
    let scale = BTreeMap::from([(name("web"), 2)]);
    let made =
        plan(DeployId(2), &Origin::Config, &[process("web"), process("worker")], &scale, &[live(1, "web", 1), live(2, "old", 1)]);
    assert_eq!(made.make, [(name("web"), 1), (name("web"), 2), (name("worker"), 1)]);
    assert_eq!(made.retire, [InstanceId(1), InstanceId(2)]);
    assert!(made.keep.is_empty());
}

#[test]
fn scaling_up_keeps_what_serves_and_scaling_down_retires_the_highest() {
    let up = BTreeMap::from([(name("web"), 3)]);
    let made = plan(DeployId(2), &Origin::Scale, &[process("web")], &up, &[live(1, "web", 1)]);
    assert_eq!((made.make, made.keep), (vec![(name("web"), 2), (name("web"), 3)], vec![InstanceId(1)]));
    let down = BTreeMap::from([(name("web"), 1)]);
    let made = plan(DeployId(3), &Origin::Scale, &[process("web")], &down, &[live(1, "web", 1), live(2, "web", 2)]);
    assert_eq!((made.make, made.keep, made.retire), (vec![], vec![InstanceId(1)], vec![InstanceId(2)]));
}

#[test]
fn a_step_that_runs_again_does_not_count_what_it_made_itself() {
    let mut own = live(5, "web", 1);
    own.deploy = DeployId(2);
    own.wanted = Wanted::Candidate;
    let made = plan(DeployId(2), &Origin::Restart { process: None }, &[process("web")], &BTreeMap::new(), &[own]);
    assert_eq!(made.make, [(name("web"), 1)]);
}
