//! A deploy drops no request, whatever is in flight while it happens.

use std::time::{Duration, Instant};

use crate::support::{Client, Message, Repo, Socket, Traffic, World, eventually};

#[test]
fn five_deploys_in_a_row_fail_no_request() {
    let w = World::shared("zero_downtime");
    let (app, repo) = w.live("steady", "v-0");
    let traffic = Traffic::start(w.proxy(), &w.host(&app), &app, 6);
    traffic.wait_for(200);

    for n in 1..=5 {
        repo.release(&format!("v-{n}"));
        w.push(&repo, &app).ok();
        // What was answered after the push ended comes from the new release alone.
        assert_eq!(w.get(&app, "/").text(), format!("{app} v-{n}\n"));
        traffic.wait_for(100);
    }

    let counted = traffic.stop();
    assert!(
        counted.failed.is_empty(),
        "{} of {} failed: {:?}",
        counted.failed.len(),
        counted.answered,
        &counted.failed[..counted.failed.len().min(10)]
    );
    assert_eq!(counted.by_version.len(), 6, "every release was seen by the traffic: {:?}", counted.by_version);
    let deploy = w.last_deploy(&app);
    assert_eq!(deploy["counts"]["dropped"], 0, "the deploy's own counts: {deploy}");
}

#[test]
fn a_slow_upload_and_a_streamed_answer_end_where_they_began() {
    let w = World::shared("zero_downtime");
    let (app, repo) = w.live("inflight", "old");
    let parts: Vec<Vec<u8>> = (0..40).map(|n| vec![n as u8; 50_000]).collect();
    let sum: u64 = parts.iter().flatten().map(|b| u64::from(*b)).sum();

    std::thread::scope(|scope| {
        let upload = scope.spawn(|| {
            let slices: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            w.client(&app).upload("/upload", &slices, Duration::from_millis(200)).expect("the upload is answered")
        });
        let stream = scope.spawn(|| w.client(&app).get("/stream?n=80&ms=100").expect("the stream ends properly"));
        let slow = scope.spawn(|| w.client(&app).get("/slow?ms=6000").expect("the slow request is answered"));
        std::thread::sleep(Duration::from_millis(300));
        repo.release("new");
        let started = Instant::now();
        w.push(&repo, &app).ok();
        assert!(started.elapsed() < Duration::from_secs(30), "the push waited for the drain");
        w.serves(&app, "new");

        let upload = upload.join().expect("no panic");
        assert_eq!((upload.status, upload.text()), (200, format!("2000000 {sum}\n")));
        assert_eq!(upload.header("x-version"), Some("old"));
        let stream = stream.join().expect("no panic");
        assert!(stream.text().ends_with("chunk 79\n") && stream.text().lines().count() == 80, "cut: {}", stream.text());
        assert_eq!(slow.join().expect("no panic").text(), "slow done\n");
    });
}

#[test]
fn a_websocket_lives_through_the_deploy_and_is_closed_properly_at_its_own_limit() {
    let w = World::shared("zero_downtime");
    let (app, repo) = (w.app("socket"), Repo::testapp("old"));
    repo.write("paas.toml", "[deploy]\ndrain = \"2s\"\ndrain_streams = \"6s\"\n").commit("budgets");
    w.push(&repo, &app).ok();
    let mut socket = Socket::connect(w.proxy(), &w.host(&app), "/ws").expect("a WebSocket opens");
    assert_eq!(socket.receive().expect("a greeting"), Message::Text("version old".into()));

    repo.release("new");
    w.push(&repo, &app).ok();
    let live = Instant::now();
    w.serves(&app, "new");

    let mut echoed = 0;
    let closed = loop {
        let text = format!("n {echoed}");
        if socket.send(&text).is_err() {
            break socket.receive().expect("a close frame, not a cut");
        }
        match socket.receive().expect("an echo or a close frame, not a cut") {
            Message::Text(answer) => assert_eq!(answer, text),
            closed => break closed,
        }
        echoed += 1;
        std::thread::sleep(Duration::from_millis(50));
    };
    let lived = live.elapsed();
    assert_eq!(closed, Message::Closed(1001));
    assert!(echoed > 60 && lived > Duration::from_secs(4) && lived < Duration::from_secs(12), "{echoed} echoes in {lived:?}");
}

#[test]
fn a_restart_and_a_change_of_scale_fail_no_request() {
    let w = World::shared("zero_downtime");
    let (app, _repo) = w.live("scaled", "one");
    let traffic = Traffic::start(w.proxy(), &w.host(&app), &app, 4);
    traffic.wait_for(100);

    w.paas(&["ps", "scale", "-a", &app, "web=3"]).ok();
    traffic.wait_for(100);
    assert_eq!(w.instances(&app).len(), 3);
    w.paas(&["ps", "restart", "-a", &app]).ok();
    traffic.wait_for(100);
    w.paas(&["ps", "scale", "-a", &app, "web=1"]).ok();
    traffic.wait_for(100);

    let counted = traffic.stop();
    assert!(counted.failed.is_empty(), "{:?}", &counted.failed[..counted.failed.len().min(10)]);
}

#[test]
fn an_app_that_cannot_run_twice_has_its_requests_held_during_the_gap() {
    let w = World::shared("zero_downtime");
    let (app, repo) = (w.app("single"), Repo::testapp("old"));
    repo.write("paas.toml", "[deploy]\nstrategy = \"stop-start\"\n").write("mode", "boot_ms=1000\n").commit("alone");
    w.push(&repo, &app).ok();
    let traffic = Traffic::start(w.proxy(), &w.host(&app), &app, 4);
    traffic.wait_for(100);

    repo.release("new");
    w.push(&repo, &app).ok();
    traffic.wait_for(100);

    let counted = traffic.stop();
    assert!(counted.failed.is_empty(), "{:?}", &counted.failed[..counted.failed.len().min(10)]);
    assert!(counted.slowest > Duration::from_millis(900), "nothing was held: the slowest took {:?}", counted.slowest);
    // Each client has one request at a time, so the gap held one of each.
    let counts = eventually("the change-over is complete", Duration::from_secs(20), || {
        Some(w.last_deploy(&app)["counts"].clone()).filter(|counts| counts["complete"] == true)
    });
    assert_eq!(
        (counts["held"].as_u64(), counts["dropped"].as_u64(), counts["cut"].as_u64()),
        (Some(4), Some(0), Some(0)),
        "{counts}"
    );

    // A new release that does not come up gives the old one back.
    repo.write("mode", "exit=5\n").release("broken");
    let failed = w.push(&repo, &app);
    assert_ne!(failed.code, 0, "{failed}");
    w.serves(&app, "new");
}

#[test]
fn traffic_does_not_notice_a_daemon_that_is_killed() {
    let w = World::start();
    let (app, _repo) = w.live("headless", "one");
    let traffic = Traffic::start(w.proxy(), &w.host(&app), &app, 4);
    traffic.wait_for(100);

    for _ in 0..3 {
        w.kill("daemon");
        traffic.wait_for(100);
    }

    let counted = traffic.stop();
    assert!(counted.failed.is_empty(), "{:?}", &counted.failed[..counted.failed.len().min(10)]);
}

#[test]
fn a_name_that_no_app_has_is_answered_with_404_and_an_app_without_instances_with_503() {
    let w = World::shared("zero_downtime");
    assert_eq!(w.get_host(&format!("nobody.{}", w.domain), "/").status, 404);
    let (app, _repo) = w.live("empty", "one");
    w.paas(&["ps", "scale", "-a", &app, "web=0"]).ok();
    let reply = Client::connect(w.proxy(), &w.host(&app)).and_then(|mut c| c.get("/")).expect("an answer");
    assert_eq!(reply.status, 503, "{reply:?}");
}
