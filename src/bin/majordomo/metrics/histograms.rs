//! Histograms of the loop's iterations: how long they take, and how many messages they receive.
//!
//! A record costs two binary searches in some 20 bounds, on the loop's own thread, without atomics
//! and without allocations.

use std::time::Duration;

/// The upper bounds of an iteration's duration in nanoseconds: 1 us to 1 s, three to each power of
/// ten. Longer ones are counted beyond the last bound.
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

/// The upper bounds of the messages in an iteration: none, and powers of four. The last one is
/// about what an iteration receives that reads as many small messages as it may from several
/// sessions.
const MESSAGES: [u64; 10] = [0, 1, 4, 16, 64, 256, 1024, 4096, 16_384, 65_536];

/// The iterations of the loop since its start.
#[derive(Clone, Debug)]
pub(crate) struct TickHistograms {
    durations: Histogram<{ DURATIONS.len() }>,
    messages: Histogram<{ MESSAGES.len() }>,
}

impl TickHistograms {
    /// Records an iteration: its duration without its sleep, and the messages that it received.
    #[inline]
    pub(crate) fn record(&mut self, duration: Duration, messages: u64) {
        const SECOND: u64 = 1_000_000_000;
        let seconds = duration.as_secs().saturating_mul(SECOND);
        self.durations.record(seconds.saturating_add(u64::from(duration.subsec_nanos())));
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

impl Default for TickHistograms {
    fn default() -> Self {
        Self { durations: Histogram::new(&DURATIONS), messages: Histogram::new(&MESSAGES) }
    }
}

/// Whole numbers, counted by size.
#[derive(Clone, Debug)]
pub(super) struct Histogram<const N: usize> {
    /// The upper bounds, rising.
    bounds: &'static [u64; N],
    /// How many are at most this bound, and more than the one before.
    counts: [u64; N],
    /// How many are more than the last bound.
    beyond: u64,
    sum: u64,
}

impl<const N: usize> Histogram<N> {
    fn new(bounds: &'static [u64; N]) -> Self {
        debug_assert!(bounds.is_sorted(), "the bounds rise");
        Self { bounds, counts: [0; N], beyond: 0, sum: 0 }
    }

    #[inline]
    fn record(&mut self, value: u64) {
        let place = self.bounds.partition_point(|bound| *bound < value);
        *self.counts.get_mut(place).unwrap_or(&mut self.beyond) += 1;
        self.sum = self.sum.saturating_add(value);
    }

    /// Each bound, and how many numbers are at most as large.
    pub(super) fn cumulative(&self) -> impl Iterator<Item = (u64, u64)> {
        let counts = self.counts.iter().scan(0, |below, count| {
            *below += count;
            Some(*below)
        });
        self.bounds.iter().copied().zip(counts)
    }

    /// How many numbers were recorded.
    pub(super) fn count(&self) -> u64 {
        self.counts.iter().sum::<u64>() + self.beyond
    }

    /// The sum of all numbers.
    pub(super) fn sum(&self) -> u64 {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_counts_at_each_bound_that_it_does_not_exceed() {
        for (index, bound) in DURATIONS.into_iter().enumerate() {
            for (value, first) in [(bound - 1, index), (bound, index), (bound + 1, index + 1)] {
                let mut ticks = TickHistograms::default();
                ticks.record(Duration::from_nanos(value), 0);
                let durations = ticks.durations();
                let counts: Vec<_> = durations.cumulative().map(|(_, count)| count).collect();
                let wanted: Vec<_> = (0..counts.len()).map(|i| u64::from(i >= first)).collect();
                assert_eq!(counts, wanted, "{value}");
                assert_eq!((durations.count(), durations.sum()), (1, value));
            }
        }
    }

    #[test]
    fn the_longest_iterations_are_counted_beyond_the_last_bound() {
        let mut ticks = TickHistograms::default();
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
