use std::time::Duration;

use super::*;

fn first_error(text: &str) -> KeyError {
    let mut file = Section::parse("f.toml", text).expect("parses");
    let mut a = match file.section("a") {
        Ok(a) => a,
        Err(e) => return e,
    };
    let read = a
        .integer("count", 1..=9)
        .and_then(|_| a.duration("pause", Duration::ZERO..=Duration::from_secs(60)))
        .and_then(|_| a.size("room", 1024..=1 << 30));
    match read.and_then(|_| a.done()).and_then(|()| file.done()) {
        Ok(()) => panic!("expected an error in {text}"),
        Err(e) => e,
    }
}

#[test]
fn an_error_names_the_place_the_key_what_was_found_and_what_is_allowed() {
    let e = first_error("[a]\ncount = 3\n  conut = 4\n");
    assert_eq!((e.line, e.column, e.key.as_deref()), (3, 3, Some("a.conut")));
    assert_eq!(e.to_string(), "f.toml:3:3: unknown key `a.conut`");
    assert_eq!(e.hint.as_deref(), Some("did you mean `count`? allowed here: count, pause, room"));
    let e = first_error("[a]\ncount = 30");
    assert_eq!(e.to_string(), "f.toml:2:9: `a.count`: found the number 30, but it must be a whole number from 1 to 9");
    let e = first_error("[a]\npause = 30");
    assert!(e.problem.contains("found the number 30, but it must be a duration from 0s to 1m"), "{e}");
    let e = first_error("a = 1");
    assert!(e.problem.contains("must be a table"), "{e}");
    let e = first_error("[a]\nroom = \"12\"");
    assert!(e.problem.contains("a size from 1KiB to 1GiB"), "{e}");
}

#[test]
fn broken_toml_is_told_with_its_line() {
    let Err(e) = Section::parse("f.toml", "x = 1\n[a\n") else { panic!("must fail") };
    assert_eq!(e.line, 2, "{e}");
}

#[test]
fn sizes_and_durations_need_their_unit() {
    assert_eq!(parse_size("512MB"), Ok(512_000_000));
    assert_eq!(parse_size("1GiB"), Ok(1 << 30));
    assert_eq!(parse_size("1.5 gb"), Ok(1_500_000_000));
    for bad in ["", "512", "512M", "MB", "-1MB", "1e9GB", "99999999999TiB", "1.2.3MB", "nanMB"] {
        assert!(parse_size(bad).is_err(), "{bad}");
    }
    assert_eq!(parse_duration("1h 30m"), Ok(Duration::from_secs(5400)));
    for bad in ["", "30", "s", "-3s", "999999y"] {
        assert!(parse_duration(bad).is_err(), "{bad}");
    }
}
