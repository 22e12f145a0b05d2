//! `/apps/{app}/run` and `/exec`: a command whose streams are the client's, over `Upgrade: paas-stream`.

use std::convert::Infallible;
use std::io::{Cursor, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{FromRequest, Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::StreamExt;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, Chain, Interest};
use tokio::net::unix::OwnedReadHalf;
use tokio::sync::mpsc;

use super::Server;
use super::access::Who;
use super::fail::Fail;
use super::linger::Lingering;
use crate::api::error::{ApiError, ErrorCode};
use crate::api::stream::{self, Frame, PROTOCOL};
use crate::api::types::processes::{ExecRequest, RunRequest, TerminalSize};
use crate::docker::{ExecControl, Session, StreamKind};
use crate::manifest::CommandLine;
use crate::model::access::Right;
use crate::model::app::App;
use crate::model::instance::{Instance, Wanted};
use crate::tasks::one_off::{self, RunAsk};

/// Pieces of stdin, of 64 KiB at most, that wait for the command to read them.
const WAITING_STDIN: usize = 16;

/// How often a client whose command does not read is looked after.
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub async fn run(State(server): State<Server>, who: Who, path: Path<String>, request: Request) -> Result<Response, Fail> {
    let app = server.app(&who, Right::Operate, path).await?;
    let (upgrade, ask): (_, RunRequest) = take(request).await?;
    let release = server.live(&app).await?;
    let mut config = server.world.store.release_config(app.id, release.number).await?;
    config.extend(ask.env);
    let command = match ask.command.as_slice() {
        [] => return Err(Fail::invalid("a command is missing").hint("paas run -a shop -- bin/console")),
        // A plain word needs no shell, and the image may have none.
        [word] if word.bytes().all(|c| c.is_ascii_alphanumeric() || b"/._-+".contains(&c)) => {
            CommandLine::Argv(vec![word.clone()])
        }
        [line] => CommandLine::Shell(line.clone()),
        argv => CommandLine::Argv(argv.to_vec()),
    };
    let run = RunAsk { app: &app, release: &release, config: &config, command, tty: ask.tty, serial: server.world.serial() };
    let running = one_off::start(&server.world.instances, run).await?;
    tracing::info!(app = %app.name, by = who.name(), container = running.name, "a one-off runs");
    let world = Arc::clone(&server.world);
    tokio::spawn(async move {
        let name = running.name;
        let control = Control::Run(name.clone(), Arc::clone(&world));
        converse(upgrade, running.session, control, ask.size).await;
        one_off::finish(&world.instances, &name).await;
    });
    Ok(switching())
}

pub async fn exec(State(server): State<Server>, who: Who, path: Path<String>, request: Request) -> Result<Response, Fail> {
    let app = server.app(&who, Right::Operate, path).await?;
    let (upgrade, ask): (_, ExecRequest) = take(request).await?;
    let row = server.pick(&app, ask.instance.as_deref()).await?;
    let argv = match ask.command.as_slice() {
        [] => vec!["/bin/sh".to_owned()],
        [line] => vec!["/bin/sh".to_owned(), "-c".to_owned(), line.clone()],
        argv => argv.to_vec(),
    };
    let session = one_off::exec(&server.world.instances, &row, &argv, ask.tty).await?;
    tracing::info!(app = %app.name, by = who.name(), instance = %row.id, "a command runs in {}", row.label());
    let control = session.control();
    let parts = Parts { output: session.output, input: session.input };
    tokio::spawn(converse_parts(upgrade, parts, Control::Exec(control), ask.size));
    Ok(switching())
}

struct Parts {
    output: futures_util::stream::BoxStream<'static, Result<(StreamKind, bytes::Bytes), crate::docker::DockerError>>,
    input: Box<dyn AsyncWrite + Send + Unpin>,
}

/// Resize and exit code of what runs.
enum Control {
    Run(String, Arc<crate::deploys::world::World>),
    Exec(ExecControl),
}

impl Control {
    async fn resize(&self, size: TerminalSize) {
        // A terminal that cannot be resized is still a terminal.
        let _ = match self {
            Control::Run(name, world) => world.docker.resize(name, size.columns, size.rows).await,
            Control::Exec(control) => control.resize(size.columns, size.rows).await,
        };
    }

    async fn exit_code(&self) -> Result<i64, crate::docker::DockerError> {
        match self {
            Control::Run(name, world) => one_off::exit_code(&world.instances, name).await,
            Control::Exec(control) => Ok(control.exit_code().await?.unwrap_or(-1)),
        }
    }
}

async fn converse(upgrade: hyper::upgrade::OnUpgrade, session: Session, control: Control, size: Option<TerminalSize>) {
    let parts = Parts { output: session.output, input: session.input };
    converse_parts(upgrade, parts, control, size).await;
}

async fn converse_parts(upgrade: hyper::upgrade::OnUpgrade, parts: Parts, control: Control, size: Option<TerminalSize>) {
    let Ok(client) = upgrade.await else { return };
    let Ok(client) = client.downcast::<TokioIo<Lingering>>() else {
        return tracing::error!("an interactive session that does not come by the API's socket was refused");
    };
    let (from, to) = client.io.into_inner().into_inner().into_split();
    if let Some(size) = size {
        control.resize(size).await;
    }
    let talking = talk(Cursor::new(client.read_buf).chain(from), to, parts, &control).await;
    if let Err(e) = talking {
        tracing::debug!("an interactive session ended: {e}");
    }
}

/// What the client sends: what came with its request, then what comes.
type FromClient = Chain<Cursor<Bytes>, OwnedReadHalf>;

/// Both directions until the command has ended or the client has gone.
async fn talk(from: FromClient, mut to: impl AsyncWrite + Unpin, parts: Parts, control: &Control) -> std::io::Result<()> {
    let Parts { mut output, input } = parts;
    let (to_stdin, pieces) = mpsc::channel(WAITING_STDIN);
    let writing = async {
        while let Some(Ok((kind, bytes))) = output.next().await {
            let frame = match kind {
                StreamKind::Stdout => Frame::Stdout(bytes),
                StreamKind::Stderr => Frame::Stderr(bytes),
            };
            stream::write(&mut to, &frame).await?;
            to.flush().await?;
        }
        let last = match control.exit_code().await {
            Ok(code) => Frame::Exit(i32::try_from(code).unwrap_or(-1)),
            Err(e) => Frame::Error(ApiError::new(ErrorCode::Unavailable, e.to_string())),
        };
        stream::write(&mut to, &last).await?;
        to.shutdown().await
    };
    tokio::select! {
        ended = writing => ended,
        gone = hear(from, to_stdin, control) => Err(gone),
        never = feed(input, pieces) => match never {},
    }
}

/// Takes what the client says until it has gone, and says how. It keeps its side open until it has heard how its command ended, also when its
/// stdin is at its end: so the end of its side is its own end.
async fn hear(mut from: FromClient, to_stdin: mpsc::Sender<Bytes>, control: &Control) -> std::io::Error {
    let mut to_stdin = Some(to_stdin);
    loop {
        match stream::read(&mut from).await {
            Ok(Some(Frame::Stdin(bytes))) => {
                let Some(to) = &to_stdin else { continue };
                tokio::select! {
                    // `feed` takes to the end whatever is sent to it.
                    _ = to.send(bytes) => {}
                    () = hung_up(from.get_ref().1) => return ErrorKind::ConnectionAborted.into(),
                }
            }
            Ok(Some(Frame::Eof)) => to_stdin = None,
            Ok(Some(Frame::Resize(size))) => control.resize(size).await,
            Ok(Some(Frame::Stdout(_) | Frame::Stderr(_) | Frame::Exit(_) | Frame::Error(_))) => {}
            Ok(None) => return ErrorKind::ConnectionAborted.into(),
            Err(e) => return e,
        }
    }
}

/// Gives the command its stdin. One that does not read it makes this wait, and nothing else.
async fn feed(mut input: Box<dyn AsyncWrite + Send + Unpin>, mut pieces: mpsc::Receiver<Bytes>) -> Infallible {
    let mut takes_input = true;
    while let Some(bytes) = pieces.recv().await {
        // One that takes no more goes on, or has just ended: what it printed and its exit code are still to come.
        takes_input = takes_input && input.write_all(&bytes).await.is_ok() && input.flush().await.is_ok();
    }
    let _ = input.shutdown().await;
    std::future::pending().await
}

/// Until the client has closed the connection, which the kernel tells also while there is something to read. Cancel-safe: yes, reads nothing.
async fn hung_up(from: &OwnedReadHalf) {
    // `ready` does not wait where there is something to read, so it is asked again and again.
    while !from.ready(Interest::READABLE).await.is_ok_and(|ready| ready.is_read_closed()) {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn take<T: serde::de::DeserializeOwned>(mut request: Request) -> Result<(hyper::upgrade::OnUpgrade, T), Fail> {
    let asked = request.headers().get(header::UPGRADE).is_some_and(|v| v == PROTOCOL);
    if !asked {
        return Err(Fail::invalid(format!("this call needs `Upgrade: {PROTOCOL}`")));
    }
    let upgrade = hyper::upgrade::on(&mut request);
    let Json(ask) = Json::from_request(request, &()).await.map_err(Fail::from)?;
    Ok((upgrade, ask))
}

fn switching() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static(PROTOCOL));
    response
}

impl Server {
    async fn live(&self, app: &App) -> Result<crate::model::release::Release, Fail> {
        let Some(number) = app.live else {
            return Err(
                Fail::new(ErrorCode::Conflict, format!("app `{}` has no release yet", app.name)).hint("git push deploy main")
            );
        };
        Ok(self.world.store.release(app.id, number).await?)
    }

    /// `web.1`, `web` (its first), `i45`, or nothing (the first `web`).
    async fn pick(&self, app: &App, asked: Option<&str>) -> Result<Instance, Fail> {
        let asked = asked.unwrap_or("web");
        let rows = self.world.store.instances_of(app.id).await?;
        let live = rows.into_iter().filter(|r| r.wanted == Wanted::Live);
        let found = live.into_iter().find(|r| r.label() == asked || r.process.as_str() == asked || r.id.to_string() == asked);
        found.ok_or_else(|| {
            Fail::new(ErrorCode::NotFound, format!("app `{}` has no running instance `{asked}`", app.name))
                .hint("`paas ps` shows them")
        })
    }
}
