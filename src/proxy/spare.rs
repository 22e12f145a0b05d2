//! Empty buffers of a worker, for reading: who waits holds none, and the next one gets the one that was used last, warm in the cache.

use std::cell::RefCell;

use bytes::BytesMut;

use super::limits::{READ_BYTES, SPARE_BUFFERS};

thread_local! {
    static SPARE: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// Makes room for `room` bytes more.
pub fn make_room(buf: &mut BytesMut, room: usize) {
    if buf.capacity() == 0 && room == READ_BYTES {
        *buf = SPARE.with_borrow_mut(Vec::pop).unwrap_or_default();
    }
    buf.reserve(room);
}

/// Takes the memory of a buffer back, if there is nothing in it.
pub fn give(buf: &mut BytesMut) {
    if !buf.is_empty() {
        return;
    }
    let mut empty = std::mem::take(buf);
    // Not one of which somebody still holds a piece, and none that grew with a long body.
    let fits = empty.try_reclaim(READ_BYTES) && empty.capacity() < 2 * READ_BYTES;
    if fits {
        SPARE.with_borrow_mut(|spare| {
            if spare.len() < SPARE_BUFFERS {
                spare.push(empty);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_unless_something_of_it_is_in_use() {
        let mut buf = BytesMut::new();
        make_room(&mut buf, READ_BYTES);
        buf.extend_from_slice(b"abc");
        let piece = buf.split_to(3).freeze();
        give(&mut buf);
        assert_eq!((buf.capacity(), SPARE.with_borrow(Vec::len)), (0, 0), "a piece is in use");
        drop(piece);
        make_room(&mut buf, READ_BYTES);
        buf.extend_from_slice(b"abc");
        let second = buf.as_ptr();
        give(&mut buf);
        assert_eq!(buf.len(), 3, "there is something in it");
        buf.clear();
        give(&mut buf);
        let mut other = BytesMut::new();
        make_room(&mut other, READ_BYTES);
        assert_eq!(other.as_ptr(), second);
        assert!(other.is_empty());
    }

    #[test]
    fn few_are_kept() {
        let mut all: Vec<BytesMut> = (0..SPARE_BUFFERS + 5).map(|_| BytesMut::with_capacity(READ_BYTES)).collect();
        all.iter_mut().for_each(give);
        assert_eq!(SPARE.with_borrow(Vec::len), SPARE_BUFFERS);
        let mut large = BytesMut::with_capacity(4 * READ_BYTES);
        SPARE.with_borrow_mut(Vec::clear);
        give(&mut large);
        assert_eq!(SPARE.with_borrow(Vec::len), 0);
    }
}
