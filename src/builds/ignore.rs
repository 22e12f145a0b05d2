//! `.dockerignore`, as the docker command reads it (<https://docs.docker.com/build/concepts/context/#dockerignore-files>): BuildKit itself does
//! not apply it to an uploaded context.

use globset::{GlobBuilder, GlobMatcher};

/// The patterns of one file, in order.
#[derive(Debug, Default, Clone)]
pub struct Ignore {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone)]
struct Rule {
    glob: GlobMatcher,
    /// `!pattern`: what it matches is sent after all.
    except: bool,
}

impl Ignore {
    /// Takes the file's text; gives the rules, or the pattern that can't be understood.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut rules = Vec::new();
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for line in text.lines() {
            if line.starts_with('#') {
                continue;
            }
            let line = line.trim();
            let (except, pattern) = match line.strip_prefix('!') {
                Some(rest) => (true, rest.trim()),
                None => (false, line),
            };
            // Leading and trailing slashes mean nothing: every pattern starts at the context's root.
            let parts: Vec<&str> = pattern.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
            if parts.is_empty() {
                continue;
            }
            let glob = GlobBuilder::new(&parts.join("/")).literal_separator(true).backslash_escape(true).build();
            let glob = glob.map_err(|e| format!("`{}`: {}", line.escape_debug(), e.kind()))?;
            rules.push(Rule { glob: glob.compile_matcher(), except });
        }
        Ok(Self { rules })
    }

    /// Whether `path` (relative, `/` between parts) is left out. A pattern that matches a folder matches all below it; the last match wins.
    pub fn excludes(&self, path: &str) -> bool {
        let mut excluded = false;
        for rule in &self.rules {
            if rule.except == excluded && rule.covers(path) {
                excluded = !rule.except;
            }
        }
        excluded
    }
}

impl Rule {
    fn covers(&self, path: &str) -> bool {
        let ends = path.match_indices('/').map(|(at, _)| at).chain(std::iter::once(path.len()));
        ends.into_iter().any(|end| self.glob.is_match(&path[..end]))
    }
}

#[cfg(test)]
mod tests;
