use super::*;

type Given = Vec<(String, u8)>;

fn collect(into: &mut Given) -> impl FnMut(&[u8], u8) + '_ {
    |text, flags| into.push((String::from_utf8_lossy(text).into_owned(), flags))
}

#[test]
fn lines_are_cut_at_their_ends_however_the_bytes_arrive() {
    let (mut lines, now, mut given) = (Lines::default(), Instant::now(), Given::new());
    for bytes in ["on", "e\n\ntw", "o\r\n", "three\nfour"] {
        lines.feed(bytes.as_bytes(), now, &mut collect(&mut given));
    }
    lines.finish(&mut collect(&mut given));
    let texts: Vec<&str> = given.iter().map(|(t, _)| t.as_str()).collect();
    assert_eq!(texts, ["one", "", "two", "three", "four"]);
    assert!(given.iter().all(|(_, flags)| *flags == 0));
}

#[test]
fn a_long_line_comes_in_parts_that_join_to_the_whole() {
    let (mut lines, now, mut given) = (Lines::default(), Instant::now(), Given::new());
    let long = "x".repeat(TEXT_LIMIT * 2 + 5);
    lines.feed(format!("{long}\nnext\n").as_bytes(), now, &mut collect(&mut given));
    let flags: Vec<u8> = given.iter().map(|(_, f)| *f).collect();
    assert_eq!(flags, [PARTIAL, PARTIAL | CONTINUED, CONTINUED, 0]);
    assert_eq!(given[..3].iter().map(|(t, _)| t.as_str()).collect::<String>(), long);
}

#[test]
fn a_line_of_exactly_the_limit_is_one_record() {
    let (mut lines, now, mut given) = (Lines::default(), Instant::now(), Given::new());
    lines.feed(format!("{}\n", "x".repeat(TEXT_LIMIT)).as_bytes(), now, &mut collect(&mut given));
    assert_eq!(given.len(), 1);
    assert_eq!(given[0].1, 0);
}

#[test]
fn the_beginning_of_a_line_is_shown_after_a_second_and_its_end_is_no_empty_line() {
    let (mut lines, now, mut given) = (Lines::default(), Instant::now(), Given::new());
    lines.feed(b"name: ", now, &mut collect(&mut given));
    lines.tick(now + HOLD / 2, &mut collect(&mut given));
    assert!(given.is_empty());
    assert_eq!(lines.deadline(), Some(now + HOLD));
    lines.tick(now + HOLD, &mut collect(&mut given));
    assert_eq!(given, [("name: ".to_owned(), PARTIAL)]);
    lines.feed(b"\nnext\n", now, &mut collect(&mut given));
    assert_eq!(given[1..], [("next".to_owned(), 0)]);
    assert_eq!(lines.deadline(), None);
}
