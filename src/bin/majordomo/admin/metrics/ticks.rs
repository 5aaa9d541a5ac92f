//! How long the turns of the loop take, and how many messages they carry.
//!
//! There are hundreds of thousands of turns a second, so a record is a short search and three
//! additions, on the loop's own thread: no atomics, no memory from the heap.

use std::time::Duration;

/// The upper bounds of a tick's duration, in nanoseconds: 1 us to 1 s, three to each power of ten.
const DURATIONS: [u64; 19] = [
    1_000,
    2_000,
    5_000,
    10_000,
    20_000,
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
    200_000_000,
    500_000_000,
    1_000_000_000,
];

/// The upper bounds of the messages in a tick: none, and powers of four. A turn that reads as much
/// as it may of small messages from several sessions exceeds the last.
const MESSAGES: [u64; 10] = [0, 1, 4, 16, 64, 256, 1024, 4096, 16_384, 65_536];

/// The turns of the loop since its start.
#[derive(Clone, Debug)]
pub(crate) struct Ticks {
    durations: Histogram<{ DURATIONS.len() }>,
    messages: Histogram<{ MESSAGES.len() }>,
}

impl Ticks {
    /// Counts a turn: how long it worked, its sleep left out, and how many messages it received.
    #[inline]
    pub(crate) fn record(&mut self, duration: Duration, messages: u64) {
        self.durations.record(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
        self.messages.record(messages);
    }

    /// The durations, in nanoseconds.
    pub(super) fn durations(&self) -> &Histogram<{ DURATIONS.len() }> {
        &self.durations
    }

    /// The messages.
    pub(super) fn messages(&self) -> &Histogram<{ MESSAGES.len() }> {
        &self.messages
    }
}

impl Default for Ticks {
    fn default() -> Self {
        Self { durations: Histogram::new(&DURATIONS), messages: Histogram::new(&MESSAGES) }
    }
}

/// Whole numbers, counted by size.
#[derive(Clone, Debug)]
pub(super) struct Histogram<const N: usize> {
    bounds: &'static [u64; N],
    /// How many exceed the bound before, and not this one.
    counts: [u64; N],
    /// How many there are, also beyond the last bound.
    count: u64,
    sum: u64,
}

impl<const N: usize> Histogram<N> {
    /// An empty one. The bounds rise.
    fn new(bounds: &'static [u64; N]) -> Self {
        Self { bounds, counts: [0; N], count: 0, sum: 0 }
    }

    #[inline]
    fn record(&mut self, value: u64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
        }
        self.count += 1;
        self.sum = self.sum.saturating_add(value);
    }

    /// Each bound, and how many do not exceed it.
    pub(super) fn cumulative(&self) -> impl Iterator<Item = (u64, u64)> {
        let counts = self.counts.iter().scan(0, |below, count| {
            *below += count;
            Some(*below)
        });
        self.bounds.iter().copied().zip(counts)
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// All of them together.
    pub(super) fn sum(&self) -> u64 {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_rise() {
        assert!(DURATIONS.is_sorted_by(|a, b| a < b));
        assert!(MESSAGES.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn a_value_counts_at_each_bound_that_it_does_not_exceed() {
        for (index, bound) in DURATIONS.into_iter().enumerate() {
            for (value, first) in [(bound - 1, index), (bound, index), (bound + 1, index + 1)] {
                let mut ticks = Ticks::default();
                ticks.record(Duration::from_nanos(value), 0);
                let durations = ticks.durations();
                let counts: Vec<_> = durations.cumulative().map(|(_, count)| count).collect();
                let wanted: Vec<_> = (0..DURATIONS.len()).map(|i| u64::from(i >= first)).collect();
                assert_eq!(counts, wanted, "{value}");
                assert_eq!((durations.count(), durations.sum()), (1, value));
            }
        }
    }

    #[test]
    fn the_longest_turns_are_counted_as_well() {
        let mut ticks = Ticks::default();
        for _ in 0..3 {
            ticks.record(Duration::MAX, u64::MAX);
        }
        for (count, sum, below) in [
            (ticks.durations.count(), ticks.durations.sum(), ticks.durations.cumulative().last()),
            (ticks.messages.count(), ticks.messages.sum(), ticks.messages.cumulative().last()),
        ] {
            assert_eq!((count, sum), (3, u64::MAX));
            assert_eq!(below.map(|(_, count)| count), Some(0));
        }
    }
}
