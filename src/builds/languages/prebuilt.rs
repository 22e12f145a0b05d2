//! Something already built: an Erlang or Elixir release, or programs with a Procfile.

use super::{Ask, LanguagePlan, quoted, unfit};
use crate::builds::detect::release_script;
use crate::builds::error::BuildError;

pub fn plan(ask: &Ask<'_>) -> Result<LanguagePlan, BuildError> {
    let mut plan = LanguagePlan::default();
    if let Some(script) = release_script(ask.tree) {
        plan.notes.push(format!("Release {script}"));
        if !ask.has_web() {
            // A mix release starts in the foreground by `start`, one of rebar3 by `foreground`.
            let starter = ask.tree.text(&format!("bin/{script}")).unwrap_or_default();
            let verb = if starter.contains("foreground)") && !starter.contains("RELEASE_MODE") { "foreground" } else { "start" };
            plan.web(format!("exec bin/{} {verb}", quoted(&script)?));
        }
        return Ok(plan);
    }
    if ask.has_web() {
        return Ok(plan);
    }
    let programs: Vec<&str> = ask.tree.files().filter(|f| f.starts_with("bin/") && ask.tree.is_executable(f)).collect();
    match programs.as_slice() {
        [only] => plan.web(format!("exec {}", quoted(only)?)),
        _ => {
            let why = "the source is prebuilt, but nothing says what to run";
            return Err(unfit(why, "add a Procfile with a line `web: ./your-program`"));
        }
    }
    Ok(plan)
}
