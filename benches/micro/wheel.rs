//! The timer wheel.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::Criterion;
use majordomo::timer_wheel::{TimerId, TimerWheel};

use crate::cpu_time::{CpuTime, per_thing, time};
use crate::{NUMBERS, scattered};

/// Each deadline occurs once in this time.
const INTERVAL: Duration = Duration::from_secs(60);

pub(crate) fn all(criterion: &mut Criterion<CpuTime>) {
    for count in NUMBERS {
        let mut group = criterion.benchmark_group(format!("wheel/{count}"));
        per_thing(
            &mut group,
            "insert",
            count,
            || (),
            |()| {
                let mut filled = None;
                let taken = time(|| filled = Some(Filled::new(count)));
                drop(filled);
                taken
            },
        );
        per_thing(&mut group, "fire and set again", count, || Filled::new(count), Filled::fire);
        group.warm_up_time(Duration::from_millis(100));
        group.measurement_time(Duration::from_millis(400));
        group.bench_function("idle tick", |bencher| {
            let mut filled = Filled::new(count);
            bencher.iter(|| filled.wait());
        });
    }
}

struct Filled {
    wheel: TimerWheel<u32>,
    timers: Vec<TimerId>,
    now: Instant,
}

impl Filled {
    /// Deadlines spread evenly over an interval that has just begun, in no order.
    fn new(count: u32) -> Self {
        let now = Instant::now();
        let mut wheel = TimerWheel::new(now);
        let step = INTERVAL / count;
        let timer = |key| wheel.insert(key, now + INTERVAL + step * (scattered(key, count) + 1));
        let timers = (0..count).map(timer).collect();
        Self { wheel, timers, now: now + INTERVAL }
    }

    /// Each deadline passes once, and is set again for the same time in the next interval.
    fn fire(&mut self) -> Duration {
        let end = self.now + INTERVAL;
        let mut fired = 0;
        let taken = time(|| {
            while let Some(due) = self.wheel.next_deadline().filter(|due| *due <= end) {
                self.now = due;
                while let Some(key) = self.wheel.pop_expired(due) {
                    self.wheel.reschedule(self.timers[key as usize], due + INTERVAL);
                    fired += 1;
                }
            }
        });
        assert_eq!(fired, self.timers.len(), "each fires once");
        self.now = end;
        taken
    }

    /// What a tick calls while nothing is due.
    fn wait(&mut self) {
        assert_eq!(self.wheel.pop_expired(black_box(self.now)), None);
        black_box(self.wheel.next_deadline());
    }
}
