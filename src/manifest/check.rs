//! `paas check`: the same reading as a deploy, from a folder.

use std::io::Read;
use std::path::Path;

use super::{Manifest, ManifestError, SourceFiles, read, source_path};

/// More than any real file of these kinds; a larger one is a mistake (or a stranger's).
pub const LARGEST_FILE: u64 = 1 << 20;

/// What was found in a folder.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    pub manifest: Manifest,
    /// The files that spoke, by name.
    pub files: Vec<&'static str>,
}

/// Reads the app's files in `dir` and validates them as a deploy would. Blocking: reads at most three small files.
pub fn check(dir: &Path) -> Result<Checked, ManifestError> {
    let paas_toml = file(dir, "paas.toml")?;
    let path = paas_toml.as_deref().map(source_path).transpose()?.flatten();
    let root = path.map_or_else(|| dir.to_owned(), |p| dir.join(p));
    let files = SourceFiles { paas_toml, procfile: file(&root, "Procfile")?, app_json: file(&root, "app.json")? };
    let present = [
        ("paas.toml", files.paas_toml.is_some()),
        ("Procfile", files.procfile.is_some()),
        ("app.json", files.app_json.is_some()),
    ];
    let manifest = read(&files)?;
    Ok(Checked { manifest, files: present.iter().filter(|(_, there)| *there).map(|(name, _)| *name).collect() })
}

fn file(dir: &Path, name: &'static str) -> Result<Option<String>, ManifestError> {
    let path = dir.join(name);
    let failed = |source| ManifestError::Read { path: path.clone(), source };
    let open = match std::fs::File::open(&path) {
        Ok(open) => open,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(failed(e)),
    };
    let bytes = open.metadata().map_err(failed)?.len();
    if bytes > LARGEST_FILE {
        return Err(ManifestError::TooLarge { file: name, bytes, limit: LARGEST_FILE });
    }
    let mut text = Vec::new();
    open.take(LARGEST_FILE).read_to_end(&mut text).map_err(failed)?;
    String::from_utf8(text).map(Some).map_err(|_| ManifestError::NotText { file: name })
}
