//! `deploy --tarball F | --image I | --commit C`.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use tokio::io::{AsyncRead, ReadBuf};

use super::super::args::DeployArgs;
use super::{CliError, Context, Outcome, watch};
use crate::api::types::deploys::NewDeploy;

pub async fn run(context: &Context, args: DeployArgs) -> Outcome {
    let (app, wait) = (context.app()?, !args.detach);
    let client = context.client()?;
    let events = if let Some(tarball) = &args.tarball {
        if tarball == Path::new("-") {
            if std::io::stdin().is_terminal() {
                return Err(CliError::usage("stdin is a terminal, not a tarball").hint("`paas deploy --tarball - < shop.tar.gz`"));
            }
            watch::step(context, &format!("Sending the source of {app}"));
            client.deploy_tarball(&app, tokio::io::stdin(), wait).await?
        } else if context.in_session() {
            return Err(CliError::usage("files on the server can't be named here")
                .hint("send it: `ssh paas@server deploy --tarball - -a APP < shop.tar.gz`"));
        } else {
            let file = open(tarball)?;
            watch::step(context, &format!("Sending {} to {app}", tarball.display()));
            client.deploy_tarball(&app, file, wait).await?
        }
    } else if let Some(image) = args.image {
        client.deploy(&app, &NewDeploy::Image(image), wait).await?
    } else if let Some(commit) = args.commit {
        client.deploy(&app, &NewDeploy::Commit(commit), wait).await?
    } else {
        return Err(CliError::usage("what shall be deployed?")
            .hint("`git push deploy main` deploys a commit; `--tarball FILE`, `--image IMAGE` and `--commit COMMIT` the rest"));
    };
    watch::watch(context, &client, events, wait).await
}

fn open(path: &Path) -> Result<LocalFile, CliError> {
    let failed = |e: io::Error| CliError::failed(format!("reading `{}`: {e}", path.display()));
    let file = File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.is_dir() {
        return Err(
            CliError::usage(format!("`{}` is a folder", path.display())).hint("pack it: `tar -cz . | paas deploy --tarball -`")
        );
    }
    Ok(LocalFile(file))
}

/// A file that is read where it is polled. The command line has nothing else to do meanwhile, and is built without tokio's `fs`.
struct LocalFile(File);

impl AsyncRead for LocalFile {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut TaskContext<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = self.0.read(buf.initialize_unfilled());
        Poll::Ready(read.map(|n| buf.advance(n)))
    }
}
