//! How many of a known number of events had happened by which time. Imports only `figures`.

use std::time::Duration;

use serde::Serialize;

use crate::figures::float;

/// The times of events, as shares of all events.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Curve {
    /// The time over which they should be spread, in seconds. Zero: not at all.
    pub(crate) window: f64,
    /// Seconds and percent: a point at zero, and one for each percent that was reached.
    pub(crate) points: Vec<(f64, f64)>,
    /// How many happened in each tenth of the window, or of the time that they took if it is zero.
    pub(crate) tenths: [u64; 10],
    /// How many happened after the window.
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

    /// After how many seconds this percentage had happened; `None` if it never did.
    pub(crate) fn when(&self, percent: u32) -> Option<f64> {
        let percent = f64::from(percent);
        let point = self.points.iter().find(|(_, reached)| (reached - percent).abs() < 0.5);
        point.map(|&(seconds, _)| seconds)
    }
}
