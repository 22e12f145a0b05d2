//! `run` and `exec`: an upgraded connection that carries frames.

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::io::{ReadHalf, WriteHalf};

use super::{Client, ClientError, json_body, whole};
use crate::api::stream::{self, Frame};
use crate::api::types::processes::{ExecRequest, RunRequest};
use crate::names::AppName;

/// Both directions of a session; give each to a task of its own, as reading and writing frames is not cancel-safe.
pub struct Interactive {
    pub output: FrameReader,
    pub input: FrameWriter,
}

pub struct FrameReader(ReadHalf<TokioIo<Upgraded>>);
pub struct FrameWriter(WriteHalf<TokioIo<Upgraded>>);

impl FrameReader {
    /// The next frame; `None` when the daemon closed without saying how the command ended. Cancel-safe: no.
    pub async fn next(&mut self) -> Result<Option<Frame>, ClientError> {
        stream::read(&mut self.0).await.map_err(broken)
    }
}

impl FrameWriter {
    /// Cancel-safe: no.
    pub async fn send(&mut self, frame: &Frame) -> Result<(), ClientError> {
        stream::write(&mut self.0, frame).await.map_err(broken)
    }

    pub async fn send_stdin(&mut self, data: Bytes) -> Result<(), ClientError> {
        self.send(&Frame::Stdin(data)).await
    }
}

fn broken(e: std::io::Error) -> ClientError {
    ClientError::Broken { act: "running a command".to_owned(), why: e.to_string() }
}

impl Client {
    /// `POST /apps/{app}/run`.
    pub async fn run(&self, app: &AppName, asked: &RunRequest) -> Result<Interactive, ClientError> {
        self.upgrade(&format!("/apps/{app}/run"), asked).await
    }

    /// `POST /apps/{app}/exec`.
    pub async fn exec(&self, app: &AppName, asked: &ExecRequest) -> Result<Interactive, ClientError> {
        self.upgrade(&format!("/apps/{app}/exec"), asked).await
    }

    async fn upgrade<T: Serialize>(&self, path: &str, asked: &T) -> Result<Interactive, ClientError> {
        let act = format!("POST {path}");
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(http::header::HOST, "paas")
            .header(http::header::CONTENT_TYPE, "application/json")
            .header(http::header::CONNECTION, "upgrade")
            .header(http::header::UPGRADE, stream::PROTOCOL)
            .body(json_body(asked))
            .expect("paths are made of names that are safe in a URL");
        let answer = self.send(request).await?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            let body = whole(answer.into_body()).await.unwrap_or_default();
            return Err(ClientError::Nonsense { act, why: format!("no upgrade, but {} bytes", body.len()) });
        }
        let upgraded = hyper::upgrade::on(answer).await.map_err(|e| ClientError::Broken { act, why: e.to_string() })?;
        let (read, write) = tokio::io::split(TokioIo::new(upgraded));
        Ok(Interactive { output: FrameReader(read), input: FrameWriter(write) })
    }
}
