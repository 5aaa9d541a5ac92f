//! Figures and their formats: percentiles, medians, sizes. Imports no other module of the harness.

use hdrhistogram::Histogram;
use serde::Serialize;

/// The longest latency that can be recorded: an hour, in nanoseconds.
const LONGEST: u64 = 3_600_000_000_000;

/// Latencies in microseconds.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
    /// Percentile and latency, closer together towards the end.
    pub(crate) curve: Vec<(f64, f64)>,
}

/// A histogram of nanoseconds. Longer values than an hour are recorded as an hour.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST, 3).expect("the bounds are constants in order")
}

impl Latency {
    /// None without a single value.
    pub(crate) fn of(histogram: &Histogram<u64>) -> Option<Self> {
        if histogram.is_empty() {
            return None;
        }
        let at = |percentile| microseconds(histogram.value_at_percentile(percentile));
        Some(Self {
            p50: at(50.0),
            p90: at(90.0),
            p99: at(99.0),
            p999: at(99.9),
            max: microseconds(histogram.max()),
            curve: curve_percentiles(histogram.len()).map(|p| (p, at(p))).collect(),
        })
    }
}

/// 10, 20 .. 90, 91 .. 99, 99.1 .. and so on, while there are enough values to distinguish them.
fn curve_percentiles(values: u64) -> impl Iterator<Item = f64> {
    let nines = values.checked_ilog10().unwrap_or(0).clamp(1, 6);
    (0..nines.cast_signed()).flat_map(|nine| {
        let (base, step) = (100.0 - 100.0 / 10f64.powi(nine), 10.0 / 10f64.powi(nine));
        (0..9).filter(move |i| nine + i > 0).map(move |i| base + step * f64::from(i))
    })
}

/// A count as a float, for display: exact up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "a count of 2^53 or a time of 100 days is rounded")]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}

fn microseconds(nanoseconds: u64) -> f64 {
    float(nanoseconds) / 1000.0
}

/// The middle value; of two middle ones their mean. `None` without values.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

/// The medians of the lower and of the upper half, the middle value left out. `None`
/// without values.
pub(crate) fn quartiles(values: impl IntoIterator<Item = f64>) -> Option<(f64, f64)> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let half = (values.len() / 2).max(values.len().min(1));
    let (lower, upper) = (&values[..half], &values[values.len() - half..]);
    median(lower.iter().copied()).zip(median(upper.iter().copied()))
}

/// Three significant digits: more would be noise.
pub(crate) fn figure(value: f64) -> String {
    match value.abs() {
        small if small < 10.0 => format!("{value:.3}"),
        medium if medium < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// A size with its unit.
pub(crate) fn size_name(bytes: usize) -> String {
    match bytes {
        b if b >= 1 << 20 && b % (1 << 20) == 0 => format!("{} MiB", b >> 20),
        b if b >= 1 << 10 && b % (1 << 10) == 0 => format!("{} KiB", b >> 10),
        b => format!("{b} B"),
    }
}

/// A number of bytes, with or without a unit of 1024s.
pub(crate) fn size(text: &str) -> Result<usize, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim() {
        "" | "B" => 0,
        "K" | "KiB" => 10,
        "M" | "MiB" => 20,
        _ => return Err("a size is a number of B, KiB or MiB".to_owned()),
    };
    let number: usize = number.parse().map_err(|error| format!("{error}"))?;
    number.checked_mul(1 << shift).ok_or_else(|| "too large".to_owned())
}
