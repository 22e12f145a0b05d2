use super::*;

#[test]
fn boundaries_are_found_however_the_stream_is_cut() {
    let mut stream = vec![0x81, 0x03, b'a', b'b', b'c'];
    stream.extend([0x82, 0x7e, 0x01, 0x00]);
    stream.extend([7; 256]);
    stream.extend([0x02, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4]);
    stream.extend([9; 65536]);
    stream.extend([0x89, 0x80, 1, 2, 3, 4]);
    let boundaries = [5, 5 + 260, 5 + 260 + 14 + 65536, stream.len()];
    for step in [1, 2, 3, 7, 100, 70_000] {
        let mut frames = Frames::default();
        let mut at = 0;
        for piece in stream.chunks(step) {
            let next = boundaries.iter().find(|b| **b > at).expect("a boundary ahead");
            if !frames.at_boundary() {
                assert_eq!(frames.to_boundary(piece), piece.len().min(next - at), "at {at} in pieces of {step}");
            }
            frames.pass(piece);
            at += piece.len();
            assert_eq!(frames.at_boundary(), boundaries.contains(&at), "at {at} in pieces of {step}");
        }
        assert!(!frames.closed());
        frames.pass(&[0x88, 0x00]);
        assert!(frames.closed() && frames.at_boundary());
    }
}
