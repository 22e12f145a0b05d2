use super::*;

fn frame(kind: u8, flags: u8, length: usize) -> Vec<u8> {
    let size = (length as u32).to_be_bytes();
    let mut frame = vec![size[1], size[2], size[3], kind, flags, 0, 0, 0, 1];
    frame.resize(9 + length, 0xff);
    frame
}

/// A counter behind the preface.
fn counter() -> Counter {
    let mut counter = Counter::new();
    assert!(counter.pass(&[b'P'; 24]));
    counter
}

#[test]
fn frames_are_found_whatever_the_pieces_they_come_in() {
    for size in [1, 2, 7, 9, 10, 1000] {
        let mut counter = Counter::new();
        let mut bytes = vec![0; 24];
        for _ in 0..5 {
            bytes.extend(frame(DATA, 0, 100));
            bytes.extend(frame(RST_STREAM, 0, 4));
            bytes.extend(frame(WINDOW_UPDATE, 0, 4));
            bytes.extend(frame(6, 0, 8));
            bytes.extend(frame(DATA, END_STREAM, 0));
            bytes.extend(frame(DATA, 0, 0));
        }
        assert!(bytes.chunks(size).all(|piece| counter.pass(piece)));
        assert_eq!((counter.resets, counter.updates, counter.empty), (5, 5, 10), "in pieces of {size}");
    }
}

#[test]
fn each_kind_of_flood_has_its_limit() {
    for (kind, length, most) in [
        (RST_STREAM, 4, H2_RESETS),
        (6, 8, H2_EMPTY_FRAMES),
        (4, 0, H2_EMPTY_FRAMES),
        (2, 5, H2_EMPTY_FRAMES),
        (DATA, 0, H2_EMPTY_FRAMES),
    ] {
        let mut counter = counter();
        let one = frame(kind, 0, length);
        assert!((0..most).all(|_| counter.pass(&one)), "{kind}");
        assert!(!counter.pass(&one), "{kind}");
    }
    let mut counter = counter();
    assert!((0..100_000).all(|_| counter.pass(&frame(DATA, 0, 1))), "data is work that was asked for");
    counter.sent = 128 * 1000;
    assert!((0..H2_WINDOW_UPDATES + 1000).all(|_| counter.pass(&frame(WINDOW_UPDATE, 0, 4))));
    assert!(!counter.pass(&frame(WINDOW_UPDATE, 0, 4)));
}

#[test]
fn a_new_window_of_time_begins_at_nothing() {
    let mut counter = counter();
    assert!((0..H2_RESETS).all(|_| counter.pass(&frame(RST_STREAM, 0, 4))));
    counter.window_began = Instant::now().checked_sub(H2_WINDOW).expect("a clock that is older");
    assert!((0..H2_RESETS).all(|_| counter.pass(&frame(RST_STREAM, 0, 4))));
    assert!(!counter.pass(&frame(RST_STREAM, 0, 4)));
}
