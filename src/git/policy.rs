//! Which ref changes a push may make. Pure: git's own rules (deny deletes, deny non-fast-forwards, name checks) do not apply to refs that
//! the proc-receive hook takes, so all of them stand here.

use std::collections::BTreeSet;

use crate::names::{AppName, BranchName, CommitSha};

/// One ref that a push wants to move. An all-zero `old` creates it, an all-zero `new` deletes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefChange {
    /// As git sent it: any text.
    pub reference: String,
    pub old: CommitSha,
    pub new: CommitSha,
}

/// A ref that is kept and not deployed. A tag's name has the syntax of a branch name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    Branch(BranchName),
    Tag(BranchName),
}

impl Kept {
    pub fn reference(&self) -> String {
        match self {
            Self::Branch(branch) => format!("refs/heads/{branch}"),
            Self::Tag(tag) => format!("refs/tags/{tag}"),
        }
    }
}

/// From where a ref goes (None: it does not exist) to where (None: it is removed).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    pub old: Option<CommitSha>,
    pub new: Option<CommitSha>,
}

impl Move {
    /// Whether a ref that is at `found` may be moved so, or has been.
    pub fn fits(&self, found: &Option<CommitSha>) -> bool {
        *found == self.old || *found == self.new
    }
}

/// What is to be done about one command of a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The app's deploy branch: deploy the commit, and move the branch when it is live.
    Deploy { branch: BranchName, old: Option<CommitSha>, commit: CommitSha },
    /// Another branch or a tag: it moves from where its pusher saw it, and deploys nothing.
    Keep { what: Kept, by: Move },
    /// `why` is one line for `! [remote rejected]`: what is wrong and what to do.
    Refuse { why: String },
}

/// More than anybody pushes to deploy; a mirror of a whole project is not for here.
pub const MAX_REFS: usize = 50;
/// Of a strange ref name, this much is shown.
const SHOWN: usize = 60;

/// One decision per command, in order. With `--atomic` one refusal refuses all; the caller must then also keep nothing if the deploy fails.
pub fn judge(app: &AppName, changes: &[RefChange], atomic: bool, deploy_branch: &BranchName) -> Vec<Decision> {
    let count = changes.len();
    if count > MAX_REFS {
        let why =
            format!("{count} refs in one push, at most {MAX_REFS} are taken; push one branch: git push <remote> {deploy_branch}");
        return vec![Decision::Refuse { why }; count];
    }
    let mut seen = BTreeSet::new();
    let decisions: Vec<Decision> = changes
        .iter()
        .map(|change| {
            if seen.insert(change.reference.as_str()) {
                judge_one(app, change, deploy_branch)
            } else {
                Decision::Refuse { why: "the same ref is pushed twice".to_owned() }
            }
        })
        .collect();
    let refused = decisions.iter().any(|decision| matches!(decision, Decision::Refuse { .. }));
    if atomic && refused {
        return decisions.into_iter().map(refuse_together).collect();
    }
    decisions
}

/// What the pusher reads about a branch that was stored.
pub fn stored_line(app: &AppName, branch: &BranchName, deploy_branch: &BranchName) -> String {
    format!(
        "{branch} is stored, not deployed: {app} deploys `{deploy_branch}`. To deploy this: git push <remote> {branch}:{deploy_branch}"
    )
}

/// What the pusher reads when the deploy branch moves to a commit that does not contain the old one. Git's client sends such a move only
/// with `--force`, so it is meant; the releases keep what they were made of.
pub fn forced_line(branch: &BranchName, old: &CommitSha, new: &CommitSha) -> String {
    format!(
        "{branch} is moved by force from {} to {}; releases that are kept can still be rolled back to",
        old.short(),
        new.short()
    )
}

/// What the pusher reads about a ref that is no longer where its git saw it: what somebody else pushed meanwhile is not written over.
pub fn moved_line(what: &Kept) -> String {
    let name = match what {
        Kept::Branch(branch) => branch.to_string(),
        Kept::Tag(tag) => format!("tag {tag}"),
    };
    format!("{name} was pushed or removed by somebody else meanwhile; git fetch <remote>, look, then push again")
}

fn judge_one(app: &AppName, change: &RefChange, deploy_branch: &BranchName) -> Decision {
    let there = |commit: &CommitSha| Some(commit.clone()).filter(|commit| !commit.is_zero());
    let (old, new) = (there(&change.old), there(&change.new));
    let delete = new.is_none();
    if delete && old.is_none() {
        return Decision::Refuse { why: "nothing to do: it neither exists nor is made".to_owned() };
    }
    if let Some(name) = change.reference.strip_prefix("refs/heads/") {
        return match BranchName::parse(name) {
            Err(bad) => Decision::Refuse { why: format!("{bad}; rename it: git branch -m <name>") },
            Ok(branch) if delete && branch == *deploy_branch => {
                let why =
                    format!("`{branch}` is what {app} deploys and can't be deleted; to remove the app: paas apps destroy {app}");
                Decision::Refuse { why }
            }
            Ok(branch) if branch == *deploy_branch => Decision::Deploy { branch, old, commit: change.new.clone() },
            Ok(branch) => Decision::Keep { what: Kept::Branch(branch), by: Move { old, new } },
        };
    }
    if let Some(name) = change.reference.strip_prefix("refs/tags/") {
        return match BranchName::parse(name) {
            Err(bad) => Decision::Refuse { why: format!("tag: {bad}") },
            Ok(tag) => Decision::Keep { what: Kept::Tag(tag), by: Move { old, new } },
        };
    }
    let shown: String = change.reference.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    Decision::Refuse { why: format!("`{shown}` is no branch; push one: git push <remote> HEAD:{deploy_branch}") }
}

/// What becomes of a ref whose `--atomic` push has another one that is not taken.
pub fn refuse_together(decision: Decision) -> Decision {
    match decision {
        Decision::Refuse { why } => Decision::Refuse { why },
        Decision::Deploy { .. } | Decision::Keep { .. } => {
            Decision::Refuse { why: "another ref of this push was refused, and it was asked to be --atomic".to_owned() }
        }
    }
}
