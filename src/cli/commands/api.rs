//! `api`: stdin and stdout become a connection to the daemon. `paas -H` runs it on the server through ssh.

use std::process::ExitCode;

use tokio::io::AsyncWriteExt;

use super::{CliError, Context, Outcome};

pub async fn run(context: &Context) -> Outcome {
    let transport = context.transport()?;
    let failed = |what: &str, e: std::io::Error| CliError::failed(format!("{what} the daemon's socket: {e}"));
    let stream = transport.connect().await.map_err(|source| CliError::Client(transport.unreachable(source)))?;
    let (mut from_daemon, mut to_daemon) = tokio::io::split(stream);
    let (mut stdin, mut stdout) = (tokio::io::stdin(), tokio::io::stdout());
    let up = async {
        let copied = tokio::io::copy(&mut stdin, &mut to_daemon).await;
        // The client is done asking; answers may still be under way.
        let _ = to_daemon.shutdown().await;
        match copied {
            Ok(_) => std::future::pending::<std::io::Error>().await,
            Err(e) => e,
        }
    };
    let down = async {
        let copied = tokio::io::copy(&mut from_daemon, &mut stdout).await;
        stdout.flush().await?;
        copied
    };
    tokio::select! {
        e = up => Err(failed("writing to", e)),
        ended = down => match ended {
            Ok(_) => Ok(ExitCode::SUCCESS),
            Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Err(CliError::NobodyReads),
            Err(e) => Err(failed("reading from", e)),
        },
    }
}
