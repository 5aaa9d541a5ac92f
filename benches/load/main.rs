//! The load harness: loads a WebSocket server and measures it.
//!
//! ```text
//! cargo bench --bench load -- echo --conns 200 --depth 16
//! cargo bench --bench load -- backend
//! cargo bench --bench load -- echo --target ws://127.0.0.1:9001 --pid 4711
//! ```
//!
//! The client runs on one thread, so that on two processors the server has the other one; only a
//! backend has a thread of its own. Modules import downwards: `figures` imports no
//! other, `client` and `server` do not import `scenario`, which imports neither `report` nor `cli`.

mod cli;
mod client;
mod comparison;
mod curve;
mod figures;
mod limits;
mod measure;
mod progress;
mod report;
mod scenario;
mod server;
mod threads;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, ValueEnum};
use cli::{Cli, Common, CompareArgs, Scenario};
use measure::Measurement;
use progress::Progress;
use report::Report;
use report::machine::{self, Machine};
use scenario::contest::Contest;
use scenario::{
    Place, Setting, backend, broadcast, compare, drain, echo, flood, idle, scale, slow, storm,
};
use server::{Kind, Options, Pin};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match &cli.scenario {
        Some(scenario) => run(scenario, &cli.common),
        None => Cli::command().print_help().map(|()| false),
    };
    match result {
        Ok(false) => ExitCode::SUCCESS,
        Ok(true) => ExitCode::FAILURE,
        Err(error) => {
            // Standard error may be closed as well.
            let _ = writeln!(io::stderr(), "load: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a scenario and reports it. Returns whether anything failed.
fn run(scenario: &Scenario, common: &Common) -> io::Result<bool> {
    let (load_before, processors) = (machine::load(), machine::processors());
    let allowed = limits::raise()?;
    let progress = Progress::new();
    let options = Options {
        arguments: common.gateway_arg.clone(),
        gateway: common.gateway.clone(),
        ..Options::default()
    };
    let (places, mut notes) = places(scenario, common, &options, &progress)?;
    let pin = common.pin.then(Pin::new).transpose()?;
    let setting = Setting { place: places[0], pin, progress: &progress, allowed };
    let contest = match scenario {
        Scenario::Echo(args) => one(echo::run(&args.plan(), &setting)?),
        Scenario::Broadcast(args) => one(broadcast::run(&args.plan(), &setting)?),
        Scenario::Idle(args) => one(idle::run(&args.plan(), &setting)?),
        Scenario::Storm(args) => one(storm::run(&args.plan(), &setting)?),
        Scenario::Drain(args) => one(drain::run(args.plan(), &setting)?),
        Scenario::Backend(args) => {
            let (contest, lines) = backend::run(&args.plan(), &setting)?;
            notes.extend(lines);
            contest
        }
        Scenario::Slow(args) => {
            let measurements = slow::run(&args.plan(), &setting)?;
            Contest { measurements, ..Contest::default() }
        }
        Scenario::Flood(args) => {
            let measurements = flood::run(&args.plan(), &setting)?;
            Contest { measurements, ..Contest::default() }
        }
        Scenario::Scale(args) => {
            let contest = scale::run(&args.plan(), &places, &setting);
            notes.extend(comparison::growth(&contest.rows));
            contest
        }
        Scenario::Compare(args) => compare::run(&args.plan(), &places, &setting),
    };
    drop(progress);
    notes.extend(contest.skipped.iter().map(|reason| format!("SKIPPED {reason}")));
    let report = Report {
        scenario: scenario.name().to_owned(),
        command: command(),
        machine: Machine::new(load_before, processors),
        rows: contest.rows,
        measurements: contest.measurements,
        notes,
    };
    report.print()?;
    if let Some(path) = &common.json {
        report.write_json(path)?;
    }
    if let Some(path) = &common.html {
        report.write_html(path)?;
    }
    if let Scenario::Compare(CompareArgs { svg: Some(path), .. }) = scenario {
        report.write_svg(path)?;
    }
    Ok(report.failed())
}

fn one(measurement: Measurement) -> Contest {
    Contest { measurements: vec![measurement], ..Contest::default() }
}

/// The servers of the run, at least one of them, and notes on those that cannot be started.
fn places<'a>(
    scenario: &'a Scenario,
    common: &'a Common,
    options: &'a Options,
    progress: &Progress,
) -> io::Result<(Vec<Place<'a>>, Vec<String>)> {
    let Common { target, pid, server, .. } = common;
    let running = target.as_ref().map(|target| Place::Running { target, pid: *pid });
    let kinds = match (scenario, running) {
        (Scenario::Compare(args), _) if args.servers.is_empty() => Kind::value_variants(),
        (Scenario::Compare(args), _) => &args.servers,
        (Scenario::Scale(args), None) => &args.servers,
        (_, None) => std::slice::from_ref(server),
        (_, Some(_)) => &[],
    };
    let missing = server::build(kinds, |line| progress.print(line));
    let is_built = |kind: &&Kind| missing.iter().all(|(missing, _)| missing != *kind);
    let started = kinds.iter().filter(is_built).map(|&kind| Place::Started { kind, options });
    let places: Vec<_> = started.chain(running).collect();
    let notes = missing.iter().map(|(kind, why)| format!("SKIPPED {}: {why}", kind.name()));
    let notes: Vec<_> = notes.collect();
    if places.is_empty() {
        return Err(io::Error::other(notes.join("; ")));
    }
    Ok((places, notes))
}

/// The command that repeats the run.
fn command() -> String {
    let arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let arguments: Vec<_> = arguments.collect();
    format!("cargo bench --bench load -- {}", arguments.join(" "))
}
