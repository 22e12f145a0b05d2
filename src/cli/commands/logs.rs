//! `logs [-t] [-n N] [-p PROCESS] [--since WHEN] [--grep TEXT]`.

use std::process::ExitCode;
use std::time::Duration;

use super::super::args::LogsArgs;
use super::super::print::{Colour, Screen, nobody_reads};
use super::{CliError, Context, Outcome};
use crate::api::client::{Client, ClientError};
use crate::api::types::logs::{LogEvent, LogKind, LogLine, LogsQuery};
use crate::base::backoff::Backoff;
use crate::base::clock::UnixMillis;
use crate::base::toml_file::parse_duration;
use crate::names::AppName;

pub async fn run(context: &Context, args: LogsArgs) -> Outcome {
    let (app, client) = (context.app()?, context.client()?);
    let query = LogsQuery {
        tail: args.tail,
        num: Some(args.num),
        process: args.process,
        since: args.since.as_deref().map(|given| when(given, UnixMillis::now())).transpose()?,
        grep: args.grep,
        cursor: None,
    };
    let screen = if args.raw { context.screen.raw() } else { context.screen };
    let reader = Reader { context, screen, client, app, query };
    if !reader.query.tail {
        return reader.read().await;
    }
    // A client of ours behind ssh that is gone tells us nothing until we write to it, and a quiet app may never give us something to write.
    tokio::select! {
        read = reader.read() => read,
        () = nobody_reads() => Err(CliError::NobodyReads),
    }
}

/// A duration ago, or a moment in RFC 3339.
pub(in crate::cli) fn when(given: &str, now: UnixMillis) -> Result<UnixMillis, CliError> {
    if let Ok(ago) = parse_duration(given) {
        return Ok(UnixMillis(now.0.saturating_sub(i64::try_from(ago.as_millis()).unwrap_or(i64::MAX))));
    }
    let moment = time::OffsetDateTime::parse(given, &time::format_description::well_known::Rfc3339).ok();
    let millis = moment.and_then(|t| i64::try_from(t.unix_timestamp_nanos() / 1_000_000).ok());
    millis.map(UnixMillis).ok_or_else(|| {
        CliError::usage(format!("`--since {}` is neither a duration nor a time", given.escape_debug()))
            .hint("such as `10m`, `2h` or `2026-01-31T08:15:00Z`")
    })
}

struct Reader<'c> {
    context: &'c Context,
    screen: Screen,
    client: Client,
    app: AppName,
    /// Carries the cursor of the last line that was printed, so that a new connection neither loses nor repeats one.
    query: LogsQuery,
}

impl Reader<'_> {
    async fn read(mut self) -> Outcome {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(3));
        let mut connected_once = false;
        loop {
            let lost = match self.one_connection(&mut connected_once, &mut backoff).await {
                Ok(()) if !self.query.tail => return Ok(ExitCode::SUCCESS),
                Ok(()) => "the daemon ended the stream".to_owned(),
                // The first connection must work: a wrong name or a daemon that is not there is an error, not a reason to wait.
                Err(CliError::Client(error)) if error.is_away() && self.query.tail && connected_once => error.to_string(),
                Err(error) => return Err(error),
            };
            let pause = backoff.pause();
            // A restart of the daemon takes under a second and is not worth a word.
            if pause >= Duration::from_secs(1) {
                self.context.screen.talk(&format!(" !     {lost}; trying again"));
            }
            tokio::time::sleep(pause).await;
        }
    }

    async fn one_connection(&mut self, connected_once: &mut bool, backoff: &mut Backoff) -> Result<(), CliError> {
        let mut events = self.client.logs(&self.app, &self.query).await?;
        *connected_once = true;
        loop {
            match events.next().await {
                Ok(Some(event)) => {
                    backoff.reset();
                    self.show(event)?;
                }
                Ok(None) => return Ok(()),
                Err(error @ (ClientError::Broken { .. } | ClientError::Unreachable { .. })) => return Err(error.into()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn show(&mut self, event: LogEvent) -> Result<(), CliError> {
        match event {
            LogEvent::CaughtUp { cursor } => self.query.cursor = Some(cursor),
            LogEvent::Line(line) => {
                if self.context.global.json {
                    self.screen.json(&line).map_err(CliError::output)?;
                } else {
                    let (head, colour) = head(&line);
                    let cut = if line.truncated { " [… cut]" } else { "" };
                    self.screen.data_with_head(&head, colour, &format!(" {}{cut}", line.text)).map_err(CliError::output)?;
                }
                self.query.cursor = Some(line.cursor);
            }
        }
        Ok(())
    }
}

/// `2026-01-31T08:15:00.123Z app[web.1]:`
pub(in crate::cli) fn head(line: &LogLine) -> (String, Colour) {
    let kind = match line.kind {
        LogKind::App => "app",
        LogKind::Build => "build",
        LogKind::Deploy => "deploy",
        LogKind::Router => "router",
        LogKind::Platform => "paas",
    };
    let source = match (&line.process, line.index) {
        (Some(process), Some(index)) => format!("{kind}[{process}.{index}]"),
        (Some(process), None) => format!("{kind}[{process}]"),
        (None, _) => kind.to_owned(),
    };
    let colour = if line.kind == LogKind::App { Colour::of(&source) } else { Colour::Grey };
    (format!("{} {source}:", line.at.rfc3339()), colour)
}
