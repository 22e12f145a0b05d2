use std::time::Instant;

use super::judge::{LastEnds, Patience, Verdict, certificates, disk, ends_within_an_hour};
use super::*;
use crate::model::certificate::{Certificate, Certificates, Spoilt};
use crate::store::Sealer;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn who_is_away_for_a_moment_is_not_told_of_and_who_stays_away_is() {
    let (start, mut docker) = (Instant::now(), Patience::new(10 * SECOND));
    let mut look = |answers, after: u32| docker.look(answers, start + after * SECOND);
    // Also what was raised before a restart, or could not be cleared at the look before, may be over.
    assert_eq!([look(true, 0), look(true, 1)], [Verdict::Clear; 2]);
    assert_eq!([look(false, 2), look(false, 8), look(true, 9)], [Verdict::Keep, Verdict::Keep, Verdict::Clear]);
    assert_eq!(
        [look(false, 20), look(false, 29), look(false, 30), look(false, 31)],
        [Verdict::Keep, Verdict::Keep, Verdict::Raise, Verdict::Raise]
    );
    assert_eq!(look(true, 40), Verdict::Clear);
}

#[test]
fn a_disk_is_low_below_its_reserve_and_fine_only_well_above_it() {
    let gib = 1_u64 << 30;
    assert_eq!(disk(4 * gib, 5 * gib), Verdict::Raise);
    assert_eq!(disk(5 * gib, 5 * gib), Verdict::Keep);
    assert_eq!(disk(6 * gib, 5 * gib), Verdict::Clear);
}

#[test]
fn a_certificate_is_told_of_before_its_end_after_it_and_when_it_cannot_be_used() {
    let day = 86_400_000;
    let of = |host: &str, days: i64| Certificate::example(&[host], UnixMillis(days * day));
    let all = Certificates {
        good: vec![of("fine.example", 90), of("soon.example", 12)],
        spoilt: vec![Spoilt::of(of("spoilt.example", 12), "its key can't be opened")],
    };
    let due = |now: i64| -> Vec<_> {
        let all = certificates(&all, UnixMillis(now * day));
        all.into_iter().map(|d| (d.kind, d.occurrence, d.text, d.hint)).collect()
    };
    let (before, after) = (due(2), due(12));
    assert_eq!((before.len(), after.len()), (2, 2));
    assert!(before[0].0 == Kind::CertificateEnds && before[0].2.ends_with("ends in 10 days"), "{before:?}");
    assert!(after[0].2.contains("has ended") && after[0].1 != before[0].1, "told once more: {after:?}");
    assert_eq!(before[1], after[1], "a state, told once");
    let (kind, _, text, hint) = &before[1];
    assert_eq!(*kind, Kind::CertificateSpoilt);
    assert!(
        text.contains("spoilt.example") && text.contains("self-signed") && text.ends_with("its key can't be opened"),
        "{text}"
    );
    assert!(hint.starts_with("paas certs add spoilt.example --chain FILE --key FILE"), "{hint}");
}

#[test]
fn two_spoilt_certificates_whose_hosts_cannot_be_read_are_two_alerts() {
    let nameless = |fingerprint: &str| {
        let spoilt = Spoilt::of(Certificate::example(&[fingerprint], UnixMillis(0)), "its hosts can't be read");
        Spoilt { hosts: Vec::new(), ..spoilt }
    };
    let all = Certificates { good: Vec::new(), spoilt: vec![nameless("a.aa11"), nameless("a.bb22")] };
    let subjects: Vec<String> = certificates(&all, UnixMillis(0)).into_iter().map(|due| due.subject).collect();
    assert_eq!(subjects, ["a.aa11", "a.bb22"]);
}

#[test]
fn six_ends_in_an_hour_are_told_of_until_they_are_two() {
    let verdicts = [0, 2, 3, 5, 6, 40].map(|ends| ends_within_an_hour(ends, 599 * SECOND));
    assert_eq!(verdicts, [Verdict::Clear, Verdict::Clear, Verdict::Keep, Verdict::Keep, Verdict::Raise, Verdict::Raise]);
    assert_eq!(ends_within_an_hour(40, 600 * SECOND), Verdict::Keep, "a crash loop that is over is not told of once more");
}

#[test]
fn ten_quiet_minutes_end_an_alert_about_ends() {
    let start = Instant::now();
    let mut ends = LastEnds::new(start);
    ends.ended("shop/web", start + 100 * SECOND);
    ends.ended("shop/web", start + 300 * SECOND);
    assert!(!ends.is_calm("shop/web", start + 800 * SECOND) && ends.is_calm("shop/web", start + 901 * SECOND));
    // One that nobody has seen end since the daemon began is calm only after a whole window of looking.
    assert!(!ends.is_calm("old/web", start + 599 * SECOND) && ends.is_calm("old/web", start + 601 * SECOND));
    ends.tidy(start + 700 * SECOND);
    assert!(!ends.is_calm("shop/web", start + 800 * SECOND), "what is not over is kept");
}

#[test]
fn pauses_between_tries_double_and_have_a_limit() {
    let seconds: Vec<u64> = [0, 1, 2, 5, 9, 40].into_iter().map(|n| pause_after(n).as_secs()).collect();
    assert_eq!(seconds, [2, 4, 8, 64, 1024, 1800]);
}

async fn world(exec: Option<Vec<String>>) -> (tempfile::TempDir, Arc<Alerts>) {
    let dir = tempfile::tempdir().expect("temp dir");
    let store = Store::open(&dir.path().join("paas.db"), Sealer::new(&[7; 32])).await.expect("open");
    let about = About { host: "box".to_owned(), install: "u".to_owned() };
    (dir, Alerts::new(store, &AlertsConfig { webhook: None, exec }, about))
}

#[tokio::test]
async fn a_state_is_told_once_until_it_is_over_and_a_named_occurrence_once_for_ever() {
    let (_dir, alerts) = world(Some(vec!["/bin/true".to_owned()])).await;
    let due = async || {
        let mut all = Vec::new();
        while let Some(m) = alerts.store.alert_message_due("exec", UnixMillis::now(), LONGEST_PAUSE).await.expect("due") {
            alerts.store.alert_message_done(m.id).await.expect("done");
            all.push(format!("{} {}", m.event, m.text));
        }
        all
    };
    for _ in 0..3 {
        alerts.raise(Kind::DockerDown, "docker", "it is away", "start it").await;
    }
    assert_eq!(due().await, ["raised it is away"]);
    alerts.clear(Kind::DockerDown, "docker", "it is back").await;
    alerts.clear(Kind::DockerDown, "docker", "it is back").await;
    alerts.raise(Kind::DockerDown, "docker", "away again", "start it").await;
    assert_eq!(due().await, ["recovered it is back", "raised away again"]);

    let failed = async |deploy: &str| alerts.raise_once(Kind::DeployFailed, "shop", deploy, deploy, "push").await;
    failed("d1").await;
    failed("d2").await;
    failed("d1").await;
    assert_eq!(due().await, ["raised d1", "raised d2"]);
    let open: Vec<_> = alerts.list(0).await.expect("list").into_iter().map(|a| (a.kind, a.occurrence)).collect();
    assert_eq!(open, [(Kind::DeployFailed, "d2".to_owned()), (Kind::DockerDown, String::new())]);
    alerts.clear(Kind::DeployFailed, "shop", "d3 is live").await;
    failed("d2").await;
    assert_eq!(due().await, ["recovered d3 is live"], "a restart that looks at d2 again tells nobody");
    alerts.raise(Kind::CrashLoop, "shop/web", "x", "y").await;
    alerts.raise(Kind::CrashLoop, "shop-two/web", "x", "y").await;
    alerts.forget(&AppName::parse("shop").expect("name")).await;
    let left: Vec<_> = alerts.list(100).await.expect("list").into_iter().map(|a| a.subject).collect();
    assert_eq!(left, ["shop-two/web", "docker", "docker"]);
}

#[tokio::test]
async fn a_program_gets_the_message_and_says_by_its_code_whether_it_was_taken() {
    let dir = tempfile::tempdir().expect("temp dir");
    let to = dir.path().join("got").display().to_string();
    program::run(&["/usr/bin/tee".to_owned(), to.clone()], "{\"a\":1}").await.expect("tee takes it");
    assert_eq!(std::fs::read_to_string(to).expect("written"), "{\"a\":1}\n");
    let complains = ["/bin/ls", "/does/not/exist"].map(str::to_owned);
    let error = program::run(&complains, "").await.expect_err("it fails");
    assert!(error.contains("/bin/ls") && error.contains("exit status: 2") && error.contains("does/not/exist"), "{error}");
    assert!(program::run(&["/not/there".to_owned()], "").await.expect_err("none").contains("/not/there"));
}

#[tokio::test]
async fn a_message_of_a_clock_that_was_set_back_since_does_not_wait_for_that_time_to_come_again() {
    let (_dir, alerts) = world(Some(vec!["/bin/true".to_owned()])).await;
    alerts.raise(Kind::DockerDown, "docker", "it is away", "start it").await;
    let day = 86_400_000;
    let due = async |at: i64| alerts.store.alert_message_due("exec", UnixMillis(at), LONGEST_PAUSE).await.expect("due");
    let now = UnixMillis::now().0;
    let message = due(now).await.expect("it was raised");
    assert!(due(now - day).await.is_some(), "raised by a clock that was a day ahead");

    let pause = 4_000;
    alerts.store.alert_message_failed(message.id, UnixMillis(now + pause)).await.expect("noted");
    assert!(due(now).await.is_none(), "the pause after a failure holds");
    assert!(due(now + pause).await.is_some(), "and ends");
    assert!(due(now - day).await.is_some(), "tried again at once by a clock that was set back");
}

/// Where the database is looked for when its room is asked for.
struct Room {
    link: std::path::PathBuf,
    file: std::path::PathBuf,
}

impl Room {
    fn is_at(&self, there: &std::path::Path) {
        let _ = std::fs::remove_file(&self.link);
        std::os::unix::fs::symlink(there, &self.link).expect("a link can be made");
    }

    /// A file of a filesystem that has no free byte, ever. SQLite has the real one open.
    fn none(&self) {
        self.is_at(std::path::Path::new("/proc/version"));
    }

    fn enough(&self) {
        self.is_at(&self.file);
    }
}

/// Alerts whose room a test decides, and the file to which their program adds each message.
async fn in_a_room() -> (tempfile::TempDir, Room, Arc<Alerts>, std::path::PathBuf) {
    let dir = tempfile::tempdir().expect("temp dir");
    let room = Room { link: dir.path().join("link"), file: dir.path().join("paas.db") };
    room.enough();
    let store = Store::open(&room.link, Sealer::new(&[7; 32])).await.expect("open");
    let told = dir.path().join("told");
    let exec = Some(vec!["/usr/bin/tee".to_owned(), "-a".to_owned(), told.display().to_string()]);
    let about = About { host: "box".to_owned(), install: "u".to_owned() };
    let alerts = Alerts::new(store, &AlertsConfig { webhook: None, exec }, about);
    (dir, room, alerts, told)
}

#[tokio::test]
async fn a_message_that_is_sent_while_no_room_is_left_to_note_it_is_sent_once() {
    let (_dir, room, alerts, told) = in_a_room().await;
    alerts.raise(Kind::DockerDown, "docker", "it is away", "start it").await;
    let due = async || alerts.store.alert_message_due("exec", UnixMillis::now(), LONGEST_PAUSE).await.expect("due");
    let message = due().await.expect("it was raised");
    let lines = || std::fs::read_to_string(&told).unwrap_or_default().lines().count();

    room.none();
    for _ in 0..2 {
        alerts.try_one(Sink::Program, &message).await;
        assert!(due().await.is_some() && lines() == 1, "sent, and not noted");
    }
    room.enough();
    alerts.try_one(Sink::Program, &message).await;
    assert!(due().await.is_none() && lines() == 1, "noted, and not sent again");
}

#[tokio::test]
async fn an_alert_that_finds_no_room_is_told_once_and_so_is_its_end_and_with_room_it_is_one_like_any_other() {
    let (_dir, room, alerts, told) = in_a_room().await;
    let told = || {
        let text = std::fs::read_to_string(&told).unwrap_or_default();
        let all = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        all.map(|m| format!("{} {}", m["event"].as_str().unwrap_or("?"), m["text"].as_str().unwrap_or("?"))).collect::<Vec<_>>()
    };
    let look = async |low: bool| match low {
        true => alerts.raise(Kind::DiskLow, "/state", "it is full", "make room").await,
        false => alerts.clear(Kind::DiskLow, "/state", "there is room").await,
    };

    room.none();
    for _ in 0..3 {
        look(true).await;
    }
    assert_eq!(told(), ["raised it is full"], "three looks");
    look(false).await;
    look(false).await;
    assert_eq!(told()[1..], ["recovered there is room"], "who heard of it hears of its end");
    look(true).await;
    assert_eq!(told()[2..], ["raised it is full"], "another one");
    assert!(alerts.list(10).await.expect("list").is_empty(), "there was room");

    // It still holds when there is room: kept, and queued like any other.
    room.enough();
    look(true).await;
    look(true).await;
    assert_eq!(alerts.list(10).await.expect("list").len(), 1);
    // Its end finds no room again, and waits for the next look.
    room.none();
    look(false).await;
    assert!(alerts.open(Kind::DiskLow, "/state").await.is_some());
    room.enough();
    look(false).await;
    assert!(alerts.open(Kind::DiskLow, "/state").await.is_none());
    assert_eq!(told().len(), 3, "what has a row is sent by who sends all the others: {:?}", told());
}

#[tokio::test]
async fn what_was_told_without_a_row_is_found_by_who_looks_for_what_is_over_until_its_app_is_gone() {
    let dir = tempfile::tempdir().expect("temp dir");
    let room = Room { link: dir.path().join("link"), file: dir.path().join("paas.db") };
    room.enough();
    let store = Store::open(&room.link, Sealer::new(&[7; 32])).await.expect("open");
    let about = About { host: "box".to_owned(), install: "u".to_owned() };
    let alerts = Alerts::new(store, &AlertsConfig { webhook: None, exec: None }, about);
    // A reader that is opened meanwhile would open what the link names.
    let raise_without_room = async |kind: Kind, subject: &str| {
        room.none();
        alerts.raise(kind, subject, "it died", "look").await;
        room.enough();
    };
    let is = |kind: Kind, subject: &str| (kind, subject.to_owned());

    alerts.raise(Kind::OutOfMemory, "blog/web", "it died", "look").await;
    raise_without_room(Kind::OutOfMemory, "shop/web").await;
    raise_without_room(Kind::CrashLoop, "shop-two/web").await;

    let (blog, shop) = (is(Kind::OutOfMemory, "blog/web"), is(Kind::OutOfMemory, "shop/web"));
    let two = is(Kind::CrashLoop, "shop-two/web");
    assert_eq!(alerts.told().await, [two.clone(), blog.clone(), shop.clone()]);
    alerts.clear(shop.0, &shop.1, "it is calm").await;
    assert_eq!(alerts.told().await, [two.clone(), blog.clone()]);
    raise_without_room(shop.0, &shop.1).await;
    assert_eq!(alerts.told().await, [two.clone(), blog.clone(), shop], "the next one is told");
    alerts.forget(&AppName::parse("shop").expect("name")).await;
    assert_eq!(alerts.told().await, [two, blog]);
}
