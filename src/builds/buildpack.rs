//! Buildpacks as data: the compiled-in folders, and the host's own that may stand in for them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use globset::{Glob, GlobSet, GlobSetBuilder};
use include_dir::{Dir, include_dir};
use serde::Deserialize;

use super::error::BuildError;
use super::source::SourceTree;

static BUILT_IN: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/buildpacks");

/// Where a host may shadow a buildpack by name, beside `<state_dir>/buildpacks`.
const HOST_FOLDER: &str = "/etc/paas/buildpacks";

/// One language.
#[derive(Debug, Clone)]
pub struct Buildpack {
    pub name: String,
    /// As people call it: "Node.js".
    pub title: String,
    order: u32,
    any: GlobSet,
    patterns: Vec<String>,
    /// Name in the folder → content.
    files: BTreeMap<String, Vec<u8>>,
    /// Set when it is not the compiled-in one.
    pub folder: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    name: String,
    title: String,
    order: u32,
    detect: Detect,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Detect {
    any: Vec<String>,
}

impl Buildpack {
    /// All buildpacks in their order of detection; those of the host's folders take the place of compiled-in ones.
    pub fn all(state_dir: &Path) -> Result<Vec<Self>, BuildError> {
        let mut found: BTreeMap<String, Self> = BTreeMap::new();
        for folder in BUILT_IN.dirs() {
            let files = folder.files().map(|f| (file_name(f.path()), f.contents().to_vec())).collect();
            let pack = Self::parse(files, None).map_err(|why| bad(folder.path(), why))?;
            found.insert(pack.name.clone(), pack);
        }
        for place in [PathBuf::from(HOST_FOLDER), state_dir.join("buildpacks")] {
            let Ok(entries) = std::fs::read_dir(&place) else { continue };
            for folder in entries.filter_map(Result::ok).map(|e| e.path()).filter(|p| p.is_dir()) {
                let pack = Self::parse(read_folder(&folder)?, Some(folder.clone())).map_err(|why| bad(&folder, why))?;
                found.insert(pack.name.clone(), pack);
            }
        }
        let mut all: Vec<Self> = found.into_values().collect();
        all.sort_by_key(|pack| pack.order);
        Ok(all)
    }

    fn parse(files: BTreeMap<String, Vec<u8>>, folder: Option<PathBuf>) -> Result<Self, String> {
        let text = files.get("buildpack.toml").ok_or("it has no buildpack.toml")?;
        let text = std::str::from_utf8(text).map_err(|e| e.to_string())?;
        let said: Description = toml::from_str(text).map_err(|e| e.to_string())?;
        for needed in ["Dockerfile.tmpl", "stack.debian.Dockerfile"] {
            if !files.contains_key(needed) {
                return Err(format!("it has no {needed}"));
            }
        }
        let mut any = GlobSetBuilder::new();
        for pattern in &said.detect.any {
            any.add(Glob::new(pattern).map_err(|e| e.to_string())?);
        }
        let any = any.build().map_err(|e| e.to_string())?;
        Ok(Self { name: said.name, title: said.title, order: said.order, any, patterns: said.detect.any, files, folder })
    }

    /// The first file by which the app is recognised.
    pub fn recognises(&self, tree: &SourceTree) -> Option<String> {
        self.patterns
            .iter()
            .find(|p| tree.has(p))
            .cloned()
            .or_else(|| tree.files().find(|f| self.any.is_match(f)).map(str::to_owned))
    }

    /// What it looks for, for an error line.
    pub fn looks_for(&self) -> &[String] {
        &self.patterns
    }

    pub fn order(&self) -> u32 {
        self.order
    }

    /// A text file of the folder.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.files.get(name).and_then(|bytes| std::str::from_utf8(bytes).ok())
    }

    /// The files that go into the context beside the app: all but the description and the Dockerfiles.
    pub fn extra_files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.files
            .iter()
            .filter(|(name, _)| *name != "buildpack.toml" && !name.contains("Dockerfile"))
            .map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

fn read_folder(folder: &Path) -> Result<BTreeMap<String, Vec<u8>>, BuildError> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder).map_err(BuildError::io("reading", folder))?.filter_map(Result::ok) {
        if entry.path().is_file() {
            files
                .insert(file_name(&entry.path()), std::fs::read(entry.path()).map_err(BuildError::io("reading", &entry.path()))?);
        }
    }
    Ok(files)
}

fn bad(folder: &Path, why: String) -> BuildError {
    let why = format!("the buildpack in `{}` can't be used: {why}", folder.display());
    BuildError::Unfit { why, hint: "mend or remove that folder".to_owned() }
}
