//! The charts of a report.

use super::Report;
use super::svg::{self, Axis, Bar, Series};
use super::table;
use crate::comparison::{Figure, Row};
use crate::figures::float;
use crate::measure::Measurement;

/// A chart with its heading.
#[derive(Debug)]
pub(super) struct Plot {
    pub(super) title: String,
    pub(super) chart: svg::Chart,
}

/// A part of the page.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) title: &'static str,
    pub(super) explanation: &'static str,
    pub(super) plots: Vec<Plot>,
}

/// The servers of a report, in the order in which they appear, which determines their colours.
pub(super) fn servers(report: &Report) -> Vec<&str> {
    let of_runs = report.measurements.iter().map(|measurement| measurement.server.as_str());
    let mut servers = Vec::new();
    for server in of_runs {
        if !servers.contains(&server) {
            servers.push(server);
        }
    }
    servers
}

pub(super) fn sections(report: &Report) -> Vec<Section> {
    let colours = servers(report);
    let colour = |server: &str| colours.iter().position(|&each| each == server).unwrap_or(0);
    let sections = [
        Section {
            title: "Scaling",
            explanation: "Cost and memory against the number of sessions.",
            plots: scales(report, colour),
        },
        Section {
            title: "When sessions are closed",
            explanation: "The sessions that have received their close frame, by time after the \
                signal. The straight line is an even spread over the drain window.",
            plots: drains(&report.measurements, colour, colours.len()),
        },
        Section {
            title: "Latency",
            explanation: "Latency by percentile, each nine as wide as the one before.",
            plots: latencies(&report.measurements, colour),
        },
    ];
    let sections = sections.into_iter().filter(|section| !section.plots.is_empty());
    costs(report).into_iter().chain(sections).collect()
}

/// The costs in a comparison.
pub(super) fn costs(report: &Report) -> Option<Section> {
    let colours = servers(report);
    let colour = |server: &str| colours.iter().position(|&each| each == server).unwrap_or(0);
    let plots = bars(&report.rows, colour);
    (!plots.is_empty()).then_some(Section {
        title: "Cost",
        explanation: "The server's time on a processor, user and kernel, for each message, \
            delivery or session, or its memory for each session: the median of the rounds, and its \
            ratio to the floor. The thin line spans the middle half of the rounds. Less is better.",
        plots,
    })
}

/// Bars, for works that were done with one number of sessions.
fn bars(rows: &[Row], colour: impl Fn(&str) -> usize) -> Vec<Plot> {
    let bar = |row: &Row, each: &Figure| Bar {
        name: each.server.clone(),
        colour: colour(&each.server),
        value: each.median,
        label: table::with_ratio(row, each),
        spread: each.quartiles,
    };
    rows.iter()
        .filter(|row| !scaled(row, rows))
        .map(|row| Plot {
            title: format!("{}: {}", row.work, row.unit.name()),
            chart: svg::bars(&row.figures.iter().map(|each| bar(row, each)).collect::<Vec<_>>()),
        })
        .collect()
}

/// Whether the same work was done with other numbers of sessions.
fn scaled(row: &Row, rows: &[Row]) -> bool {
    rows.iter().any(|other| other.family == row.family && other.sessions != row.sessions)
}

fn scales(report: &Report, colour: impl Fn(&str) -> usize) -> Vec<Plot> {
    let rows: Vec<&Row> = report.rows.iter().filter(|row| scaled(row, &report.rows)).collect();
    let mut families: Vec<&str> = Vec::new();
    for row in &rows {
        if !families.contains(&row.family.as_str()) {
            families.push(&row.family);
        }
    }
    let mut plots = Vec::new();
    for family in families {
        let rows = || rows.iter().filter(|row| row.family == family);
        let cost = |server: &str| {
            let point = |row: &&Row| Some((float(row.sessions as u64), row.figure(server)?.median));
            rows().filter_map(point).collect::<Vec<_>>()
        };
        let memory = |server: &str| {
            let of_row = |row: &&Row| {
                let run = report
                    .measurements
                    .iter()
                    .find(|run| run.server == server && run.work == row.work)?;
                Some((float(row.sessions as u64), run.memory?.per_session))
            };
            rows().filter_map(of_row).collect::<Vec<_>>()
        };
        plots.extend([
            scale(format!("{family}: CPU us each"), "us", report, &colour, cost),
            scale(format!("{family}: B/session"), "bytes", report, &colour, memory),
        ]);
    }
    plots.into_iter().flatten().collect()
}

fn scale(
    title: String,
    unit: &str,
    report: &Report,
    colour: impl Fn(&str) -> usize,
    points: impl Fn(&str) -> Vec<(f64, f64)>,
) -> Option<Plot> {
    let series: Vec<Series> = servers(report)
        .into_iter()
        .map(|server| Series {
            name: server.to_owned(),
            colour: colour(server),
            points: points(server),
            marked: true,
        })
        .filter(|series| !series.points.is_empty())
        .collect();
    let values = || series.iter().flat_map(|series| &series.points);
    let mut numbers: Vec<f64> = values().map(|&(sessions, _)| sessions).collect();
    numbers.sort_by(f64::total_cmp);
    numbers.dedup();
    let (&from, &to) = numbers.first().zip(numbers.last())?;
    let x = Axis {
        title: "sessions".to_owned(),
        ticks: numbers.iter().map(|&sessions| (sessions, format!("{sessions}"))).collect(),
        from,
        to,
        logarithmic: true,
    };
    let y = Axis::linear(unit, values().map(|&(_, value)| value));
    Some(Plot { title, chart: svg::lines(&x, &y, &series) })
}

/// One chart for each run with a shutdown.
fn drains(measurements: &[Measurement], colour: impl Fn(&str) -> usize, even: usize) -> Vec<Plot> {
    let plot = |run: &Measurement| {
        let curve = run.curve.as_ref()?;
        let mut series = Vec::new();
        // First, so that the measurement is drawn over it.
        if curve.window > 0.0 {
            series.push(Series {
                name: "an even spread".to_owned(),
                colour: even,
                points: vec![(0.0, 0.0), (curve.window, 100.0)],
                marked: false,
            });
        }
        series.push(Series {
            name: run.server.clone(),
            colour: colour(&run.server),
            points: curve.points.clone(),
            marked: false,
        });
        let seconds = series.iter().flat_map(|line| &line.points).map(|&(seconds, _)| seconds);
        let x = Axis::linear("seconds after the signal", seconds);
        let y = Axis::linear("% of the close frames", std::iter::once(100.0));
        Some(Plot { title: run.work.clone(), chart: svg::lines(&x, &y, &series) })
    };
    measurements.iter().filter_map(plot).collect()
}

/// One chart for each work, with a line for each server.
fn latencies(measurements: &[Measurement], colour: impl Fn(&str) -> usize) -> Vec<Plot> {
    let mut works: Vec<&str> = Vec::new();
    for measurement in measurements.iter().filter(|each| each.latency.is_some()) {
        if !works.contains(&measurement.work.as_str()) {
            works.push(&measurement.work);
        }
    }
    works
        .into_iter()
        .map(|work| {
            let series: Vec<Series> = measurements
                .iter()
                .filter(|each| each.work == work)
                .filter_map(|each| {
                    let curve = &each.latency.as_ref()?.curve;
                    Some(Series {
                        name: each.server.clone(),
                        colour: colour(&each.server),
                        points: curve.iter().map(|&(p, value)| (nines(p), value)).collect(),
                        marked: false,
                    })
                })
                .collect();
            let points = || series.iter().flat_map(|series| series.points.iter());
            let to = points().map(|&(x, _)| x).fold(1.0, f64::max);
            let named = [0.0, 50.0, 90.0, 99.0, 99.9, 99.99, 99.999];
            let x = Axis {
                title: "percentile".to_owned(),
                ticks: named
                    .into_iter()
                    .filter(|&percentile| nines(percentile) <= to)
                    .map(|percentile| (nines(percentile), format!("{percentile}")))
                    .collect(),
                from: 0.0,
                to,
                logarithmic: false,
            };
            let y = Axis::logarithmic("latency", points().map(|&(_, value)| value), time);
            Plot { title: work.to_owned(), chart: svg::lines(&x, &y, &series) }
        })
        .collect()
}

/// 0 for the 0th percentile, 1 for the 90th, 2 for the 99th and so on.
fn nines(percentile: f64) -> f64 {
    -(1.0 - percentile / 100.0).log10()
}

/// A time in microseconds, in the unit that suits it.
fn time(microseconds: f64) -> String {
    match microseconds {
        us if us < 1000.0 => format!("{us} us"),
        us if us < 1e6 => format!("{} ms", us / 1e3),
        us => format!("{} s", us / 1e6),
    }
}
