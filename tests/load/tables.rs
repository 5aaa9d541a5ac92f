//! The tables that the harness prints fit 100 columns.

use std::time::Duration;

use comfy_table::Table;

use crate::comparison::{Figure, Goal, Role, Row, Unit};
use crate::curve::Curve;
use crate::figures::Latency;
use crate::measure::{Measurement, MemoryUse};
use crate::table;
use crate::threads::ThreadUse;

/// The servers that `compare` starts, as their tables name them.
const SERVERS: [(&str, Role); 6] = [
    ("majordomo", Role::Gateway),
    ("floor", Role::Floor),
    ("tokio-tungstenite", Role::Peer),
    ("fastwebsockets", Role::Peer),
    ("sockudo-ws", Role::Peer),
    ("bun", Role::Peer),
];

/// A server that runs already is named by its host.
const RUNNING: (&str, Role) = ("gateway-1.chat.example.org:65535", Role::Peer);

/// The longest names that the scenarios give.
const WORKS: [&str; 6] = [
    "echo 16 KiB binary, 50 sessions, 1 in flight",
    "echo 1023 KiB binary, 100000 sessions, 16 in flight",
    "broadcast 16 x 128 B text to 100000 sessions",
    "broadcast 16 KiB to 90000 sessions beside 10000 stalled",
    "idle, 100000 sessions after 1023 KiB each",
    "drain, 100000 sessions over 1000.5s",
];

const LARGE: f64 = 123_456_789.0;

fn measurement(server: &str, work: &str) -> Measurement {
    let latency =
        Latency { p50: LARGE, p90: LARGE, p99: LARGE, p999: LARGE, max: LARGE, curve: Vec::new() };
    let thread = |name: &str| ThreadUse {
        name: name.to_owned(),
        cpu_us: LARGE,
        cpu_share: 0.999,
        alone_per_second: LARGE,
    };
    Measurement {
        server: server.to_owned(),
        work: work.to_owned(),
        sessions: 100_000,
        seconds: 1.0,
        count: 9_999_999_999,
        latency: Some(latency),
        curve: Some(Curve::new(vec![1, 2, 3], 3, Duration::from_secs(1000))),
        cpu_us: Some(LARGE),
        cpu_share: Some(1.999),
        wakeups: Some(9_999_999_999),
        threads: vec![thread("main"), thread("harness: backend")],
        memory: Some(MemoryUse { per_session: LARGE, ..MemoryUse::default() }),
        ..Measurement::default()
    }
}

fn row(work: &str, servers: &[(&str, Role)]) -> Row {
    let figure = |&(server, role): &(&str, Role)| {
        Figure::new(server.to_owned(), role, std::iter::once(14_644.0)).expect("a value")
    };
    Row {
        work: work.to_owned(),
        family: work.to_owned(),
        sessions: 100_000,
        unit: Unit::Microseconds,
        goal: Some(Goal::TimesFloor(1.05)),
        figures: servers.iter().map(figure).collect(),
    }
}

/// All tables of a report about these servers.
fn tables(servers: &[(&str, Role)]) -> Vec<Table> {
    let of_work = |work| servers.iter().map(move |(server, _)| measurement(server, work));
    let measurements: Vec<_> = WORKS.into_iter().flat_map(of_work).collect();
    let rows: Vec<_> = WORKS.into_iter().map(|work| row(work, servers)).collect();
    let (works, mut tables): (Vec<_>, Vec<_>) =
        table::measurements(&measurements).into_iter().unzip();
    assert_eq!(works, WORKS);
    tables.push(table::comparison(&rows));
    tables.extend(table::threads(&measurements));
    tables.extend(table::curves(&measurements));
    assert_eq!(tables.len(), WORKS.len() + 3);
    tables
}

fn widest(table: &Table) -> usize {
    table.lines().map(|line| line.chars().count()).max().expect("it has lines")
}

#[test]
fn the_tables_of_compare_fit_100_columns_with_the_longest_names() {
    for table in tables(&SERVERS) {
        assert!(widest(&table) <= 100, "{}:\n{table}", widest(&table));
    }
}

#[test]
fn the_tables_fit_with_a_server_beside_those_of_compare() {
    let servers = [&SERVERS[..], &[RUNNING]].concat();
    for table in tables(&servers) {
        assert!(widest(&table) <= 100, "{}:\n{table}", widest(&table));
    }
}

#[test]
fn no_name_and_no_figure_of_a_usual_comparison_is_wrapped() {
    let work = "echo 16 KiB binary, 50 sessions, 1 in flight";
    let comparison = table::comparison(&[row(work, &SERVERS)]).to_string();
    assert!(comparison.contains(work), "{comparison}");
    let usual = |(server, _): (&str, Role)| Measurement {
        count: 12_345_678,
        latency: Some(Latency { max: 1234.0, ..Latency::default() }),
        cpu_us: Some(20.9),
        wakeups: Some(123_456),
        memory: Some(MemoryUse { per_session: 14_644.0, ..MemoryUse::default() }),
        ..measurement(server, work)
    };
    let measurements = table::measurements(&SERVERS.map(usual));
    let [(_, table)] = &measurements[..] else { panic!("one work") };
    let table = table.to_string();
    for (server, _) in SERVERS {
        assert!(comparison.contains(server), "{server}:\n{comparison}");
        assert!(table.contains(server), "{server}:\n{table}");
    }
    for figure in ["12345678", "1234", "20.9", "123456", "14644"] {
        assert!(table.contains(figure), "{figure}:\n{table}");
    }
}

#[test]
fn a_table_has_a_line_only_for_what_was_measured() {
    let idle = Measurement {
        server: "majordomo".to_owned(),
        work: "idle, 10 sessions".to_owned(),
        wakeups: Some(3),
        ..Measurement::default()
    };
    let tables = table::measurements(&[idle]);
    let text: String = tables.iter().map(|(_, table)| table.to_string()).collect();
    assert!(text.contains("wake-ups"), "{text}");
    assert!(!text.contains("p50"), "{text}");
}
