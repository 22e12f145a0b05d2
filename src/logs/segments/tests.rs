use super::*;
use crate::names::AppName;

fn source(kind: Kind) -> Source {
    Source::of_kind(AppName::parse("shop").expect("name"), kind)
}

fn add(file: &mut File, number: u64, text: &str) {
    let mut bytes = Vec::new();
    let record = Record { number, at_micros: now_micros(), stream: Stream::Stdout, flags: 0, text: text.as_bytes() };
    record::encode(&mut bytes, &record);
    file.write_all(&bytes).expect("write");
}

fn states(segments: &Segments) -> Vec<(u64, State)> {
    segments.entries().iter().map(|e| (e.number, e.state)).collect()
}

#[test]
fn a_finished_segment_is_compressed_and_an_empty_one_goes_unless_it_is_the_newest() {
    let dir = tempfile::tempdir().expect("temp dir");
    let segments = Segments::load(dir.path().join("shop")).expect("load");
    let (_, mut file) = segments.create(&source(Kind::Build)).expect("create");
    segments.create(&source(Kind::Deploy)).expect("create");
    add(&mut file, 1, "hello");
    segments.finish(1);
    segments.finish(2);
    assert_eq!(segments.pack().expect("pack"), 1);
    assert_eq!(states(&segments), [(1, State::Packed), (2, State::Finished)]);
    let again = Segments::load(dir.path().join("shop")).expect("load");
    assert_eq!(again.create(&source(Kind::Router)).expect("create").0, 3, "numbers are given once");
    again.finish(2);
    assert_eq!(again.pack().expect("pack"), 1);
    assert_eq!(states(&again), [(1, State::Packed), (3, State::Active)]);
    assert_eq!(again.entries()[0].header(again.folder()).map(|h| h.source.kind), Some(Kind::Build));
}

#[test]
fn what_a_crash_left_is_healed_at_the_next_start() {
    let dir = tempfile::tempdir().expect("temp dir");
    let segments = Segments::load(dir.path().to_owned()).expect("load");
    for _ in 0..3 {
        segments.create(&source(Kind::Router)).expect("create");
    }
    drop(segments);
    // Compressed, but not yet removed; half compressed; made, but its header never written.
    fs::write(packed_path(dir.path(), 1), b"").expect("write");
    fs::write(dir.path().join(format!("0000000002.{}", pack::UNFINISHED)), b"half").expect("write");
    fs::write(raw_path(dir.path(), 9), b"").expect("write");
    fs::write(dir.path().join("notes.txt"), b"of the operator").expect("write");
    let segments = Segments::load(dir.path().to_owned()).expect("load");
    assert_eq!(states(&segments), [(1, State::Packed), (2, State::Finished), (3, State::Active), (9, State::Finished)]);
    assert!(!raw_path(dir.path(), 1).exists());
    assert!(dir.path().join("notes.txt").exists());
    assert_eq!(segments.create(&source(Kind::Router)).expect("create").0, 10, "numbers are given once");
}

#[test]
fn the_oldest_finished_segments_go_first_and_active_ones_stay() {
    let dir = tempfile::tempdir().expect("temp dir");
    let segments = Segments::load(dir.path().to_owned()).expect("load");
    for number in 1..=4 {
        let (_, mut file) = segments.create(&source(Kind::Router)).expect("create");
        add(&mut file, 1, &"x".repeat(1000));
        if number > 1 {
            segments.finish(number);
        }
    }
    segments.shrink(2 * 1200, 9).expect("shrink");
    assert_eq!(states(&segments), [(1, State::Active), (4, State::Finished)]);
    for number in 5..=7 {
        let (_, mut file) = segments.create(&source(Kind::Router)).expect("create");
        add(&mut file, 1, "x");
        segments.finish(number);
    }
    segments.shrink(u64::MAX, 3).expect("shrink");
    let left: Vec<u64> = states(&segments).iter().map(|(number, _)| *number).collect();
    assert_eq!(left, [1, 6, 7], "however little the older ones hold");
    segments.shrink(0, 9).expect("shrink");
    assert_eq!(
        states(&segments),
        [(1, State::Active), (7, State::Finished)],
        "the newest keeps its number from being given again"
    );
}

#[test]
fn a_segment_that_cannot_be_compressed_holds_up_no_other() {
    let dir = tempfile::tempdir().expect("temp dir");
    let segments = Segments::load(dir.path().to_owned()).expect("load");
    for number in 1..=4 {
        let (_, mut file) = segments.create(&source(Kind::Router)).expect("create");
        add(&mut file, 1, "hello");
        segments.finish(number);
    }
    fs::remove_file(raw_path(dir.path(), 1)).expect("remove by hand");
    fs::create_dir(packed_path(dir.path(), 2)).expect("something that no file can replace");
    let failed = segments.pack().expect_err("the second").to_string();
    assert!(failed.contains("0000000002.log"), "{failed}");
    assert_eq!(states(&segments), [(2, State::Finished), (3, State::Packed), (4, State::Packed)]);
    assert!(!dir.path().join(format!("0000000002.{}", pack::UNFINISHED)).exists());
    fs::remove_dir(packed_path(dir.path(), 2)).expect("remove");
    assert_eq!(segments.pack().expect("pack"), 1);
}

#[test]
fn a_header_that_could_not_be_read_is_tried_again() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mine = Source { instance: Some(InstanceId(1)), ..source(Kind::App) };
    drop(Segments::load(dir.path().to_owned()).expect("load").create(&mine).expect("create"));
    let (path, aside) = (raw_path(dir.path(), 1), dir.path().join("aside"));
    fs::rename(&path, &aside).expect("aside");
    fs::create_dir(&path).expect("what opens, but cannot be read");
    let segments = Segments::load(dir.path().to_owned()).expect("load");
    assert_eq!(segments.active_of(InstanceId(1)), [0; 0]);
    fs::remove_dir(&path).expect("remove");
    fs::rename(&aside, &path).expect("back");
    assert_eq!(segments.active_of(InstanceId(1)), [1], "its init may write to it still");
}

#[test]
fn segments_become_known_in_the_order_of_their_numbers() {
    let (threads, each) = (8, 200);
    let dir = tempfile::tempdir().expect("temp dir");
    let segments = Segments::load(dir.path().to_owned()).expect("load");
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| (0..each).for_each(|_| drop(segments.create(&source(Kind::Router)).expect("create"))));
        }
        // As a follower does: it never looks again at numbers up to the last that it saw.
        let mut upto = 0;
        while upto < threads * each {
            for entry in segments.entries_after(upto) {
                assert_eq!(entry.number, upto + 1, "a reader skips what comes later with a lower number");
                upto = entry.number;
            }
        }
    });
}
