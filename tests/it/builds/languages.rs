//! Each buildpack on a real project.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_node_app_with_a_native_module_is_built_and_a_changed_line_is_built_from_the_cache() {
    let world = World::new("node-sample").await;
    let mut files = sample("node");
    let first = world.build(&files).await;
    assert!(first.text().contains("Node.js app detected (package.json is there)"), "{}", first.text());
    assert!(world.fetch(first.ok(), None, "/").await.contains("Hello from node, visit 1"));
    assert!(world.fetch(first.ok(), None, "/assets/style.css").await.contains("sans-serif"));

    edit(&mut files, "server.js", "Hello from node", "Hello again from node");
    let second = world.build(&files).await;
    assert!(second.text().contains("Installing dependencies (cached)"), "{}", second.text());
    assert!(second.ok().cached_steps > 0);
    assert!(world.fetch(second.ok(), None, "/").await.contains("Hello again from node"));
    eprintln!("MEASURED node: cold {:?}, one line changed {:?}", first.took, second.took);
    let info = world.docker.image(&second.ok().image_id).await.expect("inspect").expect("there");
    assert_eq!(info.user, "1000:1000");
    assert_eq!(info.workdir, "/app");
    world.done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_app_is_built_by_pip_with_a_module_that_compiles() {
    let world = World::new("python-sample").await;
    let mut files = sample("python");
    let first = world.build(&files).await;
    let line = "gunicorn app:app --bind 0.0.0.0:$PORT";
    let answer = world.fetch(first.ok(), Some(line), "/").await;
    assert!(answer.contains("Hello from python &lt;3 markupsafe._speedups"), "{answer}");
    assert!(first.ok().default_processes.is_empty(), "the Procfile says what runs");

    edit(&mut files, "app.py", "Hello from python", "Hello again");
    let second = world.build(&files).await;
    assert!(second.text().contains("Installing dependencies (cached)"), "{}", second.text());
    assert!(world.fetch(second.ok(), Some(line), "/").await.contains("Hello again"));
    eprintln!("MEASURED python: cold {:?}, one line changed {:?}", first.took, second.took);
    world.done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_app_with_uv_lock_is_built_by_uv_and_its_server_is_guessed() {
    let world = World::new("uv-sample").await;
    let first = world.build(&sample("python-uv")).await;
    let answer = world.fetch(first.ok(), None, "/").await;
    assert!(answer.contains(r#"{"hello":"from uv"}"#), "{answer}");
    world.done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_go_module_is_built_and_a_newer_toolchain_comes_as_a_module() {
    let world = World::new("go-sample").await;
    let mut files = sample("go");
    let first = world.build(&files).await;
    assert!(world.fetch(first.ok(), None, "/").await.contains("Hello from go"));
    assert!(world.fetch(first.ok(), None, "/static/style.css").await.contains("margin"));

    edit(&mut files, "go.mod", "go 1.22", "go 1.25.0");
    let second = world.build(&files).await;
    assert!(second.text().contains("as a toolchain module"), "{}", second.text());
    assert!(world.fetch(second.ok(), None, "/").await.contains("Hello from go"));
    world.done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_static_site_is_served_with_types_and_without_the_repositorys_own_files() {
    let world = World::new("static-sample").await;
    let mut files = sample("static");
    put(&mut files, "public/.env", "SECRET=1");
    let first = world.build(&files).await;
    assert!(world.fetch(first.ok(), None, "/").await.contains("Hello from static"));
    assert!(world.fetch(first.ok(), None, "/css/style.css").await.contains("Content-Type: text/css"));
    let missing = world.fetch(first.ok(), None, "/.env").await;
    assert!(missing.contains("404") && !missing.contains("SECRET"), "{missing}");
    world.done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erlang_like_release_is_run_as_it_is() {
    let world = World::new("release-sample").await;
    let mut files = Files::new();
    files.insert(
        "bin/shop".to_owned(),
        (
            b"#!/bin/sh\n# RELEASE_MODE\necho \"$1 from $PWD, $(id -u)\"; ldconfig -p | grep -c -E 'libssl|libncurses|libstdc'\n"
                .to_vec(),
            0o755,
        ),
    );
    put(&mut files, "releases/start_erl.data", "14.0 0.1.0");
    put(&mut files, "lib/shop-0.1.0/ebin/shop.app", "{}.");
    let first = world.build(&files).await;
    let web = first.ok().default_processes[&ProcessName::parse("web").expect("name")].clone();
    assert_eq!(web, CommandLine::Shell("exec bin/shop start".to_owned()));
    let (code, output) = world.run(&first.ok().image_id, Some("exec bin/shop start")).await;
    assert_eq!(code, 0);
    assert!(output.starts_with("start from /app, 1000\n") && !output.trim_end().ends_with("\n0"), "{output}");
    world.done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_of_vite_is_built_by_pnpm_and_served_as_files() {
    let world = World::new("pnpm-sample").await;
    let mut files = sample("node-pnpm");
    edit(&mut files, "package.json", "vite build", "vite build && echo score $(cat /proc/self/oom_score_adj)");
    let first = world.build(&files).await;
    assert!(first.text().contains("score 500"), "a build goes before the host's own when memory ends: {}", first.text());
    let page = world.fetch(first.ok(), None, "/").await;
    assert!(page.contains("<title>Hello from vite</title>"), "{page}");
    let script =
        page.split_once("src=\"").and_then(|(_, rest)| rest.split_once('"')).expect("the page has a script").0.to_owned();
    assert!(script.starts_with("/assets/"), "the page holds the built script, not the source: {script}");
    assert!(world.fetch(first.ok(), None, &script).await.contains("javascript"), "a script has its type");

    edit(&mut files, "src/App.vue", "Clicked", "Pressed");
    let second = world.build(&files).await;
    assert!(second.text().contains("Installing dependencies (cached)"), "{}", second.text());
    let page = world.fetch(second.ok(), None, "/").await;
    assert!(page.contains("/assets/") && !page.contains(&script), "a changed source has another name: {page}");
    world.done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_app_with_yarn_lock_is_built_by_yarn_and_its_lockfile_counts() {
    let world = World::new("yarn-sample").await;
    let mut files = sample("node-yarn");
    let first = world.build(&files).await;
    assert!(first.text().contains("yarn"), "{}", first.text());
    assert!(world.fetch(first.ok(), None, "/").await.contains("Hello from yarn"));
    assert!(world.fetch(first.ok(), None, "/assets/style.css").await.contains("sans-serif"));

    edit(&mut files, "package.json", "^4.21.0", "^4.17.0");
    let stale = world.build(&files).await;
    assert!(
        stale.built.is_err() && stale.text().contains("lockfile"),
        "a lockfile that does not fit is refused: {}",
        stale.text()
    );
    world.done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_django_project_has_its_static_files_collected_and_its_migrations_as_release_command() {
    let world = World::new("django-sample").await;
    let files = sample("django");
    let first = world.build(&files).await;
    assert!(first.text().contains("Collecting static files"), "{}", first.text());
    let web = "export SECRET_KEY=x; gunicorn project.wsgi --bind 0.0.0.0:$PORT";
    let page = world.fetch(first.ok(), Some(web), "/").await;
    assert!(page.contains("Hello from django"), "{page}");
    let sheet = page.split_once("href=\"").and_then(|(_, rest)| rest.split_once('"')).expect("the page has a style sheet").0;
    assert!(sheet.starts_with("/static/shop/style.") && sheet != "/static/shop/style.css", "named by its content: {sheet}");
    assert!(world.fetch(first.ok(), Some(web), sheet).await.contains("sans-serif"));
    let line = "SECRET_KEY=x exec python manage.py migrate --noinput";
    let (code, output) = world.run(&first.ok().image_id, Some(line)).await;
    assert!(code == 0 && output.contains("Applying shop.0001_initial... OK"), "{code} {output}");
    world.done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flask_app_that_names_no_server_gets_one_and_is_told() {
    let world = World::new("flask-factory").await;
    let mut files = Files::new();
    put(&mut files, "requirements.txt", "Flask==3.*\n");
    let app = "from flask import Flask\n\ndef create_app():\n    app = Flask(__name__)\n    app.get('/')(lambda: 'Hello from a factory')\n    return app\n";
    put(&mut files, "app/__init__.py", app);
    let first = world.build(&files).await;
    assert!(first.text().contains("gunicorn is not among the dependencies and is added"), "{}", first.text());
    assert!(world.fetch(first.ok(), None, "/").await.contains("Hello from a factory"));
    world.done().await;
}
