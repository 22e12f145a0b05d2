use std::io::Write;
use std::path::Path;

use super::version::Range;
use super::{Ask, LanguagePlan, StackKind, plan};
use crate::builds::buildpack::Buildpack;
use crate::builds::certificates;
use crate::builds::dockerfile::common_values;
use crate::builds::error::BuildError;
use crate::builds::source::SourceTree;
use crate::builds::template::render;
use crate::manifest::{CommandLine, Manifest};
use crate::names::{AppName, ProcessName};

fn planned(pack: &str, files: &[(&str, &str)], stack: StackKind) -> Result<(LanguagePlan, String), BuildError> {
    let mut tar = tar::Builder::new(tempfile::NamedTempFile::new().expect("temp file"));
    for (name, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o755);
        tar.append_data(&mut header, name, text.as_bytes()).expect("tar");
    }
    let mut file = tar.into_inner().expect("tar");
    file.flush().expect("flush");
    let tree = SourceTree::open(file.path(), None).expect("tree");
    let app = AppName::parse("shop").expect("name");
    let manifest = Manifest::default();
    let found = plan(pack, &Ask { app: &app, scope: "12345678-shop", tree: &tree, manifest: &manifest, stack })?;
    let mut values = found.values.clone();
    for image in ["build_image", "run_image", "static_run_image"] {
        values.insert(image.to_owned(), format!("stack/{image}:1"));
    }
    common_values(&mut values, "12345678-shop", &manifest, &Default::default());
    certificates::offer(&mut values, true);
    let packs = Buildpack::all(Path::new("/nonexistent")).expect("packs");
    let template = packs.iter().find(|p| p.name == pack).and_then(|p| p.text("Dockerfile.tmpl")).expect("template");
    let text = render(template, &values).expect("every name in the template is known");
    Ok((found, text))
}

const TRIXIE: StackKind = StackKind::Debian(13);

fn web(plan: &LanguagePlan) -> String {
    match &plan.processes[&ProcessName::parse("web").expect("name")] {
        CommandLine::Shell(line) => line.clone(),
        CommandLine::Argv(argv) => panic!("argv {argv:?}"),
    }
}

#[test]
fn ranges_are_read_as_npm_and_pep_440_mean_them() {
    let table = [
        (">=18", (20, 0, 0), true),
        (">=18 <20", (20, 0, 0), false),
        ("18 || 20", (20, 5, 0), true),
        ("^20.1", (20, 0, 9), false),
        ("^20.1", (20, 9, 0), true),
        ("~20.1.2", (20, 2, 0), false),
        ("20.x", (20, 7, 1), true),
        ("*", (1, 0, 0), true),
        ("v22.3.0", (22, 3, 0), true),
        ("18 - 20", (20, 9, 9), true),
        (">= 20", (20, 0, 0), true),
        (">20", (20, 9, 0), false),
        ("<=20", (20, 9, 0), true),
        (">=3.11,<4", (3, 13, 0), true),
        ("~=3.11", (3, 13, 0), true),
        ("==3.11.*", (3, 13, 0), false),
        ("3.11.7", (3, 11, 7), true),
    ];
    for (text, version, holds) in table {
        assert_eq!(Range::parse(text).expect(text).holds(version), holds, "{text} {version:?}");
    }
    assert_eq!(Range::parse("latest please"), None);
}

#[test]
fn package_managers_follow_the_lockfile() {
    let package = r#"{"scripts":{"start":"node s.js"},"dependencies":{"a":"1"}}"#;
    let table: &[(&[(&str, &str)], &str)] = &[
        (&[("package-lock.json", "{}")], "npm ci --omit=dev"),
        (&[], "npm install --no-package-lock --omit=dev"),
        (&[("pnpm-lock.yaml", "lockfileVersion: '9.0'\n")], "--prefix /opt/tools pnpm@10"),
        (&[("pnpm-lock.yaml", "lockfileVersion: '6.0'\n")], "--prefix /opt/tools pnpm@8"),
        (&[("yarn.lock", "# yarn lockfile v1\n")], "yarn install --frozen-lockfile"),
        (&[("yarn.lock", "__metadata:\n  version: 8\n")], "@yarnpkg/cli-dist@4"),
    ];
    for (files, expected) in table {
        let mut all = vec![("package.json", package)];
        all.extend_from_slice(files);
        let (found, text) = planned("node", &all, TRIXIE).expect("planned");
        assert!(text.contains(expected), "{files:?}: {text}");
        assert_eq!(web(&found), "node s.js");
        assert!(text.contains("--mount=type=secret,id=paas-ca") && text.contains("id=paas-12345678-shop-"), "{text}");
    }
}

#[test]
fn node_builds_sites_versions_and_processes_are_told_apart() {
    let vite =
        [("package.json", r#"{"scripts":{"build":"vite build"},"devDependencies":{"vite":"5"}}"#), ("package-lock.json", "{}")];
    let (found, text) = planned("node", &vite, TRIXIE).expect("planned");
    assert!(text.contains("FROM stack/static_run_image:1") && text.contains("npm ci --include=dev"), "{text}");
    assert_eq!(web(&found), "exec /usr/local/bin/paas-static");

    let built =
        [("package.json", r#"{"engines":{"node":"22"},"scripts":{"build":"tsc","start":"node dist/s.js","postinstall":"x"}}"#)];
    let (_, text) = planned("node", &built, TRIXIE).expect("planned");
    assert!(
        text.contains("npm pack --silent node-linux-") && text.contains("npm run build") && text.contains("npm prune"),
        "{text}"
    );
    let copy = text.find("COPY app/ ./").expect("copied");
    assert!(copy < text.find("npm install").expect("installed"), "install scripts may need the sources: {text}");

    let (found, _) = planned("node", &[("package.json", "{}"), ("server.js", "")], TRIXIE).expect("planned");
    assert_eq!(web(&found), "exec node server.js");
    assert!(
        planned("node", &[("package.json", "{}")], TRIXIE).expect_err("nothing to run").to_string().contains("no start script")
    );
    assert!(planned("node", &[("package.json", "{")], TRIXIE).expect_err("broken").to_string().contains("no JSON"));
    let bad = [("package.json", r#"{"packageManager":"pnpm@9;id","scripts":{"start":"x"}}"#)];
    assert!(planned("node", &bad, TRIXIE).is_err(), "a version is no place for a shell's words");
}

#[test]
fn python_versions_servers_and_dependencies_are_found() {
    let flask = [("requirements.txt", "flask\ngunicorn\n"), ("app.py", "from flask import Flask\nshop = Flask(__name__)\n")];
    let (found, text) = planned("python", &flask, TRIXIE).expect("planned");
    assert_eq!(web(&found), "exec gunicorn app:shop --bind 0.0.0.0:$PORT");
    assert!(text.contains("COPY app/requirements.txt ./"), "{text}");
    let django = [
        ("requirements.txt", "Django\ngunicorn"),
        ("manage.py", ""),
        ("shop/wsgi.py", ""),
        ("shop/settings.py", "STATIC_ROOT = 'x'"),
    ];
    let (found, text) = planned("python", &django, TRIXIE).expect("planned");
    assert_eq!(web(&found), "exec gunicorn shop.wsgi --bind 0.0.0.0:$PORT");
    assert!(text.contains("collectstatic"), "{text}");
    let old = [("requirements.txt", ""), ("runtime.txt", "python-3.9.18\n")];
    let error = planned("python", &old, TRIXIE).expect_err("Debian has another");
    assert!(error.to_string().contains("`3.9.18`") && error.to_string().contains("3.13"), "{error}");
    assert!(planned("python", &old, StackKind::Registry).expect_err("no server").to_string().contains("Procfile"));
    let nested = [("requirements.txt", "-r requirements/base.txt\nflask\ngunicorn"), ("app.py", "app = Flask('x')")];
    let (_, text) = planned("python", &nested, TRIXIE).expect("planned");
    assert!(text.find("COPY app/ ./").expect("copied") < text.find("pip install").expect("installed"), "{text}");
}

#[test]
fn a_python_server_that_is_missing_is_added_and_every_lockfile_has_its_tool() {
    let factory = [("requirements.txt", "flask"), ("app/__init__.py", "def create_app():\n    return Flask('x')\n")];
    let (found, text) = planned("python", &factory, TRIXIE).expect("planned");
    assert_eq!(web(&found), "exec gunicorn 'app:create_app()' --bind 0.0.0.0:$PORT");
    assert!(text.contains("pip install -r requirements.txt && pip install gunicorn"), "{text}");
    assert!(found.warnings.iter().any(|w| w.contains("gunicorn is not among the dependencies")), "{:?}", found.warnings);
    let fast = ("main.py", "api = FastAPI()\n");
    let poetry = [("pyproject.toml", "[tool.poetry]\nname = 'x'\n"), ("poetry.lock", "name = \"uvicorn\"\n"), fast];
    let (found, text) = planned("python", &poetry, TRIXIE).expect("planned");
    assert_eq!(web(&found), "exec uvicorn main:api --host 0.0.0.0 --port $PORT");
    assert!(text.contains("poetry install --only main") && !text.contains("pip install uvicorn"), "{text}");
    let (found, _) = planned("python", &[poetry[0], fast], TRIXIE).expect("planned");
    assert!(found.warnings.iter().any(|w| w.contains("poetry.lock")), "{:?}", found.warnings);
    let (_, text) = planned("python", &[("Pipfile.lock", "{}"), ("Pipfile", ""), fast], TRIXIE).expect("planned");
    assert!(text.contains("pipenv requirements") && text.contains("COPY app/Pipfile app/Pipfile.lock ./"), "{text}");
}

#[test]
fn go_programs_are_found_and_a_choice_is_asked_for() {
    let main = "package main\nfunc main() {}\n";
    let (found, text) =
        planned("go", &[("go.mod", "module example.com/acme/shop/v2\n\ngo 1.22\n"), ("main.go", main)], TRIXIE).expect("planned");
    assert_eq!(web(&found), "exec bin/shop");
    assert!(text.contains("go build -trimpath -ldflags='-s -w' -o /out/ ./ "), "{text}");
    let two =
        [("go.mod", "module x.y/z\n"), ("cmd/worker/main.go", main), ("cmd/server/main.go", main), ("lib.go", "package z\n")];
    let (found, text) = planned("go", &two, TRIXIE).expect("planned");
    assert_eq!(web(&found), "exec bin/server");
    assert!(text.contains("./cmd/server ./cmd/worker"), "{text}");
    let unclear = [("go.mod", "module x.y/z\n"), ("cmd/one/main.go", main), ("cmd/two/main.go", main)];
    assert!(planned("go", &unclear, TRIXIE).expect_err("unclear").to_string().contains("one, two"));
    let newer = [("go.mod", "module x.y/z\n\ngo 1.26\n"), ("main.go", main)];
    assert!(planned("go", &newer, TRIXIE).expect("planned").0.notes[0].contains("toolchain module"));
    assert!(planned("go", &newer, StackKind::Debian(12)).expect_err("too old").to_string().contains("1.19"));
}

#[test]
fn static_and_prebuilt_templates_render() {
    let (_, text) = planned("static", &[("public/index.html", "")], TRIXIE).expect("planned");
    assert!(text.contains("COPY app/public/ /app/"), "{text}");
    let (found, _) = planned("prebuilt", &[("bin/server", "")], TRIXIE).expect("planned");
    assert_eq!(web(&found), "exec bin/server");
    assert!(planned("prebuilt", &[("a", ""), ("b", "")], TRIXIE).is_err());
}

#[test]
fn stack_recipes_render_with_and_without_certificates() {
    for pack in Buildpack::all(Path::new("/nonexistent")).expect("packs") {
        for file in ["stack.debian.Dockerfile", "stack.registry.Dockerfile"] {
            let Some(template) = pack.text(file) else { continue };
            for there in [true, false] {
                let mut values = [("base".to_owned(), "b:1".to_owned()), ("version".to_owned(), "1".to_owned())].into();
                certificates::offer(&mut values, there);
                let text = render(template, &values).expect("renders");
                assert!(text.contains(" AS build") && text.contains(" AS run"), "{}/{file}", pack.name);
                assert_eq!(text.contains("paas-ca") && there, text.contains("paas-ca"), "no certificates, no mount");
            }
        }
    }
}

#[test]
fn frameworks_of_node_are_started_by_what_their_build_leaves() {
    let started = |package: &str, more: &[(&str, &str)]| {
        let files: Vec<(&str, &str)> = [("package.json", package)].iter().chain(more).copied().collect();
        planned("node", &files, TRIXIE).map(|(plan, _)| web(&plan))
    };
    let table = [
        (r#"{"scripts":{"build":"nest build","start":"nest start","start:prod":"node dist/main"}}"#, "node dist/main"),
        (r#"{"scripts":{"build":"react-scripts build","start":"react-scripts start"}}"#, "exec /usr/local/bin/paas-static"),
        (r#"{"scripts":{"build":"ng build","start":"ng serve"}}"#, "exec /usr/local/bin/paas-static"),
        (r#"{"scripts":{"build":"vite build","start":"vite --port 3000"}}"#, "exec /usr/local/bin/paas-static"),
        (r#"{"scripts":{"build":"vite build","start":"vite preview"}}"#, "vite preview"),
        (r#"{"scripts":{"build":"tsc","start":"node dist/index.js"}}"#, "node dist/index.js"),
        (r#"{"scripts":{"build":"next build","start":"next dev"},"dependencies":{"next":"15"}}"#, "exec next start"),
        (r#"{"scripts":{"build":"nuxt build"},"dependencies":{"nuxt":"3"}}"#, "exec node .output/server/index.mjs"),
        (
            r#"{"scripts":{"build":"astro build","start":"astro dev"},"dependencies":{"astro":"5"}}"#,
            "exec /usr/local/bin/paas-static",
        ),
        (
            r#"{"scripts":{"build":"vite build"},"devDependencies":{"@sveltejs/kit":"2","@sveltejs/adapter-node":"5"}}"#,
            "exec node build",
        ),
    ];
    for (package, line) in table {
        assert_eq!(started(package, &[]).expect(package), line, "{package}");
    }
    let next = r#"{"scripts":{"build":"next build"},"dependencies":{"next":"15"}}"#;
    let exported = started(next, &[("next.config.mjs", "export default { output: 'export' }")]).expect("a site");
    assert_eq!(exported, "exec /usr/local/bin/paas-static");
    let kit = r#"{"scripts":{"build":"vite build"},"devDependencies":{"@sveltejs/kit":"2","@sveltejs/adapter-auto":"4"}}"#;
    assert!(started(kit, &[]).expect_err("no adapter").to_string().contains("adapter"), "it says what is missing");
}
