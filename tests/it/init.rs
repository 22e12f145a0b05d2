//! `paas init` as PID 1 of real process namespaces and containers, against the real link and log store.

use std::fs;
use std::time::{Duration, Instant};

use paas::wire::init::Phase;

mod containers;
pub mod world;

use world::{Instance, LIMIT, ONE, World, config, temp};

#[test]
fn the_app_waits_at_the_gate_and_its_exit_code_becomes_inits() {
    let dir = temp();
    let world = World::new(dir.path(), config());
    let mut instance =
        Instance::shell(&world, "touch ran; trap 'echo bye; exit 7' TERM; echo up >&2; while :; do sleep 0.05; done");
    world.wait(|s| s.connected);
    std::thread::sleep(Duration::from_millis(200));
    assert!(!dir.path().join("ran").exists(), "started before the gate was opened");
    world.open();
    world.wait(|s| matches!(s.phase, Phase::Running { .. }));
    world.wait_for_line("up");
    instance.signal("TERM");
    assert_eq!(instance.ended().code(), Some(7));
    let state = world.wait(|s| !s.connected);
    assert_eq!(state.phase, Phase::Ended);
    let end = state.last_end.expect("report");
    assert_eq!((end.code, end.will_restart_in_ms, end.out_of_memory), (Some(7), None, false));
    // Some shells add that their `sleep` was terminated.
    for line in ["up", "bye"] {
        assert!(end.last_lines.iter().any(|l| l == line), "{end:?}");
    }
}

#[test]
fn a_gated_instance_ends_at_once_when_told_to_stop() {
    let dir = temp();
    let world = World::new(dir.path(), config());
    let mut instance = Instance::shell(&world, "touch ran");
    world.wait(|s| s.connected);
    assert!(world.links.stop(ONE, 15, LIMIT).expect("stop"));
    assert_eq!(instance.ended().code(), Some(128 + 15));
    assert!(!dir.path().join("ran").exists());
}

#[test]
fn signals_reach_the_app_and_one_that_ignores_them_is_killed_at_its_limit() {
    let dir = temp();
    let world = World::new(dir.path(), config());
    let script = "trap 'echo hup' HUP; trap 'echo usr1' USR1; trap 'echo winch' WINCH; trap 'echo no' TERM; echo up; while :; do sleep 0.05; done";
    let mut instance = Instance::shell(&world, script);
    world.open();
    world.wait_for_line("up");
    for (signal, line) in [("HUP", "hup"), ("USR1", "usr1"), ("WINCH", "winch")] {
        instance.signal(signal);
        world.wait_for_line(line);
    }
    let asked = Instant::now();
    assert!(world.links.stop(ONE, 15, Duration::from_millis(700)).expect("stop"));
    assert_eq!(instance.ended().code(), Some(128 + 9));
    assert!(asked.elapsed() >= Duration::from_millis(700));
    world.wait_for_line("no");
}

#[test]
fn a_child_of_the_shell_may_finish_its_work_after_a_stop() {
    let dir = temp();
    let world = World::new(dir.path(), config());
    let script = "(trap 'sleep 0.5; echo finished; exit' TERM; echo up; while :; do sleep 0.05; done) & wait";
    let mut instance = Instance::shell(&world, script);
    world.open();
    world.wait_for_line("up");
    assert!(world.links.stop(ONE, 15, LIMIT).expect("stop"));
    instance.ended();
    world.wait_for_line("finished");
}

#[test]
fn orphans_are_reaped_and_what_an_app_leaves_behind_does_not_meet_its_successor() {
    let dir = temp();
    let world = World::new(dir.path(), config());
    let script = "if [ -e second ]; then echo left $(grep -l sleep /proc/[0-9]*/comm | wc -l); exec sleep 1000; fi
        touch second
        for i in 1 2 3 4 5 6 7 8 9; do (sleep 0.01 &) ; done
        sleep 0.5; echo zombies $(cat /proc/[0-9]*/stat 2>/dev/null | grep -c ') Z ')
        (setsid sleep 1000 &); sleep 0.1; exit 3";
    let _instance = Instance::shell(&world, script);
    world.open();
    let lines = world.wait_for_line("left 0");
    assert!(lines.contains(&"zombies 0".to_owned()), "{lines:?}");
    assert!(lines.contains(&"the app exited with code 3; it starts again in 0.1 s".to_owned()), "{lines:?}");
}

#[test]
fn an_app_that_crashes_is_started_again_and_logged_while_the_daemon_is_away() {
    let dir = temp();
    let world = World::new(dir.path(), config());
    let _instance = Instance::shell(&world, "echo x >> runs; echo run $(wc -l < runs); exit 1");
    world.open();
    world.wait(|s| s.restarts >= 1);
    world.gone();
    let runs = || fs::read_to_string(dir.path().join("runs")).map_or(0, |runs| runs.lines().count());
    let until = Instant::now() + LIMIT;
    while runs() < 4 {
        assert!(Instant::now() < until, "{} runs", runs());
        std::thread::sleep(Duration::from_millis(20));
    }
    let world = World::new(dir.path(), config());
    let state = world.wait(|s| s.connected);
    assert!(state.restarts >= 3, "{state:?}");
    assert_eq!(state.last_end.as_ref().and_then(|end| end.code), Some(1));
    world.wait_for_line("run 4");
    let lines = world.all_lines();
    let numbers: Vec<u64> = lines.iter().map(|l| l.seq).collect();
    assert!(numbers.iter().copied().eq(1..=numbers.len() as u64), "{numbers:?}");
}

#[test]
fn the_pauses_before_an_app_that_ends_at_once_grow() {
    let dir = temp();
    let world = World::new(dir.path(), config());
    let _instance = Instance::shell(&world, "date +%s%N >> runs; exit 1");
    world.open();
    world.wait(|s| s.restarts >= 4);
    let text = fs::read_to_string(dir.path().join("runs")).expect("runs");
    let runs: Vec<u64> = text.lines().map(|line| line.parse::<u64>().expect("nanoseconds") / 1_000_000).collect();
    let pauses: Vec<u64> = runs.windows(2).map(|two| two[1] - two[0]).collect();
    let enough = pauses.iter().zip([100, 200, 400]).all(|(pause, least)| *pause >= least);
    assert!(pauses.len() >= 3 && enough, "{pauses:?} ms");
}

#[test]
fn a_program_that_is_not_there_is_reported_with_a_reason() {
    let dir = temp();
    let world = World::new(dir.path(), config());
    let _instance = Instance::start(&world, &["no-such-program"]);
    world.open();
    let state = world.wait(|s| s.last_end.is_some());
    let end = state.last_end.expect("report");
    assert_eq!(end.code, Some(127));
    assert!(end.summary().contains("there is no such program in the image"), "{}", end.summary());
    assert!(end.will_restart_in_ms.is_some());
}

#[test]
fn the_app_does_not_see_what_only_init_needs() {
    let dir = temp();
    let world = World::new(dir.path(), config());
    let _instance = Instance::shell(&world, "echo socket=$PAAS_INIT_SOCKET instance=$PAAS_INSTANCE; exec sleep 1000");
    world.open();
    world.wait_for_line("socket= instance=i1");
}

#[test]
fn the_app_starts_with_no_signal_blocked_or_ignored() {
    let dir = temp();
    let world = World::new(dir.path(), config());
    let _instance = Instance::start(&world, &["grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"]);
    world.open();
    // 32 and 33 belong to the C library, which lets nobody change them.
    let lines: Vec<String> = world.wait_for_line("SigBlk:\t0000000000000000");
    let ignored = lines.iter().find_map(|l| l.strip_prefix("SigIgn:\t")).expect("SigIgn");
    assert_eq!(u64::from_str_radix(ignored, 16).expect("hex") & 0x7fff_ffff, 0);
}
