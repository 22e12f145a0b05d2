//! Init in containers of the real engine.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::world::{LIMIT, ONE, World, config, temp};

/// An image without a file, so that only what a test mounts is there; removed with the test.
struct EmptyImage {
    name: String,
}

impl EmptyImage {
    fn make(dir: &Path) -> Self {
        // The folder's name is unlike that of any other test on this machine; image names are lower case.
        let unique = dir.file_name().and_then(|n| n.to_str()).expect("utf-8").trim_start_matches('.').to_lowercase();
        let name = format!("paas-test-empty-{}-{unique}:latest", std::process::id());
        let tar = dir.join("empty.tar");
        // Two blocks of zeros are an empty archive.
        fs::write(&tar, [0; 1024]).expect("write");
        docker(&["import", tar.to_str().expect("utf-8"), &name]);
        Self { name }
    }
}

impl Drop for EmptyImage {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["rmi", "-f", &self.name]).output();
    }
}

struct Container {
    id: String,
}

impl Container {
    /// Runs init in a container as the daemon would: no privileges, nothing writable. `extra` are options of the engine's `run`.
    fn start(world: &World, image: &EmptyImage, extra: &[&str], argv: &[&str]) -> Self {
        let bin = Path::new(env!("CARGO_BIN_EXE_paas")).parent().expect("folder");
        let mounts = [format!("type=bind,source={},target=/.paas/bin,readonly", bin.display())];
        let instance = format!("type=bind,source={},target=/.paas/i,readonly", world.dir.join("instances/i1").display());
        let mut args =
            vec!["run", "-d", "--read-only", "--network", "none", "--security-opt", "no-new-privileges", "--log-driver", "none"];
        args.extend(["-e", "PAAS_INSTANCE=i1", "--mount", &mounts[0], "--mount", &instance]);
        args.extend(["--entrypoint", "/.paas/bin/paas"]);
        args.extend(extra);
        args.extend([image.name.as_str(), "init", "--"]);
        args.extend(argv);
        Self { id: docker(&args) }
    }

    fn remove(&self) {
        docker(&["rm", "-f", &self.id]);
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["rm", "-f", &self.id]).output();
    }
}

#[track_caller]
fn docker(args: &[&str]) -> String {
    let output = Command::new("docker").args(args).output().expect("docker is there");
    assert!(output.status.success(), "docker {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// The host's own programs, for images that need a shell.
const HOST_PROGRAMS: [&str; 8] = [
    "--mount",
    "type=bind,source=/usr,target=/usr,readonly",
    "--mount",
    "type=bind,source=/usr/bin,target=/bin,readonly",
    "--mount",
    "type=bind,source=/usr/lib,target=/lib,readonly",
    "--mount",
    "type=bind,source=/usr/lib64,target=/lib64,readonly",
];

#[test]
fn init_runs_in_an_image_that_holds_nothing_at_all() {
    let dir = temp();
    let world = World::new(dir.path(), config());
    let image = EmptyImage::make(dir.path());
    let container = Container::start(&world, &image, &["--user", "1000:1000"], &["/bin/sh", "-c", "echo hi"]);
    world.open();
    let end = world.wait(|s| s.last_end.is_some()).last_end.expect("report");
    assert!(end.summary().contains("the image has no shell"), "{}", end.summary());
    let pid = docker(&["inspect", "-f", "{{.State.Pid}}", &container.id]);
    let smaps = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("smaps");
    let anonymous = smaps.lines().find_map(|l| l.strip_prefix("Anonymous:")).expect("Anonymous");
    let kib: u64 = anonymous.trim().trim_end_matches(" kB").parse().expect("number");
    // Most of it is the relocated constants of the whole binary.
    assert!(kib < 4096, "init takes {kib} KiB of its own in every instance");
    assert!(world.links.stop(ONE, 15, LIMIT).expect("stop"));
    assert_eq!(docker(&["wait", &container.id]), "127");
}

#[test]
fn the_root_of_an_instance_reaches_no_descriptor_of_init_and_its_last_words_survive_removal() {
    let dir = temp();
    let world = World::new(dir.path(), config());
    let image = EmptyImage::make(dir.path());
    let script = "readlink /proc/1/fd/0 >/dev/null 2>&1 && echo reached || echo denied; cat /proc/1/environ 2>/dev/null
        for n in 0 1 2 3 4 5 6 7 8 9; do (echo rubbish >> /proc/1/fd/$n) 2>/dev/null && echo wrote $n; done
        echo last words; exec sleep 1000";
    let container = Container::start(&world, &image, &HOST_PROGRAMS, &["/bin/sh", "-c", script]);
    world.open();
    assert_eq!(world.wait_for_line("last words"), ["denied", "last words"]);
    container.remove();
    world.wait(|s| !s.connected);
    world.links.forget(ONE);
    world.logs.maintain();
    assert_eq!(world.wait_for_line("last words"), ["denied", "last words"]);
}

#[test]
fn an_app_that_uses_too_much_memory_is_said_to_have_done_so() {
    let dir = temp();
    let world = World::new(dir.path(), config());
    let image = EmptyImage::make(dir.path());
    let options: Vec<&str> = HOST_PROGRAMS.into_iter().chain(["--memory", "32m", "--memory-swap", "32m"]).collect();
    let _container = Container::start(&world, &image, &options, &["/usr/bin/tail", "/dev/zero"]);
    world.open();
    let end = world.wait(|s| s.last_end.is_some()).last_end.expect("report");
    assert!(end.out_of_memory, "{end:?}");
    assert!(end.will_restart_in_ms.is_some());
}

/// In its own namespace of processes, with at most 64 of them, and gone with its container.
#[test]
fn what_forks_on_after_the_end_of_the_app_does_not_keep_it_from_starting_again() {
    let dir = temp();
    let world = World::new(dir.path(), config());
    let image = EmptyImage::make(dir.path());
    // Each of them in a group of its own, and each makes more.
    let bomb = "perl -MPOSIX -e 'while (1) { my $child = fork; POSIX::setsid() if defined $child && !$child }'";
    let script = format!("[ -e /tmp/second ] && echo clean && exec sleep 1000; : >/tmp/second; {bomb} & sleep 0.5; exit 3");
    let mut options = HOST_PROGRAMS.to_vec();
    options.extend(["--pids-limit", "64", "--cpus", "1", "--tmpfs", "/tmp"]);
    let container = Container::start(&world, &image, &options, &["/bin/sh", "-c", &script]);
    world.open();
    assert_eq!(world.wait_for_line("clean").last().map(String::as_str), Some("clean"));
    let left = docker(&["top", &container.id, "-o", "pid,comm"]);
    assert!(!left.contains("perl"), "{left}");
}
