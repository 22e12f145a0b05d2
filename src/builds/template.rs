//! The small template language of the Dockerfiles in `buildpacks/`.
//!
//! `{{name}}` is replaced; a line `{{#if name}}` keeps the lines to `{{/if}}` when the value is not empty, `{{#unless name}}` when it is.
//! Blocks nest. A name that is not known is an error: a misspelt one must not become an empty string in a RUN line.

use std::collections::BTreeMap;

/// The values of a template, by name.
pub type Values = BTreeMap<String, String>;

/// Renders; errors name the line.
pub fn render(template: &str, values: &Values) -> Result<String, String> {
    let mut out = String::with_capacity(template.len() * 2);
    // For every open block: whether its lines are kept.
    let mut open: Vec<bool> = Vec::new();
    for (index, line) in template.lines().enumerate() {
        let at = |why: String| format!("line {}: {why}", index + 1);
        let known = |name: &str| values.get(name).map(|v| !v.is_empty()).ok_or_else(|| at(format!("`{name}` is not known")));
        let mark = line.trim().strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}"));
        if let Some(name) = mark.and_then(|m| m.strip_prefix("#if ")) {
            open.push(known(name.trim())?);
        } else if let Some(name) = mark.and_then(|m| m.strip_prefix("#unless ")) {
            open.push(!known(name.trim())?);
        } else if matches!(mark, Some("/if" | "/unless")) {
            open.pop().ok_or_else(|| at("a block ends that did not begin".to_owned()))?;
        } else if open.iter().all(|kept| *kept) {
            out.push_str(&fill(line, values).map_err(at)?);
            out.push('\n');
        }
    }
    if open.is_empty() { Ok(out) } else { Err("a block is not ended".to_owned()) }
}

fn fill(line: &str, values: &Values) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").ok_or("`{{` without `}}`")?;
        out.push_str(before);
        out.push_str(values.get(name.trim()).ok_or_else(|| format!("`{}` is not known", name.trim()))?);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(pairs: &[(&str, &str)]) -> Values {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn values_and_nested_blocks_are_rendered() {
        let template = "FROM {{base}}\n{{#if a}}\nRUN a\n{{#unless b}}\nRUN not-b {{a}}{{a}}\n{{/unless}}\n{{/if}}\n{{#if b}}\nRUN b\n{{/if}}\n";
        let out = render(template, &values(&[("base", "x:1"), ("a", "1"), ("b", "")])).expect("renders");
        assert_eq!(out, "FROM x:1\nRUN a\nRUN not-b 11\n");
    }

    #[test]
    fn mistakes_are_errors_with_their_line() {
        assert!(render("a\n{{nope}}", &values(&[])).expect_err("unknown").contains("line 2"));
        assert!(render("{{#if nope}}\n{{/if}}", &values(&[])).is_err());
        assert!(render("{{#if a}}\n", &values(&[("a", "")])).is_err());
        assert!(render("{{/if}}\n", &values(&[])).is_err());
    }
}
