//! The rules of the source tree, read from the source itself: who imports whom, sizes, headers, and what may stand where.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Rooms from the ground up. A room may use those in rows above its own, and what [`SIDEWAYS`] lists.
const ROWS: &[&[&str]] = &[
    &["names", "base"],
    &["config", "manifest", "model"],
    &["handover", "wire"],
    &["store", "docker", "proxy", "dialer", "init"],
    &["logs", "git", "builds", "apps", "instances", "routes", "certs", "tasks", "disk", "deploys", "alerts", "doctor"],
    &["api"],
    &["daemon"],
];

/// Uses within one row, each with its reason.
const SIDEWAYS: &[(&str, &str)] = &[
    ("names", "base"),      // a refused name is shown with the nearest allowed one
    ("base", "names"),      // settings files parse names
    ("model", "manifest"),  // a release stores the manifest it was made from
    ("wire", "handover"),   // descriptors travel with messages
    ("proxy", "dialer"),    // asks for a connection
    ("instances", "logs"),  // hands a segment to init
    ("tasks", "instances"), // a release command runs in a container
    ("apps", "deploys"),    // a changed setting is a deploy
    ("deploys", "apps"),
    ("deploys", "builds"),
    ("deploys", "instances"),
    ("deploys", "routes"),
    ("deploys", "tasks"),
    ("deploys", "git"),
    ("deploys", "logs"),
    ("deploys", "alerts"), // a deploy that failed
    ("deploys", "disk"),   // nothing begins on a disk that is too full
    ("builds", "git"),
    ("routes", "logs"),  // access lines
    ("routes", "certs"), // what can't be shown is left out
    ("tasks", "logs"),
    ("doctor", "alerts"), // one reserve of a disk for both
];

/// The command line may see these and no other room.
const CLI_SEES: &[&str] = &["api", "config", "manifest", "names", "base", "cli"];
/// The ssh session is a client of the API, like the command line.
const SESSION_SEES: &[&str] = &["api", "config", "manifest", "names", "base", "cli", "session", "handover", "wire", "git"];

const FILE_LIMIT: usize = 400;
const FUNCTION_LIMIT: usize = 70;
/// Files that may be longer, because they are one table.
const LONG_FILES: &[&str] = &[];
/// Files that print although they are not `cli/print.rs`: they run where nobody has set up logging yet.
const MAY_PRINT: &[&str] = &["cli/print.rs", "main.rs"];

struct Source {
    path: String,
    text: String,
}

impl Source {
    fn room(&self) -> &str {
        self.path.split('/').next().unwrap_or_default().trim_end_matches(".rs")
    }

    fn is_test(&self) -> bool {
        self.path.ends_with("tests.rs") || self.path.contains("/tests/")
    }

    /// The lines that are code: without comments and without what follows `#[cfg(test)]` on a module with a body.
    fn code(&self) -> Vec<(usize, &str)> {
        let mut lines = Vec::new();
        let mut all = self.text.lines().enumerate();
        while let Some((n, line)) = all.next() {
            if line.trim_start().starts_with("#[cfg(test)]") {
                let is_body = all.next().is_some_and(|(_, next)| next.trim_end().ends_with('{'));
                if is_body && !line.starts_with(' ') {
                    for (_, rest) in all.by_ref() {
                        if rest == "}" {
                            break;
                        }
                    }
                }
                continue;
            }
            if !line.trim_start().starts_with("//") {
                lines.push((n + 1, line.split(" // ").next().unwrap_or(line)));
            }
        }
        lines
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &str) -> Vec<Source> {
    fn walk(folder: &Path, base: &Path, found: &mut Vec<Source>) {
        let mut entries: Vec<PathBuf> =
            std::fs::read_dir(folder).expect("a source folder can be read").flatten().map(|e| e.path()).collect();
        entries.sort();
        for path in entries {
            if path.is_dir() {
                walk(&path, base, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = std::fs::read_to_string(&path).expect("a source file can be read");
                found.push(Source { path: path.strip_prefix(base).expect("below its base").display().to_string(), text });
            }
        }
    }
    let base = root().join(folder);
    let mut found = Vec::new();
    walk(&base, &base, &mut found);
    assert!(!found.is_empty(), "no source was found in {folder}: this test would prove nothing");
    found
}

#[track_caller]
fn none(what: &str, found: Vec<String>) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

/// The rooms that a line names by `crate::room`, also inside `use crate::{a, b::c}` on one line.
fn rooms_in(line: &str) -> Vec<String> {
    let word = |text: &str| text.trim_start().chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect::<String>();
    let mut found = Vec::new();
    for rest in line.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            Some(list) => {
                let mut depth = 0;
                let mut start = true;
                for (at, c) in list.char_indices() {
                    if start && depth == 0 && c.is_ascii_alphabetic() {
                        found.push(word(&list[at..]));
                    }
                    start = depth == 0 && (c == ',' || (start && c == ' '));
                    depth += i32::from(c == '{') - i32::from(c == '}');
                    if depth < 0 {
                        break;
                    }
                }
            }
            None => found.push(word(rest)),
        }
    }
    found.retain(|room| room.starts_with(|c: char| c.is_ascii_lowercase()));
    found
}

fn row(room: &str) -> Option<usize> {
    ROWS.iter().position(|rooms| rooms.contains(&room))
}

fn may_import(from: &Source, to: &str) -> bool {
    let room = from.room();
    match room {
        _ if room == to => true,
        // The composition root starts every role, the edges among them.
        "main" | "lib" | "daemon" => true,
        "cli" => CLI_SEES.contains(&to),
        "session" => SESSION_SEES.contains(&to),
        // The API's types and client are used on a laptop: ground only.
        "api" if !from.path.starts_with("api/server") => row(to).is_some_and(|row| row <= 1),
        _ => match (row(room), row(to)) {
            (Some(mine), Some(theirs)) => theirs < mine || SIDEWAYS.contains(&(room, to)),
            _ => false,
        },
    }
}

#[test]
fn imports_go_down_only() {
    let rooms: BTreeSet<&str> = ROWS.iter().flat_map(|row| row.iter().copied()).chain(["cli", "session"]).collect();
    let mut seen = 0;
    let mut wrong = Vec::new();
    for source in sources("src") {
        for (n, line) in source.code() {
            for room in rooms_in(line).into_iter().filter(|r| rooms.contains(r.as_str())) {
                seen += 1;
                if !may_import(&source, &room) {
                    wrong.push(format!("src/{}:{n}: `{}` may not use `{room}`", source.path, source.room()));
                }
            }
        }
    }
    assert!(seen > 10, "only {seen} imports were found: the reader of this test is broken");
    none("imports that go up", wrong);
}

#[test]
fn the_data_plane_and_pid_1_are_free_of_docker_sql_and_domains() {
    let banned = [
        ("proxy/", "bollard"),
        ("proxy/", "sqlx"),
        ("dialer/", "bollard"),
        ("dialer/", "sqlx"),
        ("init/", "bollard"),
        ("init/", "tokio"),
    ];
    let mut wrong = Vec::new();
    for source in sources("src") {
        for (n, line) in source.code() {
            let breaks = |(room, name): &&(&str, &str)| source.path.starts_with(room) && line.contains(&format!("{name}::"));
            wrong.extend(banned.iter().find(breaks).map(|(_, name)| format!("src/{}:{n}: {name}", source.path)));
            if line.contains("bollard::") && !source.path.starts_with("docker/") {
                wrong.push(format!("src/{}:{n}: only docker/ may use bollard", source.path));
            }
        }
    }
    none("libraries in rooms that must stay free of them", wrong);
}

#[test]
fn files_and_functions_stay_short() {
    let mut wrong = Vec::new();
    let trees = ["src", "tests/it", "examples"];
    for (tree, source) in trees.iter().flat_map(|tree| sources(tree).into_iter().map(move |s| (tree, s))) {
        let lines = source.text.lines().count();
        if lines > FILE_LIMIT && !LONG_FILES.contains(&source.path.as_str()) {
            wrong.push(format!("{tree}/{}: {lines} lines, the limit is {FILE_LIMIT}", source.path));
        }
        for (name, start, length) in functions(&source.text) {
            if length > FUNCTION_LIMIT {
                wrong
                    .push(format!("{tree}/{}:{start}: fn {name} has {length} lines, the limit is {FUNCTION_LIMIT}", source.path));
            }
        }
    }
    none("too long", wrong);
}

/// Name, first line and length of every function. Relies on rustfmt: a body ends at a `}` with the indentation of its `fn`.
fn functions(text: &str) -> Vec<(String, usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (n, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let words =
            line.trim_start().trim_start_matches("pub ").trim_start_matches("pub(crate) ").trim_start_matches("pub(super) ");
        let words = words.trim_start_matches("const ").trim_start_matches("async ");
        let Some(rest) = words.strip_prefix("fn ") else { continue };
        let end = format!("{}}}", " ".repeat(indent));
        let one_line = line.ends_with('}') || line.ends_with(';');
        let length = if one_line { 1 } else { lines[n..].iter().position(|l| *l == end).map_or(1, |at| at + 1) };
        found.push((rest.split(['(', '<']).next().unwrap_or_default().to_owned(), n + 1, length));
    }
    found
}

#[test]
fn every_room_says_what_it_owns() {
    let mut wrong = Vec::new();
    for source in sources("src").iter().filter(|s| s.path.ends_with("mod.rs") && s.path.matches('/').count() == 1) {
        let header: String = source.text.lines().take_while(|line| line.starts_with("//!")).collect();
        for word in ["Owns", "Uses", "Never"] {
            if !header.contains(word) {
                wrong.push(format!("src/{}: the header lacks `{word}`", source.path));
            }
        }
    }
    none("rooms without a header", wrong);
}

#[test]
fn words_stand_only_where_they_may() {
    let mut wrong = Vec::new();
    for source in sources("src").iter().filter(|s| !s.is_test()) {
        let path = source.path.as_str();
        for (n, line) in source.code() {
            let mut refuse = |what: &str| wrong.push(format!("src/{path}:{n}: {what}: {}", line.trim()));
            let code = line.split('"').step_by(2).collect::<String>();
            if (code.contains("unsafe {") || code.contains("unsafe fn") || code.contains("unsafe impl"))
                && path != "handover/fds.rs"
            {
                refuse("unsafe");
            }
            if ["println!", "eprintln!", "print!(", "eprint!("].iter().any(|p| code.contains(p)) && !MAY_PRINT.contains(&path) {
                refuse("prints");
            }
            if code.contains(".unwrap()") {
                refuse("unwrap");
            }
            if line.contains("Command::new(\"sh\")")
                || line.contains("Command::new(\"/bin/sh\")")
                || line.contains("Command::new(\"bash\")")
            {
                refuse("a shell on the host");
            }
            if !path.starts_with("store/") && is_sql(line) {
                refuse("SQL");
            }
        }
    }
    none("words in the wrong place", wrong);
}

/// Whether a string literal of this line starts like a statement.
fn is_sql(line: &str) -> bool {
    line.split('"').skip(1).step_by(2).any(|literal| {
        let text = literal.trim_start().to_lowercase();
        let pairs =
            [("select ", " from "), ("insert into ", " "), ("update ", " set "), ("delete from ", " "), ("create table ", " ")];
        pairs.iter().any(|(start, with)| text.starts_with(start) && text.contains(with))
    })
}

#[test]
fn every_crash_point_stands_in_the_code() {
    let registry = std::fs::read_to_string(root().join("src/base/crash.rs")).expect("the registry can be read");
    let list = registry.split("points! {").nth(1).and_then(|rest| rest.split("\n}").next()).expect("the registry has its form");
    let names: Vec<&str> = list.lines().filter_map(|l| l.trim().split_once(" = \"")).map(|(name, _)| name).collect();
    assert!(names.len() >= 46, "{} crash points, at least 46 are promised", names.len());
    let used: String = sources("src").into_iter().filter(|s| s.path != "base/crash.rs" && !s.is_test()).map(|s| s.text).collect();
    let missing = names.iter().filter(|name| !used.contains(&format!("Point::{name}"))).map(|name| (*name).to_owned()).collect();
    none("crash points that no code passes", missing);
}

#[test]
fn nothing_in_the_tree_names_a_machine() {
    // Put together here, so that this file does not name them itself.
    let banned = [["/ro", "ot/w"].concat(), ["/wo", "rk/"].concat(), [".car", "go/registry"].concat()];
    let mut wrong = Vec::new();
    for tree in ["src", "tests", "examples", "docs", "systemd"] {
        for file in text_files(&root().join(tree)) {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            for name in banned.iter().filter(|name| text.contains(name.as_str())) {
                wrong.push(format!("{}: `{name}`", file.display()));
            }
        }
    }
    none("names of one machine", wrong);
}

fn text_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).map(|all| all.flatten().map(|e| e.path()).collect::<Vec<_>>()).unwrap_or_default();
    entries.into_iter().flat_map(|path| if path.is_dir() { text_files(&path) } else { vec![path] }).collect()
}

#[test]
fn this_test_reads_imports_as_rust_does() {
    assert_eq!(rooms_in("use crate::names::AppName;"), ["names"]);
    assert_eq!(rooms_in("use crate::{base::clock, names::{AppName, Hostname}, wire};"), ["base", "names", "wire"]);
    assert_eq!(rooms_in("    crate::base::crash::point(crate::base::crash::Point::Drained);"), ["base", "base"]);
    assert!(is_sql("let q = \"select id from apps\";") && !is_sql("say(\"update the app\")"));
    let found = functions("fn a() {\n    x();\n}\n    pub async fn b() {\n        y();\n    }\n");
    assert_eq!(found, [("a".to_owned(), 1, 3), ("b".to_owned(), 4, 3)]);
}
