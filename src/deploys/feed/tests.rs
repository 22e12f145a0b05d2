use super::*;

fn line(text: &str) -> Happened {
    Happened::Line { tone: Tone::Output, text: text.to_owned() }
}

#[test]
fn colours_go_and_the_words_stay() {
    assert_eq!(plain("\u{1b}[32m✓ built\u{1b}[39m in 85ms"), "✓ built in 85ms");
    assert_eq!(plain("a\u{1b}[1;2Kb"), "ab");
    assert_eq!(plain("cut \u{1b}[3"), "cut ");
    assert_eq!(plain("no escape"), "no escape");
}

#[tokio::test]
async fn a_follower_gets_every_event_once_also_past_a_line_that_a_crash_has_cut() {
    let dir = tempfile::tempdir().expect("temp dir");
    let app = AppName::parse("shop").expect("valid");
    let feeds = Feeds::open(dir.path().to_owned()).expect("open");
    feeds.tell(&app, DeployId(1), &line("one"));
    let mut follower = feeds.follow(&app, DeployId(1));
    // Killed in the middle of a line; the next daemon ends it before it goes on.
    std::fs::OpenOptions::new()
        .append(true)
        .open(feeds.path(&app, DeployId(1)))
        .expect("file")
        .write_all(b"{\"event\":\"li")
        .expect("cut");
    feeds.resume(&app, DeployId(1)).expect("resume");
    feeds.tell(&app, DeployId(1), &line("two"));
    feeds.tell(&app, DeployId(1), &Happened::Cancelled { still_serves: None });
    let mut got = Vec::new();
    while let Some(Next::Happened(happened)) = follower.next().await.expect("read") {
        got.push(happened);
    }
    assert_eq!(got, [line("one"), line("two"), Happened::Cancelled { still_serves: None }]);
    feeds.forget(&app, |_| false).expect("forget");
    assert_eq!(std::fs::read_dir(dir.path()).expect("dir").count(), 0);
}

#[tokio::test]
async fn a_follower_of_a_quiet_deploy_is_told_so_and_one_of_a_forgotten_deploy_ends() {
    let dir = tempfile::tempdir().expect("temp dir");
    let app = AppName::parse("shop").expect("valid");
    let feeds = Feeds::open(dir.path().to_owned()).expect("open");
    feeds.tell(&app, DeployId(1), &line("one"));
    let mut follower = feeds.follow(&app, DeployId(1));
    assert!(matches!(follower.next().await.expect("read"), Some(Next::Happened(_))));
    assert!(matches!(follower.next().await.expect("read"), Some(Next::Quiet)));
    feeds.forget(&app, |_| false).expect("forget");
    assert!(follower.next().await.expect("read").is_none());
}
