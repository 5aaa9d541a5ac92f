//! Measurements as tables of text, at most 100 columns wide.

use comfy_table::{Cell, CellAlignment, ContentArrangement, LineStyle, Table, TableStyle};

use crate::comparison::{Figure, Goal, Role, Row};
use crate::curve::Curve;
use crate::figures::{Latency, figure};
use crate::measure::Measurement;
use crate::threads::ThreadUse;

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

/// The width of the widest table, in characters. Longer cells are wrapped.
const WIDTH: u16 = 100;

/// Lines above and below, and under the head.
const STYLE: TableStyle = TableStyle::new()
    .top_border(LineStyle::none().fill('─').junction('─'))
    .header_separator(LineStyle::none().fill('─').junction('─'))
    .bottom_border(LineStyle::none().fill('─').junction('─'));

/// Columns on the left that hold text.
pub(super) const WORDS: usize = 2;

/// Each work with its table, which has a column for each server and a line for each figure.
pub(crate) fn measurements(measurements: &[Measurement]) -> Vec<(String, Table)> {
    let mut works: Vec<&str> = Vec::new();
    for measurement in measurements {
        if !works.contains(&measurement.work.as_str()) {
            works.push(&measurement.work);
        }
    }
    let table = |work: &str| {
        let of_work = measurements.iter().filter(|each| each.work == work);
        (work.to_owned(), of_one_work(&of_work.map(row).collect::<Vec<_>>()))
    };
    works.into_iter().map(table).collect()
}

/// The first two cells of each row are the server and the work.
fn of_one_work(rows: &[[String; COLUMNS.len()]]) -> Table {
    let line = |name: &str, column: usize| {
        std::iter::once(name.to_owned()).chain(rows.iter().map(|row| row[column].clone())).collect()
    };
    let mut table = empty(line("", 0), 1);
    for (column, name) in COLUMNS.iter().enumerate().skip(WORDS) {
        if rows.iter().any(|row| !row[column].is_empty()) {
            table.add_row(aligned(line(name, column), 1));
        }
    }
    table
}

/// The head and the rows. Columns that nothing was measured for are left out.
pub(super) fn cells(measurements: &[Measurement]) -> (Vec<String>, Vec<Vec<String>>) {
    let rows: Vec<_> = measurements.iter().map(|each| row(each).to_vec()).collect();
    without_empty_columns(&COLUMNS.map(str::to_owned), &rows)
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

/// When the sessions got their close frames; none for scenarios without a shutdown.
pub(crate) fn curves(measurements: &[Measurement]) -> Option<Table> {
    let (head, rows) = curve_cells(measurements);
    if rows.is_empty() {
        return None;
    }
    let mut table = empty(head, WORDS);
    for row in rows {
        table.add_row(aligned(row, WORDS));
    }
    Some(table)
}

/// A line for each share of the sessions, with the time for an even spread.
pub(super) fn curve_cells(measurements: &[Measurement]) -> (Vec<String>, Vec<Vec<String>>) {
    let line = |measurement: &Measurement, curve: &Curve, percent: u32| {
        let even = curve.window * f64::from(percent) / 100.0;
        vec![
            measurement.server.clone(),
            measurement.work.clone(),
            format!("{percent} %"),
            curve.when(percent).map_or_else(|| "never".to_owned(), figure),
            if even > 0.0 { figure(even) } else { String::new() },
        ]
    };
    let curves = measurements.iter().filter_map(|each| Some((each, each.curve.as_ref()?)));
    let lines = curves
        .flat_map(|(each, curve)| [10, 50, 90, 100].map(|percent| line(each, curve, percent)));
    let head = ["server", "work", "close frames", "after s", "if even"].map(str::to_owned);
    without_empty_columns(&head, &lines.collect::<Vec<_>>())
}

/// The CPU time of each thread; none for scenarios that do not measure it.
pub(crate) fn threads(measurements: &[Measurement]) -> Option<Table> {
    let (head, rows) = thread_cells(measurements);
    if rows.is_empty() {
        return None;
    }
    let mut table = empty(head, WORDS);
    for row in rows {
        table.add_row(aligned(row, WORDS));
    }
    Some(table)
}

/// A line for each thread.
pub(super) fn thread_cells(measurements: &[Measurement]) -> (Vec<String>, Vec<Vec<String>>) {
    let line = |measurement: &Measurement, thread: &ThreadUse| {
        vec![
            measurement.server.clone(),
            thread.name.clone(),
            figure(thread.cpu_us),
            figure(thread.cpu_share * 100.0),
            figure(thread.alone_per_second),
        ]
    };
    let threads =
        measurements.iter().flat_map(|run| run.threads.iter().map(move |each| (run, each)));
    let head = ["server", "thread", "CPU us each", "CPU %", "per second alone on a core"];
    (head.map(str::to_owned).to_vec(), threads.map(|(run, each)| line(run, each)).collect())
}

/// The head of [`comparison`].
const COMPARED: [&str; 6] = ["work and server", "figure", "median", "to floor", "to peer", "goal"];

/// For each work a line with its name and unit, and below it a line for each server: its median,
/// and how many times the floor's it is. The gateway's line also has how many times the figure of
/// the best peer it is, and the goal.
pub(crate) fn comparison(rows: &[Row]) -> Table {
    let mut table = empty(COMPARED.map(str::to_owned).to_vec(), WORDS);
    for row in rows {
        let head = [row.work.clone(), row.unit.name().to_owned()];
        table.add_row(aligned(head.to_vec(), WORDS));
        for each in &row.figures {
            let is_gateway = each.role == Role::Gateway;
            let to_best = row.to_best_peer(each).filter(|_| is_gateway);
            let line = [
                format!("  {}", each.server),
                String::new(),
                figure(each.median),
                row.to_floor(each).map_or_else(String::new, |ratio| format!("{ratio:.2}")),
                to_best.map_or_else(String::new, |ratio| format!("{ratio:.2}")),
                if is_gateway { goal(row) } else { String::new() },
            ];
            table.add_row(aligned(line.to_vec(), WORDS));
        }
    }
    table
}

/// A line for each work, and a column for each server: its median, and how many times the floor's
/// that is.
pub(super) fn comparison_cells(rows: &[Row]) -> (Vec<String>, Vec<Vec<String>>) {
    let mut servers: Vec<&str> = Vec::new();
    for figure in rows.iter().flat_map(|row| &row.figures) {
        if !servers.contains(&figure.server.as_str()) {
            servers.push(&figure.server);
        }
    }
    let mut head = vec!["work".to_owned(), "figure".to_owned()];
    head.extend(servers.iter().map(|&server| server.to_owned()));
    head.extend(["best peer".to_owned(), "goal".to_owned()]);
    let line = |row: &Row| {
        let mut line = vec![row.work.clone(), row.unit.name().to_owned()];
        for server in &servers {
            line.push(
                row.figure(server).map_or_else(String::new, |figure| with_ratio(row, figure)),
            );
        }
        let gateway = row.figures.iter().find(|figure| figure.role == Role::Gateway);
        let to_best = gateway.and_then(|figure| row.to_best_peer(figure));
        line.push(to_best.map_or_else(String::new, |ratio| format!("{ratio:.2}")));
        line.push(goal(row));
        line
    };
    without_empty_columns(&head, &rows.iter().map(line).collect::<Vec<_>>())
}

fn without_empty_columns(head: &[String], rows: &[Vec<String>]) -> (Vec<String>, Vec<Vec<String>>) {
    let has_text = |&column: &usize| rows.iter().any(|row| !row[column].is_empty());
    let shown: Vec<usize> = (0..head.len()).filter(has_text).collect();
    let pick = |row: &[String]| shown.iter().map(|&column| row[column].clone()).collect();
    (pick(head), rows.iter().map(|row| pick(row)).collect())
}

/// A figure, with its ratio to the floor in brackets.
pub(super) fn with_ratio(row: &Row, each: &Figure) -> String {
    match row.to_floor(each) {
        Some(ratio) if ratio < 10.0 => format!("{} ({ratio:.2})", figure(each.median)),
        Some(ratio) => format!("{} ({ratio:.0})", figure(each.median)),
        None => figure(each.median),
    }
}

/// The gateway's goal, and whether it was reached.
fn goal(row: &Row) -> String {
    let mark = match row.reached() {
        Some(true) => "reached",
        Some(false) => "MISSED",
        None => return String::new(),
    };
    match row.goal {
        Some(Goal::TimesFloor(times)) => format!("{times:.2} {mark}"),
        Some(Goal::AtMost(most)) => format!("{most} {mark}"),
        None => String::new(),
    }
}

/// One line for each kind of failure.
pub(crate) fn failures(measurements: &[Measurement]) -> impl Iterator<Item = String> {
    measurements.iter().flat_map(|measurement| {
        measurement.failures.iter().map(|(what, times)| {
            format!("FAILED {} ({}): {what}: {times}", measurement.server, measurement.work)
        })
    })
}

fn empty(head: Vec<String>, words: usize) -> Table {
    let mut table = Table::new();
    table.load_style(STYLE).set_width(WIDTH).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(aligned(head, words));
    table
}

fn aligned(row: Vec<String>, words: usize) -> Vec<Cell> {
    let cell = |(column, text): (usize, String)| {
        let side = if column < words { CellAlignment::Left } else { CellAlignment::Right };
        Cell::new(text).set_alignment(side)
    };
    row.into_iter().enumerate().map(cell).collect()
}
