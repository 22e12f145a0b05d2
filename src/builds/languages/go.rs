//! Go modules.

use std::collections::BTreeSet;

use super::version::Range;
use super::{Ask, LanguagePlan, StackKind, quoted, unfit};
use crate::builds::error::BuildError;

pub fn plan(ask: &Ask<'_>) -> Result<LanguagePlan, BuildError> {
    let mut plan = LanguagePlan::default();
    let Some(go_mod) = ask.tree.text("go.mod") else {
        return Err(unfit("the go buildpack needs a go.mod", "run `go mod init`, or give a Dockerfile"));
    };
    let wanted = field(&go_mod, "toolchain").map(|t| t.trim_start_matches("go").to_owned()).or_else(|| field(&go_mod, "go"));
    let has = match ask.stack {
        StackKind::Debian(12) => "1.19",
        StackKind::Debian(_) => "1.24",
        StackKind::Registry => "1",
    };
    version_note(&mut plan, wanted.as_deref(), has, ask.stack)?;
    let packages = main_packages(ask);
    if packages.is_empty() {
        let hint = "put `package main` at the top of the module or into cmd/<name>/, or give a Dockerfile";
        return Err(unfit("the module has no main package at its top or in cmd/", hint));
    }
    let module = field(&go_mod, "module").unwrap_or_default();
    if !ask.has_web() {
        plan.web(format!("exec bin/{}", quoted(&web_program(ask, &packages, &module)?)?));
    }
    let listed: Vec<String> = packages.iter().map(|p| quoted(&format!("./{p}"))).collect::<Result<_, _>>()?;
    plan.title("go mod download", "Downloading modules");
    plan.title("go build ", "Compiling");
    plan.set("packages", listed.join(" "));
    let files = if ask.tree.has("go.sum") { "app/go.mod app/go.sum" } else { "app/go.mod" };
    plan.set("dependency_files", files);
    // A `replace` by a folder of the repository, or a workspace, needs more than the two files.
    let local = go_mod.contains("=> ./") || go_mod.contains("=> ../") || ask.tree.has("go.work");
    plan.flag("vendored", local || ask.tree.has("vendor/modules.txt"));
    plan.set("go_cache", format!("{} {}", ask.cache("gomod", "/root/go/pkg/mod"), ask.cache("gobuild", "/root/.cache/go-build")));
    Ok(plan)
}

fn version_note(plan: &mut LanguagePlan, wanted: Option<&str>, has: &str, stack: StackKind) -> Result<(), BuildError> {
    let Some(wanted) = wanted else {
        plan.notes.push(format!("go {has}"));
        return Ok(());
    };
    let needed = Range::parse(&format!(">={wanted}"))
        .ok_or_else(|| unfit(format!("go.mod: `{wanted}` is no version"), "write `go 1.24`"))?;
    let (major, minor) = has.split_once('.').unwrap_or((has, "999"));
    let own = (major.parse().unwrap_or(1), minor.parse().unwrap_or(999), 999);
    if needed.holds(own) {
        plan.notes.push(format!("go {has} (go.mod asks for {wanted})"));
    } else if stack == StackKind::Debian(12) {
        // Toolchain modules came with go 1.21.
        let why = format!("go.mod asks for go {wanted}, and Debian 12 has {has}");
        return Err(unfit(why, "set `[stack] debian = 13` in the host config, or give a Dockerfile"));
    } else {
        plan.notes.push(format!("go {wanted}, as a toolchain module (the stack has {has})"));
    }
    Ok(())
}

/// A one-line directive of go.mod.
fn field(go_mod: &str, name: &str) -> Option<String> {
    go_mod.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some(name)).then(|| words.next().unwrap_or_default().trim_matches('"').to_owned())
    })
}

/// Folders with `package main`: the top ("." as empty), and those directly in cmd/.
fn main_packages(ask: &Ask<'_>) -> Vec<String> {
    let mut found = BTreeSet::new();
    for path in ask.tree.files().filter(|f| f.ends_with(".go") && !f.ends_with("_test.go")) {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let candidate =
            folder.is_empty() || folder.strip_prefix("cmd/").is_some_and(|rest| !rest.contains('/')) || folder == "cmd";
        if candidate && !found.contains(folder) && ask.tree.text(path).is_some_and(|text| is_main(&text)) {
            found.insert(folder.to_owned());
        }
    }
    found.into_iter().collect()
}

fn is_main(text: &str) -> bool {
    // A file that `go build` leaves out is no program of the app's.
    let ignored = text.lines().take_while(|l| !l.starts_with("package ")).any(|l| l.starts_with("//go:build ignore"));
    !ignored && text.lines().any(|line| line.trim_end() == "package main" || line.starts_with("package main "))
}

/// The program's file name, as `go build -o dir/` makes it.
fn web_program(ask: &Ask<'_>, packages: &[String], module: &str) -> Result<String, BuildError> {
    let name_of = |folder: &String| -> String {
        if folder.is_empty() { module_program(module) } else { folder.rsplit('/').next().unwrap_or(folder).to_owned() }
    };
    if let Some(top) = packages.iter().find(|p| p.is_empty()) {
        return Ok(name_of(top));
    }
    let usual = [ask.app.as_str(), "web", "server", "api", "app"];
    let named = usual.iter().find_map(|want| packages.iter().find(|p| name_of(p) == *want));
    match (named, packages) {
        (Some(found), _) => Ok(name_of(found)),
        (None, [only]) => Ok(name_of(only)),
        (None, several) => {
            let names: Vec<String> = several.iter().map(name_of).collect();
            Err(unfit(
                format!("the module has several programs ({}), and nothing says which one is `web`", names.join(", ")),
                format!("add a Procfile with a line `web: bin/{}`", names[0]),
            ))
        }
    }
}

/// `example.com/shop/v2` makes `shop`.
fn module_program(module: &str) -> String {
    let mut parts = module.rsplit('/');
    let last = parts.next().unwrap_or("app");
    let is_version = last.strip_prefix('v').is_some_and(|v| !v.is_empty() && v.bytes().all(|b| b.is_ascii_digit()));
    if is_version { parts.next().unwrap_or(last).to_owned() } else { last.to_owned() }
}
