//! One message on a stream socket: four bytes of length (big endian), then JSON. The reader gives the limit, so a peer cannot make us allocate.

use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Gives the bytes of one frame. Errors: a message over 4 GiB or one that cannot be JSON (both are bugs of the caller's type).
pub fn encode<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, message)?;
    set_length(&mut bytes)?;
    Ok(bytes)
}

/// Completes a frame that begins with four bytes of room for its length. Errors: a message over 4 GiB.
pub fn set_length(frame: &mut [u8]) -> io::Result<()> {
    let length = u32::try_from(frame.len() - 4).map_err(|_| too_long(frame.len()))?;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

/// Writes one message. Cancel-safe: no, half a frame may be on the wire.
pub async fn write<T: Serialize>(to: &mut (impl AsyncWrite + Unpin), message: &T) -> io::Result<()> {
    to.write_all(&encode(message)?).await
}

/// Reads one message of at most `limit` bytes; `None` at a clean end of stream. Cancel-safe: no, half a frame may have been read.
pub async fn read<T: DeserializeOwned>(from: &mut (impl AsyncRead + Unpin), limit: usize) -> io::Result<Option<T>> {
    let body = read_bytes(from, limit).await?;
    Ok(body.map(|body| serde_json::from_slice(&body)).transpose()?)
}

/// [`read()`] for a message that may be of a type that we do not know.
pub async fn read_bytes(from: &mut (impl AsyncRead + Unpin), limit: usize) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length).await {
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(e) => return Err(e),
    }
    let mut body = vec![0; checked(length, limit)?];
    from.read_exact(&mut body).await?;
    Ok(Some(body))
}

/// [`write()`] for code without a runtime.
pub fn write_blocking<T: Serialize>(to: &mut impl Write, message: &T) -> io::Result<()> {
    to.write_all(&encode(message)?)
}

/// [`read()`] for code without a runtime.
pub fn read_blocking<T: DeserializeOwned>(from: &mut impl Read, limit: usize) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(e) => return Err(e),
    }
    let mut body = vec![0; checked(length, limit)?];
    from.read_exact(&mut body)?;
    Ok(Some(serde_json::from_slice(&body)?))
}

fn checked(length: [u8; 4], limit: usize) -> io::Result<usize> {
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > limit { Err(too_long(length)) } else { Ok(length) }
}

fn too_long(length: usize) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("a message of {length} bytes is over the limit"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_comes_back_as_it_was_and_an_oversized_one_is_refused() {
        let bytes = encode(&vec!["a", "b"]).expect("encode");
        let back: Option<Vec<String>> = read_blocking(&mut bytes.as_slice(), 100).expect("read");
        assert_eq!(back, Some(vec!["a".to_owned(), "b".to_owned()]));
        assert!(read_blocking::<Vec<String>>(&mut bytes.as_slice(), 3).is_err());
        assert!(read_blocking::<Vec<String>>(&mut &b""[..], 3).expect("clean end").is_none());
        assert!(read_blocking::<Vec<String>>(&mut &bytes[..6], 100).is_err(), "cut in the middle");
    }
}
