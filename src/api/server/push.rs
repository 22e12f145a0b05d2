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
use crate::api::types::git::{KEEP_ALIVE, PushEvent, PushRequest};
use crate::base::crash::{self, Point};
use crate::git::GitError;
use crate::git::policy::{self, Decision, RefChange};
use crate::manifest;
use crate::model::access::Right;
use crate::model::app::App;
use crate::model::deploy::{Deploy, Origin};
use crate::names::{BranchName, CommitSha};

/// A paas.toml larger than this is not one.
const LARGEST_MANIFEST: usize = 256 << 10;

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

impl Push {
    async fn run(&mut self) {
        let branch = self.deploy_branch().await;
        let commands = self.ask.commands.clone();
        let changes: Vec<RefChange> = commands
            .iter()
            .map(|c| RefChange { reference: c.reference.clone(), old: c.old.clone(), new: c.new.clone() })
            .collect();
        let decisions = policy::judge(&self.app.name, &changes, self.ask.atomic, &branch);
        for (command, decision) in commands.into_iter().zip(decisions) {
            let done = self.carry_out(decision, &branch).await;
            let (ok, why) = match done {
                Ok(()) => (true, None),
                Err(why) => (false, Some(why)),
            };
            self.tell(PushEvent::Report { reference: command.reference, ok, why }).await;
        }
    }

    /// A pusher who has gone is not an error: the deploy is the daemon's.
    async fn tell(&self, event: PushEvent) {
        let _ = self.to.send(event).await;
    }

    async fn line(&self, text: impl Into<String>) {
        self.tell(PushEvent::Line { text: text.into() }).await;
    }

    /// The branch that the pushed commits' own paas.toml names; `main` where none does.
    async fn deploy_branch(&self) -> BranchName {
        let mut named = None;
        for command in self.ask.commands.iter().filter(|c| !c.new.is_zero()) {
            let Some(branch) = command.reference.strip_prefix("refs/heads/").and_then(|b| BranchName::parse(b).ok()) else {
                continue;
            };
            let wanted = self.branch_of(&command.new).await;
            if wanted == branch {
                return branch;
            }
            named.get_or_insert(wanted);
        }
        named.unwrap_or_else(crate::deploys::source::default_branch)
    }

    async fn branch_of(&self, commit: &CommitSha) -> BranchName {
        let read = self.server.world.repos.read_file(&self.app.name, commit, "paas.toml", LARGEST_MANIFEST).await;
        let text = read.ok().flatten().and_then(|bytes| String::from_utf8(bytes).ok());
        // A manifest with a mistake deploys from the default branch, and fails there with the mistake named.
        let manifest = text.and_then(|paas_toml| manifest::deploy_branch(&paas_toml).ok().flatten());
        manifest.unwrap_or_else(crate::deploys::source::default_branch)
    }

    async fn carry_out(&self, decision: Decision, deploy_branch: &BranchName) -> Result<(), String> {
        let (repos, name) = (&self.server.world.repos, &self.app.name);
        let said = |e: GitError| e.to_string();
        match decision {
            Decision::Refuse { why } => Err(why),
            Decision::Store { branch, commit } => {
                repos.store_branch(name, &branch, &commit).await.map_err(said)?;
                self.line(policy::stored_line(name, &branch, deploy_branch)).await;
                Ok(())
            }
            Decision::StoreTag { tag, object } => repos.store_tag(name, &tag, &object).await.map_err(said),
            Decision::DeleteBranch { branch } => repos.delete_branch(name, &branch).await.map_err(said),
            Decision::DeleteTag { tag } => repos.delete_tag(name, &tag).await.map_err(said),
            Decision::Deploy { branch, old, commit } => self.deploy(branch, old, commit).await,
        }
    }

    async fn deploy(&self, branch: BranchName, old: Option<CommitSha>, commit: CommitSha) -> Result<(), String> {
        let deploy = match &self.ask.resume {
            Some(resume) => self.server.world.store.deploy(resume.deploy).await.map_err(|e| e.to_string())?,
            None => self.admit(branch, old, &commit).await?,
        };
        if deploy.app != self.app.name {
            return Err(format!("{} is not a deploy of {}", deploy.id, self.app.name));
        }
        self.follow(&deploy).await
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

    async fn follow(&self, deploy: &Deploy) -> Result<(), String> {
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
                DeployEvent::Live { .. } => return Ok(()),
                DeployEvent::Failed { deploy, stage, still_serves, .. } => {
                    let serves = still_serves.map_or_else(|| "nothing serves yet".to_owned(), |v| format!("{v} still serves"));
                    return Err(format!("deploy {deploy} failed at {stage}: {serves}"));
                }
                DeployEvent::Cancelled { deploy, .. } => return Err(format!("deploy {deploy} was cancelled")),
                DeployEvent::Superseded { deploy, by } => {
                    return Err(format!("deploy {deploy} was superseded by {by}, a newer push"));
                }
                DeployEvent::Nothing { why } => return Err(why),
                DeployEvent::Queued { .. } | DeployEvent::Line { .. } | DeployEvent::State { .. } => {}
            }
        }
        Err(format!("the daemon stopped; `paas deploys follow {}` goes on", deploy.id))
    }
}
