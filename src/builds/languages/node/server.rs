//! What `web` of a Node.js project runs: its start script, else what its framework's build leaves, else a file that is a server by its name.

use serde_json::Value;

use super::super::{Ask, LanguagePlan, unfit};
use crate::builds::error::BuildError;

/// What begins a start script that only serves while somebody develops: with a build script beside it, the build's result is what is wanted.
const DEVELOPMENT: [&str; 15] = [
    "react-scripts start",
    "ng serve",
    "vue-cli-service serve",
    "vite",
    "vite dev",
    "vite serve",
    "webpack serve",
    "webpack-dev-server",
    "parcel",
    "astro dev",
    "gatsby develop",
    "next dev",
    "nuxt dev",
    "nest start",
    "svelte-kit dev",
];

/// The command line of `web`; `None` if nothing serves, so that the build's result is a site.
/// Errors: a framework that was not told what its build is for.
pub fn line(ask: &Ask<'_>, package: &Value, plan: &mut LanguagePlan) -> Result<Option<String>, BuildError> {
    if let Some(line) = script(package, "start:prod") {
        plan.notes.push("Starting by the script start:prod".to_owned());
        return Ok(Some(line.to_owned()));
    }
    let builds = script(package, "build").is_some();
    if let Some(start) = script(package, "start") {
        if !(builds && is_for_development(start)) {
            // The script itself: npm between the app and its signals would swallow SIGTERM.
            return Ok(Some(match script(package, "prestart") {
                Some(before) => format!("({before}) && {start}"),
                None => start.to_owned(),
            }));
        }
        plan.notes.push(format!("The start script `{start}` is for development: what the build leaves is served instead"));
    }
    if let Some(line) = of_framework(ask, package)? {
        return Ok(Some(line.to_owned()));
    }
    Ok(by_file(ask, package, builds))
}

fn script<'p>(package: &'p Value, name: &str) -> Option<&'p str> {
    package.pointer(&format!("/scripts/{name}")).and_then(Value::as_str).map(str::trim).filter(|s| !s.is_empty())
}

/// `vite --port 3000` is, `vite preview` and `nest start --prod && …` of two commands are not.
fn is_for_development(start: &str) -> bool {
    let words: Vec<&str> = start.split_whitespace().filter(|word| *word != "npx").collect();
    let plain: Vec<&str> = words.iter().copied().take_while(|word| !word.starts_with('-')).collect();
    !start.contains(['&', '|', ';']) && DEVELOPMENT.contains(&plain.join(" ").as_str())
}

/// What serves the build of a framework that has no start script of its own.
fn of_framework(ask: &Ask<'_>, package: &Value) -> Result<Option<&'static str>, BuildError> {
    let uses =
        |name: &str| ["dependencies", "devDependencies"].iter().any(|key| package.get(key).and_then(|d| d.get(name)).is_some());
    if uses("@sveltejs/kit") {
        return match () {
            () if uses("@sveltejs/adapter-node") => Ok(Some("exec node build")),
            () if uses("@sveltejs/adapter-static") => Ok(None),
            () => Err(unfit(
                "this SvelteKit project has no adapter for a server of its own",
                "run `npm install -D @sveltejs/adapter-node` (a server) or `@sveltejs/adapter-static` (files) and name it in svelte.config.js",
            )),
        };
    }
    if uses("nuxt") && script(package, "build").is_some_and(|build| build.contains("nuxt build")) {
        return Ok(Some("exec node .output/server/index.mjs"));
    }
    if uses("astro") && uses("@astrojs/node") {
        return Ok(Some("exec node dist/server/entry.mjs"));
    }
    if uses("next") && !exports_files(ask) {
        return Ok(Some("exec next start"));
    }
    Ok(None)
}

/// Next.js with `output: "export"` leaves a folder of files and no server.
fn exports_files(ask: &Ask<'_>) -> bool {
    ["next.config.js", "next.config.mjs", "next.config.ts"]
        .iter()
        .filter_map(|file| ask.tree.text(file))
        .any(|text| text.split_whitespace().collect::<String>().replace('\'', "\"").contains("output:\"export\""))
}

/// A file that is a server by its name, else the package's `main`.
fn by_file(ask: &Ask<'_>, package: &Value, builds: bool) -> Option<String> {
    let main = package.get("main").and_then(Value::as_str).map(|m| m.trim_start_matches("./").to_owned());
    let main = main.filter(|m| ask.tree.has(m) && m.bytes().all(|b| b.is_ascii_alphanumeric() || b"./_-".contains(&b)));
    let usual = ["server.js", "server.mjs", "server.cjs", "index.js", "index.mjs", "app.js"];
    // A site's bundler config or source is no server: with a build script only `server.*` counts.
    let (usual, main) = if builds { (&usual[..3], None) } else { (&usual[..], main) };
    usual.iter().find(|f| ask.tree.has(f)).map(|f| (*f).to_owned()).or(main).map(|file| format!("exec node {file}"))
}
