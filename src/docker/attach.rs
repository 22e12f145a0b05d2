//! The terminal or the two output streams of a container or an exec.

use bytes::{Bytes, BytesMut};
use futures_util::stream::{BoxStream, StreamExt, unfold};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadHalf, WriteHalf};

use super::client::{CHANGE_LIMIT, Docker};
use super::error::DockerError;
use super::hijack::Raw;

/// Which stream bytes came from. A terminal has only one: Stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamKind {
    Stdout,
    Stderr,
}

/// An attached container: made before the container is started, so that no byte is missed.
pub struct Session {
    /// Ends when the process ended and all its output was read.
    pub output: BoxStream<'static, Result<(StreamKind, Bytes), DockerError>>,
    /// Shut it down to end the process's stdin.
    pub input: Box<dyn AsyncWrite + Send + Unpin>,
    docker: Docker,
    id: String,
}

impl Session {
    /// Tells the terminal's size in characters. NotFound/Conflict = not running yet, or not any more.
    pub async fn resize(&self, width: u16, height: u16) -> Result<(), DockerError> {
        self.docker.resize(&self.id, width, height).await
    }
}

impl Docker {
    /// Attaches to a container, whether created or running. `tty` and `stdin` must be as it was created.
    pub async fn attach(&self, id: &str, tty: bool, stdin: bool) -> Result<Session, DockerError> {
        let act = format!("attaching to container {id}");
        let path = format!("/containers/{id}/attach?stream=1&stdout=1&stderr=1&stdin={}", u8::from(stdin));
        let raw = self.hijack(&path, "tcp", &[], None, &act).await?;
        let (output, input) = split(raw, tty, act);
        Ok(Session { output, input, docker: self.clone(), id: id.to_owned() })
    }

    /// Tells a container's terminal its size in characters. NotFound/Conflict = not running yet, or not any more.
    pub async fn resize(&self, id: &str, width: u16, height: u16) -> Result<(), DockerError> {
        let options = bollard::query_parameters::ResizeContainerTTYOptionsBuilder::new().w(width.into()).h(height.into()).build();
        let act = format!("resizing the terminal of container {id}");
        self.call(&act, CHANGE_LIMIT, |c| async move { c.resize_container_tty(id, options).await }).await
    }
}

/// What a raw stream becomes for its user.
pub(super) type Halves = (BoxStream<'static, Result<(StreamKind, Bytes), DockerError>>, Box<dyn AsyncWrite + Send + Unpin>);

pub(super) fn split(raw: Raw, tty: bool, act: String) -> Halves {
    let (read, write): (ReadHalf<Raw>, WriteHalf<Raw>) = tokio::io::split(raw);
    let output = if tty { plain(read, act).boxed() } else { framed(read, act).boxed() };
    (output, Box::new(write))
}

/// A terminal's bytes, as they come.
fn plain<R: AsyncRead + Send + Unpin + 'static>(
    read: R,
    act: String,
) -> impl futures_util::Stream<Item = Result<(StreamKind, Bytes), DockerError>> + Send {
    unfold(Some((read, act)), |state| async move {
        let (mut read, act) = state?;
        let mut buffer = BytesMut::with_capacity(16 * 1024);
        match read.read_buf(&mut buffer).await {
            Ok(0) => None,
            Ok(_) => Some((Ok((StreamKind::Stdout, buffer.freeze())), Some((read, act)))),
            Err(error) => Some((Err(broken(&act, &error)), None)),
        }
    })
}

/// The engine's frames: one byte kind, three zero, four bytes length (big endian), then that many bytes.
pub(super) fn framed<R: AsyncRead + Send + Unpin + 'static>(
    read: R,
    act: String,
) -> impl futures_util::Stream<Item = Result<(StreamKind, Bytes), DockerError>> + Send {
    unfold(Some((read, act)), |state| async move {
        let (mut read, act) = state?;
        match frame(&mut read).await {
            Ok(None) => None,
            Ok(Some(item)) => Some((Ok(item), Some((read, act)))),
            Err(error) => Some((Err(broken(&act, &error)), None)),
        }
    })
}

/// The engine sends frames of at most 32 KiB; far above that something else is talking.
const FRAME_LIMIT: u32 = 16 * 1024 * 1024;

async fn frame<R: AsyncRead + Unpin>(read: &mut R) -> std::io::Result<Option<(StreamKind, Bytes)>> {
    let mut head = [0u8; 8];
    if read.read(&mut head[..1]).await? == 0 {
        return Ok(None);
    }
    read.read_exact(&mut head[1..]).await?;
    let kind = match head[0] {
        // 0 is stdin, echoed by nobody we know; the protocol names it, so it is shown rather than refused.
        0 | 1 => StreamKind::Stdout,
        2 => StreamKind::Stderr,
        other => return Err(std::io::Error::other(format!("a frame of unknown kind {other}"))),
    };
    let length = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
    if length > FRAME_LIMIT {
        return Err(std::io::Error::other(format!("a frame of {length} bytes")));
    }
    let mut bytes = vec![0u8; length as usize];
    read.read_exact(&mut bytes).await?;
    Ok(Some((kind, Bytes::from(bytes))))
}

fn broken(act: &str, error: &std::io::Error) -> DockerError {
    DockerError::Unavailable(format!("{act}: the stream broke off: {error}"))
}
