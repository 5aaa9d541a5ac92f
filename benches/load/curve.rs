//! By when how many of a known number of things had happened. Knows nothing of the harness but
//! its figures.

use std::time::Duration;

use serde::Serialize;

use crate::figures::float;

/// Times of things that happen once each, as shares of all of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Curve {
    /// The time over which they were to be spread, in seconds. Zero: they were not to be.
    pub(crate) window: f64,
    /// Seconds and percent, from nothing at zero to all of them, a point for each percent that was
    /// reached.
    pub(crate) points: Vec<(f64, f64)>,
    /// How many happened in each tenth of the window, or of the time that they took.
    pub(crate) tenths: [u64; 10],
    /// How many came after the window.
    pub(crate) late: u64,
}

impl Curve {
    /// From times in nanoseconds, in any order, of those that happened out of `all`.
    pub(crate) fn new(mut times: Vec<u64>, all: usize, window: Duration) -> Self {
        times.sort_unstable();
        let reached = |percent: usize| {
            let count = (all * percent).div_ceil(100).max(1);
            times.get(count - 1).map(|&time| (float(time) / 1e9, float(percent as u64)))
        };
        let points = std::iter::once((0.0, 0.0)).chain((1..=100).map_while(reached)).collect();
        let last = times.last().map_or(0, |last| last + 1);
        let span = if window.is_zero() { u128::from(last) } else { window.as_nanos() };
        let (mut tenths, mut late) = ([0; 10], 0);
        for time in times {
            let tenth = usize::try_from(u128::from(time) * 10 / span).unwrap_or(usize::MAX);
            *tenths.get_mut(tenth).unwrap_or(&mut late) += 1;
        }
        Self { window: window.as_secs_f64(), points, tenths, late }
    }

    /// After how many seconds so many percent had happened; none if they never did.
    pub(crate) fn when(&self, percent: u32) -> Option<f64> {
        let percent = f64::from(percent);
        let point = self.points.iter().find(|(_, reached)| (reached - percent).abs() < 0.5);
        point.map(|&(seconds, _)| seconds)
    }
}
