//! The frames of `Upgrade: paas-stream`: what `run` and `exec` speak after the upgrade, in both directions.
//!
//! One byte of kind, four bytes of length (big endian), then the body.

use std::io;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::error::{ApiError, ErrorCode};
use super::types::processes::TerminalSize;

/// The value of the `Upgrade` header.
pub const PROTOCOL: &str = "paas-stream";

/// The largest body; a writer cuts longer data into several frames.
pub const LARGEST_BODY: usize = 64 * 1024;

/// One message of an interactive session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Client → server.
    Stdin(Bytes),
    Stdout(Bytes),
    Stderr(Bytes),
    /// Client → server: the terminal has this size now.
    Resize(TerminalSize),
    /// Server → client, the last frame: the command ended with this code (128 + signal if by one).
    Exit(i32),
    /// Client → server: no more stdin.
    Eof,
    /// Server → client, the last frame: it could not go on.
    Error(ApiError),
}

/// Writes one frame (several if the data is longer than [`LARGEST_BODY`]); does not flush. Cancel-safe: no, half a frame may be written.
pub async fn write(to: &mut (impl AsyncWrite + Unpin), frame: &Frame) -> io::Result<()> {
    match frame {
        Frame::Stdin(data) => write_data(to, 0, data).await,
        Frame::Stdout(data) => write_data(to, 1, data).await,
        Frame::Stderr(data) => write_data(to, 2, data).await,
        Frame::Resize(size) => {
            let [a, b] = size.columns.to_be_bytes();
            let [c, d] = size.rows.to_be_bytes();
            write_body(to, 3, &[a, b, c, d]).await
        }
        Frame::Exit(code) => write_body(to, 4, &code.to_be_bytes()).await,
        Frame::Eof => write_body(to, 5, &[]).await,
        Frame::Error(error) => write_body(to, 6, &serde_json::to_vec(error)?).await,
    }
}

async fn write_data(to: &mut (impl AsyncWrite + Unpin), kind: u8, data: &[u8]) -> io::Result<()> {
    for part in data.chunks(LARGEST_BODY) {
        write_body(to, kind, part).await?;
    }
    Ok(())
}

async fn write_body(to: &mut (impl AsyncWrite + Unpin), kind: u8, body: &[u8]) -> io::Result<()> {
    let length = u32::try_from(body.len()).map_err(|_| broken("a frame over 4 GiB"))?;
    let mut head = [kind, 0, 0, 0, 0];
    head[1..].copy_from_slice(&length.to_be_bytes());
    // One write for small frames: a key press should be one packet.
    let mut whole = Vec::with_capacity(head.len() + body.len());
    whole.extend_from_slice(&head);
    whole.extend_from_slice(body);
    to.write_all(&whole).await
}

/// Reads one frame; `None` at a clean end of the stream. Errors: an unknown kind, a body over the limit or of a wrong form.
/// Cancel-safe: no, half a frame may have been read; give each direction a task of its own.
pub async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Frame>> {
    let mut head = [0; 5];
    if from.read(&mut head[..1]).await? == 0 {
        return Ok(None);
    }
    from.read_exact(&mut head[1..]).await?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    if length > LARGEST_BODY {
        return Err(broken("a frame over the limit"));
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body).await?;
    decode(head[0], body).map(Some)
}

fn decode(kind: u8, body: Vec<u8>) -> io::Result<Frame> {
    let four = |body: &[u8]| <[u8; 4]>::try_from(body).map_err(|_| broken("a frame whose body is not 4 bytes"));
    Ok(match kind {
        0 => Frame::Stdin(body.into()),
        1 => Frame::Stdout(body.into()),
        2 => Frame::Stderr(body.into()),
        3 => {
            let [a, b, c, d] = four(&body)?;
            Frame::Resize(TerminalSize { columns: u16::from_be_bytes([a, b]), rows: u16::from_be_bytes([c, d]) })
        }
        4 => Frame::Exit(i32::from_be_bytes(four(&body)?)),
        5 => Frame::Eof,
        // An error that we can't read is still an error.
        6 => Frame::Error(
            serde_json::from_slice(&body)
                .unwrap_or_else(|_| ApiError::new(ErrorCode::Internal, "the session ended with an error that can't be read")),
        ),
        _ => return Err(broken("a frame of an unknown kind")),
    })
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("paas-stream: {what}"))
}

#[cfg(test)]
mod tests;
