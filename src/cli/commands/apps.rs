//! `apps create|list|info|destroy`.

use std::io::IsTerminal;
use std::process::ExitCode;

use super::super::args::AppsAct;
use super::{CliError, Context, Outcome, ago, facts, or_dash, rows, short};
use crate::api::types::apps::{App, NewApp};
use crate::names::AppName;

pub async fn run(context: &Context, act: Option<AppsAct>) -> Outcome {
    match act.unwrap_or(AppsAct::List) {
        AppsAct::Create { name } => create(context, name).await,
        AppsAct::List => list(context).await,
        AppsAct::Info { name } => {
            let app = context.client()?.app(&context.app_or(name)?).await?;
            info(context, &app)
        }
        AppsAct::Destroy { name, confirm } => destroy(context, name, confirm).await,
    }
}

async fn create(context: &Context, name: AppName) -> Outcome {
    let app = context.client()?.create_app(&NewApp { name }).await?;
    if context.global.json {
        context.screen.json(&app).map_err(CliError::output)?;
        return Ok(ExitCode::SUCCESS);
    }
    for url in &app.urls {
        context.screen.data(url).map_err(CliError::output)?;
    }
    context.screen.talk(&format!("{} is made; next:", app.name));
    if let Some(git) = &app.git_url {
        context.screen.talk(&format!("  git remote add deploy {git}"));
        context.screen.talk("  git push deploy main");
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(context: &Context) -> Outcome {
    let apps = context.client()?.apps().await?;
    let table = apps
        .iter()
        .map(|app| {
            let running =
                app.processes.iter().map(|p| format!("{} {}/{}", p.process, p.running, p.wanted)).collect::<Vec<_>>().join(", ");
            let url = app.urls.first().cloned().unwrap_or_default();
            vec![
                app.name.to_string(),
                or_dash(app.release),
                short(app.commit.as_ref()),
                or_dash(app.released_at.map(ago)),
                running,
                url,
            ]
        })
        .collect();
    rows(
        context,
        &apps,
        &["APP", "RELEASE", "COMMIT", "DEPLOYED", "RUNS", "URL"],
        table,
        "no apps yet; `paas apps create NAME` makes one, so does the first push",
    )
}

fn info(context: &Context, app: &App) -> Outcome {
    let runs =
        app.processes.iter().map(|p| format!("{} {} of {}", p.process, p.running, p.wanted)).collect::<Vec<_>>().join(", ");
    facts(
        context,
        app,
        &[
            ("app", app.name.to_string()),
            ("urls", app.urls.join(" ")),
            ("git", app.git_url.clone().unwrap_or_default()),
            (
                "release",
                app.release.map_or_else(|| "none yet".to_owned(), |v| format!("{v}, {}", or_dash(app.released_at.map(ago)))),
            ),
            ("commit", app.commit.as_ref().map(ToString::to_string).unwrap_or_default()),
            ("deploy", app.deploy.map(|d| format!("{d} is under way")).unwrap_or_default()),
            ("runs", runs),
            ("created", ago(app.created_at)),
        ],
    )
}

/// Never the git remote's app by accident: the name is typed, and typed again.
async fn destroy(context: &Context, name: Option<AppName>, confirm: Option<String>) -> Outcome {
    let Some(app) = name.map(Ok).or_else(|| context.global.app.as_deref().map(AppName::parse)) else {
        return Err(CliError::usage("which app?").hint("name it: `paas apps destroy NAME`"));
    };
    let app = app.map_err(|e| CliError::usage(e.to_string()))?;
    let answer = match confirm {
        Some(given) => given,
        None if std::io::stdin().is_terminal() => {
            let question = format!("This removes {app} with its releases, config and logs, for good. Type its name to go on:");
            context.screen.ask(&question).map_err(CliError::output)?
        }
        None => return Err(CliError::usage("destroying an app needs a confirmation").hint(format!("add `--confirm {app}`"))),
    };
    if answer != app.as_str() {
        return Err(CliError::failed(format!("`{}` is not `{app}`: nothing was removed", answer.escape_debug())));
    }
    let gone = context.client()?.destroy_app(&app).await?;
    if context.global.json {
        context.screen.json(&gone).map_err(CliError::output)?;
    } else {
        context.screen.talk(&format!("{} is gone; {} of its instances were stopped", gone.app, gone.instances));
    }
    Ok(ExitCode::SUCCESS)
}
