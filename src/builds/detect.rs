//! Which way a source tree is built. Pure: the list of files and the manifest in, the choice and its reason out.

use super::buildpack::Buildpack;
use super::error::BuildError;
use super::source::SourceTree;
use crate::manifest::BuildSpec;

/// How to build, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    pub way: Way,
    /// "package.json is there": printed at the start of a build.
    pub why: String,
    /// What would also have fitted.
    pub also: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// An image that exists already.
    Image { reference: String },
    /// The path of the app's own Dockerfile.
    Dockerfile { path: String },
    /// A buildpack's name.
    Buildpack { name: String },
}

/// In this order: what the manifest says, a Dockerfile, something already built, the buildpacks by their own order.
pub fn choose(tree: &SourceTree, build: &BuildSpec, packs: &[Buildpack]) -> Result<Choice, BuildError> {
    let by_manifest =
        |way: Way, key: &str| Ok(Choice { way, why: format!("paas.toml says so ([build] {key})"), also: Vec::new() });
    if let Some(reference) = &build.image {
        return by_manifest(Way::Image { reference: reference.clone() }, "image");
    }
    if tree.is_empty() {
        return Err(nothing_there(build));
    }
    if let Some(path) = &build.dockerfile {
        if !tree.has(path) {
            let why = format!("paas.toml names the Dockerfile `{path}`, but the source has no such file");
            return Err(BuildError::Unfit {
                why,
                hint: "the path is relative to `[build] path`, else to the top of the repository".to_owned(),
            });
        }
        return by_manifest(Way::Dockerfile { path: path.clone() }, "dockerfile");
    }
    if let Some(name) = &build.buildpack {
        if !packs.iter().any(|pack| pack.name == *name) {
            let why = format!("paas.toml names the buildpack `{name}`, which this server does not have");
            return Err(BuildError::Unfit { why, hint: format!("it has: {}", names(packs)) });
        }
        return by_manifest(Way::Buildpack { name: name.clone() }, "buildpack");
    }
    if tree.has("Dockerfile") {
        return Ok(Choice {
            way: Way::Dockerfile { path: "Dockerfile".to_owned() },
            why: "Dockerfile is there".to_owned(),
            also: Vec::new(),
        });
    }
    let mut fitting: Vec<(u32, &str, String)> =
        packs.iter().filter_map(|p| Some((p.order(), p.name.as_str(), format!("{} is there", p.recognises(tree)?)))).collect();
    if let Some(pack) = packs.iter().find(|p| p.name == PREBUILT)
        && let Some(why) = prebuilt(tree, !fitting.is_empty())
    {
        fitting.push((pack.order(), PREBUILT, why));
    }
    fitting.sort();
    let mut fitting = fitting.into_iter();
    match fitting.next() {
        Some((_, name, why)) => {
            let also = fitting.map(|(_, name, _)| name.to_owned()).collect();
            Ok(Choice { way: Way::Buildpack { name: name.to_owned() }, why, also })
        }
        None => Err(no_language(packs)),
    }
}

const PREBUILT: &str = "prebuilt";

/// An Erlang or Elixir release, or (where nothing says that it has to be built) a binary with a Procfile.
fn prebuilt(tree: &SourceTree, is_source: bool) -> Option<String> {
    if let Some(script) = release_script(tree) {
        return Some(format!("bin/{script} and releases/ are there"));
    }
    let program = tree.files().find(|path| tree.is_executable(path));
    match program {
        Some(path) if !is_source && tree.has("Procfile") => Some(format!("Procfile and the program {path} are there")),
        Some(_) | None => None,
    }
}

/// The name of an Erlang or Elixir release: the script in `bin/` that starts what lies in `releases/`.
pub fn release_script(tree: &SourceTree) -> Option<String> {
    if !tree.has_folder("releases") || !tree.files().any(|f| f.starts_with("releases/")) {
        return None;
    }
    let scripts: Vec<&str> = tree.files().filter_map(|f| f.strip_prefix("bin/")).filter(|f| !f.contains('/')).collect();
    // Beside the release's own script tools lie helpers there: `server`, `migrate`, `no_dot_erlang.boot`, `shop.bat`.
    let own = |script: &&&str| {
        tree.is_executable(&format!("bin/{script}"))
            && tree.files().any(|f| f.starts_with("lib/") && f[4..].starts_with(&format!("{script}-")))
    };
    scripts
        .iter()
        .find(own)
        .or_else(|| scripts.iter().find(|s| !s.contains('.') && tree.is_executable(&format!("bin/{s}"))))
        .map(|s| (*s).to_owned())
}

fn nothing_there(build: &BuildSpec) -> BuildError {
    match &build.path {
        Some(path) => BuildError::Unfit {
            why: format!("the folder `{path}` that paas.toml names under [build] path is not in the source, or is empty"),
            hint: "give a folder of the repository, relative to its top".to_owned(),
        },
        None => BuildError::Unfit { why: "the source is empty".to_owned(), hint: "commit the app's files first".to_owned() },
    }
}

fn no_language(packs: &[Buildpack]) -> BuildError {
    let looked: Vec<String> = packs
        .iter()
        .filter(|p| !p.looks_for().is_empty())
        .map(|p| format!("{} ({})", p.name, p.looks_for()[..1].join(", ")))
        .collect();
    BuildError::Unfit {
        why: format!("no way to build this app was found; looked for a Dockerfile, {}, or a release (bin/ and releases/)", looked.join(", ")),
        hint: "add a Dockerfile, or name a buildpack in paas.toml: [build] buildpack = \"…\"; if the app is in a folder, [build] path = \"…\"".to_owned(),
    }
}

fn names(packs: &[Buildpack]) -> String {
    packs.iter().map(|p| p.name.as_str()).collect::<Vec<_>>().join(", ")
}
