//! The engine as paas uses it, on a real one: containers with our restrictions, networks, terminals.

use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt;
use paas::docker::{ContainerSpec, ContainerStatus, Docker, DockerError, ExecOptions, NetworkSpec, StreamKind};
use tokio::io::AsyncWriteExt;

fn docker(name: &str) -> Docker {
    let number = name.bytes().fold(std::process::id(), |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte)));
    Docker::new(Path::new("/var/run/docker.sock"), &format!("{number:08x}-0000-4000-8000-000000000000"))
}

/// The Debian base image of the build tests.
async fn base(docker: &Docker) -> String {
    let (lines, mut told) = tokio::sync::mpsc::channel(1000);
    tokio::spawn(async move { while told.recv().await.is_some() {} });
    let release = paas::config::DebianRelease::Trixie;
    let mirror = "http://deb.debian.org/debian";
    paas::builds::stack::make_base(docker, release, mirror, Path::new("/var/tmp"), false, &lines).await.expect("the base image")
}

async fn running(docker: &Docker, name: &str, line: &str, change: impl FnOnce(&mut ContainerSpec)) -> String {
    let mut spec = ContainerSpec {
        name: format!("{}{name}", docker.name_prefix()),
        image: base(docker).await,
        cmd: vec!["/bin/sh".to_owned(), "-c".to_owned(), line.to_owned()],
        memory: 64 << 20,
        pids: 64,
        oom_score_adj: 500,
        ..ContainerSpec::default()
    };
    change(&mut spec);
    let id = docker.create(&spec).await.expect("create");
    docker.start(&id).await.expect("start");
    docker.start(&id).await.expect("starting what runs is fine");
    id
}

async fn done(docker: &Docker) {
    assert!(docker.list_ours().await.expect("list").is_empty(), "containers left");
    assert!(docker.list_our_networks().await.expect("list").is_empty(), "networks left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_has_our_restrictions_and_nothing_more() {
    let docker = docker("restrictions");
    let id = running(&docker, "restricted", "sleep 1000", |spec| spec.read_only_root = true).await;
    let argv = |line: &str| vec!["/bin/sh".to_owned(), "-c".to_owned(), line.to_owned()];
    let check = "grep -E 'NoNewPrivs|CapBnd|Seccomp:' /proc/self/status; touch /x; touch /tmp/x && echo tmp; echo no >&2; cat /proc/sys/net/ipv4/tcp_notsent_lowat; ls /sys/class/net; exit 7";
    let mut session = docker.exec(&id, &argv(check), ExecOptions::default()).await.expect("exec");
    let (mut out, mut err) = (String::new(), String::new());
    while let Some(chunk) = session.output.next().await {
        let (kind, bytes) = chunk.expect("output");
        let to = if kind == StreamKind::Stdout { &mut out } else { &mut err };
        to.push_str(&String::from_utf8_lossy(&bytes));
    }
    assert_eq!(session.exit_code().await.expect("exit code"), Some(7));
    assert!(out.contains("NoNewPrivs:\t1") && out.contains("Seccomp:\t2"), "{out}");
    // CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID NET_BIND_SERVICE SYS_CHROOT SETFCAP
    assert!(out.contains("CapBnd:\t00000000800404fb"), "{out}");
    assert!(out.contains("\n131072\n"), "a bound on what its sockets queue unsent: {out}");
    assert!(out.contains("tmp\n") && out.trim_end().ends_with("lo"), "only loopback without a network: {out}");
    assert!(err.contains("Read-only file system") && err.ends_with("no\n"), "{err}");
    docker.remove(&id).await.expect("remove");
    docker.remove(&id).await.expect("removing what is gone is fine");
    done(&docker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn states_are_seen_and_ends_are_waited_for() {
    let docker = docker("states");
    let id = running(&docker, "states", "trap 'exit 3' TERM; while :; do sleep 0.1; done", |s| {
        s.labels.insert("paas.app".to_owned(), "docker-tests".to_owned());
    })
    .await;
    let state = docker.inspect(&id).await.expect("inspect").expect("there");
    assert!(state.running && state.pid > 0 && state.status == ContainerStatus::Running);
    assert!(state.sandbox_key.expect("a sandbox").to_string_lossy().contains("/docker/netns/"));
    let mut events = docker.events().await.expect("events");
    let ours = docker.list_ours().await.expect("list");
    assert_eq!(ours.iter().map(|c| c.id.as_str()).collect::<Vec<_>>(), [id.as_str()]);
    let (waited, stopped) = tokio::join!(docker.wait(&id), docker.stop(&id, Duration::from_secs(10)));
    stopped.expect("stop");
    assert_eq!(waited.expect("wait"), 3);
    assert_eq!(docker.wait(&id).await.expect("waiting for what has ended"), 3);
    let told = tokio::time::timeout(Duration::from_secs(10), events.next()).await.expect("its end is told").expect("no end");
    assert_eq!((told.app.as_str(), told.what.as_str()), ("docker-tests", "die"));
    let state = docker.inspect(&id).await.expect("inspect").expect("there");
    assert!(!state.running && state.exit_code == 3 && state.sandbox_key.is_none());
    assert!(matches!(docker.kill(&id, "SIGTERM").await, Err(DockerError::Conflict(_) | DockerError::Api { .. })));
    docker.remove(&id).await.expect("remove");
    assert!(docker.inspect(&id).await.expect("inspect").is_none());
    assert!(matches!(docker.start(&id).await, Err(DockerError::NotFound(_))));
    done(&docker).await;
}

/// As after a crash: the engine still makes what was asked of it, and is asked for the same again. It has given the name away then, and does
/// not know the container yet.
#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_is_made_twice_at_once_is_one() {
    let docker = docker("twice");
    let image = base(&docker).await;
    for round in 0..10 {
        let spec = ContainerSpec {
            name: format!("{}twice{round}", docker.name_prefix()),
            image: image.clone(),
            ..ContainerSpec::default()
        };
        let made = futures_util::future::join_all((0..4).map(|_| docker.create(&spec))).await;
        let ids: Vec<String> = made.into_iter().map(|id| id.expect("made or adopted")).collect();
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
        docker.remove(&ids[0]).await.expect("remove");
    }
    done(&docker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_shows_a_prompt_before_its_newline_and_takes_input() {
    let docker = docker("terminal");
    let id = running(&docker, "terminal", "sleep 1000", |_| {}).await;
    let argv = ["/bin/sh", "-c", "printf 'name? '; read name; echo \"hello $name\"; stty size"].map(str::to_owned);
    let options = ExecOptions { tty: true, stdin: true, ..ExecOptions::default() };
    let mut session = docker.exec(&id, &argv, options).await.expect("exec");
    let mut seen = String::new();
    while !seen.contains("name? ") {
        seen.push_str(&String::from_utf8_lossy(&session.output.next().await.expect("a prompt").expect("output").1));
    }
    session.resize(132, 43).await.expect("resize");
    session.input.write_all(b"ada\n").await.expect("input");
    while let Some(chunk) = session.output.next().await {
        seen.push_str(&String::from_utf8_lossy(&chunk.expect("output").1));
    }
    assert!(seen.contains("hello ada") && seen.contains("43 132"), "{seen}");
    assert_eq!(session.exit_code().await.expect("exit code"), Some(0));

    let mut session =
        docker.exec(&id, &["cat".to_owned()], ExecOptions { stdin: true, ..ExecOptions::default() }).await.expect("exec");
    session.input.write_all(b"piped").await.expect("input");
    session.input.shutdown().await.expect("end of input");
    assert_eq!(session.output.next().await.expect("output").expect("output").1, "piped");
    assert!(session.output.next().await.is_none(), "cat ends with its input");
    docker.remove(&id).await.expect("remove");
    assert!(matches!(docker.exec(&id, &argv, ExecOptions::default()).await, Err(DockerError::NotFound(_))));
    done(&docker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn networks_are_adopted_by_name_and_never_overlap() {
    let docker = docker("networks");
    // A pool of its own per process, outside of Docker's default ones and of ours.
    let net = std::process::id() % 200;
    let spec = |name: &str, last: u32| NetworkSpec {
        name: format!("{}{name}", docker.name_prefix()),
        subnet4: format!("10.214.{net}.{last}/28"),
        gateway4: format!("10.214.{net}.{}", last + 1),
        subnet6: Path::new("/proc/net/if_inet6").exists().then(|| format!("fd12:3456:{net:x}:{last:x}::/64")),
        app: name.to_owned(),
    };
    let (one, again) = (spec("one", 0), spec("one", 0));
    let (first, second) = tokio::join!(docker.ensure_network(&one), docker.ensure_network(&again));
    let id = first.expect("made");
    assert_eq!(second.expect("adopted"), id);
    assert!(matches!(docker.ensure_network(&spec("two", 0)).await, Err(DockerError::SubnetTaken(_))));
    assert!(matches!(docker.ensure_network(&spec("one", 32)).await, Err(DockerError::Conflict(_))));
    let container = running(&docker, "networked", "sleep 1000", |s| s.network = Some(one.name.clone())).await;
    let state = docker.inspect(&container).await.expect("inspect").expect("there");
    assert!(state.addresses[&one.name].starts_with(&format!("10.214.{net}.")));
    assert!(docker.remove_network(&one.name).await.is_err(), "a network in use stays");
    docker.remove(&container).await.expect("remove");
    docker.remove_network(&one.name).await.expect("removed");
    docker.remove_network(&one.name).await.expect("removing what is gone is fine");
    assert!(matches!(docker.remove_network("bridge").await, Err(DockerError::Conflict(_))), "not ours");
    done(&docker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_others_are_left_alone_and_an_absent_engine_is_said() {
    let (ours, others) = (docker("ours"), docker("others"));
    let id = running(&others, "shared", "sleep 1000", |_| {}).await;
    let spec =
        ContainerSpec { name: format!("{}shared", others.name_prefix()), image: base(&ours).await, ..ContainerSpec::default() };
    assert!(matches!(ours.create(&spec).await, Err(DockerError::Conflict(_))));
    let missing = ContainerSpec {
        name: format!("{}x", ours.name_prefix()),
        image: "paas-no-such-image:1".to_owned(),
        ..ContainerSpec::default()
    };
    assert!(matches!(ours.create(&missing).await, Err(DockerError::NotFound(_))));
    others.remove(&id).await.expect("remove");
    let nobody = Docker::new(Path::new("/nonexistent/docker.sock"), "00000000");
    assert!(nobody.engine().await.expect_err("no engine").is_unavailable());
    assert!(ours.engine().await.expect("engine").memory_total > 1 << 20);
    done(&ours).await;
    done(&others).await;
}
