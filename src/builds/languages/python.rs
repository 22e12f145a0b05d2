//! Python: requirements.txt by pip, pyproject.toml by uv, and a guess at the server.

use super::version::{Range, first_line};
use super::{Ask, LanguagePlan, StackKind, quoted, unfit};
use crate::builds::error::BuildError;

/// How the dependencies come in.
struct Dependencies {
    install: String,
    /// What is run once the sources are there; empty if the project itself is not installed.
    install_project: String,
    /// What `install` reads.
    files: &'static [&'static str],
    /// It reads more of the tree than `files`.
    copy_first: bool,
}

pub fn plan(ask: &Ask<'_>) -> Result<LanguagePlan, BuildError> {
    let tree = ask.tree;
    let mut plan = LanguagePlan::default();
    let pyproject = tree.text("pyproject.toml").map(|text| parse(&text)).transpose()?;
    python_version(ask, pyproject.as_ref(), &mut plan)?;
    let mut found = dependencies(ask, pyproject.as_ref(), &mut plan);
    if !ask.has_web() {
        let server = server(ask)?;
        plan.notes.push(format!("No Procfile: running `{}`", server.line));
        plan.web(server.line);
        if !server.is_given && !found.install.is_empty() {
            plan.warnings.push(format!("{} is not among the dependencies and is added; pin it there", server.package));
            // Last of all: `uv sync` takes away what the lockfile does not name.
            let last = if found.install_project.is_empty() { &mut found.install } else { &mut found.install_project };
            *last = format!("{last} && pip install {}", server.package);
        }
    }
    let there: Vec<String> = found.files.iter().filter(|f| tree.has(f)).map(|f| format!("app/{f}")).collect();
    plan.flag("copy_first", found.copy_first || there.is_empty());
    plan.set("dependency_files", there.join(" "));
    plan.title(&found.install_project, "Installing the project");
    plan.title(&found.install, "Installing dependencies");
    plan.title("manage.py collectstatic", "Collecting static files");
    plan.set("install", found.install);
    plan.set("install_project", found.install_project);
    plan.set("pip_cache", ask.cache("pip", "/root/.cache"));
    let static_files =
        tree.has("manage.py") && !ask.manifest.build.args.contains_key("DISABLE_COLLECTSTATIC") && static_root(ask);
    plan.flag("collectstatic", static_files);
    Ok(plan)
}

/// By the lockfile that is there, else by what declares them.
fn dependencies(ask: &Ask<'_>, pyproject: Option<&toml::Table>, plan: &mut LanguagePlan) -> Dependencies {
    let tree = ask.tree;
    let tool = |name: &str| pyproject.and_then(|p| p.get("tool")?.get(name));
    let of = |install: &str, files| Dependencies {
        install: install.to_owned(),
        install_project: String::new(),
        files,
        copy_first: false,
    };
    let unlocked = |plan: &mut LanguagePlan, lock: &str, command: &str| {
        plan.warnings.push(format!("no {lock}: every build may get other versions; commit one (`{command}`)"));
    };
    if tree.has("uv.lock") {
        plan.notes.push("Dependencies: uv, by uv.lock".to_owned());
        let sync = "uv sync --frozen --no-dev --no-editable";
        let workspace = tool("uv").is_some_and(|uv| uv.get("workspace").is_some() || uv.get("sources").is_some());
        let project = if packaged(pyproject) || workspace { sync.to_owned() } else { String::new() };
        let found = of(&format!("{sync} --no-install-project"), &["pyproject.toml", "uv.lock", ".python-version"]);
        Dependencies { install_project: project, copy_first: workspace, ..found }
    } else if let Some(text) = tree.text("requirements.txt") {
        plan.notes.push("Dependencies: pip, by requirements.txt".to_owned());
        let others = ["-r", "-c", "-e", ".", "/", "file:", "--requirement", "--constraint", "--editable"];
        let copy_first = text.lines().map(str::trim).any(|l| others.iter().any(|p| l.starts_with(p)));
        Dependencies { copy_first, ..of("pip install -r requirements.txt", &["requirements.txt"]) }
    } else if pyproject.is_some_and(|p| p.contains_key("project")) && !tree.has("poetry.lock") {
        plan.notes.push("Dependencies: uv, by pyproject.toml".to_owned());
        unlocked(plan, "uv.lock", "uv lock");
        let project = if packaged(pyproject) { "uv pip install --no-deps .".to_owned() } else { String::new() };
        Dependencies { install_project: project, ..of("uv pip install -r pyproject.toml", &["pyproject.toml"]) }
    } else if tree.has("poetry.lock") || tool("poetry").is_some() {
        let by = if tree.has("poetry.lock") { "poetry.lock" } else { "pyproject.toml" };
        plan.notes.push(format!("Dependencies: poetry, by {by}"));
        if !tree.has("poetry.lock") {
            unlocked(plan, "poetry.lock", "poetry lock");
        }
        of("uv tool run poetry install --only main --no-root --no-interaction", &["pyproject.toml", "poetry.lock"])
    } else if tree.has("Pipfile.lock") {
        plan.notes.push("Dependencies: pipenv, by Pipfile.lock".to_owned());
        let install = "uv tool run pipenv requirements > /tmp/requirements.txt && pip install -r /tmp/requirements.txt";
        of(install, &["Pipfile", "Pipfile.lock"])
    } else {
        plan.notes.push("Dependencies: none given".to_owned());
        of("", &[])
    }
}

fn parse(text: &str) -> Result<toml::Table, BuildError> {
    toml::from_str(text).map_err(|e| unfit(format!("pyproject.toml can't be read: {}", e.message()), "mend it"))
}

/// Whether the project itself is to be installed: it says how it is built.
fn packaged(pyproject: Option<&toml::Table>) -> bool {
    pyproject.is_some_and(|p| p.contains_key("build-system"))
}

fn python_version(ask: &Ask<'_>, pyproject: Option<&toml::Table>, plan: &mut LanguagePlan) -> Result<(), BuildError> {
    // runtime.txt says `python-3.11.7`.
    let from_file = |name: &'static str| {
        let text = ask.tree.text(name)?;
        Some((first_line(&text)?.trim_start_matches("python-").to_owned(), name))
    };
    let required =
        pyproject.and_then(|p| p.get("project")?.get("requires-python")?.as_str()).map(|t| (t.to_owned(), "pyproject.toml"));
    let asked = from_file("runtime.txt").or_else(|| from_file(".python-version")).or(required);
    let own: &[(u64, u64)] = match ask.stack {
        StackKind::Debian(12) => &[(3, 11)],
        StackKind::Debian(_) => &[(3, 13)],
        StackKind::Registry => &[(3, 13), (3, 12), (3, 11), (3, 14), (3, 10), (3, 9)],
    };
    let Some((text, file)) = asked else {
        plan.version = format!("{}.{}", own[0].0, own[0].1);
        plan.notes.push(format!("python {}", plan.version));
        return Ok(());
    };
    let range = Range::parse(&text)
        .ok_or_else(|| unfit(format!("{file} asks for python `{text}`, which is no version"), "write one like `3.13`"))?;
    // A patch release is the stack's to choose: `3.13.2` is met by any 3.13.
    let fits = |(major, minor): &&(u64, u64)| (0..40).any(|patch| range.holds((*major, *minor, patch)));
    match own.iter().find(fits) {
        Some((major, minor)) => {
            plan.version = format!("{major}.{minor}");
            plan.notes.push(format!("python {major}.{minor} ({file} asks for {text})"));
            Ok(())
        }
        None => {
            let has: Vec<String> = own.iter().map(|(a, b)| format!("{a}.{b}")).collect();
            let from = if matches!(ask.stack, StackKind::Debian(_)) { " from Debian" } else { "" };
            let why = format!("{file} asks for python `{text}`, and this stack has {}{from}", has.join(", "));
            Err(unfit(why, "ask for that one, set `[stack] source = \"registry\"` in the host config, or give a Dockerfile"))
        }
    }
}

/// Whether a settings file of Django's names a folder to collect static files in; without one collectstatic can only fail.
fn static_root(ask: &Ask<'_>) -> bool {
    let settings = ask.tree.files().filter(|f| f.ends_with(".py") && f.contains("settings")).take(20).map(str::to_owned);
    settings.into_iter().any(|f| ask.tree.text(&f).is_some_and(|text| text.contains("STATIC_ROOT")))
}

fn depends_on(ask: &Ask<'_>, package: &str) -> bool {
    ["requirements.txt", "pyproject.toml", "uv.lock", "poetry.lock", "Pipfile.lock"]
        .iter()
        .any(|f| ask.tree.text(f).is_some_and(|t| t.to_lowercase().contains(package)))
}

/// What `web` runs where nobody says so.
struct Server {
    line: String,
    package: &'static str,
    /// The app's own dependencies bring it.
    is_given: bool,
}

fn server(ask: &Ask<'_>) -> Result<Server, BuildError> {
    let of = |package: &'static str, line: String| Server { line, package, is_given: depends_on(ask, package) };
    let bind = "--bind 0.0.0.0:$PORT";
    let tree = ask.tree;
    if tree.has("manage.py")
        && let Some(module) =
            tree.files().find_map(|f| f.strip_suffix("/wsgi.py").filter(|m| !m.contains('/')).map(str::to_owned))
    {
        return Ok(of("gunicorn", format!("exec gunicorn {}.wsgi {bind}", quoted(&module)?)));
    }
    for file in ["main.py", "app.py", "server.py", "wsgi.py", "asgi.py", "app/main.py", "src/main.py", "app/__init__.py"] {
        let Some(text) = tree.text(file) else { continue };
        let module = file.trim_end_matches(".py").trim_end_matches("/__init__").replace('/', ".");
        if text.contains("FastAPI(") || text.contains("Starlette(") {
            let app = named(&text, &["FastAPI(", "Starlette("]).unwrap_or_else(|| "app".to_owned());
            return Ok(of("uvicorn", format!("exec uvicorn {module}:{app} --host 0.0.0.0 --port $PORT")));
        }
        if text.contains("Flask(") {
            let app = match named(&text, &["Flask("]) {
                // A factory: parentheses are the shell's too.
                None if text.contains("def create_app(") => format!("'{module}:create_app()'"),
                found => format!("{module}:{}", found.as_deref().unwrap_or("app")),
            };
            return Ok(of("gunicorn", format!("exec gunicorn {app} {bind}")));
        }
    }
    Err(unfit(
        "nothing says what the app runs: there is no Procfile, and no app of Flask, FastAPI or Django was found",
        "add a Procfile with a line like `web: gunicorn app:app --bind 0.0.0.0:$PORT`, and the server to the dependencies",
    ))
}

/// The name on the left of `app = Flask(__name__)`.
fn named(text: &str, calls: &[&str]) -> Option<String> {
    text.lines().find_map(|line| {
        let (name, right) = line.split_once('=')?;
        let name = name.split(':').next().unwrap_or(name).trim();
        let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        (plain && !line.starts_with([' ', '\t']) && calls.iter().any(|call| right.trim_start().starts_with(call)))
            .then(|| name.to_owned())
    })
}
