//! The gateway: a hub, an echo, or a driver's door to its sessions, over WebSocket and raw TCP.

mod admin;
mod driver;
mod gateway;
mod limits;
mod logging;
mod protocol;
mod run;
mod settings;
mod signals;
mod stdio;

use std::env;
use std::fs;
use std::io::{self, Write};
use std::process::ExitCode;

use settings::Invocation;

/// It could not start, or not go on.
const FAILURE: u8 = 1;
/// A flag, a variable or the file was bad.
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
            // Whoever closed the pipe has read enough.
            let _ = io::stdout().write_all(text.as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(error) => (error.to_string(), USAGE),
    };
    let _ = writeln!(io::stderr(), "majordomo: {text}");
    code.into()
}
