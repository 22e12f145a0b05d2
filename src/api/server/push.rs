//! `POST /git/push`: the objects are in the repository; decide per ref, deploy, and stream what happens to git's hook.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use futures_util::{Stream, StreamExt};
use tokio::sync::mpsc;

use super::Server;
use super::access::Who;
use super::events::ndjson;
use super::fail::Fail;
use crate::api::render;
use crate::api::types::deploys::DeployEvent;
use crate::api::types::git::{KEEP_ALIVE, PushEvent, PushRequest, RefCommand};
use crate::base::crash::{self, Point};
use crate::deploys::source;
use crate::git::GitError;
use crate::git::policy::{self, Decision, Kept, RefChange};
use crate::model::access::Right;
use crate::model::app::App;
use crate::model::deploy::{Deploy, Origin};
use crate::names::{BranchName, CommitSha};

pub async fn push(State(server): State<Server>, who: Who, Json(ask): Json<PushRequest>) -> Result<Response, Fail> {
    who.must(Right::Deploy, Some(&ask.app))?;
    let app = server.world.store.app(&ask.app).await?;
    let (to, events) = mpsc::channel(64);
    let serial = server.world.serial();
    let crew = server.world.crew.clone();
    crew.start_once(&format!("push {serial}"), async move {
        let mut push = Push { server, who, app, ask, to };
        push.run().await;
    });
    Ok(ndjson(lively(events)))
}

/// The events as they come, with a sign of life where nothing comes for long: the hook takes a daemon that is silent for one that hangs.
fn lively(events: mpsc::Receiver<PushEvent>) -> impl Stream<Item = PushEvent> + Send + 'static {
    futures_util::stream::unfold(events, |mut events| async move {
        match tokio::time::timeout(KEEP_ALIVE, events.recv()).await {
            Ok(Some(event)) => Some((event, events)),
            Ok(None) => None,
            Err(_quiet) => Some((PushEvent::KeepAlive, events)),
        }
    })
}

struct Push {
    server: Server,
    who: Who,
    app: App,
    ask: PushRequest,
    to: mpsc::Sender<PushEvent>,
}

/// What became of one ref of a push.
enum Outcome {
    Taken,
    /// Why, for `! [remote rejected]`.
    Refused(String),
    /// Not known yet: this daemon stops before the deploy ends. The next one tells it to the hook, which asks again.
    Later,
}

impl Push {
    async fn run(&mut self) {
        let branch = self.deploy_branch().await;
        let commands = self.ask.commands.clone();
        let changes: Vec<RefChange> = commands
            .iter()
            .map(|c| RefChange { reference: c.reference.clone(), old: c.old.clone(), new: c.new.clone() })
            .collect();
        let mut decisions = policy::judge(&self.app.name, &changes, self.ask.atomic, &branch);
        if self.ask.atomic && !self.all_can_be_kept(&decisions).await {
            decisions = decisions.into_iter().map(policy::refuse_together).collect();
        }
        let mut todo: Vec<(RefCommand, Decision)> = commands.into_iter().zip(decisions).collect();
        if self.ask.atomic {
            // All or none: the one that can fail after minutes goes first.
            todo.sort_by_key(|(_, decision)| !matches!(decision, Decision::Deploy { .. }));
        }
        let mut failed = false;
        for (RefCommand { reference, .. }, decision) in todo {
            let decision = if self.ask.atomic && failed { policy::refuse_together(decision) } else { decision };
            // Done again it could undo what somebody else pushed since.
            if matches!(decision, Decision::Keep { .. }) && self.ask.reported.contains(&reference) {
                continue;
            }
            let (ok, why) = match self.carry_out(decision, &branch).await {
                Outcome::Taken => (true, None),
                Outcome::Refused(why) => (false, Some(why)),
                Outcome::Later => return,
            };
            failed |= !ok;
            self.tell(PushEvent::Report { reference, ok, why }).await;
        }
    }

    /// Whether each ref beside the deploy still is where its pusher saw it. Asked before an `--atomic` push does anything; not when its deploy
    /// is on its way: that can't be taken back.
    async fn all_can_be_kept(&self, decisions: &[Decision]) -> bool {
        if self.ask.resume.is_some() {
            return true;
        }
        for decision in decisions {
            if let Decision::Keep { what, by } = decision
                && let Err(e) = self.server.world.repos.can_keep(&self.app.name, what, by).await
            {
                self.line(said(what, &e)).await;
                return false;
            }
        }
        true
    }

    /// A pusher who has gone is not an error: the deploy is the daemon's.
    async fn tell(&self, event: PushEvent) {
        let _ = self.to.send(event).await;
    }

    async fn line(&self, text: impl Into<String>) {
        self.tell(PushEvent::Line { text: text.into() }).await;
    }

    /// The branch that the pushed commits' own paas.toml names. Where only refs are removed, that of what is live. `main` where none does.
    async fn deploy_branch(&self) -> BranchName {
        let app = &self.app;
        let mut named = None;
        for command in self.ask.commands.iter().filter(|c| !c.new.is_zero()) {
            let Some(branch) = command.reference.strip_prefix("refs/heads/").and_then(|b| BranchName::parse(b).ok()) else {
                continue;
            };
            let wanted = self.server.branch_of(&app.name, &command.new).await;
            if wanted == branch {
                return branch;
            }
            named.get_or_insert(wanted);
        }
        match (named, app.live) {
            (Some(named), _) => named,
            (None, Some(live)) => {
                let live = self.server.world.store.release(app.id, live).await;
                live.map_or_else(|_| source::default_branch(), |live| live.manifest.deploy.branch)
            }
            (None, None) => source::default_branch(),
        }
    }

    async fn carry_out(&self, decision: Decision, deploy_branch: &BranchName) -> Outcome {
        let (repos, name) = (&self.server.world.repos, &self.app.name);
        match decision {
            Decision::Refuse { why } => Outcome::Refused(why),
            Decision::Keep { what, by } => {
                if let Err(e) = repos.keep(name, &what, &by).await {
                    return Outcome::Refused(said(&what, &e));
                }
                if let (Kept::Branch(branch), Some(_)) = (&what, &by.new) {
                    self.line(policy::stored_line(name, branch, deploy_branch)).await;
                }
                Outcome::Taken
            }
            Decision::Deploy { branch, old, commit } => match self.deploy(branch, old, commit).await {
                Ok(deploy) => self.follow(&deploy).await,
                // It may be stored all the same: the next daemon finds it by the push's name.
                Err(_) if *self.server.world.crew.stopping().borrow() => Outcome::Later,
                Err(why) => Outcome::Refused(why),
            },
        }
    }

    async fn deploy(&self, branch: BranchName, old: Option<CommitSha>, commit: CommitSha) -> Result<Deploy, String> {
        let deploy = match &self.ask.resume {
            Some(resume) => self.server.world.store.deploy(resume.deploy).await.map_err(|e| e.to_string())?,
            None => self.admit(branch, old, &commit).await?,
        };
        if deploy.app != self.app.name {
            return Err(format!("{} is not a deploy of {}", deploy.id, self.app.name));
        }
        Ok(deploy)
    }

    async fn admit(&self, branch: BranchName, old: Option<CommitSha>, commit: &CommitSha) -> Result<Deploy, String> {
        let repos = &self.server.world.repos;
        // Before anything is stored: git's own check does not apply to refs that our hook takes.
        if let Err(e) = repos.require_commit(&self.app.name, commit).await {
            return Err(match e {
                GitError::NotACommit { .. } => format!("{e}; what a tag is of: git push <remote> <tag>^{{}}:{branch}"),
                other => other.to_string(),
            });
        }
        for warning in repos.warnings(&self.app.name, commit).await.unwrap_or_default() {
            self.line(warning).await;
        }
        if let Some(old) = &old
            && let Ok(false) = repos.is_ancestor(&self.app.name, old, commit).await
        {
            self.line(policy::forced_line(&branch, old, commit)).await;
        }
        crash::point(Point::PushTaken);
        let origin = Origin::Push { branch, old };
        let (app, push) = (&self.app, self.ask.push.clone());
        let admitted = self.server.admit_commit(app, origin, commit.clone(), &self.who, push).await;
        let (deploy, unkept) = admitted.map_err(|fail| fail.0.message)?;
        if let Some(e) = unkept {
            // What becomes of the deploy is told like that of any other.
            self.line(format!("the commit can't be kept: {e}")).await;
        }
        self.tell(PushEvent::Deploy { deploy: deploy.id }).await;
        Ok(deploy)
    }

    async fn follow(&self, deploy: &Deploy) -> Outcome {
        let mut skip = self.ask.resume.as_ref().map_or(0, |r| r.lines_seen);
        let mut events = Box::pin(self.server.event_stream(deploy, true));
        while let Some(event) = events.next().await {
            for text in render::lines(&event) {
                if skip > 0 {
                    skip -= 1;
                } else {
                    self.line(text).await;
                }
            }
            match event {
                DeployEvent::Live { .. } => return Outcome::Taken,
                DeployEvent::Failed { deploy, stage, still_serves, .. } => {
                    let serves = still_serves.map_or_else(|| "nothing serves yet".to_owned(), |v| format!("{v} still serves"));
                    return Outcome::Refused(format!("deploy {deploy} failed at {stage}: {serves}"));
                }
                DeployEvent::Cancelled { deploy, .. } => return Outcome::Refused(format!("deploy {deploy} was cancelled")),
                DeployEvent::Superseded { deploy, by } => {
                    return Outcome::Refused(format!("deploy {deploy} was superseded by {by}, a newer push"));
                }
                DeployEvent::Nothing { why } => return Outcome::Refused(why),
                DeployEvent::Queued { .. } | DeployEvent::Line { .. } | DeployEvent::State { .. } => {}
            }
        }
        Outcome::Later
    }
}

/// Why a ref was not kept, for its pusher.
fn said(what: &Kept, error: &GitError) -> String {
    match error {
        GitError::Moved { .. } => policy::moved_line(what),
        other => other.to_string(),
    }
}
