//! The load harness: loads a WebSocket server and measures it.
//!
//! ```text
//! cargo bench --bench load -- echo --conns 200 --depth 16
//! cargo bench --bench load -- echo --target ws://127.0.0.1:9001 --pid 4711
//! ```
//!
//! It is a client on one thread, so that on two processors the server has one of its own. The
//! modules import downwards: `client` and `server` know nothing of `scenario`, which knows nothing
//! of `report` and `cli`.

mod cli;
mod client;
mod figures;
mod limits;
mod measure;
mod progress;
mod report;
mod scenario;
mod server;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use cli::{Cli, Scenario};
use progress::Progress;
use report::Report;
use scenario::{Place, Setting};

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(false) => ExitCode::SUCCESS,
        Ok(true) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(io::stderr(), "load: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a scenario and reports it. Gives whether anything failed.
fn run(cli: &Cli) -> io::Result<bool> {
    let common = &cli.common;
    let progress = Progress::new();
    let setting = Setting {
        place: match &common.target {
            Some(target) => Place::Running { target, pid: common.pid },
            None => Place::Started { kind: common.server, arguments: &common.server_arg },
        },
        pin: common.pin,
        progress: &progress,
        allowed: limits::raise()?,
    };
    let (scenario, measurements) = match &cli.scenario {
        Scenario::Echo(args) => ("echo", vec![scenario::echo::run(&args.plan(), &setting)?]),
        Scenario::Broadcast(args) => {
            ("broadcast", vec![scenario::broadcast::run(&args.plan(), &setting)?])
        }
        Scenario::Idle(args) => ("idle", vec![scenario::idle::run(&args.plan(), &setting)?]),
    };
    drop(progress);
    let report = Report { scenario: scenario.to_owned(), measurements };
    report.print()?;
    if let Some(path) = &common.json {
        report.write_json(path)?;
    }
    Ok(report.failed())
}
