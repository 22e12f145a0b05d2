use std::io::Write;

use super::*;
use crate::logs::merge::Merge;
use crate::wire::init::record::{self, Record};

/// Makes a segment with these lines: (time in µs, length).
fn add(segments: &Segments, lines: &[(i64, usize)]) {
    let source = Source::of_kind(AppName::parse("shop").expect("name"), Kind::Router);
    let (_, mut file) = segments.create(&source).expect("create");
    for (n, (at_micros, length)) in lines.iter().enumerate() {
        let mut bytes = Vec::new();
        let text = "x".repeat(*length);
        let (number, at_micros) = (n as u64 + 1, *at_micros);
        record::encode(&mut bytes, &Record { number, at_micros, stream: Stream::Stdout, flags: 0, text: text.as_bytes() });
        file.write_all(&bytes).expect("write");
    }
}

#[test]
fn the_newest_lines_within_a_budget_have_no_gap_in_whatever_order_segments_are_read() {
    let with = |contents: &[&[(i64, usize)]], num, bytes| {
        let dir = tempfile::tempdir().expect("temp dir");
        let segments = Segments::load(dir.path().to_owned()).expect("load");
        contents.iter().for_each(|lines| add(&segments, lines));
        let app = AppName::parse("shop").expect("name");
        let query = Query { num: Some(num), ..Query::of(app) };
        let page = last_within(&segments, &query, num, bytes).expect("read");
        assert_eq!(page.cursor.open.len(), contents.len());
        page.lines.iter().map(|l| l.at_micros).collect::<Vec<_>>()
    };
    let small = [(1, 10), (5, 10)].as_slice();
    let large = [(2, 90), (3, 80), (6, 10)].as_slice();
    for contents in [[small, large], [large, small]] {
        // The line of 80 has no room, so the older one of 10 does not come in for it.
        assert_eq!(with(&contents, 9, 60), [5, 6]);
        assert_eq!(with(&contents, 9, 100), [3, 5, 6]);
        assert_eq!(with(&contents, 9, 200), [1, 2, 3, 5, 6]);
        assert_eq!(with(&contents, 3, 200), [3, 5, 6]);
        assert_eq!(with(&contents, 0, 200), [0; 0]);
    }
}

#[test]
fn nothing_is_read_on_for_somebody_who_has_left() {
    let dir = tempfile::tempdir().expect("temp dir");
    let segments = Arc::new(Segments::load(dir.path().to_owned()).expect("load"));
    add(&segments, &[(1, 10), (5, 10)]);
    let query = Query { grep: Some("not there".to_owned()), ..Query::of(AppName::parse("shop").expect("name")) };
    let stay = query.asker.stays();
    let pages = || {
        let merged = Merge::new(Arc::clone(&segments), query.clone(), &Cursor::default()).and_then(|mut merge| merge.page());
        [last(&segments, &query, 10), merged]
    };
    assert!(pages().iter().all(Result::is_ok));
    drop(stay);
    assert!(pages().iter().all(|page| matches!(page, Err(LogError::NobodyWaits))), "{:?}", pages());
}
