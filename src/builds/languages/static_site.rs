//! Files as they are, behind a small web server.

use super::{Ask, LanguagePlan, quoted, unfit};
use crate::builds::error::BuildError;

/// Folders that tools leave a finished site in, the most usual first; the top last.
const ROOTS: &[&str] = &["public", "dist", "build", "site", "_site", "www", "docs"];

pub fn plan(ask: &Ask<'_>) -> Result<LanguagePlan, BuildError> {
    let mut plan = LanguagePlan::default();
    let root = if ask.tree.has("index.html") {
        ""
    } else {
        match ROOTS.iter().find(|root| ask.tree.has(&format!("{root}/index.html"))) {
            Some(root) => root,
            None => {
                let hint = "put an index.html at the top or into public/, or name the folder: [build] path = \"…\"";
                return Err(unfit("the static buildpack found no index.html", hint));
            }
        }
    };
    plan.set("site_root", if root.is_empty() { String::new() } else { format!("{}/", quoted(root)?) });
    plan.notes.push(if root.is_empty() {
        "Serving the files of the repository".to_owned()
    } else {
        format!("Serving the folder {root}/")
    });
    if !ask.has_web() {
        plan.web("exec /usr/local/bin/paas-static");
    }
    Ok(plan)
}
