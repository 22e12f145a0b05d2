//! A disk that fills up stops nothing that runs, refuses early what would not fit, and everything goes on by itself once there is room.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::alerts::Receiver;
use crate::support::{Client, OwnEngine, Repo, SCRATCH, SmallDisk, Tarball, Traffic, World, eventually, free, run};

const MIB: u64 = 1 << 20;
/// What the promise allows from room to work.
const RESUME: Duration = Duration::from_secs(10);

/// So many MiB that no compression makes smaller.
fn noise(mib: usize) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252_u64;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.take(mib << 17).flatten().collect()
}

/// A world whose state lies on an ext4 filesystem of its own, with a reserve that fits it.
fn world_on_a_small_disk(more: &str) -> World {
    let more = format!("{more}[limits]\ndisk_reserve = \"24MiB\"\n");
    World::start_on_disks(&more, |folder| vec![SmallDisk::ext4(&folder.join("state"), 220)])
}

/// What the daemon answers to an upload of which it has not taken a byte, and all of which is sent only after the answer.
fn upload_of_one_who_sends_on(w: &World, app: &str) -> String {
    let size = 4 * MIB;
    let mut stream = UnixStream::connect(w.run_dir().join("api.sock")).expect("the API accepts");
    write!(stream, "POST /apps/{app}/deploys?source=tarball HTTP/1.1\r\nhost: paas\r\ncontent-length: {size}\r\n\r\n")
        .expect("sent");
    let mut first = [0];
    stream.read_exact(&mut first).expect("it is answered");
    stream.write_all(&vec![b'b'; size as usize]).expect("what comes late is taken");
    stream.shutdown(std::net::Shutdown::Write).expect("ended");
    let mut answer = String::from_utf8_lossy(&first).into_owned();
    stream.read_to_string(&mut answer).expect("read");
    answer
}

/// Every page of the database agrees with every other, as SQLite itself sees it.
#[track_caller]
fn assert_store_is_intact(w: &World) {
    assert_eq!(w.stored("pragma integrity_check"), ["ok"]);
}

#[test]
fn below_the_reserve_pushes_and_uploads_are_refused_early_and_everything_else_goes_on() {
    let w = world_on_a_small_disk("");
    let (app, repo) = w.live("low", "one");
    let traffic = Traffic::start(w.proxy(), &w.host(&app), &app, 2);
    let packs = || std::fs::read_dir(w.state_dir().join(format!("apps/{app}/repo.git/objects/pack"))).expect("packs").count();
    let before = packs();
    w.disk(0).leave(10 * MIB);
    repo.release("two");

    let push = w.push(&repo, &app).fails(128);
    assert!(push.took < Duration::from_secs(8), "refused after {:?}", push.took);
    let words = ["too full for a push", "(state", "24 MiB must stay free", "it is used by", "repositories", "paas disk"];
    push.says(&words).never_says(&["Building"]);
    assert_eq!(packs(), before, "nothing was received");
    w.push(&repo, "never-was").fails(128).says(&["too full"]);
    w.paas(&["apps", "info", "never-was"]).fails(1).says(&["does not exist"]);
    w.paas_in(&["deploy", "--tarball", "-", "-a", &app], &Tarball::testapp("two").gz())
        .fails(1)
        .says(&["too full for an upload"]);
    let refused = upload_of_one_who_sends_on(&w, &app);
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("too full for an upload"), "{refused}");
    w.paas(&["disk"]).ok().says(&["TOO FULL", "####", "USED BY", "logs", "database", "everything else"]);
    let shown = w.paas(&["disk", "--json"]).ok().json();
    let state =
        shown["filesystems"].as_array().and_then(|all| all.iter().find(|f| f["holds"][0] == "state")).expect("it is there");
    assert_eq!((state["ok"].as_bool(), state["reserve"].as_u64()), (Some(false), Some(24 * MIB)));
    w.paas(&["status"]).ok().says(&["!     the disk", "less than the reserve"]);
    // A push that is larger than the room above the reserve is cut while it comes.
    w.disk(0).empty();
    w.disk(0).leave(30 * MIB);
    repo.write("payload", noise(12)).commit("large");
    w.push(&repo, &app).fails(1).says(&["pack exceeds maximum allowed size"]);
    assert_eq!(packs(), before, "it was received");
    repo.git(&["reset", "-q", "--hard", "HEAD~1"]);
    w.disk(0).leave(10 * MIB);
    // What brings no bytes goes on: also what an operator does to mend it.
    w.paas(&["config", "set", "-a", &app, "COLOUR=red"]).ok();
    w.paas(&["ps", "restart", "-a", &app]).ok();
    w.ssh("laptop", &["disk"], b"").ok().says(&["TOO FULL"]);

    w.disk(0).empty();
    w.push(&repo, &app).ok();
    w.serves(&app, "two");
    traffic.wait_for(20);
    let counted = traffic.stop();
    assert!(counted.failed.is_empty(), "{:?}", counted.failed);
}

#[test]
fn a_disk_without_a_free_byte_costs_log_lines_and_nothing_else() {
    let receiver = Receiver::start(&[], None);
    let w = world_on_a_small_disk(&format!("[alerts]\nwebhook = \"http://{}/\"\n", receiver.address));
    let daemon = w.pid_of("daemon");
    let (app, repo) = w.live("full", "one");
    w.paas(&["config", "set", "-a", &app, "KEPT=yes"]).ok();
    let traffic = Traffic::start(w.proxy(), &w.host(&app), &app, 4);
    traffic.wait_for(20);
    w.disk(0).leave(0);
    assert!(w.disk(0).free() < 64 * 1024, "{} bytes are free", w.disk(0).free());

    // Enough lines that the last block of a segment cannot take them.
    w.get(&app, "/log?n=3000");
    w.paas(&["config", "set", "-a", &app, "LOST=1"]).fails(1).says(&["the disk", "full", "nothing was done", "paas disk"]);
    w.paas(&["ps", "-a", &app]).ok();
    w.paas(&["disk"]).ok().says(&["TOO FULL", "0 B free"]);
    w.push(&repo, &app).fails(128).says(&["too full for a push"]);
    // There is no room to store the alert, and it is told all the same.
    receiver.waits_for(&format!("disk_low {} raised", w.state_dir().display()), 60);
    assert_eq!(w.pid_of("daemon"), daemon, "a full disk is waited for, not died of");
    // The daemon can die and come back there; the proxy and the app never notice.
    w.kill("daemon");
    w.paas(&["config", "list", "-a", &app]).ok().says(&["KEPT"]).never_says(&["LOST"]);
    // Also when it was stopped properly, and somebody else took what its files gave back.
    let signal = |name: &str, pid: Option<u32>| {
        let pid = pid.expect("it runs").to_string();
        run(Command::new("kill").args([name, &pid]), b"", RESUME).ok();
    };
    let supervisor = w.pid_of("up");
    signal("-STOP", supervisor);
    signal("-TERM", w.pid_of("daemon"));
    eventually("the daemon has stopped", RESUME, || w.pid_of("daemon").is_none().then_some(()));
    drop(std::fs::remove_file(w.state_dir().join("paas.db-shm")));
    w.disk(0).leave(0);
    assert!(w.disk(0).free() < 16 * 1024, "{} bytes are free", w.disk(0).free());
    signal("-CONT", supervisor);
    eventually("it is back", RESUME, || w.pid_of("daemon"));
    w.paas(&["config", "list", "-a", &app]).ok().says(&["KEPT"]).never_says(&["LOST"]);
    traffic.wait_for(200);

    w.disk(0).empty();
    let room = Instant::now();
    eventually("a change is taken again", RESUME, || (w.paas(&["config", "set", "-a", &app, "NEW=1"]).code == 0).then_some(()));
    assert!(room.elapsed() < RESUME, "{:?} from room to work", room.elapsed());
    repo.release("two");
    w.push(&repo, &app).ok();
    w.serves(&app, "two");
    let dropped = |lines: &[String]| lines.iter().any(|l| l.contains("dropped: the log could not be written"));
    eventually("the loss is told", RESUME, || dropped(&w.log_texts(&app, 10_000, &[])).then_some(()));
    let counted = traffic.stop();
    assert!(counted.failed.is_empty(), "{:?}", counted.failed);
    receiver.waits_for(&format!("disk_low {} recovered", w.state_dir().display()), 60);
    assert_store_is_intact(&w);
}

#[test]
fn a_stop_start_deploy_that_fails_into_a_full_disk_gives_the_place_back_when_there_is_room() {
    let w = world_on_a_small_disk("");
    let (app, repo) = (w.app("alone"), Repo::testapp("one"));
    repo.write("paas.toml", "[deploy]\nstrategy = \"stop-start\"\n").write("mode", "boot_ms=5000\n").commit("slow to come back");
    w.push(&repo, &app).ok();
    repo.write("mode", "exit=3\n").release("two");
    let wanted = || w.stored("select i.wanted from instances i join deploys d on d.app_id = i.app_id where d.state = 'failed'");
    std::thread::scope(|scope| {
        let push = scope.spawn(|| w.push(&repo, &app));
        // The old one is wanted again and boots; the requests are held until it answers, and the end of that has to be written.
        eventually("the old one is wanted again", Duration::from_secs(60), || (wanted() == ["live"]).then_some(()));
        w.disk(0).leave(0);
        std::thread::sleep(Duration::from_secs(8));
        w.disk(0).empty();
        push.join().expect("no panic").fails(1);
    });

    let back = eventually("it serves", RESUME, || {
        let reply = Client::connect(w.proxy(), &w.host(&app)).and_then(|mut client| client.get("/")).ok()?;
        (reply.status == 200).then(|| reply.text())
    });
    assert_eq!(back, format!("{app} one\n"));
}

/// Makes every call of the daemon that `inject` names fail (`strace -e inject=…`), until the daemon ends.
struct Failing {
    strace: Child,
}

impl Failing {
    #[track_caller]
    fn inject(pid: u32, calls: &str, error: &str) -> Failing {
        let mut strace = Command::new("strace");
        let inject = format!("inject={calls}:error={error}");
        strace.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={calls}"), "-e", &inject, "-p", &pid.to_string()]);
        let strace = strace.stderr(Stdio::null()).spawn().expect("strace starts");
        let traced = || std::fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|s| !s.contains("TracerPid:\t0"));
        eventually("the daemon is traced", Duration::from_secs(10), || traced().then_some(()));
        Failing { strace }
    }
}

impl Drop for Failing {
    fn drop(&mut self) {
        drop(self.strace.kill());
        drop(self.strace.wait());
    }
}

/// A commit meets `error`: nothing is acknowledged, the daemon ends with a clear word, the next one has what was acknowledged and goes on.
#[track_caller]
fn assert_a_failed_commit_is_survived(w: &World, app: &str, calls: &str, error: &str) {
    w.paas(&["config", "set", "-a", app, &format!("KEPT_{error}=yes")]).ok();
    let count = |log: &str| log.matches("stopping, as the database can't be written").count();
    let before = count(&w.logs_of_roles());
    let old = w.pid_of("daemon").expect("the daemon runs");
    let failing = Failing::inject(old, calls, error);

    let done = w.paas(&["config", "set", "-a", app, &format!("UNSURE_{error}=1")]);

    eventually("another daemon", Duration::from_secs(20), || w.pid_of("daemon").filter(|new| *new != old));
    drop(failing);
    eventually("it answers", Duration::from_secs(20), || (w.paas(&["status"]).code == 0).then_some(()));
    assert_eq!(count(&w.logs_of_roles()), before + 1, "{}", w.logs_of_roles());
    let kept = w.paas(&["config", "list", "-a", app]).ok();
    let kept = kept.says(&[&format!("KEPT_{error}")]);
    // Whether the other is there is not known: its bytes were written, its fsync was not. A client that found the next daemon and was told
    // that it is live was told the truth.
    if done.code == 0 {
        kept.says(&[&format!("UNSURE_{error}")]);
    }
    w.paas(&["config", "set", "-a", app, &format!("SURE_{error}=1")]).ok();
    assert_store_is_intact(w);
}

#[test]
fn a_write_or_fsync_of_the_store_that_fails_stops_the_daemon_and_the_next_one_goes_on() {
    let w = World::start();
    let (app, _repo) = w.live("commit", "one");
    let traffic = Traffic::start(w.proxy(), &w.host(&app), &app, 2);
    assert_a_failed_commit_is_survived(&w, &app, "fsync,fdatasync", "EIO");
    assert_a_failed_commit_is_survived(&w, &app, "pwrite64", "ENOSPC");
    let counted = traffic.stop();
    assert!(counted.failed.is_empty() && counted.answered > 0, "{:?}", counted.failed);
}

#[test]
fn a_full_disk_of_logs_refuses_nothing_and_its_loss_is_counted() {
    let w = World::start_on_disks("", |folder| {
        let logs = folder.join("state/logs");
        run(Command::new("install").args(["-d", "-m", "0700", "-o", "paasd", "-g", "paasd"]).arg(&logs), b"", RESUME).ok();
        vec![SmallDisk::ext4(&logs, 16)]
    });
    let (app, repo) = w.live("quiet", "one");
    w.disk(0).leave(0);
    w.get(&app, "/log?n=3000");

    // Not even a segment of its own can be made for a new instance.
    repo.release("two");
    w.push(&repo, &app).ok();
    w.serves(&app, "two");
    w.get(&app, "/log?n=500");
    w.paas(&["status"]).ok().says(&["the disk", "(logs)"]);

    w.disk(0).empty();
    eventually("what was lost is told", RESUME, || {
        w.get(&app, "/log?n=1");
        let lines = w.log_texts(&app, 10_000, &["-p", "web"]);
        lines.iter().any(|l| l.contains("dropped: the log could not be written")).then_some(())
    });
}

#[test]
fn a_push_is_refused_where_the_engine_has_no_room_for_what_it_would_make() {
    let root = run(Command::new("docker").args(["info", "--format", "{{.DockerRootDir}}"]), b"", RESUME).ok().out;
    // The engine's disk is the machine's own: the reserve is set above what it has, and the state lies where there is more.
    let reserve = free(std::path::Path::new(root.trim())) + (10 << 30);
    let more = format!("[limits]\ndisk_reserve = \"{reserve}B\"\n");
    let w = World::start_on_disks(&more, |folder| vec![SmallDisk::in_memory(&folder.join("state"), reserve + (10 << 30))]);
    let repo = Repo::testapp("one");

    let app = w.app("engine");
    w.push(&repo, &app).fails(128).says(&["too full for a push", "(docker)", "must stay free", "paas disk"]);
    w.paas(&["apps", "create", &app]).ok();
    w.paas_in(&["deploy", "--tarball", "-", "-a", &app], &Tarball::testapp("one").gz())
        .fails(1)
        .says(&["too full for an upload", "(docker)"]);
    w.paas(&["disk"]).ok().says(&["(docker)", "TOO FULL", "images", "build cache", "containers"]);
}

#[test]
fn a_build_that_fills_the_disk_of_docker_says_what_uses_it_leaves_nothing_and_goes_live_once_there_is_room() {
    let w = World::start_on_with(OwnEngine::start_on_disk(600), "[limits]\ndisk_reserve = \"24MiB\"\n");
    let (app, repo) = w.live("filling", "one");
    let traffic = Traffic::start_every(Duration::from_millis(10), w.proxy(), &w.host(&app), &app, 2);
    let disk = w.engine().disk();
    // Enough for the build to begin, and less than it writes.
    disk.leave(150 * MIB);
    let before = disk.free();
    repo.write("Dockerfile", format!("{SCRATCH}RUN [\"/testapp\", \"fill\", \"200\"]\n")).release("two");

    let push = w.push(&repo, &app).fails(1);
    push.says(&["No space left on device", "the disk of the Docker engine is full", "(docker) has", "it is used by", "images"])
        .says(&["v1 still serves", "paas disk"]);
    w.serves(&app, "one");
    eventually("what the build wrote is given back", Duration::from_secs(30), || {
        // What the step's context and its first layers took stays as cache, which is bounded and known.
        (disk.free() + 60 * MIB > before).then_some(())
    });
    assert_eq!(w.docker(&["ps", "-aq"]).ok().out.lines().count(), 1, "{}", w.docker(&["ps", "-a"]));
    assert_eq!(w.docker(&["images", "-q", "--filter", "dangling=true"]).ok().out, "");
    crate::support::invariants(&w, &app);

    // Room enough for a push, and not for what a build of it needs.
    disk.leave(40 * MIB);
    repo.write("payload", vec![b' '; 8 << 20]).commit("large");
    w.push(&repo, &app).fails(1).says(&["too full for a build", "(docker)", "v1 still serves"]);
    repo.git(&["reset", "-q", "--hard", "HEAD~1"]);

    disk.leave(10 * MIB);
    let refused = w.push(&repo, &app).fails(128);
    assert!(refused.took < Duration::from_secs(8), "refused after {:?}", refused.took);
    refused.says(&["too full for a push", "(docker)", "24 MiB must stay free", "it is used by"]).never_says(&["Building"]);
    disk.empty();
    w.push(&repo, &app).ok();
    w.serves(&app, "two");
    crate::support::invariants(&w, &app);
    traffic.wait_for(20);
    let counted = traffic.stop();
    counted.nothing_failed();
    eprintln!("{} answers while Docker's disk was full, none failed", counted.answered);
}

#[test]
fn the_cache_of_builds_is_brought_back_to_its_bound_after_a_deploy() {
    let w = World::start_on_with(OwnEngine::start(&[]), "[build]\ncache_limit = \"1MiB\"\n");
    let cached = || {
        let disk = w.paas(&["disk", "--json"]).ok().json();
        let all = disk["filesystems"].as_array().cloned().unwrap_or_default();
        let uses: Vec<_> = all.iter().filter_map(|f| f["uses"].as_array()).flatten().cloned().collect();
        uses.iter().find(|u| u["what"] == "build cache").and_then(|u| u["bytes"].as_u64()).expect("it is known")
    };
    let (app, _repo) = w.live("first", "one");
    let (large, repo) = (w.app("large"), Repo::testapp("one"));
    repo.write("payload", noise(20)).write("Dockerfile", format!("{SCRATCH}COPY payload /\n")).commit("large");
    w.push(&repo, &large).ok();
    w.paas(&["apps", "destroy", &large, "--confirm", &large]).ok();
    let before = cached();
    assert!(before > 15 * MIB, "{before} bytes: this proves nothing");

    // It is not looked at after every deploy, but after the first of each daemon.
    w.kill("daemon");
    w.paas(&["ps", "restart", "-a", &app]).ok();

    eventually("the cache is small", Duration::from_secs(30), || (cached() < 15 * MIB).then_some(()));
    w.serves(&app, "one");
}
