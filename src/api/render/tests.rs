use super::*;
use crate::names::{AppName, CommitSha, DeployId, ReleaseNumber};

#[test]
fn a_failure_shows_stage_reason_last_lines_what_serves_and_the_next_command() {
    let event = DeployEvent::Failed {
        deploy: DeployId(12),
        stage: "probing".into(),
        why: "the app listens on 3000, not on 8080".into(),
        last_lines: (1..=25).map(|n| format!("line {n}")).collect(),
        still_serves: Some(ReleaseNumber(1)),
        next: "paas logs -p web -a shop".into(),
    };
    let out = lines(&event);
    assert_eq!(out[0], " !     d12 failed at probing: the app listens on 3000, not on 8080");
    assert_eq!(out[1], " !     its last 20 lines:");
    assert_eq!(out[2], "       line 6");
    assert_eq!(out[out.len() - 2..], [" !     v1 still serves", " !     next: paas logs -p web -a shop"]);
}

#[test]
fn a_success_shows_url_commit_and_where_the_time_went() {
    let stages = [("receive", 100), ("build", 3000), ("boot", 850), ("switch", 50)];
    let event = DeployEvent::Live {
        deploy: DeployId(3),
        release: ReleaseNumber(2),
        commit: CommitSha::parse(&"ab".repeat(20)).ok(),
        urls: vec!["http://shop.localhost".into()],
        stages: stages.iter().map(|(stage, ms)| StageTime { stage: (*stage).into(), ms: *ms }).collect(),
        counts: Some(RequestCounts { served: 9, ..RequestCounts::default() }),
    };
    assert_eq!(
        lines(&event),
        [
            "-----> Live: v2, commit abababa",
            "       http://shop.localhost",
            "       receive 0.10 s · build 3.0 s · boot 0.85 s · switch 0.05 s · total 4.0 s",
            &format!("       [r{}s]", "b".repeat(38)),
        ]
    );
}

#[test]
fn a_wait_in_the_queue_is_told_and_no_wait_is_not() {
    let queued = |position| DeployEvent::Queued { deploy: DeployId(4), app: AppName::parse("shop").expect("name"), position };
    assert!(lines(&queued(0)).is_empty());
    assert_eq!(lines(&queued(2)), ["-----> Waiting as d4: 2 others are ahead"]);
}
