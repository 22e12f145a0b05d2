//! The pusher's view of a push: asks the daemon once, shows its lines, survives its restart, and ends with one outcome per ref.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::protocol::Outcome;
use super::say;
use crate::api::client::{Client, ClientError, Events};
use crate::api::types::git::{KEEP_ALIVE, PushEvent, PushRequest, PushResume};
use crate::base::backoff::Backoff;
use crate::base::crash;

/// How long a daemon is waited for. What is asked is asked under the push's name, so asking again is safe.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// A daemon that is being restarted is back in well under this.
    pub to_ask: Duration,
    /// The daemon has taken the push, and its deploy goes on by itself: worth a longer wait for its view. Longer than its watchdog takes.
    pub to_resume: Duration,
    /// The daemon gives a sign of life every [`KEEP_ALIVE`]: one that is silent for this long hangs.
    pub silence: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Patience { to_ask: Duration::from_secs(10), to_resume: Duration::from_secs(120), silence: KEEP_ALIVE * 4 }
    }
}

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
    /// The daemon has begun to answer at least once: it may have taken the push.
    taken: bool,
    patience: Patience,
}

/// How one stream of the daemon ended.
enum End {
    Complete,
    Cut(String),
}

impl<'a> View<'a> {
    pub fn new(door: &'a Client, request: PushRequest, patience: Patience) -> Self {
        Self { door, request, reports: BTreeMap::new(), gone: false, heard: Instant::now(), taken: false, patience }
    }

    /// Follows the push to its end; one outcome per command, in order. None if the pusher went away.
    pub async fn watch(mut self) -> Option<Vec<Outcome>> {
        let why = loop {
            let mut events = match self.ask().await {
                Ok(events) => events,
                Err(why) => break why,
            };
            self.taken = true;
            crash::point(crash::Point::HookDeployAsked);
            let end = self.show(&mut events).await;
            if self.gone {
                return None;
            }
            match end {
                End::Complete => break String::new(),
                End::Cut(_) if self.heard.elapsed() < self.patience.to_resume => tokio::time::sleep(PAUSE).await,
                End::Cut(why) => break self.lost(&why),
            }
        };
        let outcome = |reference: String| {
            let why = self.reports.get(&reference).cloned().unwrap_or_else(|| Some(why.clone()));
            Outcome { reference, why }
        };
        Some(self.request.commands.iter().map(|command| outcome(command.reference.clone())).collect())
    }

    /// Asks, or asks to go on.
    async fn ask(&self) -> Result<Events<PushEvent>, String> {
        let patience = self.patience;
        let limit = |error: &ClientError| match error {
            _ if self.taken => patience.to_resume,
            ClientError::Unreachable { .. } => patience.to_ask,
            _ => patience.to_ask.max(patience.silence),
        };
        let (start, mut told) = (Instant::now(), false);
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
        loop {
            let asking = tokio::time::timeout(self.patience.silence, self.door.git_push(&self.request)).await;
            let error = match asking {
                Ok(Ok(events)) => return Ok(events),
                Ok(Err(error)) => error,
                Err(_) => ClientError::Broken {
                    act: "handing the push over".to_owned(),
                    why: format!("it did not answer within {} s", self.patience.silence.as_secs_f32()),
                },
            };
            if !error.is_away() || start.elapsed() >= limit(&error) {
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
        match error {
            ClientError::Refused(refused) => {
                refused.hint.as_ref().map_or_else(|| refused.message.clone(), |hint| format!("{}; {hint}", refused.message))
            }
            ClientError::Unreachable { .. } if !self.taken => {
                "the paas daemon is not running; nothing was deployed: `sudo systemctl start paas` on the server, then push again"
                    .to_owned()
            }
            ClientError::Unreachable { .. } => self.lost("it is not running"),
            ClientError::Broken { why, .. } | ClientError::Nonsense { why, .. } => self.lost(why),
        }
    }

    /// What a pusher reads who is told no outcome.
    fn lost(&self, why: &str) -> String {
        match &self.request.resume {
            Some(PushResume { deploy, .. }) => {
                format!("lost the daemon during {deploy} ({why}), which goes on when it is back: paas deploys follow {deploy}")
            }
            None => format!("lost the daemon ({why}); see `paas deploys list -a {}`, then push again", self.request.app),
        }
    }

    /// Shows one stream until it ends or nobody reads.
    async fn show(&mut self, events: &mut Events<PushEvent>) -> End {
        loop {
            match tokio::time::timeout(self.patience.silence, events.next()).await {
                Ok(Ok(Some(event))) => self.take(event),
                Ok(Ok(None)) => return End::Cut("it closed the stream".to_owned()),
                Ok(Err(error)) => return End::Cut(error.to_string()),
                Err(_) => return End::Cut(format!("it said nothing for {} s", self.patience.silence.as_secs_f32())),
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
                self.request.reported.push(reference.clone());
                self.reports.insert(reference, why);
            }
            PushEvent::KeepAlive => {}
        }
    }
}

#[cfg(test)]
mod tests;
