//! The pusher's view of a push: asks the daemon once, shows its lines, survives its restart, and ends with one outcome per ref.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::protocol::Outcome;
use super::say;
use crate::api::client::{Client, ClientError, Events};
use crate::api::types::git::{PushEvent, PushRequest, PushResume};
use crate::base::backoff::Backoff;
use crate::base::crash;
use crate::names::DeployId;

/// A daemon that is being restarted is back in well under this; nothing was asked yet, so waiting is all it costs.
const WAIT_TO_ASK: Duration = Duration::from_secs(10);
/// A deploy is under way and goes on by itself: worth a longer wait for its view.
const WAIT_TO_RESUME: Duration = Duration::from_secs(120);

/// Between two tries to resume: a daemon that cuts each stream at once is not asked in a tight loop.
const PAUSE: Duration = Duration::from_millis(100);

pub(super) struct View<'a> {
    door: &'a Client,
    request: PushRequest,
    reports: BTreeMap<String, Option<String>>,
    /// The pusher reads no more.
    gone: bool,
    /// When the daemon last said something.
    heard: Instant,
}

/// How one stream of the daemon ended.
enum End {
    Complete,
    Cut(String),
}

impl<'a> View<'a> {
    pub fn new(door: &'a Client, request: PushRequest) -> Self {
        Self { door, request, reports: BTreeMap::new(), gone: false, heard: Instant::now() }
    }

    /// Follows the push to its end; one outcome per command, in order. None if the pusher went away.
    pub async fn watch(mut self) -> Option<Vec<Outcome>> {
        let why = loop {
            let mut events = match self.ask().await {
                Ok(events) => events,
                Err(why) => break why,
            };
            crash::point(crash::Point::HookDeployAsked);
            let end = self.show(&mut events).await;
            if self.gone {
                return None;
            }
            match (end, &self.request.resume) {
                (End::Complete, _) => break String::new(),
                (End::Cut(_), Some(_)) if self.heard.elapsed() < WAIT_TO_RESUME => tokio::time::sleep(PAUSE).await,
                (End::Cut(why), Some(resume)) => break format!("{}: {why}", lost(resume.deploy)),
                (End::Cut(why), None) => {
                    let app = &self.request.app;
                    break format!(
                        "the daemon went away before it took the push ({why}); see `paas deploys list -a {app}`, then push again"
                    );
                }
            }
        };
        let outcome = |reference: String| {
            let why = self.reports.get(&reference).cloned().unwrap_or_else(|| Some(why.clone()));
            Outcome { reference, why }
        };
        Some(self.request.commands.iter().map(|command| outcome(command.reference.clone())).collect())
    }

    /// Asks, or asks to go on. While nobody listens on the socket nothing can have been done, so trying again is safe.
    async fn ask(&self) -> Result<Events<PushEvent>, String> {
        let limit = if self.request.resume.is_some() { WAIT_TO_RESUME } else { WAIT_TO_ASK };
        let (start, mut told) = (Instant::now(), false);
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
        loop {
            let error = match self.door.git_push(&self.request).await {
                Ok(events) => return Ok(events),
                Err(error) => error,
            };
            let again = match &self.request.resume {
                Some(_) => error.is_away(),
                None => matches!(error, ClientError::Unreachable { .. }),
            };
            if !again || start.elapsed() >= limit {
                return Err(self.gave_up(&error));
            }
            if !told {
                told = true;
                say::line("-----> Waiting for the paas daemon");
            }
            tokio::time::sleep(backoff.pause()).await;
        }
    }

    fn gave_up(&self, error: &ClientError) -> String {
        match (&self.request.resume, error) {
            (_, ClientError::Refused(refused)) => {
                refused.hint.as_ref().map_or_else(|| refused.message.clone(), |hint| format!("{}; {hint}", refused.message))
            }
            (Some(resume), _) => lost(resume.deploy),
            (None, ClientError::Unreachable { .. }) => {
                "the paas daemon is not running; nothing was deployed: start it, then push again".to_owned()
            }
            (None, ClientError::Broken { .. } | ClientError::Nonsense { .. }) => {
                format!("{error}; see `paas deploys list`, then push again")
            }
        }
    }

    /// Shows one stream until it ends or nobody reads.
    async fn show(&mut self, events: &mut Events<PushEvent>) -> End {
        loop {
            match events.next().await {
                Ok(Some(event)) => self.take(event),
                Ok(None) => return End::Cut("it closed the stream".to_owned()),
                Err(error) => return End::Cut(error.to_string()),
            }
            if self.gone || self.request.commands.iter().all(|command| self.reports.contains_key(&command.reference)) {
                return End::Complete;
            }
        }
    }

    fn take(&mut self, event: PushEvent) {
        self.heard = Instant::now();
        match event {
            PushEvent::Line { text } => {
                self.gone |= say::try_line(&say::printable(&text)).is_err();
                if let Some(resume) = &mut self.request.resume {
                    resume.lines_seen += 1;
                }
            }
            PushEvent::Deploy { deploy } => {
                if self.request.resume.as_ref().is_none_or(|resume| resume.deploy != deploy) {
                    self.request.resume = Some(PushResume { deploy, lines_seen: 0 });
                }
            }
            PushEvent::Report { reference, ok, why } => {
                let why = if ok { None } else { Some(why.unwrap_or_default()) };
                self.reports.insert(reference, why);
            }
            PushEvent::KeepAlive => {}
        }
    }
}

fn lost(deploy: DeployId) -> String {
    format!("lost the daemon during {deploy}, which goes on when it is back: paas deploys follow {deploy}")
}
