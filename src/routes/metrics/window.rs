//! What was counted in the last hour, in slices of time.

use std::collections::VecDeque;

use crate::wire::metrics::Sums;

/// Seconds of a slice; of one that is older than `FINE` seconds; and of all slices.
pub const SLICE: u64 = 10;
const COARSE: u64 = 60;
const FINE: u64 = 600;
pub const SPAN: u64 = 3600;

/// Times are seconds of a clock that does not jump. A slice in which nothing was counted takes no place, so the whole is bounded by an hour of
/// the busiest.
#[derive(Debug, Default, PartialEq)]
pub struct Window {
    /// By their beginnings.
    slices: VecDeque<(u64, Sums)>,
}

impl Window {
    pub fn add(&mut self, now: u64, sums: &Sums) {
        let begin = now / SLICE * SLICE;
        match self.slices.back_mut() {
            Some((last, there)) if *last >= begin => there.add(sums),
            _ => {
                self.slices.push_back((begin, sums.clone()));
                self.tidy(now);
            }
        }
    }

    /// Drops what is older than an hour, and makes one slice of those of a minute that is a while ago.
    pub fn tidy(&mut self, now: u64) {
        while self.slices.front().is_some_and(|(begin, _)| begin + SPAN <= now) {
            self.slices.pop_front();
        }
        let mut kept: VecDeque<(u64, Sums)> = VecDeque::with_capacity(self.slices.len());
        for (begin, sums) in self.slices.drain(..) {
            match kept.back_mut() {
                Some((last, there)) if begin + FINE <= now && *last / COARSE == begin / COARSE => there.add(&sums),
                _ => kept.push_back((begin, sums)),
            }
        }
        self.slices = kept;
    }

    /// What was counted from `from` on, which is the beginning of a slice (of a minute, if it is long ago).
    pub fn since(&self, from: u64) -> Sums {
        let mut all = Sums::default();
        self.slices.iter().filter(|(begin, _)| *begin >= from).for_each(|(_, sums)| all.add(sums));
        all
    }

    /// Requests in each `step` seconds, from `from` on.
    pub fn requests(&self, from: u64, step: u64, into: &mut [u64]) {
        for (begin, sums) in self.slices.iter().filter(|(begin, _)| *begin >= from) {
            let at = usize::try_from((begin - from) / step).unwrap_or(usize::MAX);
            if let Some(place) = into.get_mut(at) {
                *place += sums.requests();
            }
        }
    }

    /// Takes over what another has counted.
    pub fn merge(&mut self, other: Window) {
        for (begin, sums) in other.slices {
            let at = self.slices.partition_point(|(there, _)| *there < begin);
            match self.slices.get_mut(at) {
                Some((there, mine)) if *there == begin => mine.add(&sums),
                _ => self.slices.insert(at, (begin, sums)),
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.slices.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests(n: u64) -> Sums {
        Sums { by_class: [0, 0, n, 0, 0, 0], ..Sums::default() }
    }

    #[test]
    fn an_hour_is_kept_in_a_bounded_number_of_slices_and_nothing_of_it_is_lost() {
        let mut window = Window::default();
        for now in 0..10_000 {
            window.add(now, &requests(1));
        }
        assert_eq!(window.since(9_990).requests(), 10);
        assert_eq!(window.since(9_700).requests(), 300);
        assert_eq!(window.since(6_420).requests(), 3_580);
        assert!(window.slices.len() <= 60 + 52, "{}", window.slices.len());
        window.tidy(9_990 + SPAN);
        assert!(window.is_empty(), "an hour later");
    }

    #[test]
    fn requests_are_told_by_steps() {
        let mut window = Window::default();
        for (now, n) in [(100, 1), (109, 2), (115, 4), (131, 8)] {
            window.add(now, &requests(n));
        }
        let mut steps = [0; 4];
        window.requests(100, 10, &mut steps);
        assert_eq!(steps, [3, 4, 0, 8]);
        let mut steps = [0; 2];
        window.requests(110, 20, &mut steps);
        assert_eq!(steps, [4, 8]);
    }

    #[test]
    fn two_windows_become_one() {
        let (mut a, mut b, mut both) = (Window::default(), Window::default(), Window::default());
        for (now, n, to_a) in [(0, 1, true), (10, 2, false), (12, 4, true), (55, 8, false)] {
            both.add(now, &requests(n));
            if to_a { &mut a } else { &mut b }.add(now, &requests(n));
        }
        a.merge(b);
        assert_eq!(a, both);
    }
}
