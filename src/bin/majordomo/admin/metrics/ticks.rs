//! How long the turns of the loop take, and how many messages they carry.
//!
//! There are hundreds of thousands of turns a second, so a record is two look-ups and four
//! additions, on the loop's own thread: no atomics, no memory from the heap, no search.

use std::time::Duration;

/// The upper bounds of a tick's duration, in nanoseconds: 1 us to 1 s, three to each power of ten,
/// and whatever is longer.
const DURATIONS: [u64; 20] = [
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
    u64::MAX,
];

/// The upper bounds of the messages in a tick: none, powers of four, and whatever is more. That is
/// what a turn comes to that reads as much as it may of small messages from several sessions.
const MESSAGES: [u64; 11] = [0, 1, 4, 16, 64, 256, 1024, 4096, 16_384, 65_536, u64::MAX];

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

impl Default for Ticks {
    fn default() -> Self {
        static OF_DURATIONS: Bounds<{ DURATIONS.len() }> = Bounds::new(DURATIONS);
        static OF_MESSAGES: Bounds<{ MESSAGES.len() }> = Bounds::new(MESSAGES);
        Self { durations: Histogram::new(&OF_DURATIONS), messages: Histogram::new(&OF_MESSAGES) }
    }
}

/// How many different lengths a number has in binary: 0 to 64.
const LENGTHS: usize = u64::BITS as usize + 1;

/// Upper bounds that rise, the last being the largest number there is, and an index into them.
#[derive(Debug)]
struct Bounds<const N: usize> {
    bounds: [u64; N],
    /// For each length in binary, where to find the first bound that has at least this length.
    first: [u8; LENGTHS],
}

impl<const N: usize> Bounds<N> {
    /// # Panics
    ///
    /// When the bounds are not such, or when two of them have the same length in binary: then one
    /// comparison would not tell between which a number lies.
    const fn new(bounds: [u64; N]) -> Self {
        assert!(bounds[N - 1] == u64::MAX && N <= 64, "all numbers have their place");
        let mut first = [0; LENGTHS];
        let (mut length, mut next) = (0, 0);
        while length < LENGTHS {
            first[length] = next;
            if length_of(bounds[next as usize]) == length {
                next += 1;
                assert!(next as usize == N || length < length_of(bounds[next as usize]));
            }
            length += 1;
        }
        Self { bounds, first }
    }

    /// The place of the first bound that `value` does not exceed.
    #[inline]
    fn place_of(&self, value: u64) -> usize {
        let first = usize::from(self.first[length_of(value)]);
        first + usize::from(value > self.bounds[first])
    }
}

/// How many digits a number has in binary.
const fn length_of(value: u64) -> usize {
    (u64::BITS - value.leading_zeros()) as usize
}

/// Whole numbers, counted by size.
#[derive(Clone, Debug)]
pub(super) struct Histogram<const N: usize> {
    bounds: &'static Bounds<N>,
    /// How many exceed the bound before, and not this one.
    counts: [u64; N],
    sum: u64,
}

impl<const N: usize> Histogram<N> {
    fn new(bounds: &'static Bounds<N>) -> Self {
        Self { bounds, counts: [0; N], sum: 0 }
    }

    #[inline]
    fn record(&mut self, value: u64) {
        self.counts[self.bounds.place_of(value)] += 1;
        self.sum = self.sum.saturating_add(value);
    }

    /// Each bound but the last, which is none, and how many do not exceed it.
    pub(super) fn cumulative(&self) -> impl Iterator<Item = (u64, u64)> {
        let counts = self.counts.iter().scan(0, |below, count| {
            *below += count;
            Some(*below)
        });
        self.bounds.bounds.iter().copied().zip(counts).take(N - 1)
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.counts.iter().sum()
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
    fn a_value_counts_at_each_bound_that_it_does_not_exceed() {
        for (index, bound) in DURATIONS[..DURATIONS.len() - 1].iter().copied().enumerate() {
            for (value, first) in [(bound - 1, index), (bound, index), (bound + 1, index + 1)] {
                let mut ticks = Ticks::default();
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
    fn the_index_tells_what_a_search_would_tell() {
        let powers = (0..u64::BITS).map(|shift| 1 << shift);
        let near = powers.flat_map(|power: u64| [power - 1, power, power.saturating_add(1)]);
        for value in near.chain(0..100_000).chain([u64::MAX]) {
            let Ticks { durations, messages } = Ticks::default();
            let searched = DURATIONS.partition_point(|bound| *bound < value);
            assert_eq!(durations.bounds.place_of(value), searched, "{value}");
            let searched = MESSAGES.partition_point(|bound| *bound < value);
            assert_eq!(messages.bounds.place_of(value), searched, "{value}");
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
