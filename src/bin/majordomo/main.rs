//! The gateway: a hub, an echo server, or a front for a backend, over WebSocket and raw TCP.

mod admin;
mod backend;
mod gateway;
mod limits;
mod logging;
mod metrics;
mod run;
mod settings;
mod signals;
mod status;

use std::env;
use std::fs;
use std::io::{self, Write};
use std::process::ExitCode;

use settings::Invocation;

/// The exit code when the gateway cannot start or fails.
const FAILURE: u8 = 1;
/// The exit code for an invalid flag, variable or settings file.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let loaded = settings::load(env::args_os(), env::vars_os(), |path| fs::read_to_string(path));
    let (text, code) = match loaded {
        Ok(Invocation::Run(loaded)) => {
            logging::start(loaded.settings.log);
            for warning in loaded.warnings() {
                log::warn!("{warning}");
            }
            match run::run(&loaded.settings) {
                Ok(()) => return ExitCode::SUCCESS,
                Err(error) => (error.to_string(), FAILURE),
            }
        }
        Ok(Invocation::Print(text)) => {
            // A reader that has closed the pipe has read enough.
            let _ = io::stdout().write_all(text.as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(error) => (error.to_string(), USAGE),
    };
    let _ = writeln!(io::stderr(), "majordomo: {text}");
    code.into()
}
