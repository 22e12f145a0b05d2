//! Paths of an untrusted archive: what may be in a tree, decided without touching a file system.

use std::collections::BTreeMap;

/// A path inside the tree: non-empty components without `.`, `..`, NUL or slashes, joined by `/`. Bytes, because git allows any.
pub type TreePath = Vec<u8>;

/// Linux's own limits (NAME_MAX, PATH_MAX): longer names can't be made on the other side either.
const NAME_LIMIT: usize = 255;
const PATH_LIMIT: usize = 4095;

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
    Ok((!parts.is_empty()).then(|| parts.join(&b'/')))
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

/// The tree as it would be unpacked.
#[derive(Debug, Default)]
pub struct Tree {
    nodes: BTreeMap<TreePath, Node>,
}

impl Tree {
    /// Adds an entry, or says why it can't stand beside those before it. Nothing is ever placed through a link, and nothing changes its kind.
    pub fn add(&mut self, path: &TreePath, node: Node) -> Result<(), String> {
        for (at, byte) in path.iter().enumerate() {
            if *byte != b'/' {
                continue;
            }
            match self.nodes.entry(path[..at].to_vec()).or_insert(Node::Folder { given: false }) {
                Node::Folder { .. } => {}
                Node::File => return Err(format!("it lies inside {}, which is a file", shown(&path[..at]))),
                Node::Link { .. } => return Err(format!("it would be written through the symlink {}", shown(&path[..at]))),
            }
        }
        match (self.nodes.get_mut(path), node) {
            (None, node) => {
                self.nodes.insert(path.clone(), node);
                Ok(())
            }
            (Some(Node::Folder { given }), Node::Folder { .. }) => {
                *given = true;
                Ok(())
            }
            (Some(_), _) => Err("it is in the archive twice".to_owned()),
        }
    }

    /// The one folder at the top that everything lies in, if there is one.
    pub fn common_top(&self) -> Option<TreePath> {
        let mut tops = self.nodes.iter().filter(|(path, _)| !path.contains(&b'/'));
        match (tops.next(), tops.next()) {
            (Some((path, Node::Folder { .. })), None) => Some(path.clone()),
            _ => None,
        }
    }

    /// The tree below `top`, which holds everything.
    pub fn without_top(self, top: &[u8]) -> Tree {
        let nodes = self.nodes.into_iter().filter_map(|(path, node)| Some((path.get(top.len() + 1..)?.to_vec(), node))).collect();
        Tree { nodes }
    }

    /// Follows every symlink as the kernel would, through other links too: `a/b/s -> ../..` makes `a/b/s/../x` a way out although each
    /// looks harmless. Gives the first that leaves the tree, with its target.
    pub fn first_escape(&self) -> Option<(&TreePath, &[u8])> {
        self.nodes.iter().find_map(|(path, node)| match node {
            Node::Link { target } if self.escapes(path, target) => Some((path, target.as_slice())),
            Node::Link { .. } | Node::Folder { .. } | Node::File => None,
        })
    }

    fn escapes(&self, link: &[u8], target: &[u8]) -> bool {
        let mut here: Vec<Vec<u8>> = link.split(|b| *b == b'/').map(<[u8]>::to_vec).collect();
        here.pop();
        // What is still to be walked, next last.
        let mut ahead: Vec<Vec<u8>> = Vec::new();
        let mut hops = 0;
        if !push_target(&mut ahead, target) {
            return true;
        }
        while let Some(part) = ahead.pop() {
            match part.as_slice() {
                b"" | b"." => {}
                b".." => {
                    if here.pop().is_none() {
                        return true;
                    }
                }
                _ => {
                    here.push(part);
                    let Some(Node::Link { target }) = self.nodes.get(&here.join(&b'/')) else { continue };
                    hops += 1;
                    here.pop();
                    // The kernel gives up after 40 links (ELOOP): such a link leads nowhere.
                    if hops > 40 {
                        return false;
                    }
                    if !push_target(&mut ahead, target) {
                        return true;
                    }
                }
            }
        }
        false
    }
}

/// False for an absolute target: inside an image it would name the image's files, not the tree's.
fn push_target(ahead: &mut Vec<Vec<u8>>, target: &[u8]) -> bool {
    if target.first() == Some(&b'/') {
        return false;
    }
    ahead.extend(target.split(|b| *b == b'/').rev().map(<[u8]>::to_vec));
    true
}
