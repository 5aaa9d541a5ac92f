//! The gateway: a hub, an echo, or a driver's door to its sessions, over WebSocket and raw TCP.

// Until the session manager is wired in, nothing calls these outside of their tests.
mod limits;
mod logging;
#[allow(dead_code, unused_imports, reason = "removed with the wiring")]
mod protocol;
#[allow(dead_code, reason = "removed with the wiring")]
mod settings;
#[allow(dead_code, reason = "removed with the wiring")]
mod signals;
#[allow(dead_code, unused_imports, reason = "removed with the wiring")]
mod stdio;

use std::io::{self, Write};
use std::process::ExitCode;

use settings::{Loaded, Request};

/// It could not start, or not go on.
const FAILURE: u8 = 1;
/// A flag, a variable or the file was bad.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let (text, code) = match settings::load(std::env::args_os(), std::env::vars_os()) {
        Ok(Request::Run(loaded)) => match run(&loaded) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(error) => (error, FAILURE),
        },
        Ok(Request::Print(text)) => {
            // Whoever closed the pipe has read enough.
            let _ = io::stdout().write_all(text.as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(refusal) => (refusal.to_string(), USAGE),
    };
    let _ = writeln!(io::stderr(), "majordomo: {text}");
    code.into()
}

fn run(loaded: &Loaded) -> Result<(), String> {
    logging::start(loaded.settings.log);
    for name in &loaded.unknown_variables {
        log::warn!("{name} is set, but is no setting (--help lists them)");
    }
    match limits::raise_open_files() {
        Ok(limits) => log::info!("room for {} open files (was {})", limits.after, limits.before),
        Err(error) => log::warn!("the limit of open files stays as it is: {error}"),
    }
    Err("this build has no session manager yet".to_owned())
}
