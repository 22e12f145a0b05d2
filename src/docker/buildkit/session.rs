//! What BuildKit asks us for during a build: the context and the secrets, served over a connection that we open to the engine.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bollard::health::health_check_response::ServingStatus;
use bollard::health::health_server::{Health, HealthServer};
use bollard::health::{HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse};
use bollard::moby::buildkit::secrets::v1::secrets_server::{Secrets, SecretsServer};
use bollard::moby::buildkit::secrets::v1::{GetSecretRequest, GetSecretResponse};
use bollard::moby::upload::v1::BytesMessage;
use bollard::moby::upload::v1::upload_server::{Upload, UploadServer};
use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt, iter, pending};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tonic::transport::server::Connected;
use tonic::{Request, Response, Status, Streaming};

use super::super::client::Docker;
use super::super::error::DockerError;
use super::super::hijack::Raw;
use crate::base::secret::Secret;

/// Makes the context's tar anew each time BuildKit asks for it.
pub type ContextStream = Arc<dyn Fn() -> BoxStream<'static, io::Result<Bytes>> + Send + Sync>;

/// What one build may be given.
pub(super) struct Offer {
    /// The last part of the context's URL; unguessable, so one build's context is no other's.
    pub upload_id: String,
    pub context: ContextStream,
    pub secrets: BTreeMap<String, Secret<Vec<u8>>>,
}

/// Serving ends when this is dropped: the server takes no more connections, and the one it has reads its end. (The server has given it to a
/// task of its own, which would otherwise keep connection and secrets for as long as the engine lets the connection open.)
pub(super) struct Serving {
    server: AbortHandle,
    _open: oneshot::Sender<()>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// The methods that the engine may call; it must be told by header. No registry credentials are offered: private images are pulled by
/// the host's administrator.
const METHODS: &[&str] =
    &["/moby.buildkit.secrets.v1.Secrets/GetSecret", "/moby.upload.v1.Upload/Pull", "/grpc.health.v1.Health/Check"];

impl Docker {
    /// Opens the session `id` and serves `offer` on it until the returned guard is dropped.
    pub(super) async fn open_session(&self, id: &str, offer: Offer) -> Result<Serving, DockerError> {
        let mut headers = vec![("X-Docker-Expose-Session-Uuid", id)];
        headers.extend(METHODS.iter().map(|method| ("X-Docker-Expose-Session-Grpc-Method", *method)));
        let raw = self.hijack("/session", "h2c", &headers, None, "opening a build session").await?;
        let offer = Arc::new(offer);
        let router = tonic::transport::Server::builder()
            .add_service(HealthServer::new(Alive))
            .add_service(SecretsServer::new(Served(offer.clone())))
            .add_service(UploadServer::new(Served(offer)));
        // One connection, and then none: the server must not end while that one is open.
        let (open, ends) = oneshot::channel();
        let incoming = iter([Ok::<_, io::Error>(Wire { raw, ends: Some(ends) })]).chain(pending());
        let task = tokio::spawn(async move {
            if let Err(error) = router.serve_with_incoming(incoming).await {
                tracing::debug!(%error, "a build session ended with an error");
            }
        });
        Ok(Serving { server: task.abort_handle(), _open: open })
    }
}

struct Served(Arc<Offer>);

#[tonic::async_trait]
impl Secrets for Served {
    async fn get_secret(&self, request: Request<GetSecretRequest>) -> Result<Response<GetSecretResponse>, Status> {
        match self.0.secrets.get(&request.get_ref().id) {
            Some(secret) => Ok(Response::new(GetSecretResponse { data: secret.reveal().clone() })),
            // Not found is not an error of the build unless the mount says `required=true`.
            None => Err(Status::not_found("this build has no such secret")),
        }
    }
}

#[tonic::async_trait]
impl Upload for Served {
    type PullStream = BoxStream<'static, Result<BytesMessage, Status>>;

    async fn pull(&self, request: Request<Streaming<BytesMessage>>) -> Result<Response<Self::PullStream>, Status> {
        let asked = request.metadata().get("urlpath").and_then(|path| path.to_str().ok()).unwrap_or_default();
        if asked.trim_start_matches('/') != self.0.upload_id {
            return Err(Status::not_found("this build has no such context"));
        }
        let bytes = (self.0.context)().map(|chunk| match chunk {
            Ok(data) => Ok(BytesMessage { data: data.to_vec() }),
            Err(error) => Err(Status::aborted(error.to_string())),
        });
        Ok(Response::new(bytes.boxed()))
    }
}

struct Alive;

#[tonic::async_trait]
impl Health for Alive {
    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    async fn check(&self, _: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        Ok(Response::new(HealthCheckResponse { status: ServingStatus::Serving.into() }))
    }

    async fn list(&self, _: Request<HealthListRequest>) -> Result<Response<HealthListResponse>, Status> {
        Err(Status::unimplemented("only Check is served"))
    }

    async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("only Check is served"))
    }
}

/// The hijacked connection in the form that tonic's server wants.
struct Wire {
    raw: Raw,
    /// Resolves when [`Serving`] is dropped; None once it has.
    ends: Option<oneshot::Receiver<()>>,
}

impl Connected for Wire {
    type ConnectInfo = ();
    fn connect_info(&self) {}
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let open = self.ends.as_mut().is_some_and(|ends| Pin::new(ends).poll(cx).is_pending());
        if open {
            return Pin::new(&mut self.raw).poll_read(cx, buf);
        }
        self.ends = None;
        // Nothing read is the end of the stream.
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.raw).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.raw).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.raw).poll_shutdown(cx)
    }
}
