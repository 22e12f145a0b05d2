//! `deploy --tarball F | --image I | --commit C`.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use tokio::io::{AsyncRead, ReadBuf};

use super::super::args::DeployArgs;
use super::{CliError, Context, Outcome, watch};
use crate::api::types::deploys::NewDeploy;
use crate::names::{CommitDigits, CommitSha};

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
        let commit = match CommitSha::parse(&commit.as_str().to_ascii_lowercase()) {
            Ok(whole) => whole,
            Err(_) => {
                let deployed = client.deploys(&app).await?.into_iter().filter_map(|d| d.commit);
                let released = client.releases(&app).await?.into_iter().filter_map(|r| r.commit);
                whole_commit(&commit, deployed.chain(released))?
            }
        };
        client.deploy(&app, &NewDeploy::Commit(commit), wait).await?
    } else {
        return Err(CliError::usage("what shall be deployed?")
            .hint("`git push deploy main` deploys a commit; `--tarball FILE`, `--image IMAGE` and `--commit COMMIT` the rest"));
    };
    watch::watch(context, &client, events, wait).await
}

/// The one commit of `known` that begins with these digits.
fn whole_commit(digits: &CommitDigits, known: impl Iterator<Item = CommitSha>) -> Result<CommitSha, CliError> {
    let all: BTreeSet<CommitSha> =
        known.filter(|commit| commit.as_str().starts_with(&digits.as_str().to_ascii_lowercase())).collect();
    let mut all = all.into_iter();
    match (all.next(), all.next()) {
        (Some(only), None) => Ok(only),
        (Some(_), Some(_)) => Err(CliError::usage(format!("more than one deploy's commit begins with `{digits}`"))
            .hint("give more of its digits: `paas deploys list --json` has all 40")),
        (None, _) => Err(CliError::usage(format!("no release and no deploy that is listed is of a commit `{digits}`"))
            .hint("give all 40 (or 64) digits: `git rev-parse HEAD` prints those of yours")),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_digits_of_a_commit_are_enough_if_they_are_of_one_only() {
        let commit = |start: &str| CommitSha::parse(&format!("{start:0<40}")).expect("valid");
        let known = || [commit("59b482f"), commit("59b4a"), commit("59b482f"), commit("c0ffee")].into_iter();
        let whole = |digits| whole_commit(&CommitDigits::parse(digits).expect("digits"), known());
        assert_eq!(whole("59B482F").expect("one"), commit("59b482f"));
        for wrong in ["59b4", "abcd"] {
            whole(wrong).expect_err(wrong);
        }
    }
}
