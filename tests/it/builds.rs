//! A source tree becomes an image: real BuildKit, real package registries, base images made from Debian packages.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use paas::base::secret::Secret;
use paas::builds::{BuildError, BuildLine, BuildRequest, Builder, Built, LineKind, SourceSummary, read_manifest_files, stack};
use paas::config::HostConfig;
use paas::docker::{ContainerSpec, Docker};
use paas::manifest::{self, CommandLine};
use paas::names::{AppName, DeployId, ProcessName};

mod languages;

/// One installation of its own per test; what it made is removed at the end.
struct World {
    docker: Docker,
    builder: Builder,
    app: AppName,
    dir: tempfile::TempDir,
    deploys: std::cell::Cell<i64>,
}

type Files = BTreeMap<String, (Vec<u8>, u32)>;

struct Outcome {
    built: Result<Built, BuildError>,
    lines: Vec<BuildLine>,
    took: Duration,
}

impl World {
    async fn new(app: &str) -> Self {
        let dir = tempfile::tempdir().expect("temp dir");
        // Unique per test process and app: the first eight characters name everything.
        let install = format!("{:08x}-0000-4000-8000-000000000000", fnv(&format!("{app}{}", std::process::id())));
        let text = format!("state_dir = \"{}\"\n[stack]\nsource = \"debian\"\n", dir.path().display());
        let config = HostConfig::parse(Path::new("paas.toml"), &text).expect("a valid host config");
        let docker = Docker::new(&config.docker.socket, &install);
        let (lines, mut told) = tokio::sync::mpsc::channel(1000);
        tokio::spawn(async move { while told.recv().await.is_some() {} });
        // Other tests may want it at the same moment.
        static MAKING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
        let _alone = MAKING.lock().await;
        let made =
            stack::make_base(&docker, config.stack.debian, &config.stack.mirror, Path::new("/var/tmp"), false, &lines).await;
        made.expect("the base image can be made (needs root and debootstrap)");
        let builder = Builder::new(docker.clone(), Arc::new(config), install);
        World { docker, builder, app: AppName::parse(app).expect("app name"), dir, deploys: 0.into() }
    }

    async fn receive(&self, files: &Files) -> (PathBuf, SourceSummary) {
        let to = self.dir.path().join("source.tar");
        let summary = self.builder.receive_source(&tar_of(files)[..], &to, false).await.expect("a clean source");
        (to, summary)
    }

    async fn build(&self, files: &Files) -> Outcome {
        self.build_with(files, BTreeMap::new()).await
    }

    async fn build_with(&self, files: &Files, secrets: BTreeMap<String, Secret<String>>) -> Outcome {
        let started = Instant::now();
        let (source, _) = self.receive(files).await;
        let manifest = manifest::read(&read_manifest_files(&source, None).expect("manifest files")).expect("a valid manifest");
        self.deploys.set(self.deploys.get() + 1);
        let deploy = DeployId(self.deploys.get());
        let request = BuildRequest { app: self.app.clone(), deploy, source, manifest: &manifest, commit: None, secrets };
        let (sender, mut receiver) = tokio::sync::mpsc::channel(64);
        let (_keep, cancel) = tokio::sync::watch::channel(false);
        // Worlds share the images of a language, as installations on one engine would, but not the lock on making them: of two that make
        // them at once the second one's take the name, and what was built on the first one's is no longer in the cache.
        let _first = match (deploy, language_lock(files)) {
            (DeployId(1), Some(lock)) => Some(lock.lock().await),
            _ => None,
        };
        let (built, lines) = tokio::join!(self.builder.build(&request, sender, cancel), async {
            let mut lines = Vec::new();
            while let Some(line) = receiver.recv().await {
                lines.push(line);
            }
            lines
        });
        let took = started.elapsed();
        for line in &lines {
            eprintln!("[{} {deploy}] {:?} {}", self.app, line.kind, line.text);
        }
        eprintln!("[{} {deploy}] {took:?} {:?}", self.app, built.as_ref().map(|b| (b.steps, b.cached_steps)));
        Outcome { built, lines, took }
    }

    /// Runs the image's own command or `line` in a container as instances are run, and gives its exit code and output.
    async fn run(&self, image: &str, line: Option<&str>) -> (i64, String) {
        let name = format!("{}{}-run-{}", self.docker.name_prefix(), self.app, self.deploys.get());
        let cmd: Vec<String> = line.map(|l| vec!["/bin/sh".to_owned(), "-c".to_owned(), l.to_owned()]).unwrap_or_default();
        let spec = ContainerSpec {
            name: name.clone(),
            image: image.to_owned(),
            cmd,
            env: vec![("PORT".to_owned(), "8080".to_owned())],
            pids: 256,
            memory: 512 << 20,
            oom_score_adj: 500,
            ..ContainerSpec::default()
        };
        let id = self.docker.create(&spec).await.expect("create");
        assert_eq!(self.docker.create(&spec).await.expect("adopt"), id, "the same name is the same container");
        let mut session = self.docker.attach(&id, false, false).await.expect("attach");
        self.docker.start(&id).await.expect("start");
        let mut output = Vec::new();
        while let Some(chunk) = futures_util::StreamExt::next(&mut session.output).await {
            output.extend_from_slice(&chunk.expect("output").1);
        }
        let code = self.docker.wait(&id).await.expect("wait");
        self.docker.remove(&id).await.expect("remove");
        (code, String::from_utf8_lossy(&output).into_owned())
    }

    /// Starts `web` as the build says, asks for `path` from inside, and gives status and body.
    async fn fetch(&self, built: &Built, line: Option<&str>, path: &str) -> String {
        let web = ProcessName::parse("web").expect("name");
        let line = match (line, built.default_processes.get(&web)) {
            (Some(line), _) => line.to_owned(),
            (None, Some(CommandLine::Shell(line))) => line.clone(),
            (None, other) => panic!("no web process: {other:?}"),
        };
        // /dev/tcp is bash's: it is in the base, and nothing like curl is.
        let probe = format!(
            "({line}) & for i in $(seq 100); do (exec 3<>/dev/tcp/127.0.0.1/8080) 2>/dev/null && break; sleep 0.1; done; \
             exec 3<>/dev/tcp/127.0.0.1/8080; printf 'GET {path} HTTP/1.0\\r\\nHost: x\\r\\n\\r\\n' >&3; cat <&3; kill -TERM -1"
        );
        let quoted = shlex::try_quote(&probe).expect("quotable").into_owned();
        self.run(&built.image_id, Some(&format!("exec bash -c {quoted}"))).await.1
    }

    async fn done(self) {
        self.builder.remove_all(&self.app).await.expect("images removed");
        let left = self.docker.list_our_images().await.expect("list");
        assert!(left.is_empty(), "images left: {left:?}");
        assert!(self.docker.list_ours().await.expect("list").is_empty(), "containers left");
    }
}

impl Outcome {
    #[track_caller]
    fn ok(&self) -> &Built {
        self.built.as_ref().expect("the build works")
    }

    fn text(&self) -> String {
        self.lines.iter().map(|l| format!("{}\n", l.text)).collect()
    }
}

fn language_lock(files: &Files) -> Option<&'static tokio::sync::Mutex<()>> {
    static NODE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    static PYTHON: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let has = |names: &[&str]| names.iter().any(|name| files.contains_key(*name));
    match (has(&["package.json"]), has(&["requirements.txt", "pyproject.toml"])) {
        (true, _) => Some(&NODE),
        (false, true) => Some(&PYTHON),
        (false, false) => None,
    }
}

fn fnv(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// A sample app of tests/apps.
fn sample(name: &str) -> Files {
    fn walk(folder: &Path, prefix: &str, into: &mut Files) {
        for entry in std::fs::read_dir(folder).expect("sample app").map(|e| e.expect("entry")) {
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if entry.path().is_dir() {
                walk(&entry.path(), &format!("{name}/"), into);
            } else {
                into.insert(name, (std::fs::read(entry.path()).expect("file"), 0o644));
            }
        }
    }
    let mut files = Files::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/apps").join(name), "", &mut files);
    files
}

fn put(files: &mut Files, name: &str, text: &str) {
    files.insert(name.to_owned(), (text.as_bytes().to_vec(), 0o644));
}

fn edit(files: &mut Files, name: &str, from: &str, to: &str) {
    let text = String::from_utf8(files[name].0.clone()).expect("text");
    assert!(text.contains(from), "{name} holds {from}");
    put(files, name, &text.replace(from, to));
}

fn tar_of(files: &Files) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, (bytes, mode)) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(*mode);
        header.set_mtime(1_700_000_000);
        tar.append_data(&mut header, name, bytes.as_slice()).expect("tar");
    }
    tar.into_inner().expect("tar")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dockerfile_gets_arguments_secrets_and_ignore_rules_and_leaves_no_secret() {
    let world = World::new("dockerfile-sample").await;
    let base = stack::base_tag(paas::config::DebianRelease::Trixie, "http://deb.debian.org/debian");
    let mut files = sample("dockerfile");
    put(&mut files, "paas.toml", &format!("[build]\nargs = {{ BASE = \"{base}\", GREETING = \"moin\" }}\n"));
    put(&mut files, "secret/key", "not to be sent");
    put(&mut files, "debug.log", "not to be sent");
    put(&mut files, "keep.log", "to be sent");
    edit(
        &mut files,
        "Dockerfile",
        "RUN echo",
        "RUN ls -a . && test ! -e secret && test ! -e debug.log && test -e keep.log\nRUN echo",
    );
    let canary = "canary-7f3a9c";
    let secrets = BTreeMap::from([("TOKEN".to_owned(), Secret::new(canary.to_owned()))]);
    let first = world.build_with(&files, secrets).await;
    let (_, output) = world.run(&first.ok().image_id, None).await;
    assert_eq!(output, "moin from a Dockerfile\n");
    let (_, output) = world
        .run(&first.ok().image_id, Some("cat /srv/token-length; grep -rls canary / --exclude-dir=proc --exclude-dir=sys; true"))
        .await;
    assert_eq!(output, format!("{}\n", canary.len()));
    let info = world.docker.image(&first.ok().image_id).await.expect("inspect").expect("there");
    assert!(!format!("{info:?}").contains(canary));
    assert_eq!(info.exposed_ports, [8080]);
    world.done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_apps_never_share_a_cache_mount() {
    let base = stack::base_tag(paas::config::DebianRelease::Trixie, "http://deb.debian.org/debian");
    let mut counts = Vec::new();
    for app in ["cache-one", "cache-two"] {
        let world = World::new(app).await;
        let mut files = sample("dockerfile");
        put(&mut files, "paas.toml", &format!("[build]\nargs = {{ BASE = \"{base}\" }}\n"));
        for round in 0..2 {
            put(&mut files, "round", &format!("{app} {round}"));
            let outcome = world.build(&files).await;
            counts.push(world.run(&outcome.ok().image_id, Some("cat /srv/builds")).await.1.trim().to_owned());
        }
        world.done().await;
    }
    assert_eq!(counts, ["1", "2", "1", "2"], "each app counts its own builds");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dockerfile_that_fails_names_its_line_and_shows_its_output() {
    let world = World::new("failing-sample").await;
    let base = stack::base_tag(paas::config::DebianRelease::Trixie, "http://deb.debian.org/debian");
    let mut files = Files::new();
    put(
        &mut files,
        "Dockerfile",
        &format!("FROM {base}\n# comment\nCOPY . /src\nRUN echo before \\\n && echo to-stderr >&2 \\\n && exit 37\n"),
    );
    let outcome = world.build(&files).await;
    let error = outcome.built.expect_err("it fails");
    assert!(error.to_string().starts_with("Dockerfile line 4: "), "{error}");
    assert!(error.to_string().contains("exit code 37"), "{error}");
    // Two streams, so in whichever order they were read.
    let mut last = error.last_lines();
    last.sort();
    assert_eq!(last, ["before", "to-stderr"]);

    put(&mut files, "Dockerfile", "FROM paas-no-such-image:1\n");
    let error = world.build(&files).await.built.expect_err("no such image");
    assert!(error.to_string().contains("line 1: the image `paas-no-such-image:1` of FROM can't be had"), "{error}");
    assert!(error.hint().expect("a hint").contains("docker load"), "{error:?}");

    put(&mut files, "Dockerfile", &format!("# syntax=docker/dockerfile:1\nFROM {base}\n"));
    if let Err(error) = world.build(&files).await.built {
        assert!(error.to_string().contains("`# syntax=` line"), "{error}");
    }
    put(&mut files, "Dockerfile", &format!("FROM {base}\nFORM x\n"));
    let error = world.build(&files).await.built.expect_err("it can't be parsed");
    assert!(error.to_string().contains("FORM"), "{error}");
    world.done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_build_ends_at_once_and_its_step_dies() {
    let world = World::new("cancel-sample").await;
    let base = stack::base_tag(paas::config::DebianRelease::Trixie, "http://deb.debian.org/debian");
    let mut files = Files::new();
    put(&mut files, "Dockerfile", &format!("FROM {base}\nRUN echo started && sleep 7531\n"));
    let (source, _) = world.receive(&files).await;
    let manifest = manifest::Manifest::default();
    let request = BuildRequest {
        app: world.app.clone(),
        deploy: DeployId(1),
        source,
        manifest: &manifest,
        commit: None,
        secrets: BTreeMap::new(),
    };
    let (sender, mut receiver) = tokio::sync::mpsc::channel(64);
    let (cancel, cancelled) = tokio::sync::watch::channel(false);
    let (built, ()) = tokio::join!(world.builder.build(&request, sender, cancelled), async {
        while let Some(line) = receiver.recv().await {
            if line.kind == LineKind::Output && line.text == "started" {
                cancel.send_replace(true);
            }
        }
    });
    assert!(built.expect_err("cancelled").is_cancelled());
    let alive = || {
        std::fs::read_dir("/proc")
            .expect("proc")
            .filter_map(Result::ok)
            .any(|p| std::fs::read(p.path().join("cmdline")).is_ok_and(|c| c == b"sleep\x007531\0"))
    };
    let ended = Instant::now();
    while alive() {
        assert!(ended.elapsed() < Duration::from_secs(10), "the step goes on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    world.done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn engines_that_the_stack_lacks_come_as_an_npm_package() {
    let world = World::new("engines-sample").await;
    let mut files = Files::new();
    put(
        &mut files,
        "package.json",
        r#"{"name":"x","engines":{"node":"22.x"},"scripts":{"start":"node -e \"console.log(process.version)\""}}"#,
    );
    let outcome = world.build(&files).await;
    let (_, output) = world.run(&outcome.ok().image_id, Some("node --version; npm --version")).await;
    assert!(output.starts_with("v22."), "{output}");
    put(&mut files, "package.json", r#"{"name":"x","engines":{"node":">=99"},"scripts":{"start":"node x"}}"#);
    let error = world.build(&files).await.built.expect_err("no such node");
    assert!(error.to_string().contains(">=99") && error.to_string().contains("20.19"), "{error}");
    world.done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_upload_loses_its_top_folder() {
    let world = World::new("upload-sample").await;
    let mut files = Files::new();
    put(&mut files, "shop-1.0/index.html", "<h1>one</h1>");
    put(&mut files, "shop-1.0/css/a.css", "a{}");
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(&tar_of(&files)).expect("gzip");
    let gz = gz.finish().expect("gzip");
    let zst = zstd::encode_all(&tar_of(&files)[..], 1).expect("zstd");
    let mut sums = Vec::new();
    for bytes in [&gz[..], &zst[..], &tar_of(&files)[..]] {
        let to = world.dir.path().join("upload.tar");
        sums.push(world.builder.receive_source(bytes, &to, true).await.expect("received").sha256);
        let names: Vec<String> = tar::Archive::new(std::fs::File::open(&to).expect("open"))
            .entries()
            .expect("tar")
            .map(|e| e.expect("entry").path().expect("path").display().to_string())
            .collect();
        assert_eq!(names, ["css/a.css", "index.html"]);
    }
    sums.dedup();
    assert_eq!(sums.len(), 1, "the same tree is the same tar");
    world.done().await;
}
