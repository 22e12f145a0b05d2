//! Node.js: npm, pnpm and yarn by lockfile, engines, build scripts, sites without a server.

use serde_json::Value;

use super::version::{Range, first_line};
use super::{Ask, LanguagePlan, StackKind, unfit};
use crate::builds::error::BuildError;

mod server;

/// The one that a lockfile (or `packageManager`) says.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Manager {
    Npm {
        locked: bool,
    },
    /// Major version: the lockfile's format decides.
    Pnpm {
        package: String,
    },
    YarnClassic {
        package: String,
    },
    /// How yarn is called: a package, or the release kept in the repository.
    YarnBerry {
        package: Option<String>,
        command: String,
    },
}

pub fn plan(ask: &Ask<'_>) -> Result<LanguagePlan, BuildError> {
    let text = ask.tree.text("package.json").ok_or_else(|| unfit("the node buildpack needs a package.json", "run `npm init`"))?;
    let package: Value = serde_json::from_str(&text).map_err(|e| unfit(format!("package.json is no JSON: {e}"), "mend it"))?;
    let mut plan = LanguagePlan::default();
    node_version(ask, &package, &mut plan)?;
    let manager = manager(ask, &package, &mut plan)?;
    let script = |name: &str| package.pointer(&format!("/scripts/{name}")).and_then(Value::as_str);
    let build = ["heroku-postbuild", "build"].into_iter().find(|name| script(name).is_some());
    let copy_first = needs_sources(ask, &package, &manager);
    let server = if ask.has_web() { None } else { server::line(ask, &package, &mut plan)? };
    let site = match (&server, build) {
        (None, Some(_)) if !ask.has_web() => "dist build out public .output/public _site www dist/*/browser dist/*",
        _ => "",
    };
    if !ask.has_web() {
        match server {
            Some(line) => plan.web(line),
            None if !site.is_empty() => {
                plan.also.push("static");
                plan.notes.push("No start script: serving what the build leaves as a static site".to_owned());
                plan.web("exec /usr/local/bin/paas-static");
            }
            None => {
                let hint = "add a start script to package.json, or a Procfile with a line `web: node your-server.js`";
                return Err(unfit(
                    "nothing says what the app runs: package.json has no start script, and there is no server.js or index.js",
                    hint,
                ));
            }
        }
    }
    let has_dependencies = ["dependencies", "devDependencies", "optionalDependencies", "workspaces"]
        .iter()
        .any(|key| package.get(key).is_some_and(|d| d.as_object().map_or(!d.is_null(), |o| !o.is_empty())));
    // Without anything that must be built, dev dependencies are not even fetched.
    let dev = build.is_some();
    plan.set("install", install(&manager, dev));
    plan.set("build", build.map(|name| run(&manager, name)).unwrap_or_default());
    plan.set("prune", if dev && site.is_empty() { prune(ask, &manager) } else { String::new() });
    for (value, title) in
        [("install", "Installing dependencies"), ("build", "Building"), ("prune", "Removing development dependencies")]
    {
        let command = plan.values[value].clone();
        plan.title(&command, title);
    }
    plan.title("npm pack --silent", "Fetching node");
    plan.title("--prefix /opt/tools", "Fetching the package manager");
    plan.flag("copy_first", copy_first);
    plan.flag("whole", dev || copy_first);
    plan.flag("has_dependencies", has_dependencies);
    plan.set("site", site);
    plan.set("dependency_files", dependency_files(ask));
    plan.set("npm_cache", cache_of(ask, &manager));
    plan.set(
        "build_cache",
        if ask.tree.has_any(&["next.config.js", "next.config.mjs", "next.config.ts"]) {
            ask.cache("next", "/app/.next/cache")
        } else {
            String::new()
        },
    );
    Ok(plan)
}

/// `engines.node`, else .nvmrc or .node-version; what the stack has not comes as npm's own package of node.
fn node_version(ask: &Ask<'_>, package: &Value, plan: &mut LanguagePlan) -> Result<(), BuildError> {
    let engines = package.pointer("/engines/node").and_then(Value::as_str).map(|t| (t.to_owned(), "package.json"));
    let from_file = |name: &'static str| Some((first_line(&ask.tree.text(name)?)?.to_owned(), name));
    let asked = engines.or_else(|| from_file(".nvmrc")).or_else(|| from_file(".node-version"));
    let wanted = match &asked {
        Some((text, file)) => match text.as_str() {
            "lts/*" | "latest" | "node" | "current" => None,
            "lts/krypton" => Range::parse("24"),
            "lts/jod" => Range::parse("22"),
            "lts/iron" => Range::parse("20"),
            "lts/hydrogen" => Range::parse("18"),
            other => Some(Range::parse(other).ok_or_else(|| {
                unfit(format!("{file} asks for node `{other}`, which is no version range"), "write one like `22.x` or `>=20`")
            })?),
        },
        None => None,
    };
    let own = match ask.stack {
        StackKind::Debian(12) => Some((18, 20, 4)),
        StackKind::Debian(_) => Some((20, 19, 2)),
        StackKind::Registry => None,
    };
    plan.set("node_package", "");
    if let Some(own) = own
        && wanted.as_ref().is_none_or(|range| range.holds(own))
    {
        plan.notes.push(format!("node {}.{} (Debian's{})", own.0, own.1, said(&asked)));
        return Ok(());
    }
    let range = wanted.unwrap_or_else(|| Range::parse("22").expect("a version"));
    // Long-term releases first, the newest of them before the older.
    let found = [22, 24, 20, 18, 26, 25, 23, 21, 19, 17, 16].into_iter().find_map(|major| range.in_major(major));
    let Some(version) = found else {
        let has = match own {
            Some(own) => format!("{}.{} from Debian, and 16 to 26 as npm packages", own.0, own.1),
            None => "16 to 26".to_owned(),
        };
        let (text, file) = asked.unwrap_or_default();
        return Err(unfit(
            format!("{file} asks for node `{text}`, and this stack has {has}"),
            "ask for one of these, or give a Dockerfile",
        ));
    };
    let exact = if version.1 == u64::MAX { version.0.to_string() } else { format!("{}.{}.{}", version.0, version.1, version.2) };
    if own.is_some() {
        let arch = if std::env::consts::ARCH == "aarch64" { "arm64" } else { "x64" };
        plan.set("node_package", format!("node-linux-{arch}@{exact}"));
        plan.notes.push(format!("node {exact} (as an npm package{})", said(&asked)));
    } else {
        plan.notes.push(format!("node {exact}{}", said(&asked)));
    }
    plan.version = exact;
    Ok(())
}

fn said(asked: &Option<(String, &str)>) -> String {
    asked.as_ref().map(|(text, file)| format!("; {file} asks for {text}")).unwrap_or_default()
}

fn manager(ask: &Ask<'_>, package: &Value, plan: &mut LanguagePlan) -> Result<Manager, BuildError> {
    // `pnpm@9.1.0+sha512.…`
    let said = package.get("packageManager").and_then(Value::as_str).unwrap_or_default();
    let (name, version) = said.split_once('@').unwrap_or((said, ""));
    let version = version.split('+').next().unwrap_or_default();
    if !version.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-')) {
        return Err(unfit("package.json: packageManager has an odd version", "write one like `pnpm@9.15.0`"));
    }
    let pinned = |fallback: &str| if version.is_empty() { fallback.to_owned() } else { version.to_owned() };
    let tree = ask.tree;
    let found = if tree.has("pnpm-lock.yaml") || name == "pnpm" {
        let lock = tree.text("pnpm-lock.yaml").unwrap_or_default();
        let format =
            lock.lines().find_map(|l| l.strip_prefix("lockfileVersion:")).unwrap_or("'9.0'").trim().trim_matches('\'').to_owned();
        let fallback = if format.starts_with("5.") {
            "7"
        } else if format.starts_with("6.") {
            "8"
        } else {
            "10"
        };
        Manager::Pnpm { package: format!("pnpm@{}", pinned(fallback)) }
    } else if tree.has("yarn.lock") || name == "yarn" {
        yarn(ask, &pinned(""))
    } else {
        Manager::Npm { locked: tree.has("package-lock.json") || tree.has("npm-shrinkwrap.json") }
    };
    let note = match &found {
        Manager::Npm { locked: true } => "npm, by package-lock.json".to_owned(),
        Manager::Npm { locked: false } => {
            plan.warnings.push("no lockfile: every build may get other versions; commit package-lock.json".to_owned());
            "npm, without a lockfile".to_owned()
        }
        Manager::Pnpm { package } | Manager::YarnClassic { package } => package.clone(),
        Manager::YarnBerry { package, command } => package.clone().unwrap_or_else(|| command.clone()),
    };
    plan.notes.push(format!("Package manager: {note}"));
    plan.set(
        "tool_package",
        match &found {
            Manager::Npm { .. } => String::new(),
            Manager::Pnpm { package } | Manager::YarnClassic { package } => package.clone(),
            Manager::YarnBerry { package, .. } => package.clone().unwrap_or_default(),
        },
    );
    Ok(found)
}

fn yarn(ask: &Ask<'_>, version: &str) -> Manager {
    let lock = ask.tree.text("yarn.lock").unwrap_or_default();
    let berry = lock.contains("__metadata:") || (!version.is_empty() && !version.starts_with("1."));
    if !berry {
        let version = if version.is_empty() { "1" } else { version };
        return Manager::YarnClassic { package: format!("yarn@{version}") };
    }
    let rc = ask.tree.text(".yarnrc.yml").unwrap_or_default();
    let kept = rc.lines().find_map(|l| l.strip_prefix("yarnPath:")).map(|p| p.trim().trim_matches(['"', '\'']).to_owned());
    match kept.filter(|path| ask.tree.has(path) && path.bytes().all(|b| b.is_ascii_alphanumeric() || b"./_-".contains(&b))) {
        Some(path) => Manager::YarnBerry { package: None, command: format!("node {path}") },
        None => {
            let version = if version.is_empty() { "4" } else { version };
            Manager::YarnBerry { package: Some(format!("@yarnpkg/cli-dist@{version}")), command: "yarn".to_owned() }
        }
    }
}

fn install(manager: &Manager, dev: bool) -> String {
    match manager {
        Manager::Npm { locked } => {
            let verb = if *locked { "npm ci" } else { "npm install --no-package-lock" };
            format!("{verb} {} && mkdir -p node_modules", if dev { "--include=dev" } else { "--omit=dev" })
        }
        Manager::Pnpm { .. } => {
            format!(
                "pnpm install --frozen-lockfile --store-dir /root/.npm/pnpm {} && mkdir -p node_modules",
                if dev { "--prod=false" } else { "--prod" }
            )
        }
        Manager::YarnClassic { .. } => format!(
            "yarn install --frozen-lockfile --non-interactive --cache-folder /root/.npm/yarn --production={} && mkdir -p node_modules",
            !dev
        ),
        Manager::YarnBerry { command, .. } => format!(
            "YARN_ENABLE_GLOBAL_CACHE=true YARN_GLOBAL_FOLDER=/root/.npm/yarn YARN_NODE_LINKER=node-modules {command} install --immutable"
        ),
    }
}

fn run(manager: &Manager, script: &str) -> String {
    match manager {
        Manager::Npm { .. } => format!("npm run {script}"),
        Manager::Pnpm { .. } => format!("pnpm run {script}"),
        Manager::YarnClassic { .. } => format!("yarn run {script}"),
        Manager::YarnBerry { command, .. } => format!("YARN_NODE_LINKER=node-modules {command} run {script}"),
    }
}

/// Takes the dev dependencies away again. In a workspace the tools do not agree on what that means: they stay.
fn prune(ask: &Ask<'_>, manager: &Manager) -> String {
    match manager {
        Manager::Npm { .. } => "npm prune --omit=dev --ignore-scripts".to_owned(),
        Manager::Pnpm { .. } if ask.tree.has("pnpm-workspace.yaml") => String::new(),
        Manager::Pnpm { .. } => "pnpm prune --prod --ignore-scripts".to_owned(),
        Manager::YarnClassic { .. } => {
            "yarn install --frozen-lockfile --production --ignore-scripts --prefer-offline --non-interactive --cache-folder /root/.npm/yarn".to_owned()
        }
        Manager::YarnBerry { .. } => String::new(),
    }
}

/// Whether installing needs more of the tree than the lockfile: workspaces, local packages, scripts that run at install time.
fn needs_sources(ask: &Ask<'_>, package: &Value, manager: &Manager) -> bool {
    let hooks = ["preinstall", "install", "postinstall", "prepare", "prepublish"];
    let scripts = hooks.iter().any(|name| package.pointer(&format!("/scripts/{name}")).is_some());
    let local = ["dependencies", "devDependencies", "optionalDependencies"]
        .iter()
        .filter_map(|key| package.get(key)?.as_object())
        .flat_map(|map| map.values())
        .filter_map(Value::as_str)
        .any(|v| ["file:", "link:", "workspace:", "portal:", "patch:", "./", "../"].iter().any(|prefix| v.starts_with(prefix)));
    let other = package.get("workspaces").is_some() || package.pointer("/pnpm/patchedDependencies").is_some();
    scripts || local || other || ask.tree.has("pnpm-workspace.yaml") || matches!(manager, Manager::YarnBerry { .. })
}

fn dependency_files(ask: &Ask<'_>) -> String {
    let files = [
        "package.json",
        "package-lock.json",
        "npm-shrinkwrap.json",
        "pnpm-lock.yaml",
        "yarn.lock",
        ".npmrc",
        ".yarnrc",
        ".pnpmfile.cjs",
    ];
    let there: Vec<String> = files.iter().filter(|f| ask.tree.has(f)).map(|f| format!("app/{f}")).collect();
    there.join(" ")
}

/// One mount for all managers: the paths in the commands lie below it.
fn cache_of(ask: &Ask<'_>, manager: &Manager) -> String {
    let name = match manager {
        Manager::Npm { .. } => "npm",
        Manager::Pnpm { .. } => "pnpm",
        Manager::YarnClassic { .. } | Manager::YarnBerry { .. } => "yarn",
    };
    ask.cache(name, "/root/.npm")
}
