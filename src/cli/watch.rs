//! Watching a deploy: print what happens until it ends, through restarts of the daemon. Leaving changes nothing for the deploy.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::context::Context;
use super::exit::{CliError, FAILED};
use crate::api::client::{Client, ClientError, Events};
use crate::api::render;
use crate::api::types::deploys::{DeployEvent, DeployStream};
use crate::base::backoff::Backoff;
use crate::names::DeployId;

/// How long a daemon may be away before watching gives up: longer than its start takes on a busy server.
const PATIENCE: Duration = Duration::from_secs(120);

/// The exit code of a program that was interrupted: 128 + SIGINT.
const INTERRUPTED: u8 = 130;

/// What is known of the deploy so far.
struct View<'c> {
    context: &'c Context,
    deploy: Option<DeployId>,
    /// The number of the last line that was printed.
    seen: u64,
}

/// Prints the stream and gives the exit code of its end. With `wait` false the stream's own end is a success.
pub async fn watch(context: &Context, client: &Client, events: Events<DeployEvent>, wait: bool) -> Result<ExitCode, CliError> {
    let mut view = View { context, deploy: None, seen: 0 };
    tokio::select! {
        // Cancel-safe: the stream is only a view, and nothing of it is needed after the interrupt.
        ended = view.until_the_end(client, events, wait) => ended,
        _ = tokio::signal::ctrl_c() => {
            if let Some(deploy) = view.deploy {
                context.screen.talk(&format!("{deploy} goes on; `paas deploys follow {deploy}` shows it again, `paas deploys cancel {deploy}` stops it"));
            }
            Err(CliError::Quiet(INTERRUPTED))
        }
    }
}

impl View<'_> {
    async fn until_the_end(
        &mut self,
        client: &Client,
        mut events: Events<DeployEvent>,
        wait: bool,
    ) -> Result<ExitCode, CliError> {
        loop {
            let lost = match events.next().await {
                Ok(Some(event)) => {
                    if let Some(code) = self.show(event)? {
                        return Ok(code);
                    }
                    continue;
                }
                Ok(None) if !wait => return self.queued(),
                Ok(None) => {
                    ClientError::Broken { act: "watching a deploy".into(), why: "the stream ended before the deploy did".into() }
                }
                Err(error) if error.is_away() => error,
                Err(error) => return Err(error.into()),
            };
            let Some(deploy) = self.deploy else { return Err(lost.into()) };
            events = self.come_back(client, deploy, lost).await?;
        }
    }

    async fn come_back(&self, client: &Client, deploy: DeployId, lost: ClientError) -> Result<Events<DeployEvent>, CliError> {
        self.context.screen.talk(&format!(" !     the connection was lost; {deploy} goes on, following it again"));
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(3));
        let begun = Instant::now();
        let mut last = lost;
        while begun.elapsed() < PATIENCE {
            tokio::time::sleep(backoff.pause()).await;
            match client.follow(deploy).await {
                Ok(events) => return Ok(events),
                Err(error) if error.is_away() => last = error,
                Err(error) => return Err(error.into()),
            }
        }
        Err(last.into())
    }

    /// Prints one event; gives the exit code if it is the last.
    fn show(&mut self, event: DeployEvent) -> Result<Option<ExitCode>, CliError> {
        match &event {
            DeployEvent::Queued { deploy, .. } => self.deploy = Some(*deploy),
            DeployEvent::State { deploy, .. } => self.deploy = Some(*deploy),
            // A stream that was picked up again begins anew.
            DeployEvent::Line { seq, .. } if *seq > 0 && *seq <= self.seen => return Ok(None),
            DeployEvent::Line { seq, .. } => self.seen = self.seen.max(*seq),
            DeployEvent::Live { .. }
            | DeployEvent::Failed { .. }
            | DeployEvent::Cancelled { .. }
            | DeployEvent::Superseded { .. }
            | DeployEvent::Nothing { .. } => {}
        }
        let screen = &self.context.screen;
        if self.context.global.json {
            screen.json(&event).map_err(CliError::output)?;
        } else {
            self.print(&event)?;
        }
        Ok(match event {
            DeployEvent::Live { .. } | DeployEvent::Nothing { .. } => Some(ExitCode::SUCCESS),
            DeployEvent::Failed { .. } | DeployEvent::Cancelled { .. } | DeployEvent::Superseded { .. } => {
                Some(ExitCode::from(FAILED))
            }
            DeployEvent::Queued { .. } | DeployEvent::Line { .. } | DeployEvent::State { .. } => None,
        })
    }

    /// The course of a deploy is talk; its result is data.
    fn print(&self, event: &DeployEvent) -> Result<(), CliError> {
        let screen = &self.context.screen;
        for line in render::lines(event) {
            match event {
                DeployEvent::Live { .. } => screen.data(&line).map_err(CliError::output)?,
                _ => screen.talk(&line),
            }
        }
        Ok(())
    }

    fn queued(&self) -> Result<ExitCode, CliError> {
        if let Some(deploy) = self.deploy.filter(|_| !self.context.global.json) {
            self.context.screen.data(&deploy.to_string()).map_err(CliError::output)?;
            self.context.screen.talk(&format!("{deploy} is under way; `paas deploys follow {deploy}` shows it"));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A line of our own among those of a deploy.
pub fn step(context: &Context, text: &str) {
    if !context.global.json {
        let event = DeployEvent::Line { stream: DeployStream::Step, text: text.to_owned(), seq: 0 };
        render::lines(&event).iter().for_each(|line| context.screen.talk(line));
    }
}
