//! Python: requirements.txt by pip, pyproject.toml by uv, and a guess at the server.

use super::version::{Range, first_line};
use super::{Ask, LanguagePlan, StackKind, quoted, unfit};
use crate::builds::error::BuildError;

pub fn plan(ask: &Ask<'_>) -> Result<LanguagePlan, BuildError> {
    let tree = ask.tree;
    let mut plan = LanguagePlan::default();
    let pyproject = tree.text("pyproject.toml").map(|text| parse(&text)).transpose()?;
    python_version(ask, pyproject.as_ref(), &mut plan)?;
    let project = pyproject.as_ref().and_then(|p| p.get("project")).is_some();
    let mut copy_first = false;
    let mut install_project = String::new();
    let files: Vec<&str>;
    let install = if tree.has("uv.lock") {
        plan.notes.push("Dependencies: uv, by uv.lock".to_owned());
        files = vec!["pyproject.toml", "uv.lock", ".python-version"];
        let sync = "uv sync --frozen --no-dev --no-editable";
        let workspace = pyproject
            .as_ref()
            .and_then(|p| p.get("tool")?.get("uv"))
            .is_some_and(|uv| uv.get("workspace").is_some() || uv.get("sources").is_some());
        copy_first = workspace;
        if packaged(pyproject.as_ref()) || workspace {
            install_project = sync.to_owned();
        }
        format!("{sync} --no-install-project")
    } else if tree.has("requirements.txt") {
        plan.notes.push("Dependencies: pip, by requirements.txt".to_owned());
        let text = tree.text("requirements.txt").unwrap_or_default();
        copy_first = text.lines().map(str::trim).any(|l| {
            ["-r", "-c", "-e", ".", "/", "file:", "--requirement", "--constraint", "--editable"].iter().any(|p| l.starts_with(p))
        });
        files = vec!["requirements.txt"];
        "pip install -r requirements.txt".to_owned()
    } else if project {
        plan.notes.push("Dependencies: uv, by pyproject.toml".to_owned());
        plan.warnings.push("no uv.lock: every build may get other versions; commit one (`uv lock`)".to_owned());
        files = vec!["pyproject.toml"];
        if packaged(pyproject.as_ref()) {
            install_project = "uv pip install --no-deps .".to_owned();
        }
        "uv pip install -r pyproject.toml".to_owned()
    } else if tree.has("poetry.lock") {
        plan.notes.push("Dependencies: poetry, by poetry.lock".to_owned());
        files = vec!["pyproject.toml", "poetry.lock"];
        "uv tool run poetry install --only main --no-root --no-interaction".to_owned()
    } else {
        plan.notes.push("Dependencies: none given".to_owned());
        files = vec![];
        String::new()
    };
    let there: Vec<String> = files.iter().filter(|f| tree.has(f)).map(|f| format!("app/{f}")).collect();
    plan.flag("copy_first", copy_first || there.is_empty());
    plan.set("dependency_files", there.join(" "));
    plan.title(&install_project, "Installing the project");
    plan.title(&install, "Installing dependencies");
    plan.title("manage.py collectstatic", "Collecting static files");
    plan.set("install", install);
    plan.set("install_project", install_project);
    plan.set("pip_cache", ask.cache("pip", "/root/.cache"));
    let static_files =
        tree.has("manage.py") && !ask.manifest.build.args.contains_key("DISABLE_COLLECTSTATIC") && static_root(ask);
    plan.flag("collectstatic", static_files);
    if !ask.has_web() {
        let line = server_line(ask)?;
        plan.notes.push(format!("No Procfile: running `{line}`"));
        plan.web(line);
    }
    Ok(plan)
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
    ["requirements.txt", "pyproject.toml", "uv.lock", "poetry.lock"]
        .iter()
        .any(|f| ask.tree.text(f).is_some_and(|t| t.to_lowercase().contains(package)))
}

/// What `web` runs where nobody says so.
fn server_line(ask: &Ask<'_>) -> Result<String, BuildError> {
    let bind = "--bind 0.0.0.0:$PORT";
    let tree = ask.tree;
    if tree.has("manage.py")
        && let Some(module) =
            tree.files().find_map(|f| f.strip_suffix("/wsgi.py").filter(|m| !m.contains('/')).map(str::to_owned))
        && depends_on(ask, "gunicorn")
    {
        return Ok(format!("exec gunicorn {}.wsgi {bind}", quoted(&module)?));
    }
    for file in ["main.py", "app.py", "server.py", "wsgi.py", "asgi.py", "app/main.py", "src/main.py"] {
        let Some(text) = tree.text(file) else { continue };
        let module = file.trim_end_matches(".py").replace('/', ".");
        if (text.contains("FastAPI(") || text.contains("Starlette(")) && depends_on(ask, "uvicorn") {
            return Ok(format!(
                "exec uvicorn {module}:{} --host 0.0.0.0 --port $PORT",
                variable(&text, &["FastAPI(", "Starlette("])
            ));
        }
        if text.contains("Flask(") && depends_on(ask, "gunicorn") {
            return Ok(format!("exec gunicorn {module}:{} {bind}", variable(&text, &["Flask("])));
        }
    }
    Err(unfit(
        "nothing says what the app runs: there is no Procfile, and no app of Flask, FastAPI or Django with gunicorn or uvicorn was found",
        "add a Procfile with a line like `web: gunicorn app:app --bind 0.0.0.0:$PORT`, and the server to the dependencies",
    ))
}

/// The name on the left of `app = Flask(__name__)`.
fn variable(text: &str, calls: &[&str]) -> String {
    let named = text.lines().find_map(|line| {
        let (name, right) = line.split_once('=')?;
        let name = name.split(':').next().unwrap_or(name).trim();
        let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        (plain && !line.starts_with([' ', '\t']) && calls.iter().any(|call| right.trim_start().starts_with(call)))
            .then(|| name.to_owned())
    });
    named.unwrap_or_else(|| "app".to_owned())
}
