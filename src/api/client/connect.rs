//! How the bytes get there: the Unix socket, a program's stdio (ssh), or a ready stream.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, ReadBuf};
use tokio::net::UnixStream;
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

use super::ClientError;
use crate::names::KeyId;

/// A connection to a daemon.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// Makes connections to one daemon.
pub enum Transport {
    /// The API socket. With `key` the first line says whose key this connection acts for (the login user must; others need not).
    Socket { path: PathBuf, key: Option<KeyId> },
    /// A program whose stdin and stdout are the connection: `ssh paas@server api`. `place` names the server.
    Program { argv: Vec<OsString>, place: String, said: Arc<Mutex<Vec<String>>> },
    /// One ready connection, good for one request at a time: for tests.
    Ready(Mutex<Option<Box<dyn ByteStream>>>),
}

/// Lines of a tunnel's stderr that are kept for its error message.
const LAST_WORDS: usize = 5;

impl Transport {
    pub fn socket(path: impl Into<PathBuf>) -> Self {
        Transport::Socket { path: path.into(), key: None }
    }

    /// For the ssh session and the hook, which run as the login user: acts for the key.
    pub fn for_key(path: impl Into<PathBuf>, key: KeyId) -> Self {
        Transport::Socket { path: path.into(), key: Some(key) }
    }

    pub fn program(argv: Vec<OsString>, place: String) -> Self {
        Transport::Program { argv, place, said: Arc::default() }
    }

    pub fn ready(stream: impl ByteStream + 'static) -> Self {
        Transport::Ready(Mutex::new(Some(Box::new(stream))))
    }

    pub(super) fn place(&self) -> String {
        match self {
            Transport::Socket { path, .. } => format!("`{}`", path.display()),
            Transport::Program { place, .. } => place.clone(),
            Transport::Ready(_) => "a ready connection".to_owned(),
        }
    }

    /// Why there is no connection, and what to do about it.
    pub fn unreachable(&self, source: io::Error) -> ClientError {
        let todo = match (self, source.kind()) {
            (Transport::Program { .. }, _) => {
                "does `ssh paas@server status` work? It goes the same way; if not, mend ssh (the key, the name, the port) first"
            }
            (_, io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                "it does not run there: `systemctl status paas` on the server says why, `sudo systemctl start paas` starts it (without systemd: \
                 `paas up`), and `sudo paas doctor` looks at all of it; another server is named by `-H paas@server`"
            }
            (_, io::ErrorKind::PermissionDenied) => {
                "its socket is for root and the group paas-admin: use sudo, or go by ssh with a key that was added (`-H paas@server`)"
            }
            (_, _) => {
                "`systemctl status paas` on the server says whether it runs (without systemd: `paas up`), `sudo paas doctor` what is wrong"
            }
        };
        ClientError::Unreachable { what: self.place(), source, todo }
    }

    pub(super) fn is_tunnel(&self) -> bool {
        matches!(self, Transport::Program { .. })
    }

    /// What the tunnel said on stderr: the reason, if it did not work.
    pub(super) fn last_words(&self) -> Option<String> {
        match self {
            Transport::Program { said, .. } => {
                let said = said.lock().expect("no panic while the tunnel's words are held");
                (!said.is_empty()).then(|| said.join("; "))
            }
            Transport::Socket { .. } | Transport::Ready(_) => None,
        }
    }

    /// A new connection. Errors: whatever the system says; the caller adds the place.
    pub async fn connect(&self) -> io::Result<Box<dyn ByteStream>> {
        match self {
            Transport::Socket { path, key } => {
                let mut stream = UnixStream::connect(path).await?;
                if let Some(key) = key {
                    stream.write_all(format!("key {key}\n").as_bytes()).await?;
                }
                Ok(Box::new(stream))
            }
            Transport::Program { argv, said, .. } => Ok(Box::new(Tunnel::start(argv, said)?)),
            Transport::Ready(stream) => {
                let taken = stream.lock().expect("no panic while the ready connection is held").take();
                taken.ok_or_else(|| io::Error::new(io::ErrorKind::NotConnected, "the connection was used up"))
            }
        }
    }
}

/// A program as a connection. It ends with this value: its stdin closes, and it is killed if it does not care.
struct Tunnel {
    // Kept so that `kill_on_drop` acts when the connection is dropped.
    _child: Child,
    input: ChildStdin,
    output: ChildStdout,
}

impl Tunnel {
    fn start(argv: &[OsString], said: &Arc<Mutex<Vec<String>>>) -> io::Result<Tunnel> {
        let (program, arguments) = argv.split_first().ok_or_else(|| io::Error::other("no program was given"))?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| io::Error::new(e.kind(), format!("starting `{}`: {e}", program.to_string_lossy())))?;
        let missing = || io::Error::other("a pipe of the tunnel is missing");
        let input = child.stdin.take().ok_or_else(missing)?;
        let output = child.stdout.take().ok_or_else(missing)?;
        let errors = child.stderr.take().ok_or_else(missing)?;
        said.lock().expect("no panic while the tunnel's words are held").clear();
        tokio::spawn(keep_last_words(errors, said.clone()));
        Ok(Tunnel { _child: child, input, output })
    }
}

async fn keep_last_words(errors: ChildStderr, said: Arc<Mutex<Vec<String>>>) {
    let mut lines = BufReader::new(errors).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let mut said = said.lock().expect("no panic while the tunnel's words are held");
        if said.len() == LAST_WORDS {
            said.remove(0);
        }
        said.push(line.trim().chars().take(300).collect());
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.output).poll_read(cx, buf)
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.input).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.input).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.input).poll_shutdown(cx)
    }
}
