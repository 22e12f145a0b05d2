use std::collections::BTreeMap;

use super::*;
use crate::base::secret::Secret;
use crate::manifest::{Manifest, SourceFiles};
use crate::model::deploy::{Failure, Origin};
use crate::model::end::Told;
use crate::model::release::{Image, Status};
use crate::names::{BranchName, CommitSha, ConfigKey, DeployId, InstanceId, ProcessName};

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

fn app() -> AppName {
    AppName::parse("shop").expect("valid")
}

fn manifest(toml: &str) -> Manifest {
    crate::manifest::read(&SourceFiles { paas_toml: Some(toml.to_owned()), ..SourceFiles::default() }).expect("valid")
}

fn release(number: i64, toml: &str) -> Release {
    Release {
        app_id: 1,
        number: ReleaseNumber(number),
        deploy: DeployId(number),
        commit: CommitSha::parse(&format!("{number:040x}")).ok(),
        description: "push main".to_owned(),
        image: Image {
            id: format!("sha256:{number}"),
            tag: "t".to_owned(),
            default_processes: BTreeMap::new(),
            release_command: None,
        },
        manifest: manifest(toml),
        created_at: UnixMillis(0),
        status: Status::Live,
    }
}

fn running() -> Standing {
    Standing {
        label: "web.1".to_owned(),
        takes_requests: true,
        standing: Phase::Running,
        restarts: 0,
        in_a_row: 0,
        ended_at: None,
        next_try: None,
        pids: Some((3, 512)),
        disk: None,
        unanswered: None,
        stuck: None,
    }
}

fn end(live: bool, release: i64, told: Told) -> End {
    End {
        at: UnixMillis(NOW.0 - 2000),
        instance: InstanceId(7),
        process: ProcessName::parse("web").expect("valid"),
        index: 1,
        release: ReleaseNumber(release),
        live,
        told,
    }
}

fn failed(release: i64) -> Deploy {
    Deploy {
        id: DeployId(9),
        app_id: 1,
        app: app(),
        origin: Origin::Push { branch: BranchName::parse("main").expect("valid"), old: None },
        state: State::Failed,
        commit: None,
        release: Some(ReleaseNumber(release)),
        by: None,
        by_name: None,
        cancel_asked: false,
        branch_moved: false,
        created_at: UnixMillis(0),
        entered_at: UnixMillis(0),
        failure: Some(Failure {
            stage: State::Probing,
            why: "web.1 exited with code 3".to_owned(),
            last_lines: vec!["fatal: no".to_owned()],
            next: "mend it".to_owned(),
        }),
        counts: None,
    }
}

fn story(live: &Release, before: Option<&Release>, instances: &[Standing], ends: &[End], deploy: Option<&Deploy>) -> Story {
    explain(Facts {
        app: &app(),
        now: NOW,
        live: Some(live),
        before,
        instances,
        ends,
        deploy,
        changed: vec!["commit".to_owned()],
        dropped: None,
        crash_files: 0,
    })
}

#[test]
fn an_app_that_is_well_is_said_to_be_and_nothing_else_is() {
    let told = story(&release(2, ""), Some(&release(1, "")), &[running()], &[], None);
    assert_eq!(told.verdict, Verdict::Well);
    assert!(told.summary.starts_with("all is well: v2"), "{}", told.summary);
    assert!(told.end.is_none() && told.changed.is_empty() && told.done.is_empty() && told.next.is_empty(), "{told:?}");
}

#[test]
fn a_crash_loop_names_itself_what_was_done_and_the_way_back() {
    let looping = Standing {
        standing: Phase::BackingOff,
        restarts: 4,
        in_a_row: 5,
        ended_at: Some(UnixMillis(NOW.0 - 2000)),
        next_try: Some(UnixMillis(NOW.0 + 1500)),
        ..running()
    };
    let told = Told { code: Some(3), in_a_row: 5, last_lines: vec!["fatal".to_owned()], ..Told::of(Cause::Exit) };
    let story = story(&release(2, ""), Some(&release(1, "")), &[looping], &[end(true, 2, told)], None);
    assert_eq!(story.verdict, Verdict::Down);
    assert!(story.summary.contains("crash loop") && story.summary.contains("exited with code 3"), "{}", story.summary);
    assert_eq!((story.since, story.last_lines), (Some(ReleaseNumber(1)), vec!["fatal".to_owned()]));
    assert_eq!(story.done, ["started web.1 again 4 times; next try in 1.5 s"]);
    assert!(story.next[0].starts_with("paas rollback -a shop v1"), "{:?}", story.next);
}

#[test]
fn what_cannot_be_started_is_told_with_the_reason_and_what_helps() {
    let stuck = Standing {
        standing: Phase::Away,
        stuck: Some(("its image is gone".to_owned(), "paas deploy --commit 1".to_owned())),
        ..running()
    };
    let lost = || [end(true, 2, Told::of(Cause::Lost))];
    let told = story(&release(2, ""), Some(&release(1, "")), std::slice::from_ref(&stuck), &lost(), None);
    assert_eq!(told.verdict, Verdict::Down);
    assert!(told.summary.contains("web.1 does not run and can't be started: its image is gone"), "{}", told.summary);
    assert_eq!(
        (told.done[0].as_str(), told.next[0].as_str()),
        ("tries to start it again, every 15 s at least", "paas deploy --commit 1")
    );

    let again = Standing { standing: Phase::Running, ..stuck };
    let told = story(&release(2, ""), None, &[again], &lost(), None);
    assert_eq!(told.done, ["started its container again"]);
    assert!(told.next.iter().all(|next| !next.contains("--commit")), "{:?}", told.next);
}

#[test]
fn an_end_of_yesterday_is_told_but_is_no_trouble() {
    let told = Told { limit: Some(64 << 20), ..Told::of(Cause::OutOfMemory) };
    let ended = [end(true, 2, told)];
    let story = story(&release(2, ""), None, &[running()], &ended, None);
    assert_eq!(story.verdict, Verdict::Recovered);
    assert!(story.summary.contains("limit of 64 MiB") && story.next[0].contains("raise `memory`"), "{story:?}");
    // The end of another release explains nothing about this one.
    let other = super::tests::story(&release(3, ""), None, &[running()], &ended, None);
    assert_eq!(other.verdict, Verdict::Well);
}

#[test]
fn a_failed_deploy_is_explained_while_the_old_release_serves() {
    let candidate = end(false, 3, Told { code: Some(3), ..Told::of(Cause::Exit) });
    let story = story(&release(2, ""), None, &[running()], &[candidate], Some(&failed(3)));
    assert_eq!(story.verdict, Verdict::DeployFailed);
    assert!(story.summary.contains("d9") && story.summary.contains("v2 still serves"), "{}", story.summary);
    assert_eq!(story.end.map(|e| e.release), Some(ReleaseNumber(3)));
    assert_eq!((story.last_lines, story.next[0].as_str()), (vec!["fatal: no".to_owned()], "mend it"));
}

#[test]
fn a_full_process_table_and_dropped_lines_are_trouble_while_it_serves() {
    let bomb = Standing { pids: Some((40, 40)), ..running() };
    let of_bomb = story(&release(2, ""), None, &[bomb], &[], None);
    assert_eq!(of_bomb.verdict, Verdict::Troubled);
    assert!(of_bomb.summary.contains("40 of 40 processes"), "{}", of_bomb.summary);
    let full = Standing { disk: Some((95 << 20, 100 << 20)), ..running() };
    let of_full = story(&release(2, ""), None, &[full], &[], None);
    assert!(of_full.verdict == Verdict::Troubled && of_full.summary.contains("written 95 MiB"), "{}", of_full.summary);
    let noisy = explain(Facts {
        app: &app(),
        now: NOW,
        live: Some(&release(2, "")),
        before: None,
        instances: &[running()],
        ends: &[],
        deploy: None,
        changed: Vec::new(),
        dropped: Some("7 lines were dropped".to_owned()),
        crash_files: 0,
    });
    assert!(noisy.verdict == Verdict::Troubled && noisy.summary.contains("7 lines"), "{}", noisy.summary);
}

#[test]
fn changes_name_keys_and_limits_and_never_a_value() {
    let config = |pairs: &[(&str, &str)]| -> Config {
        pairs.iter().map(|(k, v)| (ConfigKey::parse(k).expect("valid"), Secret::new((*v).to_owned()))).collect()
    };
    let old = release(1, "");
    let mut new = release(2, "[processes.web]\nmemory = \"64MiB\"\ncommand = \"x\"\n[processes.job]\ncommand = \"y\"");
    new.commit = old.commit.clone();
    let (before, after) = (config(&[("A", "canary-1"), ("B", "canary-2")]), config(&[("B", "canary-3"), ("C", "canary-4")]));
    let found = changes((&old, &before), (&new, &after), 512 << 20);
    assert_eq!(
        found,
        [
            "image: another one",
            "config: A removed, B changed, C added",
            "job: new",
            "web: memory 512 MiB → 64 MiB",
            "web: another command",
        ]
    );
}

#[test]
fn an_app_that_ends_every_few_minutes_is_in_trouble_although_each_run_was_healthy() {
    let ended = |minutes: i64| End {
        at: UnixMillis(NOW.0 - minutes * 60_000),
        ..end(true, 2, Told { code: Some(3), ..Told::of(Cause::Exit) })
    };
    let of = |ends: &[End]| story(&release(2, ""), Some(&release(1, "")), &[Standing { restarts: 9, ..running() }], ends, None);
    let every_ten: Vec<End> = (0..9).map(|n| ended(5 + 10 * n)).collect();
    let told = of(&every_ten);
    assert_eq!(told.verdict, Verdict::Troubled);
    assert_eq!(told.summary, "v2 of shop still serves, but web.1 has ended 6 times within an hour: it exited with code 3");
    assert!(told.next[0].starts_with("paas rollback -a shop v1"), "{:?}", told.next);
    assert_eq!(of(&every_ten[..5]).verdict, Verdict::Recovered, "five are not many");
    let calm: Vec<End> = (0..9).map(|n| ended(10 + 5 * n)).collect();
    assert_eq!(of(&calm).verdict, Verdict::Recovered, "ten minutes without an end");
    let others: Vec<End> = every_ten.iter().map(|e| End { index: 2, ..e.clone() }).chain(every_ten[..5].to_vec()).collect();
    assert_eq!(of(&others).verdict, Verdict::Recovered, "those of another instance are not its own");
}
