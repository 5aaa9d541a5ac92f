//! Bounds how often the same kind of record is logged, where clients cause it.

use std::time::{Duration, Instant};

/// The least time between two records, unless another one is given.
const PERIOD: Duration = Duration::from_secs(10);

/// Lets one record pass in each period, and counts the others.
#[derive(Debug)]
pub(crate) struct Throttle {
    /// The least time between two records.
    period: Duration,
    last: Option<Instant>,
    left_out: u64,
}

impl Default for Throttle {
    fn default() -> Self {
        Self::new(PERIOD)
    }
}

impl Throttle {
    pub(crate) fn new(period: Duration) -> Self {
        Self { period, last: None, left_out: 0 }
    }

    /// Whether a record may be logged now: how many were left out since the last one. `None` leaves
    /// it out.
    pub(crate) fn pass(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now.saturating_duration_since(last) < self.period) {
            self.left_out += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_record_passes_in_each_period_and_tells_how_many_did_not() {
        assert_one_in_each_period(Throttle::default(), PERIOD);
        let period = Duration::from_secs(60);
        assert_one_in_each_period(Throttle::new(period), period);
    }

    fn assert_one_in_each_period(mut throttle: Throttle, period: Duration) {
        let start = Instant::now();
        assert_eq!(throttle.pass(start), Some(0));
        for _ in 0..3 {
            assert_eq!(throttle.pass(start + period / 2), None);
        }
        assert_eq!(throttle.pass(start + period), Some(3));
        assert_eq!(throttle.pass(start + period), None);
        assert_eq!(throttle.pass(start + 3 * period), Some(1));
        assert_eq!(throttle.pass(start + 4 * period), Some(0));
    }
}
