//! Measurements as a table of text.

use comfy_table::{Cell, CellAlignment, Table, presets};

use crate::figures::{Latency, figure};
use crate::measure::Measurement;

const COLUMNS: [&str; 13] = [
    "server",
    "work",
    "count",
    "per second",
    "p50 us",
    "p90 us",
    "p99 us",
    "p99.9 us",
    "max us",
    "CPU us each",
    "CPU %",
    "wake-ups",
    "B/session",
];

/// Columns that nothing was measured for are left out.
pub(crate) fn measurements(measurements: &[Measurement]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    let rows: Vec<_> = measurements.iter().map(row).collect();
    let spoken = |column: usize| rows.iter().any(|row| !row[column].is_empty());
    let shown: Vec<usize> = (0..COLUMNS.len()).filter(|&column| spoken(column)).collect();
    table.set_header(shown.iter().map(|&column| cell(column, COLUMNS[column])));
    for row in &rows {
        table.add_row(shown.iter().map(|&column| cell(column, &row[column])));
    }
    table
}

fn cell(column: usize, text: &str) -> Cell {
    let side = if column < 2 { CellAlignment::Left } else { CellAlignment::Right };
    Cell::new(text).set_alignment(side)
}

fn row(measurement: &Measurement) -> [String; COLUMNS.len()] {
    let latency = |value: fn(&Latency) -> f64| {
        measurement.latency.as_ref().map_or_else(String::new, |latency| figure(value(latency)))
    };
    let or_empty = |value: Option<f64>| value.map_or_else(String::new, figure);
    let counted = measurement.count > 0;
    [
        measurement.server.clone(),
        measurement.work.clone(),
        if counted { measurement.count.to_string() } else { String::new() },
        if counted { figure(measurement.per_second()) } else { String::new() },
        latency(|latency| latency.p50),
        latency(|latency| latency.p90),
        latency(|latency| latency.p99),
        latency(|latency| latency.p999),
        latency(|latency| latency.max),
        or_empty(measurement.cpu_us),
        or_empty(measurement.cpu_share.map(|share| share * 100.0)),
        measurement.wakeups.map_or_else(String::new, |wakeups| wakeups.to_string()),
        or_empty(measurement.memory.map(|memory| memory.per_session)),
    ]
}

/// One line for each kind of failure.
pub(crate) fn failures(measurements: &[Measurement]) -> impl Iterator<Item = String> {
    measurements.iter().flat_map(|measurement| {
        measurement.failures.iter().map(|(what, times)| {
            format!("FAILED {} ({}): {what}: {times}", measurement.server, measurement.work)
        })
    })
}
