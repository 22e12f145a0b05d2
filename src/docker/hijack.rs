//! Requests that turn into a raw connection (exec, attach, BuildKit's session): bollard's own decoder holds a terminal's output back until
//! a newline, and BuildKit needs a bare stream, so these speak HTTP themselves.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use super::client::{Docker, READ_LIMIT};
use super::error::{DockerError, root_cause};

/// The raw two-way stream after the engine's 101.
pub(super) type Raw = TokioIo<Upgraded>;

impl Docker {
    /// POSTs to `path` (without version) asking for `protocol` and gives the connection once the engine switched.
    /// The deadline covers the switch only. Errors as for any call; `act` names it.
    pub(super) async fn hijack(
        &self,
        path: &str,
        protocol: &str,
        headers: &[(&str, &str)],
        body: Option<String>,
        act: &str,
    ) -> Result<Raw, DockerError> {
        let version = self.api_version().await?;
        let mut request = http::Request::builder()
            .method("POST")
            .uri(format!("/v{version}{path}"))
            .header("Host", "docker")
            .header("Connection", "Upgrade")
            .header("Upgrade", protocol)
            .header("Content-Type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request
            .body(Full::new(Bytes::from(body.unwrap_or_default())))
            .map_err(|e| DockerError::Protocol { message: e.to_string(), act: act.to_owned() })?;
        match tokio::time::timeout(READ_LIMIT, self.switch(request, act)).await {
            Ok(done) => done.map_err(|e| self.note(e)),
            Err(_) => Err(DockerError::TimedOut { act: act.to_owned(), after: READ_LIMIT }),
        }
    }

    /// A plain POST for the few parameters that bollard does not have. Gives the JSON answer.
    pub(super) async fn post(&self, path: &str, limit: Duration, act: &str) -> Result<serde_json::Value, DockerError> {
        self.plain("POST", path, limit, act).await
    }

    /// The same by GET, for answers whose shape changed between engines. Cancel-safe: yes, reads only.
    pub(super) async fn get(&self, path: &str, limit: Duration, act: &str) -> Result<serde_json::Value, DockerError> {
        self.plain("GET", path, limit, act).await
    }

    async fn plain(&self, method: &str, path: &str, limit: Duration, act: &str) -> Result<serde_json::Value, DockerError> {
        let version = self.api_version().await?;
        let request = http::Request::builder()
            .method(method)
            .uri(format!("/v{version}{path}"))
            .header("Host", "docker")
            .header("Content-Length", "0")
            .body(Full::new(Bytes::new()))
            .map_err(|e| DockerError::Protocol { message: e.to_string(), act: act.to_owned() })?;
        match tokio::time::timeout(limit, self.exchange(request, act)).await {
            Ok(done) => done.map_err(|e| self.note(e)),
            Err(_) => Err(DockerError::TimedOut { act: act.to_owned(), after: limit }),
        }
    }

    async fn exchange(&self, request: http::Request<Full<Bytes>>, act: &str) -> Result<serde_json::Value, DockerError> {
        let lost = |e: &dyn std::error::Error| DockerError::Unavailable(format!("{act}: {}", root_cause(e)));
        let response = self.send(request, act).await?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(|e| lost(&e))?.to_bytes();
        if !status.is_success() {
            return Err(refused(status.as_u16(), &body, act));
        }
        serde_json::from_slice(&body).map_err(|e| DockerError::Protocol { message: e.to_string(), act: act.to_owned() })
    }

    /// Opens a connection of its own for one request. The connection ends when the response (or the stream it became) is dropped.
    async fn send(&self, request: http::Request<Full<Bytes>>, act: &str) -> Result<http::Response<Incoming>, DockerError> {
        let lost = |e: &dyn std::error::Error| DockerError::Unavailable(format!("{act}: {}", root_cause(e)));
        let stream = UnixStream::connect(self.socket()).await.map_err(|e| lost(&e))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| lost(&e))?;
        tokio::spawn(connection.with_upgrades());
        sender.send_request(request).await.map_err(|e| lost(&e))
    }

    async fn switch(&self, request: http::Request<Full<Bytes>>, act: &str) -> Result<Raw, DockerError> {
        let lost = |e: &dyn std::error::Error| DockerError::Unavailable(format!("{act}: {}", root_cause(e)));
        let response = self.send(request, act).await?;
        let status = response.status().as_u16();
        if status == 101 {
            return Ok(TokioIo::new(hyper::upgrade::on(response).await.map_err(|e| lost(&e))?));
        }
        let body = response.into_body().collect().await.map_err(|e| lost(&e))?.to_bytes();
        Err(refused(status, &body, act))
    }
}

fn refused(status: u16, body: &[u8], act: &str) -> DockerError {
    let message = serde_json::from_slice::<EngineMessage>(body)
        .map_or_else(|_| String::from_utf8_lossy(body).trim().to_owned(), |m| m.message);
    DockerError::from_status(status, message, act)
}

#[derive(serde::Deserialize)]
struct EngineMessage {
    message: String,
}
