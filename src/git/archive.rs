//! One commit as a tar stream.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::process::ChildStdout;

use super::run::{Git, one_line, read_bounded};
use super::{GitError, Repos};
use crate::names::{AppName, CommitSha};

/// The tar bytes of a commit, as git writes them. The end of the stream is given only after git ended well; a git that broke off is an error,
/// never a short archive. Dropping it kills git.
pub struct Archive {
    stdout: ChildStdout,
    end: Pin<Box<dyn Future<Output = io::Result<()>> + Send + Sync>>,
    ended: Option<Result<(), (io::ErrorKind, String)>>,
}

impl Repos {
    /// The whole tree of `commit`: modes 0644 and 0755, times of the commit, first a pax header that names it. Submodules are empty folders.
    /// The reader sets the pace and must set its own deadline. Errors: not a commit.
    pub async fn archive(&self, app: &AppName, commit: &CommitSha) -> Result<Archive, GitError> {
        self.require_commit(app, commit).await?;
        let repo = self.path(app);
        let git = Git::new(&repo, &["-c", "tar.umask=0022", "archive", "--format=tar", commit.as_str()]);
        let mut running = git.spawn()?;
        let stdout = running.child.stdout.take().expect("stdout is piped");
        let stderr = running.child.stderr.take().expect("stderr is piped");
        let end = Box::pin(async move {
            let (said, _) = read_bounded(stderr, 4 << 10).await?;
            let status = running.end().await?;
            if status.success() {
                return Ok(());
            }
            Err(io::Error::other(format!("git archive broke off ({status}): {}", one_line(&said))))
        });
        Ok(Archive { stdout, end, ended: None })
    }
}

impl AsyncRead for Archive {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.ended.is_none()
            && let Poll::Ready(end) = this.end.as_mut().poll(cx)
        {
            this.ended = Some(end.map_err(|error| (error.kind(), error.to_string())));
        }
        let before = buf.filled().len();
        match Pin::new(&mut this.stdout).poll_read(cx, buf) {
            Poll::Ready(Ok(())) if buf.filled().len() == before && buf.remaining() > 0 => match &this.ended {
                // Both pollers have registered: the end of git wakes us.
                None => Poll::Pending,
                Some(Ok(())) => Poll::Ready(Ok(())),
                Some(Err((kind, text))) => Poll::Ready(Err(io::Error::new(*kind, text.clone()))),
            },
            other => other,
        }
    }
}
