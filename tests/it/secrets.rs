//! A secret reaches its app and stays out of everything else: 200 canaries, a whole life of an app, and a look into every place that keeps things.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::support::{Done, Repo, World, eventually};

/// Stands in every line of every canary, so one search finds all of them.
const MARK: &str = "cAnArY";
const SETTINGS: usize = 160;
const BUILD_SECRETS: usize = 20;
const MISTAKES: usize = 20;

/// The value of canary `n`, in one of the forms that secrets have.
fn canary(n: usize) -> String {
    let core = format!("{MARK}{n:03}{:08x}", n.wrapping_mul(0x9E37_79B1) & 0xffff_ffff);
    match n % 6 {
        0 => core,
        1 => format!("postgres://shop:{core}@db.example.test:5432/shop?sslmode=require"),
        2 => format!("{core} with spaces, 'quotes' and \"double\" ones"),
        3 => format!("$({core}) `{core}` ${{{core}}}"),
        4 => format!("{core}+/=="),
        _ => format!("begin {core}\n{core} in the middle\n{core} end"),
    }
}

/// What was said to anybody in the course of the test, but for the answers of those who asked for a value.
#[derive(Default)]
struct Heard(Vec<(String, Vec<u8>)>);

impl Heard {
    fn hear(&mut self, done: Done) -> Done {
        self.0.push((done.command.clone(), done.text().into_bytes()));
        done
    }

    fn add(&mut self, what: &str, bytes: impl Into<Vec<u8>>) {
        self.0.push((what.to_owned(), bytes.into()));
    }

    /// Where the mark stands, with a piece of what is around it.
    fn hits(&self) -> Vec<String> {
        let around = |bytes: &[u8]| find(bytes).map(|at| shown(&bytes[at.saturating_sub(80)..bytes.len().min(at + 60)]));
        self.0.iter().filter_map(|(what, bytes)| Some(format!("{what}: …{}…", around(bytes)?))).collect()
    }
}

fn find(bytes: &[u8]) -> Option<usize> {
    bytes.windows(MARK.len()).position(|window| window == MARK.as_bytes())
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).escape_debug().to_string()
}

/// Reads the arguments of every process of the machine again and again.
struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(usize, BTreeSet<String>)>,
}

impl Watch {
    fn start() -> Watch {
        let stop = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let (mut looks, mut found) = (0, BTreeSet::new());
            while !ended.load(Ordering::Relaxed) {
                for entry in std::fs::read_dir("/proc").expect("/proc is there").flatten() {
                    let Ok(line) = std::fs::read(entry.path().join("cmdline")) else { continue };
                    if find(&line).is_some() {
                        found.insert(shown(&line));
                    }
                }
                looks += 1;
                std::thread::sleep(Duration::from_millis(2));
            }
            (looks, found)
        });
        Watch { stop, thread }
    }

    fn stop(self) -> (usize, BTreeSet<String>) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the watch does not panic")
    }
}

/// The whole answer of the API to one request, as bytes.
fn ask(w: &World, method: &str, path: &str, body: &str) -> Vec<u8> {
    let mut stream = UnixStream::connect(w.run_dir().join("api.sock")).expect("the API accepts");
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: paas\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())).expect("the API reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("the API answers");
    answer
}

/// Sets canaries of every form: those of one line as a person does, the others by the API.
fn set(w: &World, heard: &mut Heard, app: &str, names: &[(String, usize)]) {
    let (long, short): (Vec<_>, Vec<_>) = names.iter().partition(|(_, n)| canary(*n).contains('\n'));
    let lines: String = short.iter().map(|(name, n)| format!("{name}={}\n", canary(*n))).collect();
    heard.hear(w.paas_in(&["config", "set", "--stdin", "-a", app], lines.as_bytes()).ok());
    let values: serde_json::Map<_, _> = long.iter().map(|(name, n)| (name.clone(), canary(*n).into())).collect();
    let answer = ask(w, "PATCH", &format!("/apps/{app}/config"), &serde_json::json!({ "set": values }).to_string());
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", shown(&answer));
    heard.add("PATCH config", answer);
}

/// A Dockerfile that prints all its secrets, alone, in a line and in the error of a step; `end` is how that step ends.
fn dockerfile(world: &World, end: &str) -> String {
    let base = paas::builds::stack::base_tag(paas::config::DebianRelease::Trixie, "http://deb.debian.org/debian");
    let mounts: String = (0..BUILD_SECRETS).map(|n| format!("--mount=type=secret,id=BUILD_{n:02} ")).collect();
    format!(
        "FROM {base} AS build\nRUN {mounts} : {}; cat /run/secrets/BUILD_*; for f in /run/secrets/BUILD_*; do echo \"of $f: $(cat $f)\"; done; {end}\n\
         RUN echo {end} > /built\nFROM scratch\nCOPY --from=build /built /built\nCOPY testapp version mode /\nENTRYPOINT [\"/testapp\"]\n",
        // No other run may have left it in the engine's cache: it has to print.
        world.domain
    )
}

fn manifest() -> String {
    let names: Vec<String> = (0..BUILD_SECRETS).map(|n| format!("\"BUILD_{n:02}\"")).collect();
    format!("[build]\nsecrets = [{}]\n[release]\ncommand = [\"/testapp\", \"release\"]\n", names.join(", "))
}

fn repository(w: &World) -> Repo {
    let repo = Repo::testapp("one");
    repo.write("Dockerfile", dockerfile(w, "true")).write("paas.toml", manifest());
    repo.commit("one");
    repo
}

/// Everything that people get wrong with a secret in their hands. None of it may be repeated to them, or to a log.
fn mistakes(w: &World, heard: &mut Heard, app: &str) {
    let first = SETTINGS + BUILD_SECRETS;
    let secret = |n: usize| canary(first + n).replace('\n', " ");
    for (n, line) in ["{}", "not a name={}", "{}=x y", "1{}=1", "export {}", "KEY: {}"].iter().enumerate() {
        let line = line.replace("{}", &secret(n)) + "\n";
        heard.hear(w.paas_in(&["config", "set", "--stdin", "-a", app], line.as_bytes()).fails(2)).says(&["line 1"]);
        let over_ssh = w.ssh("laptop", &["config", "set", "--stdin", "-a", app], line.as_bytes()).fails(2);
        heard.hear(over_ssh).says(&["line 1"]);
    }
    let path = format!("/apps/{app}/config");
    let quoted = |n: usize| serde_json::Value::from(secret(n)).to_string();
    let bodies = [
        format!(r#"{{"set":{}}}"#, quoted(6)),
        format!(r#"{{"set":{{"A":[{}]}}}}"#, quoted(7)),
        format!(r#"{{"set":{{{}:"x"}}}}"#, quoted(8)),
        format!(r#"{{"set":{{"PORT":{}}}}}"#, quoted(9)),
        format!(r#"{{{}:1}}"#, quoted(10)),
        format!(r#"{{"set":{{"A":"\u0000{}"}}}}"#, quoted(11).trim_matches('"')),
        format!(r#"{{"set":{{"A":"{}"}}}}"#, quoted(12).trim_matches('"').repeat(10_000)),
        format!(r#"{{"unset":[{}]}}"#, quoted(13)),
        format!("{}{{", secret(14)),
        format!(r#"[{}"#, quoted(15)),
    ];
    for body in bodies {
        let answer = ask(w, "PATCH", &path, &body);
        assert!(answer.starts_with(b"HTTP/1.1 4"), "{}\n{}", &body[..body.len().min(60)], shown(&answer));
        heard.add("PATCH config, refused", answer);
    }
    let private = format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{}\n-----END OPENSSH PRIVATE KEY-----\n", secret(16));
    let keys = [private, secret(17), format!("ssh-ed25519 {}", secret(18)), format!("{}\nssh-ed25519 AAAA", secret(19))];
    for key in keys {
        let refused = w.paas_in(&["keys", "add", "mistake"], key.as_bytes());
        assert_ne!(refused.code, 0, "{refused}");
        heard.hear(refused);
    }
    assert_eq!(first + MISTAKES, 200, "there are 200 canaries");
}

/// A life of an app: pushes, a failing build, a failing deploy, a rollback, run, exec, changed settings, logs.
fn live(w: &World, heard: &mut Heard, app: &str) {
    let repo = repository(w);
    heard.hear(w.push(&repo, app).ok()).says(&["***", "release command of one ends with 0"]);
    w.serves(app, "one");
    repo.release("two");
    heard.hear(w.push(&repo, app).ok());

    repo.write("Dockerfile", dockerfile(w, "exit 7")).commit("a build that fails");
    heard.hear(w.push(&repo, app)).says(&["exit code 7", "***"]);
    repo.write("Dockerfile", dockerfile(w, "true")).write("mode", "exit=9").release("three");
    heard.hear(w.push(&repo, app)).says(&["told to exit with 9"]);
    w.serves(app, "two");

    heard.hear(w.paas(&["rollback", "-a", app]).ok());
    w.serves(app, "one");
    heard.hear(w.paas(&["run", "-a", app, "--", "/testapp", "release"]).ok());
    heard.hear(w.paas(&["exec", "-a", app, "--", "/testapp", "release"]).ok());
    heard.hear(w.ssh("laptop", &["run", "-a", app, "--", "/missing"], b""));
    set(w, heard, app, &[("SETTING_000".to_owned(), 6), ("BUILD_00".to_owned(), 12)]);
    heard.hear(w.paas(&["config", "unset", "-a", app, "SETTING_001"]).ok());
    set(w, heard, app, &[("SETTING_001".to_owned(), 1)]);
    mistakes(w, heard, app);
}

/// All that paas tells about the app, by every verb that is not asked for a value.
fn ask_everything(w: &World, heard: &mut Heard, app: &str) {
    let verbs: [&[&str]; 8] = [
        &["logs", "-n", "100000"],
        &["logs", "-n", "100000", "--json"],
        &["releases", "--json"],
        &["ps", "--json"],
        &["deploys", "list", "--json"],
        &["apps", "info", "--json"],
        &["domains", "list", "--json"],
        &["status", "--json"],
    ];
    for verb in verbs {
        heard.hear(w.paas(&[verb, &["-a", app]].concat()).ok());
    }
    let deploys = w.deploys(app);
    assert!(deploys.len() >= 6, "{deploys:?}");
    for id in deploys.iter().filter_map(|d| d["id"].as_str()) {
        heard.hear(w.paas(&["deploys", "info", id, "--json"]).ok());
        heard.hear(w.paas(&["deploys", "follow", id]));
    }
    let log = w.config.with_file_name("up.log");
    heard.add("the roles' own log", std::fs::read(log).expect("the roles log"));
}

/// Every file below `folder`, links not followed; the copies of the binary are left out.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder can be read").flatten() {
        let kind = entry.file_type().expect("an entry has a kind");
        match () {
            () if kind.is_dir() && entry.file_name() != "bin" => files(&entry.path(), found),
            () if kind.is_file() => found.push(entry.path()),
            () => {}
        }
    }
}

/// What everybody on the host can open, though they can't list it: each folder above lets them through, and the file is readable.
fn open_to_all(root: &Path, file: &Path) -> bool {
    let mode = |path: &Path| path.metadata().map_or(0, |m| m.permissions().mode());
    let passable = |dir: &Path| mode(dir) & 0o001 != 0;
    mode(file) & 0o004 != 0 && file.ancestors().skip(1).take_while(|dir| dir.starts_with(root)).all(passable)
}

/// What Docker keeps and tells: images with their layers and history, containers of others, networks, events since `since`.
fn docker_keeps(w: &World, heard: &mut Heard, app: &str, other: &str, since: &str) {
    let images: Vec<String> =
        w.objects().iter().filter_map(|o| o.strip_prefix("image ")).filter(|i| i.contains(app)).map(str::to_owned).collect();
    assert!(images.len() >= 2, "{images:?}");
    for image in &images {
        heard.hear(w.docker(&["history", "--no-trunc", image]).ok());
        heard.hear(w.docker(&["image", "inspect", image]).ok());
        let mut saving = Command::new("docker").args(["save", image]).stdout(Stdio::piped()).spawn().expect("docker runs");
        let mut bytes = Vec::new();
        saving.stdout.take().expect("it is piped").read_to_end(&mut bytes).expect("an image can be saved");
        assert!(saving.wait().expect("docker ends").success() && bytes.len() > 100_000, "{} bytes of {image}", bytes.len());
        heard.add(&format!("docker save {image}"), bytes);
    }
    for object in w.objects().iter().filter(|o| !o.starts_with("image ")) {
        let name = object.split_once(' ').expect("kind and name").1;
        if !object.contains(app) || object.starts_with("network ") {
            heard.hear(w.docker(&["inspect", name]).ok());
        }
    }
    heard.hear(w.docker(&["ps", "-a", "--no-trunc"]).ok());
    heard.hear(w.docker(&["events", "--since", since, "--until", "0s", "--format", "{{json .}}"]).ok());
    assert!(w.docker(&["inspect", &container(w, other)]).ok().text().contains("PAAS_APP"));
}

/// The name of an app's only container.
fn container(w: &World, app: &str) -> String {
    let found = w.objects().iter().find_map(|o| o.strip_prefix("container ").filter(|c| c.contains(app)).map(str::to_owned));
    found.expect("a live app has a container")
}

#[test]
fn two_hundred_secrets_reach_their_app_and_stand_nowhere_else() {
    let w = World::start_with("", &[("RUST_LOG", "debug")]);
    let since = eventually("the time of the engine", Duration::from_secs(5), || {
        Some(w.docker(&["info", "--format", "{{.SystemTime}}"]).ok().out.trim().to_owned()).filter(|t| !t.is_empty())
    });
    let (app, other) = (w.app("vault"), w.live("other", "one").0);
    let mut heard = Heard::default();
    let watch = Watch::start();
    w.paas(&["apps", "create", &app]).ok();
    let settings = (0..SETTINGS).map(|n| (format!("SETTING_{n:03}"), n));
    let secrets = (0..BUILD_SECRETS).map(|n| (format!("BUILD_{n:02}"), SETTINGS + n));
    set(&w, &mut heard, &app, &settings.chain(secrets).collect::<Vec<_>>());

    live(&w, &mut heard, &app);

    let (looks, argv) = watch.stop();
    ask_everything(&w, &mut heard, &app);
    docker_keeps(&w, &mut heard, &app, &other, &since);
    let mut kept = Vec::new();
    files(&w.state_dir(), &mut kept);
    files(&w.run_dir(), &mut kept);
    assert!(kept.iter().any(|f| f.ends_with("paas.db")) && kept.iter().any(|f| f.ends_with("secret.key")), "{kept:?}");
    for file in &kept {
        heard.add(&file.display().to_string(), std::fs::read(file).unwrap_or_default());
    }
    // The app has them, and this search finds them where they are.
    let env = w.get(&app, "/env").text();
    let missing: Vec<_> = (1..SETTINGS + BUILD_SECRETS).filter(|n| *n != SETTINGS && !env.contains(&canary(*n))).collect();
    assert!(missing.is_empty(), "the app lacks canaries {missing:?}\n{env}");
    assert!(find(w.docker(&["inspect", &container(&w, &app)]).ok().text().as_bytes()).is_some());

    assert!(looks > 100, "the arguments of processes were looked at {looks} times only");
    assert!(argv.is_empty(), "in the arguments of a process: {argv:#?}");
    let hits = heard.hits();
    assert!(hits.is_empty(), "{} hits in {} places:\n{}", hits.len(), heard.0.len(), hits.join("\n"));
    let key = std::fs::read(w.state_dir().join("secret.key")).expect("root reads the key");
    let with_key = heard.0.iter().filter(|(what, bytes)| !what.ends_with("secret.key") && holds(bytes, &key));
    assert_eq!(with_key.map(|(what, _)| what).collect::<Vec<_>>(), Vec::<&String>::new(), "the installation's key stands there");
    let open: Vec<_> = kept.iter().filter(|file| open_to_all(&w.state_dir(), file)).collect();
    let fine = |file: &Path| {
        let name = file.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        file.starts_with(w.state_dir().join("apps")) || ["authorized_keys", "listening.json", "up.json"].contains(&name)
    };
    assert!(open.iter().all(|file| fine(file)), "everybody can read {open:#?}");
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[test]
fn no_process_of_paas_leaves_a_core_file() {
    let w = World::shared("secrets");
    let (app, _repo) = w.live("core", "one");
    let mut ssh = w.ssh_command("laptop");
    ssh.push_str(" paas@127.0.0.1 logs --tail -a ");
    ssh.push_str(&app);
    let mut words = ssh.split(' ');
    let mut session = Command::new(words.next().expect("a command has a first word"));
    let mut session =
        session.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("ssh runs");

    for role in ["daemon", "proxy", "dialer", "up", "ssh-session"] {
        // It is the first thing that a role does, but not the first that its process does.
        eventually(&format!("{role} without core files"), Duration::from_secs(10), || {
            let limits = std::fs::read_to_string(format!("/proc/{}/limits", w.pid_of(role)?)).ok()?;
            let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("one is for core files");
            (core.split_whitespace().skip(4).take(2).collect::<Vec<_>>() == ["0", "0"]).then_some(())
        });
    }
    drop(session.kill());
    drop(session.wait());
    // The app is quiet and nothing is written: the session finds out by itself.
    eventually("the session of a client that is gone ends", Duration::from_secs(10), || {
        w.pid_of("ssh-session").is_none().then_some(())
    });
    let unit =
        |name: &str| std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd").join(name)).expect("a unit");
    for name in ["paas-daemon.service", "paas-proxy.service", "paas-dialer.service"] {
        assert!(unit(name).lines().any(|line| line == "LimitCORE=0"), "{name}");
    }
}
