//! `crashes list|get`.

use std::io::IsTerminal;
use std::process::ExitCode;

use super::super::args::CrashesAct;
use super::super::print::bytes;
use super::{CliError, Context, Outcome, ago, rows};
use crate::names::CrashId;

pub async fn run(context: &Context, act: Option<CrashesAct>) -> Outcome {
    match act.unwrap_or(CrashesAct::List) {
        CrashesAct::List => list(context).await,
        CrashesAct::Get { file } => get(context, file).await,
    }
}

async fn list(context: &Context) -> Outcome {
    let app = context.app()?;
    let kept = context.client()?.crashes(&app).await?;
    let table = kept
        .iter()
        .map(|f| vec![f.id.to_string(), f.name.clone(), f.release.to_string(), ago(f.at), bytes(f.bytes), f.path.clone()])
        .collect();
    let none = format!("no instance of {app} left a crash file; `[crash] files` in paas.toml names what is kept");
    rows(context, &kept, &["FILE", "PROCESS", "RELEASE", "KEPT", "SIZE", "PATH"], table, &none)
}

async fn get(context: &Context, file: CrashId) -> Outcome {
    if !context.in_session() && std::io::stdout().is_terminal() {
        return Err(CliError::usage("a crash file is not for a terminal").hint(format!("paas crashes get {file} > {file}")));
    }
    let mut pieces = context.client()?.crash_file(&context.app()?, file).await?;
    while let Some(piece) = pieces.next().await? {
        context.screen.pass(&piece, false).map_err(CliError::output)?;
    }
    Ok(ExitCode::SUCCESS)
}
