use super::*;

#[test]
fn the_legal_moves_are_the_diagram_and_nothing_else() {
    let mut legal = Vec::new();
    for from in State::ALL {
        for to in State::ALL {
            if may_move(from, to) {
                legal.push(format!("{from}>{to}"));
            }
        }
    }
    let mut expected: Vec<String> =
        ["queued>building", "building>preparing", "preparing>starting", "starting>probing", "probing>shifting", "shifting>live"]
            .map(str::to_owned)
            .to_vec();
    expected.push("queued>superseded".to_owned());
    for from in ["queued", "building", "preparing", "starting", "probing", "shifting"] {
        expected.push(format!("{from}>failed"));
        expected.push(format!("{from}>cancelled"));
    }
    legal.sort();
    expected.sort();
    assert_eq!(legal, expected);
}

#[test]
fn every_state_is_read_back_from_its_text() {
    for state in State::ALL {
        assert_eq!(State::parse(state.as_str()), Some(state));
    }
    assert_eq!(State::parse("nonsense"), None);
}

#[test]
fn a_config_change_never_takes_the_place_of_a_queued_push() {
    let push = Origin::Push { branch: BranchName::parse("main").expect("valid"), old: None };
    assert!(push.supersedes(&push));
    assert!(push.supersedes(&Origin::Config));
    assert!(!Origin::Config.supersedes(&push));
    assert!(!Origin::Scale.supersedes(&Origin::Rollback { to: ReleaseNumber(1) }));
    assert!(Origin::Config.supersedes(&Origin::Restart { process: None }));
    assert!(!Origin::Scale.supersedes(&Origin::Config), "the new config would have to wait for the next release");
}
