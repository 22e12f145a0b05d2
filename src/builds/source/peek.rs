//! Looking into a cleaned tar: its list of files and the text of a few.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::builds::error::BuildError;
use crate::manifest::{self, SourceFiles};

/// The tree that is built: paths relative to the folder that the manifest names, `/` between parts.
#[derive(Debug, Default, Clone)]
pub struct SourceTree {
    tar: PathBuf,
    files: BTreeMap<String, Place>,
    folders: BTreeSet<String>,
    links: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    at: u64,
    size: u64,
    executable: bool,
}

/// No file that decides how to build is larger; of larger ones the beginning is read.
const TEXT_LIMIT: u64 = 2 << 20;

impl SourceTree {
    /// Reads the list of a cleaned tar; with `root`, of that folder only. Blocking; seeks over the files' bytes.
    pub fn open(tar: &Path, root: Option<&str>) -> Result<Self, BuildError> {
        let failed = || BuildError::io("reading", tar);
        let file = File::open(tar).map_err(failed())?;
        let mut archive = tar::Archive::new(std::io::BufReader::with_capacity(64 * 1024, file));
        let mut tree = SourceTree { tar: tar.to_owned(), ..SourceTree::default() };
        let prefix = root.map(|r| format!("{}/", r.trim_matches('/'))).unwrap_or_default();
        for entry in archive.entries_with_seek().map_err(failed())? {
            let entry = entry.map_err(failed())?;
            let path = String::from_utf8_lossy(&entry.path_bytes()).trim_end_matches('/').to_owned();
            let Some(path) = path.strip_prefix(&prefix).map(str::to_owned) else { continue };
            let mut folder = path.as_str();
            // Above a folder that is known all are.
            while let Some((parent, _)) = folder.rsplit_once('/')
                && !tree.folders.contains(parent)
            {
                tree.folders.insert(parent.to_owned());
                folder = parent;
            }
            match entry.header().entry_type() {
                tar::EntryType::Directory => {
                    tree.folders.insert(path);
                }
                tar::EntryType::Symlink => {
                    let target = entry.link_name_bytes().map(|l| String::from_utf8_lossy(&l).into_owned());
                    tree.links.insert(path, target.unwrap_or_default());
                }
                _ => {
                    let executable = entry.header().mode().unwrap_or(0) & 0o111 != 0;
                    tree.files.insert(path, Place { at: entry.raw_file_position(), size: entry.size(), executable });
                }
            }
        }
        Ok(tree)
    }

    /// For tests of detection: a tree of texts that are in no tar.
    #[cfg(test)]
    pub fn of(paths: &[&str]) -> Self {
        let mut tree = SourceTree::default();
        for path in paths {
            let mut folder = *path;
            while let Some((parent, _)) = folder.rsplit_once('/') {
                tree.folders.insert(parent.to_owned());
                folder = parent;
            }
            tree.files.insert((*path).to_owned(), Place { at: 0, size: 0, executable: path.starts_with("bin/") });
        }
        tree
    }

    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.links.is_empty()
    }

    pub fn has(&self, path: &str) -> bool {
        self.files.contains_key(path) || self.links.contains_key(path)
    }

    pub fn has_any(&self, paths: &[&str]) -> bool {
        paths.iter().any(|path| self.has(path))
    }

    pub fn has_folder(&self, path: &str) -> bool {
        self.folders.contains(path)
    }

    pub fn is_executable(&self, path: &str) -> bool {
        self.files.get(path).is_some_and(|place| place.executable)
    }

    /// All files, sorted.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// A file's text (its first 2 MiB); a symlink to a file beside it is followed once. None = no such file, or not text.
    pub fn text(&self, path: &str) -> Option<String> {
        let path = match self.links.get(path) {
            Some(target) => match path.rsplit_once('/') {
                Some((folder, _)) => format!("{folder}/{target}"),
                None => target.clone(),
            },
            None => path.to_owned(),
        };
        let place = self.files.get(&path)?;
        let mut file = File::open(&self.tar).ok()?;
        file.seek(SeekFrom::Start(place.at)).ok()?;
        let mut bytes = Vec::new();
        file.take(place.size.min(TEXT_LIMIT)).read_to_end(&mut bytes).ok()?;
        match String::from_utf8(bytes) {
            Ok(text) => Some(text),
            // Cut in the middle of a character.
            Err(e) if place.size > TEXT_LIMIT => Some(String::from_utf8_lossy(e.as_bytes()).into_owned()),
            Err(_) => None,
        }
    }

    pub fn size(&self, path: &str) -> Option<u64> {
        self.files.get(path).map(|place| place.size)
    }
}

/// A manifest is a page of text; a megabyte is somebody's mistake.
const MANIFEST_LIMIT: u64 = 1 << 20;

/// The texts of paas.toml, Procfile and app.json in a cleaned tar. paas.toml lies at the top; the other two in the folder that it names as
/// the one to build (or `root`), else at the top. Blocking.
pub fn read_manifest_files(tar: &Path, root: Option<&str>) -> Result<SourceFiles, BuildError> {
    let top = SourceTree::open(tar, None)?;
    let paas_toml = manifest_text(&top, "paas.toml")?;
    // A broken paas.toml is reported by whoever parses the files.
    let named = paas_toml.as_deref().and_then(|text| manifest::source_path(text).ok().flatten());
    let folder = root.map(str::to_owned).or(named);
    let beside = |name: &str| -> Result<Option<String>, BuildError> {
        let inner = folder.as_ref().map(|folder| format!("{}/{name}", folder.trim_matches('/')));
        match inner.filter(|path| top.has(path)) {
            Some(path) => manifest_text(&top, &path),
            None => manifest_text(&top, name),
        }
    };
    Ok(SourceFiles { procfile: beside("Procfile")?, app_json: beside("app.json")?, paas_toml })
}

fn manifest_text(tree: &SourceTree, path: &str) -> Result<Option<String>, BuildError> {
    if !tree.has(path) {
        return Ok(None);
    }
    let refused = |why: &str| BuildError::Entry { entry: format!("`{path}`"), why: why.to_owned(), hint: None };
    if tree.size(path).unwrap_or(0) > MANIFEST_LIMIT {
        return Err(refused("it is larger than 1 MiB"));
    }
    tree.text(path).map(Some).ok_or_else(|| refused("it is not UTF-8 text, or a symlink to none"))
}
