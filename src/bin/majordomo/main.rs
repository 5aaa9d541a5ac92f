//! The gateway: a hub, an echo server, or a front for a backend, over WebSocket and raw TCP.

mod admin;
mod backend;
mod gateway;
mod limits;
mod logging;
mod metrics;
mod retry;
mod run;
mod settings;
mod signals;
mod status;

use std::env;
use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::process::ExitCode;

use settings::{Invocation, Loaded};

/// The exit code when the gateway cannot start or fails.
const FAILURE: u8 = 1;
/// The exit code for an invalid flag, variable or settings file.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let loaded = settings::load(env::args_os(), env::vars_os(), |path| fs::read_to_string(path));
    match loaded {
        Ok(Invocation::Run(loaded)) => run_with_log(&loaded),
        Ok(Invocation::Print(text)) => {
            // A reader that has closed the pipe has read enough.
            let _ = io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(error) => fail_without_log(&error, USAGE),
    }
}

/// Runs the gateway. Its error is the last line of the log.
fn run_with_log(loaded: &Loaded) -> ExitCode {
    let log = match logging::start(loaded.settings.log) {
        Ok(log) => log,
        Err(error) => return fail_without_log(&error, FAILURE),
    };
    for warning in loaded.warnings() {
        log::warn!("{warning}");
    }
    match run::run(&loaded.settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log.write_line(&format!("majordomo: {error}"));
            FAILURE.into()
        }
    }
}

fn fail_without_log(error: &dyn fmt::Display, code: u8) -> ExitCode {
    let _ = writeln!(io::stderr(), "majordomo: {error}");
    code.into()
}
