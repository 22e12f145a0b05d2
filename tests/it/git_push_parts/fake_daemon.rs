//! A stand-in for the daemon: the two git routes of the API on a real socket, with real repositories and the real ref policy. What it does with
//! a commit is read from the commit's files: `fail` (the reason), `cut` (the stream breaks once), `slow`.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use paas::api::error::{ApiError, ErrorCode};
use paas::api::types::git::{PushEvent, PushRequest, Session, SessionRequest};
use paas::config::HostConfig;
use paas::git::Repos;
use paas::git::policy::{self, Decision, Kept, RefChange};
use paas::names::{AppName, BranchName, CommitSha, DeployId};
use tokio::io::AsyncReadExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

pub struct FakeDaemon {
    inner: Arc<Inner>,
    _runtime: tokio::runtime::Runtime,
}

struct Inner {
    config: Arc<HostConfig>,
    repos: Repos,
    push_bytes: AtomicU64,
    leave: AtomicBool,
    deploys: AtomicU64,
    /// The rest of a push whose stream was cut.
    rest: Mutex<Option<(u64, mpsc::Receiver<PushEvent>)>>,
}

impl FakeDaemon {
    pub fn start(config: HostConfig) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime");
        let config = Arc::new(config);
        let push_bytes = AtomicU64::new(config.limits.push_bytes);
        let repos = Repos::new(config.clone());
        let inner = Arc::new(Inner {
            config,
            repos,
            push_bytes,
            leave: AtomicBool::new(false),
            deploys: AtomicU64::new(0),
            rest: Mutex::new(None),
        });
        let _inside = runtime.enter();
        let socket = inner.config.api_socket();
        let listener = Preface(UnixListener::bind(&socket).expect("bind"));
        std::fs::set_permissions(&socket, std::os::unix::fs::PermissionsExt::from_mode(0o666)).expect("chmod");
        let router =
            Router::new().route("/git/session", post(session)).route("/git/push", post(push)).route("/version", get(version));
        let service = router.with_state(inner.clone()).into_make_service_with_connect_info::<Key>();
        runtime.spawn(async move { axum::serve(listener, service).await });
        drop(_inside);
        Self { inner, _runtime: runtime }
    }

    pub fn set_push_bytes(&self, bytes: u64) {
        self.inner.push_bytes.store(bytes, Ordering::SeqCst);
    }

    pub fn leave_after_session(&self) {
        self.inner.leave.store(true, Ordering::SeqCst);
    }

    pub fn repo(&self, app: &AppName) -> PathBuf {
        self.inner.repos.path(app)
    }
}

/// The key that a connection announced in its first line.
#[derive(Debug, Clone)]
struct Key(String);

struct Preface(UnixListener);

impl axum::serve::Listener for Preface {
    type Io = UnixStream;
    type Addr = Key;

    async fn accept(&mut self) -> (UnixStream, Key) {
        loop {
            let Ok((mut stream, _)) = self.0.accept().await else { continue };
            let mut line = Vec::new();
            while let Ok(byte) = stream.read_u8().await {
                if byte == b'\n' || line.len() > 20 {
                    break;
                }
                line.push(byte);
            }
            if let Some(key) = String::from_utf8_lossy(&line).strip_prefix("key ") {
                return (stream, Key(key.to_owned()));
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Key> {
        Ok(Key(String::new()))
    }
}

impl axum::extract::connect_info::Connected<axum::serve::IncomingStream<'_, Preface>> for Key {
    fn connect_info(stream: axum::serve::IncomingStream<'_, Preface>) -> Self {
        stream.remote_addr().clone()
    }
}

async fn version(ConnectInfo(key): ConnectInfo<Key>) -> Json<serde_json::Value> {
    Json(serde_json::json!({ "key": key.0 }))
}

async fn session(
    State(inner): State<Arc<Inner>>,
    ConnectInfo(key): ConnectInfo<Key>,
    Json(ask): Json<SessionRequest>,
) -> Response {
    if ask.app.as_str() == "secret" {
        let no = ApiError::new(ErrorCode::Denied, format!("key {} may not push to `secret`", key.0));
        return (StatusCode::FORBIDDEN, Json(no)).into_response();
    }
    let created = !inner.repos.exists(&ask.app);
    inner.repos.ensure(&ask.app).await.expect("repository");
    if inner.leave.load(Ordering::SeqCst) {
        std::fs::remove_file(inner.config.api_socket()).expect("gone");
    }
    let repo = inner.repos.path(&ask.app);
    Json(Session { repo, hooks: inner.config.hooks_dir(), push_bytes: inner.push_bytes.load(Ordering::SeqCst), created })
        .into_response()
}

async fn push(State(inner): State<Arc<Inner>>, Json(ask): Json<PushRequest>) -> Response {
    let events = match &ask.resume {
        Some(resume) => {
            let (seen, rest) = inner.rest.lock().expect("lock").take().expect("a push to resume");
            assert_eq!(resume.lines_seen, seen, "the hook knows what it has shown");
            rest
        }
        None => {
            let (to, from) = mpsc::channel(16);
            // The job is the daemon's own: it ends whoever listens.
            tokio::spawn(work(inner.clone(), ask.clone(), to));
            from
        }
    };
    let (to_body, body) = mpsc::channel::<Result<Bytes, Infallible>>(16);
    let cut = ask.resume.is_none();
    tokio::spawn(stream_out(inner, events, to_body, cut));
    Body::from_stream(tokio_stream::wrappers::ReceiverStream::new(body)).into_response()
}

/// Passes events on; a line `cut here` breaks the stream and keeps the rest for the one who resumes.
async fn stream_out(
    inner: Arc<Inner>,
    mut events: mpsc::Receiver<PushEvent>,
    to: mpsc::Sender<Result<Bytes, Infallible>>,
    may_cut: bool,
) {
    let mut lines = 0;
    let mut named = false;
    while let Some(event) = events.recv().await {
        if may_cut && event == (PushEvent::Line { text: "cut here".to_owned() }) {
            *inner.rest.lock().expect("lock") = Some((lines, events));
            return;
        }
        named |= matches!(event, PushEvent::Deploy { .. });
        lines += u64::from(named && matches!(event, PushEvent::Line { .. }));
        let line = serde_json::to_string(&event).expect("json") + "\n";
        if to.send(Ok(line.into())).await.is_err() {
            // Nobody listens: the job must not wait for us.
            events.close();
            return;
        }
    }
}

async fn work(inner: Arc<Inner>, ask: PushRequest, to: mpsc::Sender<PushEvent>) {
    let main = BranchName::parse("main").expect("name");
    let changes: Vec<RefChange> = ask
        .commands
        .iter()
        .map(|c| RefChange { reference: c.reference.clone(), old: c.old.clone(), new: c.new.clone() })
        .collect();
    let decisions = policy::judge(&ask.app, &changes, ask.atomic, &main);
    for (command, decision) in ask.commands.iter().zip(decisions) {
        let done = carry_out(&inner, &ask.app, decision, &main, &to).await;
        let (ok, why) = (done.is_ok(), done.err());
        let _ = to.send(PushEvent::Report { reference: command.reference.clone(), ok, why }).await;
    }
}

async fn carry_out(
    inner: &Inner,
    app: &AppName,
    decision: Decision,
    main: &BranchName,
    to: &mpsc::Sender<PushEvent>,
) -> Result<(), String> {
    let say = async |text: String| drop(to.send(PushEvent::Line { text }).await);
    let text = |error: paas::git::GitError| error.to_string();
    match decision {
        Decision::Refuse { why } => Err(why),
        Decision::Keep { what, by } => {
            inner.repos.keep(app, &what, &by).await.map_err(text)?;
            if let (Kept::Branch(branch), Some(_)) = (&what, &by.new) {
                say(policy::stored_line(app, branch, main)).await;
            }
            Ok(())
        }
        Decision::Deploy { branch, old, commit } => deploy(inner, app, &branch, old, &commit, to).await,
    }
}

async fn deploy(
    inner: &Inner,
    app: &AppName,
    branch: &BranchName,
    old: Option<CommitSha>,
    commit: &CommitSha,
    to: &mpsc::Sender<PushEvent>,
) -> Result<(), String> {
    let say = async |text: &str| drop(to.send(PushEvent::Line { text: text.to_owned() }).await);
    let deploy = DeployId(i64::try_from(inner.deploys.fetch_add(1, Ordering::SeqCst)).expect("few") + 1);
    let text = |error: paas::git::GitError| error.to_string();
    inner.repos.pin(app, commit, deploy).await.map_err(text)?;
    if let Some(old) = &old
        && !inner.repos.is_ancestor(app, old, commit).await.map_err(text)?
    {
        say(&policy::forced_line(branch, old, commit)).await;
    }
    let file = async |path: &str| inner.repos.read_file(app, commit, path, 4096).await.expect("read");
    let _ = to.send(PushEvent::Deploy { deploy }).await;
    say("-----> Building").await;
    if file("slow").await.is_some() {
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    if file("cut").await.is_some() {
        for line in ["line 1", "line 2", "cut here", "line 3", "line 4"] {
            say(line).await;
        }
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    if let Some(why) = file("fail").await.filter(|why| !why.is_empty()) {
        return Err(String::from_utf8_lossy(&why).into_owned());
    }
    inner.repos.move_branch(app, branch, old.as_ref(), commit).await.map_err(text)?;
    say("-----> Live").await;
    Ok(())
}
