//! The bytes of a cleaned tar on their way out: of each file as many as were promised, hashed, and never into the reserve of the disk.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::PathBuf;

use sha2::{Digest, Sha256};

use crate::base::filesystem::Filesystem;
use crate::base::size::bytes;

/// Gives exactly as many bytes as the header promised, or an error: the tar written must stay in step.
pub struct Exact<'a, R> {
    inner: &'a mut R,
    left: u64,
}

impl<'a, R: Read> Exact<'a, R> {
    pub fn new(inner: &'a mut R, size: u64) -> Self {
        Self { inner, left: size }
    }
}

impl<R: Read> Read for Exact<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buf.len());
        if most == 0 {
            return Ok(0);
        }
        let n = self.inner.read(&mut buf[..most])?;
        if n == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it ends in the middle of a file"));
        }
        self.left -= n as u64;
        Ok(n)
    }
}

/// The file of a cleaned tar, hashed as it is written.
pub struct Hashed {
    file: BufWriter<File>,
    sha: Sha256,
    at: u64,
    /// Where we stood when we last looked at the filesystem.
    looked: u64,
    folder: PathBuf,
    keep_free: u64,
}

/// So many bytes are written between looks at what is free.
const LOOK_EVERY: u64 = 4 << 20;

impl Hashed {
    pub fn new(file: File, folder: PathBuf, keep_free: u64) -> Self {
        let file = BufWriter::with_capacity(256 * 1024, file);
        Self { file, sha: Sha256::new(), at: 0, looked: 0, folder, keep_free }
    }

    /// How many bytes were written.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Syncs it; gives the sum of all that was written.
    pub fn finish(&mut self) -> io::Result<String> {
        self.file.flush()?;
        self.file.get_ref().sync_all()?;
        Ok(self.sha.clone().finalize().iter().map(|b| format!("{b:02x}")).collect())
    }

    /// Ends a source that would eat the reserve, while there still is one.
    fn look(&mut self) -> io::Result<()> {
        if self.at < self.looked + LOOK_EVERY {
            return Ok(());
        }
        self.looked = self.at;
        match Filesystem::of(&self.folder) {
            Ok(fs) if fs.free < self.keep_free => {
                let text = format!(
                    "after {} of it only {} are free, and {} must stay so",
                    bytes(self.at),
                    bytes(fs.free),
                    bytes(self.keep_free)
                );
                Err(io::Error::new(io::ErrorKind::StorageFull, text))
            }
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

impl Write for Hashed {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.look()?;
        let n = self.file.write(buf)?;
        self.sha.update(&buf[..n]);
        self.at += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
