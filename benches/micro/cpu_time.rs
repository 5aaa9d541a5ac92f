//! The processor time of this thread: the time of other programs does not count, though their
//! effect on the caches does.

use std::time::Duration;

use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{BenchmarkGroup, SamplingMode};
use rustix::time::{ClockId, clock_gettime};

/// The measurement of all benchmarks here.
#[derive(Debug)]
pub(crate) struct CpuTime;

impl Measurement for CpuTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        now()
    }

    fn end(&self, start: Duration) -> Duration {
        now().saturating_sub(start)
    }

    fn add(&self, one: &Duration, other: &Duration) -> Duration {
        *one + *other
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        WallTime.to_f64(value)
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

/// A group of benchmarks.
pub(crate) type Group<'a> = BenchmarkGroup<'a, CpuTime>;

fn now() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.try_into().expect("a thread's time is not negative")
}

/// How long `work` takes.
pub(crate) fn time(work: impl FnOnce()) -> Duration {
    let start = now();
    work();
    CpuTime.end(start)
}

/// Measures a round of `count` items, and reports the time of one item. The round returns its own
/// time, so that it can restore its state without being measured.
pub(crate) fn per_thing<S>(
    group: &mut Group<'_>,
    name: &str,
    count: u32,
    set_up: impl FnOnce() -> S,
    mut round: impl FnMut(&mut S) -> Duration,
) {
    /// About the time of one item. It need not be exact, because the length of a round is fixed.
    const ONE: Duration = Duration::from_nanos(100);
    /// The fewest samples that the statistics allow.
    const SAMPLES: u32 = 10;
    group.sampling_mode(SamplingMode::Flat).sample_size(SAMPLES as usize);
    // One round warms up, and each sample is of one round, or of as many as a millisecond holds.
    group.warm_up_time(Duration::from_nanos(1));
    group.measurement_time((ONE * count).max(Duration::from_millis(1)) * SAMPLES);
    let mut set_up = Some(set_up);
    // Set up when the benchmark runs: it may not be selected.
    let mut state = None;
    group.bench_function(name, |bencher| {
        let state = state.get_or_insert_with(|| set_up.take().map(|set_up| set_up()));
        let state = state.as_mut().expect("it is set up once");
        bencher.iter_custom(|things| {
            let rounds = (things / u64::from(count)).max(1);
            let total: Duration = (0..rounds).map(|_| round(state)).sum();
            let share =
                total.as_nanos() * u128::from(things) / u128::from(rounds * u64::from(count));
            Duration::from_nanos(share.try_into().expect("it is less than centuries"))
        });
    });
}
