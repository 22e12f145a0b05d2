//! The one client of the API: used by the command line, the ssh session and git's hook.
//!
//! Owns: connections to the daemon, requests, event streams. Uses: api types, names. Never: prints, reads the user's files, retries a request
//! that changes something. Invariant: one method per route, named as the route's verb.

use std::io;
use std::pin::pin;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::{ApiError, ErrorCode};

mod calls;
mod connect;
mod events;
mod interactive;

pub use calls::query_string;
pub use connect::{ByteStream, Transport};
pub use events::Events;
pub use interactive::{FrameReader, Interactive};

/// The body of a request: nothing, JSON or a stream.
type Body = UnsyncBoxBody<Bytes, io::Error>;

/// An answer that is no stream is small; more is not from a daemon of ours.
const LARGEST_ANSWER: usize = 64 << 20;

/// How often and how long a tunnel that broke is given to say why: half a second in all.
const TUNNEL_LOOKS: u32 = 10;
const TUNNEL_PAUSE: Duration = Duration::from_millis(50);

/// Why a call gave no answer, or the answer no.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody is there. `what` names the socket or the server.
    #[error("the daemon can't be reached at {what}: {source}")]
    Unreachable { what: String, source: io::Error, todo: &'static str },
    /// The connection broke in the middle of a call: whether it took effect is unknown.
    #[error("the connection to the daemon broke while {act}: {why}")]
    Broken { act: String, why: String },
    /// The daemon said no.
    #[error("{0}")]
    Refused(ApiError),
    /// The answer can't be understood: another version, or not paas at all.
    #[error("the answer to {act} can't be understood: {why}")]
    Nonsense { act: String, why: String },
}

impl ClientError {
    /// True if the same call may succeed in a moment: the daemon is away or restarts.
    pub fn is_away(&self) -> bool {
        match self {
            ClientError::Unreachable { .. } | ClientError::Broken { .. } => true,
            ClientError::Refused(e) => e.code == ErrorCode::Unavailable,
            ClientError::Nonsense { .. } => false,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<&str> {
        match self {
            ClientError::Unreachable { todo, .. } => Some(todo),
            ClientError::Broken { .. } => Some("whether it took effect is not known: look at `paas status`, then try again"),
            ClientError::Refused(error) => error.hint.as_deref(),
            ClientError::Nonsense { .. } => Some("compare `paas --version` here and on the server"),
        }
    }
}

/// A file as it comes.
pub struct Pieces {
    act: String,
    body: Incoming,
}

impl Pieces {
    /// The next piece; None: that was all of it. An end that comes too early is an error.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        while let Some(frame) = self.body.frame().await {
            match frame {
                Ok(frame) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    }
                }
                Err(e) => return Err(ClientError::Broken { act: self.act.clone(), why: e.to_string() }),
            }
        }
        Ok(None)
    }
}

type Tell = Box<dyn Fn() + Send + Sync>;

/// Talks to one daemon. Cheap to make: it connects at the first call, and keeps one idle connection.
pub struct Client {
    transport: Transport,
    idle: Mutex<Option<SendRequest<Body>>>,
    when_slow: Option<(Duration, Tell)>,
}

impl Client {
    pub fn new(transport: Transport) -> Self {
        Client { transport, idle: Mutex::new(None), when_slow: None }
    }

    /// `tell` is called once per request that was not answered `after` so long, and is waited for on. Its socket takes connections also while
    /// no daemon runs. Not of an upload, which is answered when all of it has come.
    pub fn when_slow(self, after: Duration, tell: impl Fn() + Send + Sync + 'static) -> Self {
        Client { when_slow: Some((after, Box::new(tell))), ..self }
    }

    /// Where this client talks to, for people.
    pub fn place(&self) -> String {
        self.transport.place()
    }

    /// An idle connection, or a new one. A connection that is busy with a stream is not idle.
    async fn sender(&self) -> Result<SendRequest<Body>, ClientError> {
        let kept = self.idle.lock().expect("no panic while an idle connection is held").take();
        if let Some(sender) = kept.filter(|s| s.is_ready()) {
            return Ok(sender);
        }
        let unreachable = |source| self.transport.unreachable(source);
        let stream = self.transport.connect().await.map_err(unreachable)?;
        let (sender, connection) = hyper::client::conn::http1::Builder::new()
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|e| unreachable(io::Error::other(e)))?;
        // Ends with the connection; a broken one is reported to the request that waits on it.
        tokio::spawn(async move {
            let _ = connection.with_upgrades().await;
        });
        Ok(sender)
    }

    /// Sends one request and gives the answer if it is a success (2xx, or 101 for an upgrade).
    async fn send(&self, request: Request<Body>) -> Result<Response<Incoming>, ClientError> {
        let act = format!("{} {}", request.method(), request.uri().path());
        let mut sender = self.sender().await?;
        let tell = self.when_slow.as_ref().filter(|_| request.body().size_hint().exact().is_some());
        let mut answering = pin!(sender.send_request(request));
        let answer = match tell {
            Some((after, tell)) => match tokio::time::timeout(*after, &mut answering).await {
                Ok(answer) => answer,
                Err(_) => {
                    tell();
                    answering.await
                }
            },
            None => answering.await,
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(e) => return Err(self.broken(&act, &e).await),
        };
        if answer.status().is_success() || answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            *self.idle.lock().expect("no panic while an idle connection is held") = Some(sender);
            return Ok(answer);
        }
        let status = answer.status();
        let body = whole(answer.into_body()).await.unwrap_or_default();
        Err(match serde_json::from_slice::<ApiError>(&body) {
            Ok(error) => ClientError::Refused(error),
            Err(_) => ClientError::Nonsense { act, why: format!("status {status} without a reason") },
        })
    }

    /// What a request without any answer means. A tunnel says why on stderr, perhaps a moment after its stdout closed.
    async fn broken(&self, act: &str, error: &hyper::Error) -> ClientError {
        for _ in 0..TUNNEL_LOOKS {
            if let Some(said) = self.transport.last_words() {
                return self.transport.unreachable(io::Error::other(said));
            }
            if !self.transport.is_tunnel() {
                break;
            }
            tokio::time::sleep(TUNNEL_PAUSE).await;
        }
        let why = match std::error::Error::source(error) {
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        };
        ClientError::Broken { act: act.to_owned(), why }
    }

    async fn json<T: DeserializeOwned>(&self, method: Method, path: &str, body: Body) -> Result<T, ClientError> {
        let act = format!("{method} {path}");
        let answer = self.send(request(method, path, body)).await?;
        let body = whole(answer.into_body()).await.map_err(|why| ClientError::Broken { act: act.clone(), why })?;
        serde_json::from_slice(&body).map_err(|e| ClientError::Nonsense { act, why: e.to_string() })
    }

    async fn pieces(&self, method: Method, path: &str, body: Body) -> Result<Pieces, ClientError> {
        let act = format!("{method} {path}");
        let answer = self.send(request(method, path, body)).await?;
        Ok(Pieces { act, body: answer.into_body() })
    }

    async fn events<T: DeserializeOwned>(&self, method: Method, path: &str, body: Body) -> Result<Events<T>, ClientError> {
        let act = format!("{method} {path}");
        let answer = self.send(request(method, path, body)).await?;
        Ok(Events::new(act, answer.into_body()))
    }
}

fn request(method: Method, path: &str, body: Body) -> Request<Body> {
    let json = method != Method::GET && !path.contains("source=tarball");
    let kind = if json { "application/json" } else { "application/octet-stream" };
    Request::builder()
        .method(method)
        .uri(path)
        .header(http::header::HOST, "paas")
        .header(http::header::CONTENT_TYPE, kind)
        .header(http::header::USER_AGENT, concat!("paas/", env!("CARGO_PKG_VERSION")))
        .body(body)
        .expect("paths are made of names that are safe in a URL")
}

fn nothing() -> Body {
    http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync()
}

fn json_body<T: Serialize>(value: &T) -> Body {
    let bytes = serde_json::to_vec(value).expect("api types are plain data with text keys");
    http_body_util::Full::new(Bytes::from(bytes)).map_err(|never| match never {}).boxed_unsync()
}

async fn whole(body: Incoming) -> Result<Bytes, String> {
    let limited = http_body_util::Limited::new(body, LARGEST_ANSWER);
    limited.collect().await.map(|all| all.to_bytes()).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests;
