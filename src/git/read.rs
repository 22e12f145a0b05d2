//! Reading commits without checking anything out.

use super::refs::parse_sha;
use super::run::Git;
use super::{GitError, Repos};
use crate::base::clock::UnixMillis;
use crate::names::{AppName, CommitSha};

/// What people want to see of a commit. Texts are cut and free of control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitInfo {
    pub subject: String,
    /// `Ada <ada@example.com>`
    pub author: String,
    /// When it was committed, by the committer's clock.
    pub time: UnixMillis,
}

/// A commit's header and message; nobody's is longer than this except to hurt.
const COMMIT_LIMIT: usize = 1 << 20;
/// 200,000 files with long paths. A bigger tree is refused later by its file count.
const TREE_LIMIT: usize = 64 << 20;
const TEXT_LIMIT: usize = 200;
/// How many submodules a warning names.
const NAMED: usize = 3;

impl Repos {
    /// Author, subject and time of a commit. Cancel-safe: yes, reads only.
    pub async fn commit_info(&self, app: &AppName, commit: &CommitSha) -> Result<CommitInfo, GitError> {
        self.require_commit(app, commit).await?;
        let repo = self.path(app);
        let raw = Git::new(&repo, &["cat-file", "commit", commit.as_str()]).at_most(COMMIT_LIMIT).output().await?;
        Ok(parse_commit(&String::from_utf8_lossy(&raw)))
    }

    /// A regular file of a commit, at a path relative to its top; None if there is no such file (a folder or a link is none).
    /// Errors: larger than `limit` bytes. Cancel-safe: yes, reads only.
    pub async fn read_file(
        &self,
        app: &AppName,
        commit: &CommitSha,
        path: &str,
        limit: usize,
    ) -> Result<Option<Vec<u8>>, GitError> {
        let repo = self.path(app);
        let entry = Git::new(&repo, &["ls-tree", "-z", "--long", "--full-tree", commit.as_str(), "--", path]).output().await?;
        let Some((blob, size)) = regular_file(&entry, path) else { return Ok(None) };
        if size > limit {
            return Err(GitError::FileTooLarge { path: path.to_owned(), commit: commit.clone(), limit });
        }
        Git::new(&repo, &["cat-file", "blob", blob.as_str()]).at_most(limit).output().await.map(Some)
    }

    /// What of this commit will not be in the build, as lines for the pusher: submodules, files kept in LFS. Cancel-safe: yes, reads only.
    pub async fn warnings(&self, app: &AppName, commit: &CommitSha) -> Result<Vec<String>, GitError> {
        let repo = self.path(app);
        let listing =
            Git::new(&repo, &["ls-tree", "-r", "-z", "--full-tree", commit.as_str()]).at_most(TREE_LIMIT).output().await?;
        let mut warnings = Vec::new();
        let links = submodules(&listing);
        if !links.is_empty() {
            let named: Vec<String> = links.iter().take(NAMED).map(|path| format!("`{path}`")).collect();
            let more = if links.len() > NAMED { format!(" and {} more", links.len() - NAMED) } else { String::new() };
            warnings.push(format!(
                "submodules are not fetched: {}{more} will be empty; commit the files themselves, or get them in the build",
                named.join(", ")
            ));
        }
        let attributes = self.read_file(app, commit, ".gitattributes", 256 << 10).await.ok().flatten().unwrap_or_default();
        if String::from_utf8_lossy(&attributes)
            .lines()
            .any(|line| !line.trim_start().starts_with('#') && line.contains("filter=lfs"))
        {
            warnings.push("files in Git LFS are not fetched: the build sees their pointers; commit them themselves, or get them in the build".to_owned());
        }
        Ok(warnings)
    }
}

/// `100644 blob <sha> <size>\t<path>\0` of exactly this path.
fn regular_file(listing: &[u8], path: &str) -> Option<(CommitSha, usize)> {
    let text = String::from_utf8_lossy(listing);
    let entry = text.split('\0').find(|entry| entry.split_once('\t').is_some_and(|(_, found)| found == path))?;
    let mut words = entry.split_once('\t')?.0.split_ascii_whitespace();
    let (mode, kind, sha, size) = (words.next()?, words.next()?, words.next()?, words.next()?);
    if !mode.starts_with("100") || kind != "blob" {
        return None;
    }
    Some((parse_sha("ls-tree", sha.as_bytes()).ok()?, size.parse().ok()?))
}

/// The paths of gitlinks (mode 160000) in a recursive listing.
fn submodules(listing: &[u8]) -> Vec<String> {
    let entries = listing.split(|byte| *byte == 0).filter(|entry| entry.starts_with(b"160000 "));
    let paths = entries.filter_map(|entry| entry.splitn(2, |byte| *byte == b'\t').nth(1));
    paths.map(|path| clean(&String::from_utf8_lossy(path))).collect()
}

fn parse_commit(raw: &str) -> CommitInfo {
    let (header, message) = raw.split_once("\n\n").unwrap_or((raw, ""));
    let line_of = |name: &str| header.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    let person = line_of("author ");
    let author = person.rfind('>').map_or(person, |end| &person[..=end]);
    let stamp = line_of("committer ").rsplit_once('>').map_or("", |(_, rest)| rest);
    let seconds = stamp.split_ascii_whitespace().next().and_then(|s| s.parse::<i64>().ok()).unwrap_or(0);
    let subject = message.trim_start_matches('\n').lines().next().unwrap_or_default();
    CommitInfo { subject: clean(subject), author: clean(author), time: UnixMillis(seconds.saturating_mul(1000)) }
}

/// A stranger's text, cut and without anything that steers a terminal.
fn clean(text: &str) -> String {
    let mut short: String = text.trim().chars().filter(|c| !c.is_control()).take(TEXT_LIMIT).collect();
    if text.trim().chars().count() > TEXT_LIMIT {
        short.push('…');
    }
    short
}
