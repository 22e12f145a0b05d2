//! The proxy gives its place to a newer one under load: nothing is refused, reset or failed, a new one that does not come up changes nothing,
//! and whichever process dies in between, the port is served on.

use std::io::{BufRead, BufReader};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use paas::base::accounts;
use paas::handover::fds::keep_over_exec;
use serde_json::Value;

use crate::support::{Client, Done, Door, Kind, Lasting, Message, Socket, Traffic, World, eventually, place_program, run, until};
use crate::zero_loss::deploys_under_load_with;

const CLIENTS: usize = 6;
const EVERY: Duration = Duration::from_millis(4);

/// Kinds of requests that last, one client each.
fn lasting(w: &World) -> Vec<(Door, Kind)> {
    let (plain, tls, h2) = (Door::Plain(w.proxy()), Door::Tls(w.proxy_tls()), Door::H2(w.proxy_tls()));
    let all = [(plain, Kind::Upload), (h2, Kind::Upload), (tls, Kind::Stream), (h2, Kind::Stream), (plain, Kind::Events)];
    all.into_iter().chain([(h2, Kind::Events), (plain, Kind::Socket), (tls, Kind::Socket)]).collect()
}

/// What `paas up` knows of a role.
fn role(w: &World, name: &str) -> Value {
    let text = std::fs::read_to_string(w.run_dir().join("up.json")).unwrap_or_default();
    serde_json::from_str::<Value>(&text).unwrap_or_default()["roles"][name].take()
}

/// The process that is the proxy now.
#[track_caller]
pub fn proxy_pid(w: &World) -> u32 {
    eventually("a ready proxy", Duration::from_secs(20), || {
        let role = role(w, "proxy");
        role["pid"].as_u64().filter(|_| role["state"] == "ready").and_then(|pid| pid.try_into().ok())
    })
}

/// Processes of before that have not ended.
fn older(w: &World) -> Vec<u64> {
    role(w, "proxy")["older"].as_array().into_iter().flatten().filter_map(Value::as_u64).collect()
}

pub fn reload(w: &World, pid: u32) -> Done {
    w.paas(&["proxy-reload", &pid.to_string()])
}

/// Lets the proxy give its place away, and gives the process that has it.
#[track_caller]
pub fn upgrade(w: &World) -> u32 {
    let old = proxy_pid(w);
    reload(w, old).ok();
    let new = eventually("another proxy", Duration::from_secs(5), || Some(proxy_pid(w)).filter(|new| *new != old));
    assert_eq!(role(w, "proxy")["restarts"], 0, "nothing was restarted\n{}", w.logs_of_roles());
    new
}

fn signal(pid: u32, name: &str) {
    run(Command::new("kill").args([&format!("-{name}"), &pid.to_string()]), b"", Duration::from_secs(5)).ok();
}

/// Puts something else in the place of the world's binary, as an upgrade does, and the real one back when this is dropped.
struct Installed<'a>(&'a World);

impl<'a> Installed<'a> {
    /// `script` runs as the new binary.
    fn script(w: &'a World, script: &str) -> Installed<'a> {
        let new = binary(w).with_extension("new");
        std::fs::write(&new, script).expect("a script can be written");
        std::fs::set_permissions(&new, PermissionsExt::from_mode(0o755)).expect("its mode");
        std::fs::rename(&new, binary(w)).expect("it is renamed");
        Installed(w)
    }

    /// There is none.
    fn nothing(w: &'a World) -> Installed<'a> {
        std::fs::remove_file(binary(w)).expect("it is there");
        Installed(w)
    }
}

impl Drop for Installed<'_> {
    fn drop(&mut self) {
        install(self.0);
    }
}

fn binary(w: &World) -> std::path::PathBuf {
    w.config.with_file_name("paas")
}

/// Another file with the same program.
fn install(w: &World) {
    let new = binary(w).with_extension("new");
    place_program(Path::new(env!("CARGO_BIN_EXE_paas")), &new);
    std::fs::rename(&new, binary(w)).expect("it is renamed");
}

/// The command of a world with the binary as it was built: what lies in the world's folder may be a script.
fn ask_with_the_built_binary(w: &World, pid: u32) -> Done {
    let mut command = Command::new(env!("CARGO_BIN_EXE_paas"));
    run(command.args(["proxy-reload", &pid.to_string()]).current_dir(w.run_dir()), b"", Duration::from_secs(60))
}

#[test]
fn another_binary_takes_every_role_over_under_load_and_the_same_one_none() {
    let w = World::start();
    let (app, repo) = w.live("upgraded", "one");
    let up = || w.paas(&["up", "--detach", "--config", w.config.to_str().expect("text")]);
    let before = ["dialer", "proxy", "daemon"].map(|name| role(&w, name)["pid"].as_u64());
    up().ok().says(&["runs already"]);

    let quick = Traffic::by(&w.ways(), EVERY, &w.host(&app), &app);
    let lasting = Lasting::start(&lasting(&w), &w.host(&app), Duration::from_secs(4));
    quick.wait_for(300);
    install(&w);
    // Between the new file and the new processes: sshd is told a path that can be started.
    w.add_key("meanwhile", &[]).ok();
    w.ssh("laptop", &["ps", "-a", &app], b"").ok();
    let done = up().ok().says(&["upgraded"]);
    quick.wait_for(500);
    up().ok().says(&["runs already"]);

    let after = ["dialer", "proxy", "daemon"].map(|name| role(&w, name)["pid"].as_u64());
    assert!(before.iter().zip(&after).all(|(old, new)| old.is_some() && new.is_some() && old != new), "{before:?} {after:?}");
    assert_eq!(role(&w, "proxy")["restarts"], 0, "the proxy was not restarted");
    repo.release("two");
    w.push(&repo, &app).ok();
    w.serves(&app, "two");
    let (counted, outcome) = (quick.stop(), lasting.stop());
    println!(
        "upgrade of all roles in {:?}: {} answered, {} clients of HTTP/2 told to go, slowest {:?}",
        done.took, counted.answered, counted.told_to_go, counted.slowest
    );
    counted.nothing_failed();
    assert!(counted.told_to_go >= 1, "the old proxy never said that it leaves");
    assert_eq!(outcome.failed, Vec::<String>::new());
    assert!(outcome.ended.len() >= 8, "{outcome:?}");
    eventually("the old proxy has ended", Duration::from_secs(30), || older(&w).is_empty().then_some(()));
}

#[test]
fn deploys_while_two_generations_serve_wait_for_both_and_count_what_the_clients_count() {
    let w = World::start();
    let tally = deploys_under_load_with(&w, 6, false, |_| {
        upgrade(&w);
    });
    eprintln!("with an upgrade before each: {}", tally.line());
    tally.agrees();
    eventually("all old proxies have ended", Duration::from_secs(90), || older(&w).is_empty().then_some(()));
}

#[test]
fn a_new_binary_that_does_not_get_ready_leaves_the_old_one_serving() {
    let w = World::start();
    let (app, _repo) = w.live("stays", "one");
    let old = proxy_pid(&w);
    let quick = Traffic::by(&w.ways(), EVERY, &w.host(&app), &app);
    let fails = |what: &str, words: &[&str]| {
        let done = ask_with_the_built_binary(&w, old).fails(1).says(words);
        println!("{what}: refused after {:?}: {}", done.took, done.err.trim());
        quick.wait_for(100);
        assert_eq!((proxy_pid(&w), older(&w)), (old, vec![]), "{what}");
        assert_eq!(role(&w, "proxy")["restarts"], 0, "{what}");
        done.took
    };
    {
        let _new = Installed::script(&w, "#!/bin/sh\nexit 7\n");
        fails("one that exits", &["ended before it was ready"]);
    }
    {
        let _new = Installed::nothing(&w);
        fails("one that is not there", &["No such file"]);
    }
    {
        let _new = Installed::script(&w, &format!("#!/bin/sh\nsleep {}\n", naptime()));
        let took = fails("one that hangs", &["not ready within 10 s"]);
        assert!(took > Duration::from_secs(9), "{took:?}");
        assert_eq!(asleep(), None, "it was killed with what it started");
    }
    {
        let _new = Installed::script(&w, &format!("#!/bin/sh\nexec sleep {}\n", naptime()));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let new = eventually("the new one runs", Duration::from_secs(8), asleep);
                signal(new, "KILL");
            });
            fails("one that is killed before it is ready", &["before it was ready"]);
        });
    }
    let config = std::fs::read_to_string(&w.config).expect("the host config");
    std::fs::write(&w.config, format!("{config}\n[nonsense]\n")).expect("written");
    fails("one that can't read its settings", &["nonsense"]);
    std::fs::write(&w.config, config).expect("written");

    // And the next one works.
    upgrade(&w);
    quick.wait_for(300);
    quick.stop().nothing_failed();
}

/// A number of seconds that no other run of this test sleeps.
fn naptime() -> String {
    (100_000 + std::process::id()).to_string()
}

/// The process of a script that pretends to be the proxy.
fn asleep() -> Option<u32> {
    let is = |argv: &[String]| argv.first().is_some_and(|a| a == "sleep") && argv.get(1) == Some(&naptime());
    crate::support::processes().into_iter().find(|(_, argv)| is(argv)).map(|(pid, _)| pid)
}

#[test]
fn upgrades_in_quick_succession_and_kills_around_them_refuse_nothing() {
    let w = World::start();
    let (app, _repo) = w.live("kills", "one");
    let mut socket = Socket::connect(w.proxy(), &w.host(&app), "/ws").expect("a WebSocket opens");
    assert!(matches!(socket.receive(), Ok(Message::Text(_))));
    let quick = Traffic::by(&w.ways(), EVERY, &w.host(&app), &app);
    quick.wait_for(200);

    let first = proxy_pid(&w);
    let second = upgrade(&w);
    let third = upgrade(&w);
    reload(&w, first).fails(1);
    quick.wait_for(200);
    assert_eq!(proxy_pid(&w), third);
    // The socket is the first one's; the second had nothing that lasts.
    eventually("the second has ended", Duration::from_secs(20), || (older(&w) == [u64::from(first)]).then_some(()));
    assert!(second != third && first != second);
    let said = quick.so_far();
    said.nothing_failed();

    // The new one dies while the old one still has its socket: it is started again at once, and the socket lives.
    signal(third, "KILL");
    let killed = Instant::now();
    let reply = Client::connect(w.proxy(), &w.host(&app)).and_then(|mut c| c.get("/")).expect("a connection of after the kill");
    println!("a proxy killed beside an older one: answered again after {:?}", killed.elapsed());
    assert_eq!(reply.status, 200);
    let fourth = eventually("a fourth", Duration::from_secs(5), || Some(proxy_pid(&w)).filter(|pid| *pid != third));
    socket.send("still here").expect("sent");
    assert_eq!(socket.receive().expect("an echo"), Message::Text("still here".into()));
    quick.wait_for(200);

    // The old one dies right after it gave its place away, with a socket that keeps it: what it had is lost, and nothing else.
    let mut lost = Socket::connect(w.proxy(), &w.host(&app), "/ws").expect("a WebSocket opens");
    assert!(matches!(lost.receive(), Ok(Message::Text(_))));
    reload(&w, fourth).ok();
    signal(fourth, "KILL");
    signal(first, "KILL");
    assert!(lost.receive().is_err());
    quick.wait_for(300);
    let fifth = proxy_pid(&w);
    assert!(![first, second, third, fourth].contains(&fifth));
    assert_eq!(role(&w, "proxy")["restarts"], 1, "for the third");
    let failed = quick.stop().failed;
    assert!(failed.len() <= 2 * CLIENTS, "{failed:?}");
    assert!(!failed.iter().any(|why| why.contains("refused") || why.contains("status")), "{failed:?}");
    assert!(until(Duration::from_secs(10), || older(&w).is_empty().then_some(())).is_some(), "{:?}", older(&w));
}

#[test]
fn who_asked_for_an_upgrade_is_told_what_came_of_it_before_a_proxy_with_nothing_to_finish_ends() {
    let w = World::start();
    // It was not told in two of a hundred.
    for _ in 0..60 {
        upgrade(&w);
    }
}

#[test]
fn streams_of_the_old_proxy_end_properly_at_the_end_of_its_grace() {
    let w = World::start();
    let config = std::fs::read_to_string(&w.config).expect("the host config");
    std::fs::write(&w.config, config.replace("[proxy]\n", "[proxy]\nupgrade_grace = \"2s\"\n")).expect("written");
    // The next one reads it.
    upgrade(&w);
    let (app, _repo) = w.live("grace", "one");
    let mut socket = Socket::connect(w.proxy(), &w.host(&app), "/ws").expect("a WebSocket opens");
    assert!(matches!(socket.receive(), Ok(Message::Text(_))));
    upgrade(&w);
    let begun = Instant::now();
    assert_eq!(socket.receive().expect("a close frame"), Message::Closed(1001));
    let took = begun.elapsed();
    // Before the 8 s more that the end of the process would leave it.
    assert!((1.5..8.0).contains(&took.as_secs_f32()), "{took:?}");
    eventually("the old proxy has ended", Duration::from_secs(20), || older(&w).is_empty().then_some(()));
    w.serves(&app, "one");
}

#[test]
fn who_logs_in_by_ssh_gets_no_upgrade_and_a_proxy_that_took_over_ends_with_its_supervisor() {
    let w = World::start();
    let login = accounts::user("paas").expect("users can be read").expect("the tests made it");
    let old = proxy_pid(&w);
    let mut asked = w.paas_command();
    asked.args(["proxy-reload", &old.to_string()]).uid(login.uid).gid(login.gid);
    run(&mut asked, b"", Duration::from_secs(20)).fails(1).says(&[&format!("user {} may not ask", login.uid)]);
    assert_eq!((proxy_pid(&w), older(&w)), (old, vec![]));

    let new = upgrade(&w);
    signal(w.pid_of("up").expect("the supervisor"), "KILL");

    let lives = |pid: u32| crate::support::processes().iter().any(|(other, _)| *other == pid);
    eventually("it has ended", Duration::from_secs(10), || (!lives(new)).then_some(()));
}

/// Starts the step between a process and its successor with a supervisor that can not be; gives its end of the line. `command` has the
/// program and the words before those of the step.
fn step(mut command: Command, words: &[&str]) -> BufReader<UnixStream> {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    let theirs = OwnedFd::from(theirs);
    keep_over_exec(&theirs).expect("it goes through the exec");
    command.args(words).env("PAAS_SUCCESSOR_FDS", theirs.as_raw_fd().to_string()).env("PAAS_SUCCESSOR_PARENT", "0");
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    std::thread::spawn(move || child.wait());
    ours.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    BufReader::new(ours)
}

fn line(of: &mut BufReader<UnixStream>) -> String {
    let mut text = String::new();
    of.read_line(&mut text).expect("a line");
    text.trim_end().to_owned()
}

#[test]
fn a_successor_begins_only_as_the_child_of_who_supervises() {
    let paas = env!("CARGO_BIN_EXE_paas");
    let began = Instant::now();
    // This process does not end: a successor that went on would be nobody's when it does.
    let mut kept = step(Command::new(paas), &["successor-step", &std::process::id().to_string(), "/bin/true"]);
    assert_eq!(line(&mut kept), "failed the process between did not end");
    assert!(began.elapsed() >= Duration::from_secs(5), "after {:?}", began.elapsed());

    // An orphan at once, but not given to the one that supervises.
    let mut shell = Command::new("sh");
    shell.args(["-c", "\"$0\" successor-step $$ /bin/true &", paas]);
    let mut orphan = step(shell, &[]);
    assert!(line(&mut orphan).starts_with("pid "));
    let failed = line(&mut orphan);
    assert!(failed.starts_with("failed process ") && failed.ends_with(" is the parent, not who supervises"), "{failed:?}");
}
