//! Paths of an untrusted archive: what may be in a tree, decided without touching a file system.

use std::collections::BTreeMap;

/// A path inside the tree: non-empty components without `.`, `..`, NUL or slashes, joined by `/`. Bytes, because git allows any.
pub type TreePath = Vec<u8>;

/// Linux's own limits (NAME_MAX, PATH_MAX): longer names can't be made on the other side either.
const NAME_LIMIT: usize = 255;
const PATH_LIMIT: usize = 4095;
/// Folders in folders: the deepest trees of packages stay far below it, and each path costs as much as its parts.
const DEPTH_LIMIT: usize = 256;

/// Takes an entry's name as written; gives its path, None for the root itself (`./`), or why it is refused.
pub fn clean(name: &[u8]) -> Result<Option<TreePath>, String> {
    if name.contains(&0) {
        return Err("its name holds a NUL byte".to_owned());
    }
    if name.first() == Some(&b'/') {
        return Err("its path is absolute".to_owned());
    }
    if name.len() > PATH_LIMIT {
        return Err(format!("its path is longer than {PATH_LIMIT} bytes"));
    }
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err("its path leads out of the tree by `..`".to_owned()),
            _ if part.len() > NAME_LIMIT => return Err(format!("a part of its path is longer than {NAME_LIMIT} bytes")),
            _ => parts.push(part),
        }
    }
    if parts.len() > DEPTH_LIMIT {
        return Err(format!("its path has {} parts, and at most {DEPTH_LIMIT} are taken", parts.len()));
    }
    Ok((!parts.is_empty()).then(|| parts.join(&b'/')))
}

/// Whether a symlink may say this; where it leads is found out when all of the tree is known.
pub fn check_target(target: &[u8]) -> Result<(), String> {
    if target.is_empty() || target.contains(&0) {
        return Err("it is a symlink without a proper target".to_owned());
    }
    if target.len() > PATH_LIMIT {
        return Err(format!("it is a symlink whose target has {} bytes, and at most {PATH_LIMIT} are taken", target.len()));
    }
    let parts = target.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).count();
    if parts > DEPTH_LIMIT {
        return Err(format!("it is a symlink whose target has {parts} parts, and at most {DEPTH_LIMIT} are taken"));
    }
    Ok(())
}

/// Text for an error line: escaped and cut, so that an archive can't steer a terminal.
pub fn shown(path: &[u8]) -> String {
    let text = String::from_utf8_lossy(path);
    let mut short: String = text.chars().take(200).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("`{}`", short.escape_debug())
}

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// `given` is false for a folder that only follows from a file in it.
    Folder {
        given: bool,
    },
    File,
    Link {
        target: Vec<u8>,
    },
}

/// The tree as it would be unpacked. Invariant: the folders above each node are nodes themselves.
#[derive(Debug, Default)]
pub struct Tree {
    nodes: BTreeMap<TreePath, Node>,
    name_bytes: usize,
}

/// What following a symlink came to.
enum Walk {
    Inside,
    Outside,
    /// All links together took more steps than are taken.
    TooFar,
}

impl Tree {
    /// Adds an entry, or says why it can't stand beside those before it. Nothing is ever placed through a link, and nothing changes its kind.
    pub fn add(&mut self, path: &TreePath, node: Node) -> Result<(), String> {
        // The nearest folder that is there tells of all above it, so that a deep path costs what is new of it.
        let mut missing = Vec::new();
        for (at, _) in path.iter().enumerate().rev().filter(|(_, byte)| **byte == b'/') {
            match self.nodes.get(&path[..at]) {
                None => missing.push(at),
                Some(Node::Folder { .. }) => break,
                Some(Node::File) => return Err(format!("it lies inside {}, which is a file", shown(&path[..at]))),
                Some(Node::Link { .. }) => {
                    return Err(format!("it would be written through the symlink {}", shown(&path[..at])));
                }
            }
        }
        for at in missing {
            self.insert(path[..at].to_vec(), Node::Folder { given: false });
        }
        match (self.nodes.get_mut(path), node) {
            (None, node) => {
                self.insert(path.clone(), node);
                Ok(())
            }
            (Some(Node::Folder { given }), Node::Folder { .. }) => {
                *given = true;
                Ok(())
            }
            (Some(_), _) => Err("it is in the archive twice".to_owned()),
        }
    }

    fn insert(&mut self, path: TreePath, node: Node) {
        let target = if let Node::Link { target } = &node { target.len() } else { 0 };
        self.name_bytes += path.len() + target;
        self.nodes.insert(path, node);
    }

    /// Files, symlinks and folders, those too that only follow from what is in them.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Bytes of all paths and targets, which is about what the tree takes in memory.
    pub fn name_bytes(&self) -> usize {
        self.name_bytes
    }

    /// The one folder at the top that everything lies in, if there is one.
    pub fn common_top(&self) -> Option<TreePath> {
        let mut tops = self.nodes.iter().filter(|(path, _)| !path.contains(&b'/'));
        match (tops.next(), tops.next()) {
            (Some((path, Node::Folder { .. })), None) => Some(path.clone()),
            _ => None,
        }
    }

    /// Follows every symlink as the kernel would, through other links too: `a/b/s -> ../..` makes `a/b/s/../x` a way out although each
    /// looks harmless. Gives the first that can't be taken, and why.
    pub fn first_bad_link(&self) -> Option<(&TreePath, String)> {
        let mut steps = STEPS_PER_NODE.saturating_mul(self.nodes.len() + 64);
        self.nodes.iter().find_map(|(path, node)| {
            let Node::Link { target } = node else { return None };
            match self.follow(path, target, &mut steps) {
                Walk::Inside => None,
                Walk::Outside => {
                    Some((path, format!("it is a symlink to {}, which is outside of the source tree", shown(target))))
                }
                Walk::TooFar => {
                    Some((path, "the symlinks of the tree lead through each other too often to be followed".to_owned()))
                }
            }
        })
    }

    fn follow(&self, link: &[u8], target: &[u8], steps: &mut usize) -> Walk {
        // Where the walk stands; empty is the root of the tree.
        let mut here = link.to_vec();
        leave(&mut here);
        // What is still to be walked: the rest of each target, that of the last link at the end.
        let mut ahead = vec![target];
        // An absolute target would name the image's files, not the tree's.
        let mut absolute = target.first() == Some(&b'/');
        let mut hops = 0;
        while let Some(walk) = ahead.pop() {
            let Some(left) = steps.checked_sub(1) else { return Walk::TooFar };
            *steps = left;
            let end = walk.iter().position(|byte| *byte == b'/').unwrap_or(walk.len());
            if let Some(rest) = walk.get(end + 1..) {
                ahead.push(rest);
            }
            match &walk[..end] {
                _ if absolute => return Walk::Outside,
                b"" | b"." => {}
                b".." if here.is_empty() => return Walk::Outside,
                b".." => leave(&mut here),
                part => {
                    let folder = here.len();
                    if folder > 0 {
                        here.push(b'/');
                    }
                    here.extend_from_slice(part);
                    let Some(Node::Link { target }) = self.nodes.get(&here) else { continue };
                    hops += 1;
                    // The kernel gives up after 40 links (ELOOP): such a link leads nowhere.
                    if hops > 40 {
                        return Walk::Inside;
                    }
                    here.truncate(folder);
                    absolute = target.first() == Some(&b'/');
                    ahead.push(target);
                }
            }
        }
        Walk::Inside
    }
}

/// Steps that following all links may take, per node of the tree: a link of a real tree takes ten or twenty, and a tree of links that lead through
/// each other thousands.
const STEPS_PER_NODE: usize = 64;

/// From a path to that of its folder.
fn leave(path: &mut TreePath) {
    path.truncate(path.iter().rposition(|byte| *byte == b'/').unwrap_or(0));
}
